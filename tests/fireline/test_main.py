"""The `fireline` command: its help, its subcommands, what it says of wrong ones."""
from pathlib import Path
import re
import signal
import subprocess
import sys
import time

import pytest

from fireline.__main__ import main
from fireline.commands import COMMANDS, GROUPS, parser_of

ROOT = Path(__file__).resolve().parents[2]
USERS = ("nets", "golden", "compiler", "hw", "boards", "sim", "host")       # packages whose commands users need
# Of these, what only developers run.
OURS = {"nets.digits.train", "sim.fuzz", "sim.netlist.__main__", "sim.update_costs", "sim.updates", "sim.weights"}


def fireline(*argv: str, **given) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "fireline", *argv], cwd=ROOT, capture_output=True, text=True, **given)


def test_help_lists_every_command_by_task_on_80_columns(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    for task, commands in GROUPS.items():
        assert f"\n{task}:\n" in text
        for command in commands:
            assert re.search(rf"^  {command.name} +{re.escape(command.summary)}$", text, re.MULTILINE), command
    assert max(map(len, text.splitlines())) <= 80


def test_help_imports_no_module_that_a_subcommand_needs():
    code = "import sys, fireline.__main__ as command; command.main([]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "fireline" in loaded
    assert not loaded & {"numpy", "onnx", "amaranth", "matplotlib", "argcomplete", *USERS}


def test_every_command_of_a_user_is_a_subcommand():
    found = {".".join(path.relative_to(ROOT).with_suffix("").parts) for package in USERS
             for path in (ROOT / package).rglob("*.py") if '__name__ == "__main__"' in path.read_text(encoding="utf-8")}
    assert found - OURS == {command.module for command in COMMANDS.values() if not command.module.startswith("fireline.")}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_subcommand_says_how_it_was_called(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert out.startswith(f"usage: fireline {name} ")
    assert COMMANDS[name].load().__doc__.split()[0] in out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_option_is_answered_under_that_name(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--no-such-option"])
    assert ended.value.code == 2
    assert re.fullmatch(fr"error: .+ \(fireline {name} --help says more\)\n", capsys.readouterr().err)


def test_a_module_itself_keeps_its_name():
    command = COMMANDS["run"]
    assert parser_of(command).prog == "fireline run"
    assert command.load().get_parser().prog == "python -m golden.run"


def test_a_subcommand_does_what_its_module_does(capsys):
    assert main(["run"]) == 0
    ours = capsys.readouterr().out
    assert COMMANDS["run"].load().main([]) == 0
    assert capsys.readouterr().out == ours
    assert ours.startswith("digits: 0_0078.png\n")


def test_exit_code_is_that_of_the_subcommand(capsys):
    assert main(["run", "--model", "no_such_model"]) == 2
    assert capsys.readouterr().err.startswith("error: no_such_model: is no model")


@pytest.mark.parametrize(("given", "near"), [("simulat", "simulate"), ("quantize", "quantise"), ("bord", "board"), ("xyz9", "")])
def test_an_unknown_command_gets_one_line_with_the_closest(given, near, capsys):
    assert main([given]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"no command '{given}': " in error
    assert f"did you mean {near}" in error if near else all(name in error for name in COMMANDS)


def test_an_unknown_option_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--nonsense"])
    assert ended.value.code == 2
    assert "--nonsense" in capsys.readouterr().err


def test_version_names_fireline_and_its_tools():
    done = fireline("--version")
    assert (done.returncode, done.stderr) == (0, "")
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert list(found) == ["fireline", "python", "yosys", "nextpnr-ecp5", "amaranth", "verilator", "numpy", "onnx"]
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert all(re.match(r"\d+\.\d+", version) for version in found.values()), found


def test_interrupted_while_modules_are_imported(monkeypatch, capsys):
    def interrupted(name: str):
        raise KeyboardInterrupt
    monkeypatch.setattr("fireline.commands.import_module", interrupted)
    assert main(["run"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_interrupted_at_work(tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "fireline", "compile", "--model", "squeezenet1_1", "--out",
                                tmp_path / "program.flp"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "interrupted"
