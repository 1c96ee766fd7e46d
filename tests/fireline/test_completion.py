"""Completion by argcomplete's protocol, as a shell speaks it, and in bash itself."""
import argparse
import os
from pathlib import Path
import shutil
import subprocess
import sys

import pytest

from boards import ALIASES, BOARDS
from fireline.__main__ import main
from fireline.commands import COMMANDS
from fireline.completion import complete_parser
from nets.zoo.catalogue import NAMES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def asked(tmp_path):
    """What comes back for a line that ends at the cursor."""
    def ask(line: str, cwd: Path = tmp_path) -> set[str]:
        answer = tmp_path / "answer"
        answer.write_text("")
        env = os.environ | {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line)),
                            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-m", "fireline"], cwd=cwd, env=env, capture_output=True, text=True)
        assert done.stderr == ""
        return {word.strip() for word in answer.read_text().split("\n") if word.strip()}
    return ask


def test_commands(asked):
    assert asked("fireline ") == set(COMMANDS)
    assert asked("fireline c") == {"classify", "compile", "completion", "compress"}
    assert asked("fireline --v") == {"--version"}


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings if option.startswith("--")}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_options_when_it_is_chosen(name):
    (commands,) = (action for action in complete_parser(name)._actions if isinstance(action.choices, dict))
    assert options(commands.choices[name]) == options(COMMANDS[name].load().get_parser())
    assert all(options(commands.choices[other]) == {"--help"} for other in COMMANDS if other != name)


def test_options(asked):
    assert asked("fireline run --") == options(COMMANDS["run"].load().get_parser())
    assert asked("fireline build --est") == {"--estimate"}


def test_names_of_networks_and_model_files(asked, tmp_path):
    for name in ("own.onnx", "own.fln", "own.net", "own.txt"):
        (tmp_path / name).touch()
    assert asked("fireline run --model ") == {*NAMES, "own.onnx", "own.fln", "own.net"}
    assert asked("fireline evaluate --model squeezenet1_1") == {"squeezenet1_1"}


def test_names_of_boards(asked):
    assert asked("fireline build --board ") == {*BOARDS, *ALIASES}
    assert asked("fireline simulate --board versa") == {"versa-ecp5", "versa-ecp5-5g"}


def test_choices_files_and_folders(asked, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "picture.png").touch()
    assert asked("fireline completion ") == {"bash", "zsh", "fish"}
    assert asked("fireline board --engine 8") == {"85f"}
    assert asked("fireline run --image pic") == {"pictures/", "picture.png"}
    assert asked("fireline run --calibrate pic") == {"pictures/"}
    assert asked("fireline evaluate --limit ") == set()


def test_in_bash(tmp_path, capsys):
    """What `eval "$(fireline completion bash)"` defines does complete, with a `fireline` on PATH."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    script = tmp_path / "fireline"
    script.write_text(f"#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m fireline \"$@\"\n")
    script.chmod(0o755)
    assert main(["completion", "bash"]) == 0
    (tmp_path / "complete.sh").write_text(capsys.readouterr().out + """
COMP_LINE="fireline simulate --board versa-ecp5-"
COMP_POINT=${#COMP_LINE} COMP_TYPE=9 COMP_WORDS=(fireline simulate --board versa-ecp5-) COMP_CWORD=3
_python_argcomplete fireline versa-ecp5- --board
echo "${COMPREPLY[@]}"
complete -p fireline
""")
    done = subprocess.run([bash, "--norc", str(tmp_path / "complete.sh")], cwd=tmp_path, capture_output=True, text=True,
                          env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    found, how = done.stdout.splitlines()
    assert found.strip() == "versa-ecp5-5g"
    assert "_python_argcomplete" in how


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete "), ("zsh", "compdef"), ("fish", "complete ")])
def test_each_shell_has_its_script(shell, word, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert word in script and "fireline" in script
