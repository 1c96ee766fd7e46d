"""Tables and bars on the user's terminal, whatever its width and characters."""
import os

from rich.console import Console
from rich.table import Table

__all__ = ["bar", "terminal"]

PIPE_WIDTH = 200        # columns when nobody watches: names stay whole, for grep


class _Terminal(Console):
    """Wraps what a table's columns have no room for, where rich would cut it off."""

    def print(self, *objects: object, **how: object) -> None:
        for column in (column for one in objects if isinstance(one, Table) for column in one.columns):
            column.overflow, column.no_wrap = "fold", False
        super().print(*objects, **how)


def terminal(*, stderr: bool = False) -> Console:
    """Where a command prints: as wide as the terminal, or as COLUMNS says; characters that the stream lacks as plain ones.

    Text is printed as it is: `[/b]` in a layer's name is no markup, and colours are asked for by `style=`.
    """
    console = _Terminal(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def bar(share: float, width: int, target: Console | None = None) -> str:
    """A bar for 0..1 of so many columns, in blocks, or in plain characters where the stream has no blocks."""
    plain = not (target or terminal()).encoding.startswith("utf")
    return ("#" if plain else "█") * round(share * width)
