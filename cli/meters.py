"""How far the work is, on stderr: bars and spinners on a terminal, a plain line every few seconds elsewhere."""
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from threading import Event, Thread
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)

from cli.output import terminal

__all__ = ["counting", "meter", "progress", "waiting"]

EVERY_S = 5             # seconds between two plain lines, and before the first

Item = TypeVar("Item")


@contextmanager
def meter(*columns: ProgressColumn, transient: bool = True) -> Iterator[Progress]:
    """Tasks with progress, as `rich.progress.Progress` has them; `columns` beside the task's description.

    A transient meter leaves nothing behind; another one leaves a line for each task that ended.
    """
    target = terminal(stderr=True)
    shown = Progress(_spinner(target), TextColumn("{task.description}", markup=False), *columns, TimeElapsedColumn(),
                     console=target, transient=transient, disable=not target.is_terminal)
    with shown:
        if target.is_terminal:
            yield shown
            return
        with _lines(shown, target, ends=not transient):
            yield shown


def _spinner(target: Console) -> SpinnerColumn:
    return SpinnerColumn("dots" if target.encoding.startswith("utf") else "line")


@contextmanager
def _lines(shown: Progress, target: Console, *, ends: bool) -> Iterator[None]:
    """Prints a line for every task that runs, again and again; with `ends` also one for each that ended."""
    over, reported = Event(), set()

    def report(*, running: bool) -> None:
        for task in shown.tasks:
            if task.finished:
                if ends and task.id not in reported:
                    target.print(_line(task), soft_wrap=True)
                reported.add(task.id)
            elif running and task.started and task.elapsed >= EVERY_S:
                target.print(_line(task), soft_wrap=True)

    def repeat() -> None:
        while not over.wait(EVERY_S):
            report(running=True)
    thread = Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        report(running=False)


def _line(task: Task) -> str:
    seconds = f"{task.finished_time if task.finished else task.elapsed:.0f} s"
    if task.finished or task.total is None or task.total <= 1:
        return f"{task.description} ({seconds})"
    return f"{task.description}: {task.completed:,.0f} of {task.total:,.0f} ({seconds})"


def progress(items: Iterable[Item], what: str, *, total: int | None = None) -> Iterator[Item]:
    """The items, with progress while they are taken; `total` where they have no length."""
    count = len(items) if isinstance(items, Sized) else total
    with meter(BarColumn(), MofNCompleteColumn()) as shown:
        task = shown.add_task(what, total=count)
        for item in items:                      # rich's own track counts nothing where it draws nothing
            yield item
            shown.advance(task)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Says what is waited for, and for how long: work that cannot tell how far it is."""
    with meter() as shown:
        shown.add_task(what, total=None)
        yield


@contextmanager
def counting(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes how much of `total` is done."""
    with meter(BarColumn(), MofNCompleteColumn()) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.update(task, completed=done)
