"""The frame of every command: one message instead of a traceback, and exit codes."""
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
import os
import sys
import warnings

from cli.errors import RequestError, RequestWarning, WorkError
from cli.interrupt import INTERRUPTED, interruptible, silence

__all__ = ["positive", "print_error", "print_notes", "run_command"]

_WARNINGS = 5           # lines at most


def run_command(work: Callable[[Namespace], int | None], args: Namespace, *errors: type[Exception]) -> int:
    """Exit code of `work(args)`; None counts as 0.

    RequestError, and `errors`, which a command adds for its own, mean that the request was bad: 2. WorkError is 1, as is what
    the system refuses. Their messages go to stderr. An interrupt is 130. A reader of stdout that has seen enough, as `head`,
    is 1 without a word. Anything else is a bug and keeps its traceback.
    """
    try:
        with interruptible(), _shown_warnings():
            code = work(args) or 0
            sys.stdout.flush()
            return code
    except (RequestError, *errors) as error:
        code = 2
        print_error(error)
    except WorkError as error:
        code = 1
        print_error(error)
    except UnicodeEncodeError as error:         # a name for a file system, or a tool, that has no such characters
        code = 2
        print_error(f"{error.object[error.start:error.end]!r} cannot be written in {error.encoding}, as the locale wants it: set "
                    f"PYTHONUTF8=1")
    except KeyboardInterrupt:
        code = INTERRUPTED
        exec("")        # interrupted in code made from text, as dataclasses are, CPython would end by the signal: it forgets that
        sys.stderr.write("interrupted\n")       # in one piece: another process may write to the same terminal or pipe
    except BrokenPipeError:     # without this the interpreter complains when it flushes at exit
        code = 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        code = 1
        print_error(f"{error.filename or 'system'}: {error.strerror or error}")
    silence()
    return code


@contextmanager
def _shown_warnings() -> Iterator[None]:
    """RequestWarnings as lines on stderr: the first few, and how many more there were."""
    count, others = 0, warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: object) -> None:
        nonlocal count
        if not issubclass(category, RequestWarning):
            others(message, category, *where)
            return
        count += 1
        if count <= _WARNINGS:
            print(f"warning: {message}", file=sys.stderr)

    with warnings.catch_warnings(action="always", category=RequestWarning):
        warnings.showwarning = show
        try:
            yield
        finally:
            if count > _WARNINGS:
                print(f"warning: {count - _WARNINGS} more of these", file=sys.stderr)


def positive(text: str) -> int:
    """A whole number of 1 or more, for argparse."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31):
        raise ArgumentTypeError(f"must be a positive number, not {text!r}")
    return int(text)


def print_error(error: object) -> None:
    """What went wrong, to stderr."""
    print(f"error: {error}", file=sys.stderr)


def print_notes(notes: Iterable[str]) -> None:
    """What the user should know about a model, to stderr."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
