"""Ctrl-C, or `kill`, at any moment of a command: one line, exit code 130, whatever it was doing."""
from pathlib import Path
import random
import signal
import subprocess
import sys
import time

import pytest

ROOT = Path(__file__).resolve().parents[2]
READY = "cli"                   # once this is imported Ctrl-C is ours; before, Python itself starts
COMMANDS = {                    # with work for longer than the longest wait
    "golden.run": ("--model", "squeezenet1_1"), "golden.evaluate": ("--model", "squeezenet1_1", "--images", "nets/digits/images"),
    "nets.quantise": ("--model", "squeezenet1_1", "--out", "{tmp}/net.fln"), "nets.info": ("--model", "squeezenet1_1"),
    "nets.compress": ("--model", "squeezenet1_1", "--images", "nets/digits/images", "--sparsity", "0.5", "--out", "{tmp}/n.fln"),
    "hw.build": ("--estimate", "--board", "ulx3s"), "sim.fuzz": ("--frames", "1000000"),
    "compiler.compile": ("--model", "squeezenet1_1", "--out", "{tmp}/net.flp"),
    "sim.board": ("--board", "versa-ecp5"), "host.info": ("--port", "/dev/ptmx"), "bench.bad_files": ("--count", "100000"),
}


@pytest.mark.parametrize("moment", ["imports", "work"])
@pytest.mark.parametrize("command", COMMANDS)
def test_one_line_and_130(command, moment, tmp_path):
    seed = random.SystemRandom().randrange(1 << 16)
    wait = random.Random(seed).uniform(0, 0.3) if moment == "imports" else random.Random(seed).uniform(1, 6)
    code, said = interrupted([command, *(word.format(tmp=tmp_path) for word in COMMANDS[command])], wait, cwd=ROOT)
    where = f"seed {seed}, {wait:.3f} s after the start"
    if code is None or moment == "work" and code in (0, 1, 2):       # it was done sooner
        assert "Traceback" not in said, f"{where}: {said}"
        return
    assert code == 130, f"{where}: {code} {said}"
    assert said.splitlines()[-1:] == ["interrupted"] and "Traceback" not in said and "UnusedElaboratable" not in said, \
        f"{where}: {said}"
    assert not list(tmp_path.iterdir())


def test_kill_ends_a_command_in_the_background_as_ctrl_c_does(tmp_path):
    """What it wrote is gone; a tool that it runs would be, too."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sim.fuzz", "--frames", "1000000", "--json", str(tmp_path / "fuzz.json")], cwd=ROOT, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    with process:
        assert process.stderr.readline()                # it says how far it is
        process.send_signal(signal.SIGINT)
        process.terminate()
        try:
            said = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == 130 and said.splitlines()[-1] == "interrupted" and not list(tmp_path.iterdir())


def test_imports_are_interrupted_at_each_module():
    """At every tenth module that a command imports, wherever that is: nothing is half ready for an interrupt."""
    for nth in range(0, 400, 40):
        code, said = interrupted(["golden.run", "--help"], nth, cwd=ROOT)
        assert code in (0, 130) and "Traceback" not in said, f"module {nth}: {said}"
        assert code == 0 or said == "interrupted\n"


def interrupted(command, wait: float | int, cwd: Path) -> tuple[int, str]:
    """Exit code and stderr of `python -m command`, which gets SIGINT some time after it is ready for one: `wait` seconds, or
    modules if it is a whole number."""
    process = subprocess.Popen([sys.executable, "-X", "importtime", "-m", *command], cwd=cwd, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    ready, said, left = None, [], wait
    with process:
        for line in process.stderr:
            if not line.startswith("import time:"):
                said.append(line)
            elif line.split("|")[-1].strip() == READY:
                ready = time.monotonic()
            if ready is not None:
                if isinstance(wait, int):
                    left -= 1
                if left < 0 or not isinstance(wait, int):
                    break
        if not isinstance(wait, int):
            time.sleep(wait)
        process.send_signal(signal.SIGINT)
        try:
            rest = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    said += [line for line in rest.splitlines(keepends=True) if not line.startswith("import time:")]
    return process.returncode, "".join(said)
