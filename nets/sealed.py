"""Sealed files: a safetensors container whose one metadata entry is a record in JSON that begins with the file's own SHA-256.

The digest is taken with 64 zeros in its place. So a file is either as it was written, or refused; and the same content always
gives the same bytes.
"""
from collections.abc import Callable, Mapping
from dataclasses import dataclass
import hashlib
import json
from pathlib import Path
import re
from typing import TypeVar

import numpy as np
from safetensors import SafetensorError
import safetensors.numpy

from cli import RequestError, write_bytes

__all__ = ["Seal"]

T = TypeVar("T")
ZEROS = b"0" * 64
LENGTH = 8              # bytes of the header's length, little-endian, in front of it
BEGINNING = 1024        # bytes that have the seal


@dataclass(frozen=True, kw_only=True)
class Seal:
    """A kind of sealed file.

    - `what` it holds ("program") and `which` it is ("a program"), in messages, which are raised as `error`.
    - `suffix` of its name, `entry` of its metadata, `version` of its record.
    """

    what: str
    which: str
    suffix: str
    entry: str
    version: int
    error: type[RequestError]

    @property
    def _beginning(self) -> re.Pattern[bytes]:
        return re.compile(rb'^\{"__metadata__":\{"%s":"\{\\"digest\\":\\"([0-9a-f]{64})\\"' % self.entry.encode())

    def named(self, text: str) -> Path:
        """A file called by a text, with an underscore for what is no letter, digit, dot or dash."""
        return Path(re.sub(r"[^\w.-]", "_", text) + self.suffix)

    def check_name(self, path: str | Path) -> None:
        """Raises `error` for a name without the suffix."""
        if Path(path).suffix != self.suffix:
            raise self.error(f"{path}: {self.which} must end in {self.suffix}")

    def check_output(self, path: str | Path) -> None:
        """Raises `error` for a name without the suffix, and for a file that holds something else, which would be lost."""
        self.check_name(path)
        path = Path(path)
        if path.is_file() and path.stat().st_size:
            try:
                with path.open("rb") as file:
                    head = file.read(BEGINNING)
            except OSError as error:
                raise self.error(f"{path}: cannot be read: {error.strerror}") from None
            if not self._beginning.match(head[LENGTH:]):
                raise self.error(f"{path}: is there already and holds no {self.what}: remove it first")

    def save(self, path: str | Path, record: Mapping, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a file, whole or not at all. Raises `error` for a name without the suffix, OutputError where it cannot be
        written."""
        self.check_name(path)
        text = json.dumps({"digest": ZEROS.decode(), "version": self.version, **record}, separators=(",", ":"), allow_nan=False)
        content = safetensors.numpy.save(dict(arrays), {self.entry: text})
        start = self._beginning.match(content[LENGTH:]).start(1) + LENGTH
        digest = hashlib.sha256(content).hexdigest().encode()
        write_bytes(path, content[:start] + digest + content[start + len(ZEROS):])

    def load(self, path: str | Path, read: Callable[[dict, dict[str, np.ndarray]], T]) -> T:
        """What `read` makes of a file's record and arrays. Raises `error`, in one line with the file, for whatever is wrong with
        the file, and for ValueError, TypeError and KeyError of `read`."""
        try:
            content = Path(path).read_bytes()
        except (OSError, ValueError) as error:      # ValueError: a NUL in the name
            raise self.error(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        try:
            return read(self._open(content), dict(safetensors.numpy.load(content)))
        except (ValueError, TypeError, KeyError, RecursionError, SafetensorError) as error:
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
            raise self.error(f"{path}: {reason}") from None

    def _open(self, content: bytes) -> dict:
        """The record. Raises ValueError where the seal is broken."""
        if len(content) < LENGTH:
            raise ValueError(f"is no {self.what}: it ends at byte {len(content)}, within the header's length")
        length = int.from_bytes(content[:LENGTH], "little")
        found = self._beginning.match(content[LENGTH:])
        if not found:
            raise ValueError(f"is no {self.what}: byte {LENGTH} does not begin the header of one")
        if length > len(content) - LENGTH:
            raise ValueError(f"ends at byte {len(content)}, within the header of {length} bytes")
        start = found.start(1) + LENGTH
        if hashlib.sha256(content[:start] + ZEROS + content[start + len(ZEROS):]).hexdigest().encode() != found[1]:
            raise ValueError("is damaged: its SHA-256 is not the one written in it")
        record = json.loads(json.loads(content[LENGTH:LENGTH + length])["__metadata__"][self.entry])
        if record.get("version") != self.version:
            raise ValueError(f"has version {record.get('version')!r}, but only version {self.version} can be read")
        return record
