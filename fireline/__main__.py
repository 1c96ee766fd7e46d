"""From a trained network to a board: one command for all of Fireline.

`fireline COMMAND` is the same code as the module's own `python -m`, which is imported when it is asked for.
"""
import argparse
from difflib import get_close_matches
import os
import sys

from cli import Parser
from fireline.commands import COMMANDS, GROUPS, parser_of

__all__ = ["get_parser", "main"]

_WIDTH = max(map(len, COMMANDS))


def _listing() -> str:
    """The subcommands by task, a line each."""
    return "\n".join(f"{task}:\n" + "".join(f"  {command.name:{_WIDTH}}  {command.summary}\n" for command in commands)
                     for task, commands in GROUPS.items())


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from fireline.versions import versions
        print("\n".join(f"{name} {found}" for name, found in versions().items()))
        parser.exit()


def get_parser() -> argparse.ArgumentParser:
    """The command line before the subcommand."""
    parser = Parser(
        prog="fireline", usage="fireline [--help | --version] COMMAND ...", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__.splitlines()[0], epilog=f"{_listing()}\nfireline COMMAND --help says more of a command.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the versions of Fireline and of its tools, and end")
    return parser


def _run(given: list[str]) -> int:
    if not given or given[0].startswith("-"):
        parser = get_parser()
        parser.parse_args(given)
        parser.print_help()
        return 0
    name, *rest = given
    command = COMMANDS.get(name)
    if command is None:
        near = get_close_matches(name, COMMANDS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(COMMANDS)}"
        print(f"error: fireline has no command {name!r}: {hint}", file=sys.stderr)
        return 2
    return command.load().main(rest, parser_of(command))


def main(argv: list[str] | None = None) -> int:
    """Exit code of the subcommand; 2 if there is no such one, 130 when interrupted, also while modules are imported."""
    try:
        if "_ARGCOMPLETE" in os.environ:        # a shell asks what might come next
            from fireline.completion import complete
            complete()
        return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")       # in one piece: another process may write to the same terminal or pipe
        return 130


if __name__ == "__main__":
    sys.exit(main())
