"""Files that a command writes: whole or not at all."""
import json
import os
from pathlib import Path

from cli.errors import RequestError

__all__ = ["OutputError", "readable", "write_bytes", "write_json"]


class OutputError(RequestError):
    """A file that the user named cannot be written; the message names it."""


def readable(text: str) -> str:
    """A file's name as text: bytes that the locale does not know, which Python keeps as lone surrogates, are read as UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file so that a reader finds the old or the new one, never a part.

    Pipes and devices (`/dev/stdout`) are written as they are. Raises OutputError.
    """
    if str(path) == "-":
        raise OutputError("-: must be the name of a file; what a command prints goes to /dev/stdout")
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


def write_json(path: str | Path, record: dict | list) -> None:
    """Writes a record as JSON, whole or not at all; NumPy values become numbers and lists.

    Raises OutputError.
    """
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False,
                      default=lambda value: value.tolist())
    write_bytes(path, (readable(text) + "\n").encode())
