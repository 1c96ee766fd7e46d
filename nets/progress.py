"""A bar on the terminal for what takes a while."""
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import track

__all__ = ["progress"]

Item = TypeVar("Item")


def progress(items: Iterable[Item], what: str, *, total: int | None = None) -> Iterator[Item]:
    """The items, with a bar on stderr while they are taken, if that is a terminal; `total` where they have no length."""
    console = Console(stderr=True)
    count = len(items) if isinstance(items, Sized) else total
    return iter(track(items, description=what, total=count, console=console, transient=True, disable=not console.is_terminal))
