"""What the commands share: one message instead of a traceback, exit codes, whole files or none."""
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import sys
import warnings

from nets.graph import GraphError
from nets.model import ModelError
from nets.preprocess import ImageWarning, PreprocessError

__all__ = ["OutputError", "positive", "print_notes", "run_command", "write_bytes", "write_json"]


_WARNINGS = 5           # lines about images


class OutputError(ValueError):
    """A file that the user named cannot be written; the message names it."""


def run_command(work: Callable[[Namespace], int | None], args: Namespace,
                *errors: type[Exception]) -> int:
    """Exit code of `work(args)`; None counts as 0.

    The domain errors of `nets`, and `errors`, which a command adds for its own, mean that the
    request was bad: the message goes to stderr, 2. What the system refuses is 1, an interrupt 130.
    A reader of stdout that has seen enough, as `head`, is 1 without a word. Anything else is a bug
    and keeps its traceback.
    """
    try:
        with _image_warnings():
            code = work(args) or 0
        sys.stdout.flush()
        return code
    except (GraphError, ModelError, OutputError, PreprocessError, *errors) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:     # without this the interpreter complains when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"error: {error.filename or 'system'}: {error.strerror or error}", file=sys.stderr)
        return 1


@contextmanager
def _image_warnings() -> Iterator[None]:
    """What is odd about images as lines on stderr: the first few, and how many more there were."""
    odd, others = 0, warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: object) -> None:
        nonlocal odd
        if not issubclass(category, ImageWarning):
            others(message, category, *where)
            return
        odd += 1
        if odd <= _WARNINGS:
            print(f"warning: {message}", file=sys.stderr)

    with warnings.catch_warnings(action="always", category=ImageWarning):
        warnings.showwarning = show
        try:
            yield
        finally:
            if odd > _WARNINGS:
                print(f"warning: {odd - _WARNINGS} more images are odd", file=sys.stderr)


def positive(text: str) -> int:
    """A whole number of 1 or more, for argparse."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31):
        raise ArgumentTypeError(f"must be a positive number, not {text!r}")
    return int(text)


def print_notes(notes: Iterable[str]) -> None:
    """What the user should know about a model, to stderr."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file so that a reader finds the old or the new one, never a part.

    Pipes and devices (`/dev/stdout`) are written as they are. Raises OutputError.
    """
    path = Path(path)
    try:
        if path.parts[:2] == ("/", "dev") or path.exists() and not path.is_file():
            with path.open("ab") as stream:
                stream.write(content)
            return
        target = path.resolve()                         # a link stays a link
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(content)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:              # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path}: cannot be written: {reason}") from None


def write_json(path: str | Path, record: dict) -> None:
    """Writes a record as JSON, whole or not at all; NumPy values become numbers and lists.

    Raises OutputError.
    """
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False,
                      default=lambda value: value.tolist())
    write_bytes(path, (text + "\n").encode())
