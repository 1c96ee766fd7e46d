"""Names of classes that a TFLite file carries: a ZIP archive behind the flatbuffer, as TFLite's metadata has it.

https://ai.google.dev/edge/litert/models/metadata says how it is written. No kept reader of the metadata's own flatbuffer is on
PyPI, and none is needed for a single file of labels.
"""
from pathlib import Path
import zipfile
import zlib

__all__ = ["labels_in"]

MAX_ENTRIES = 64
MAX_BYTES = 1 << 20         # of a file of labels: the largest sets of classes have some ten thousand
SUFFIX = ".txt"
DAMAGE = (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, EOFError)


def labels_in(path: Path, classes: int) -> tuple[str, ...]:
    """A name a class, of the one text file that has so many lines; none where there is no such file, or what is behind the
    network is no archive."""
    try:
        if not zipfile.is_zipfile(path):
            return ()
        with zipfile.ZipFile(path) as archive:
            found = [_lines(archive, entry) for entry in archive.infolist()[:MAX_ENTRIES]
                     if entry.filename.lower().endswith(SUFFIX) and entry.file_size <= MAX_BYTES]
    except DAMAGE:
        return ()
    fitting = [lines for lines in found if len(lines) == classes]
    return fitting[0] if len(fitting) == 1 else ()


def _lines(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[str, ...]:
    with archive.open(entry) as file:
        return tuple(file.read(MAX_BYTES).decode("utf-8").splitlines())
