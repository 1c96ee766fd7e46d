"""Print what makes a shell complete `fireline`: its commands, their options, files, and names of networks and boards.

  bash, in ~/.bashrc:   eval "$(fireline completion bash)"
  zsh, in ~/.zshrc:     autoload -U compinit; compinit; eval "$(fireline completion zsh)"
  fish:                 fireline completion fish > ~/.config/fish/completions/fireline.fish
"""
import argparse
from collections.abc import Callable
import os

import argcomplete
from argcomplete.completers import DirectoriesCompleter, FilesCompleter, SuppressCompleter

from cli import Parser, run_command
from fireline.commands import COMMANDS, parser_of

__all__ = ["complete", "complete_parser", "get_parser", "main"]

SHELLS = ("bash", "zsh", "fish")
MODEL_FILES = ("onnx", "tflite", "net", "fln")


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="fireline completion", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shell", choices=SHELLS)
    return parser


def run(args: argparse.Namespace) -> None:
    print(argcomplete.shellcode(["fireline"], shell=args.shell))


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv))


def complete() -> None:
    """Answers the shell that asks by argcomplete's protocol, and ends."""
    words = os.environ.get("COMP_LINE", "").split()
    argcomplete.autocomplete(complete_parser(words[1] if len(words) > 1 else ""), always_complete_options=False,
                             default_completer=SuppressCompleter())


def complete_parser(chosen: str) -> argparse.ArgumentParser:
    """A parser with all subcommands, of which the chosen one has its arguments: only its module is imported."""
    parser = Parser(prog="fireline")
    parser.add_argument("--version", action="store_true")
    commands = parser.add_subparsers()
    for name, command in COMMANDS.items():
        parents = []
        if name == chosen:
            parents = [parser_of(command)]
            for action in parents[0]._actions:
                if (completer := _completer(action)) is not None:
                    action.completer = completer
        commands.add_parser(name, help=command.summary, parents=parents, add_help=not parents)
    return parser


def _models(prefix: str, **asked: object) -> list[str]:
    from nets.zoo.catalogue import NAMES
    return [*NAMES, *FilesCompleter(MODEL_FILES)(prefix, **asked)]


def _boards(**_: object) -> list[str]:
    from boards import ALIASES, BOARDS
    return [*ALIASES, *BOARDS]


def _ports(prefix: str, **asked: object) -> list[str]:
    from serial.tools import list_ports
    return [*(port.device for port in list_ports.comports()), *FilesCompleter()(prefix, **asked)]


_COMPLETERS: dict[str, Callable] = {"model": _models, "board": _boards, "port": _ports}


def _completer(action: argparse.Action) -> Callable | None:
    """What may stand there: by what it is called, else by what kind of thing it is."""
    if action.dest in _COMPLETERS:
        return _COMPLETERS[action.dest]
    return {"DIR": DirectoriesCompleter(), "FILE": FilesCompleter(), "I": FilesCompleter()}.get(action.metavar)
