"""The arguments of a command: what is wrong with them is one line, as all that a command says."""
from argparse import ArgumentParser
from typing import NoReturn

__all__ = ["Parser"]


class Parser(ArgumentParser):
    """A parser whose errors are a line and a hint at the help, without the usage before them: exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} ({self.prog} --help says more)\n")
