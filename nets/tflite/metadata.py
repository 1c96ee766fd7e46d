"""What a TFLite file's metadata says of its image: a flatbuffer of its own, in a buffer of the file.

Format: https://github.com/tensorflow/tflite-support/blob/master/tensorflow_lite_support/metadata/metadata_schema.fbs. Its tables
come with no kept package on PyPI, so the few fields on the way to the normalisation are named here by their places in the schema.
"""
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flatbuffers import number_types
from flatbuffers.table import Table
import numpy as np
import tflite

from nets.model import read_bytes
from nets.tflite.file import DAMAGE

__all__ = ["Normalisation", "normalisation_in"]

NAME, IDENTIFIER = b"TFLITE_METADATA", b"M001"
GRAPHS, INPUTS, UNITS, KIND, OPTIONS = 3, 2, 4, 0, 1    # places of fields: of model, graph, tensor, and two of a process unit
MEAN, STD = 0, 1                # of the options of a normalisation
NORMALISATION = 1               # kind of process unit
MAX_ENTRIES = 64                # of a vector that is searched; files have one or two
MAX_CHANNELS = 4096


@dataclass(frozen=True)
class Normalisation:
    """x = (pixel - mean) / std, pixel in 0..255; a number each for all channels, or one a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def of(self, channels: int) -> "Normalisation":
        """With a number a channel."""
        return Normalisation(*(values * channels if len(values) == 1 else values for values in (self.mean, self.std)))


def normalisation_in(path: Path) -> Normalisation | None:
    """Of the first input of a file that is a TFLite file; None if its metadata is damaged, or says nothing of it."""
    data = read_bytes(path, "a TFLite file")
    try:
        start = _metadata(tflite.Model.GetRootAs(data))
        if start is None or data[start + 4:start + 8] != IDENTIFIER:
            return None
        model = Table(data, Table(data, start).Indirect(start))
        for unit in _tables(next(_tables(next(_tables(model, GRAPHS)), INPUTS)), UNITS):
            at = unit.Offset(4 + 2 * OPTIONS)
            if at and _byte(unit, KIND) == NORMALISATION:
                options = Table(data, unit.Indirect(unit.Pos + at))
                return Normalisation(_floats(options, MEAN), _floats(options, STD))
    except (*DAMAGE, StopIteration):
        pass
    return None


def _metadata(model: tflite.Model) -> int | None:
    """Where in the file the metadata begins."""
    for number in range(min(model.MetadataLength(), MAX_ENTRIES)):
        entry = model.Metadata(number)
        if entry.Name() == NAME:
            buffer = model.Buffers(entry.Buffer())
            return buffer._tab.Vector(buffer._tab.Offset(4)) if buffer.DataLength() else None
    return None


def _tables(table: Table, field: int) -> Iterator[Table]:
    """The tables of a vector of tables."""
    at = table.Offset(4 + 2 * field)
    if at:
        for number in range(min(table.VectorLen(at), MAX_ENTRIES)):
            yield Table(table.Bytes, table.Indirect(table.Vector(at) + 4 * number))


def _byte(table: Table, field: int) -> int:
    at = table.Offset(4 + 2 * field)
    return table.Get(number_types.Uint8Flags, table.Pos + at) if at else 0


def _floats(table: Table, field: int) -> tuple[float, ...]:
    at = table.Offset(4 + 2 * field)
    if not at or table.VectorLen(at) > MAX_CHANNELS:
        return ()
    return tuple(float(value) for value in np.frombuffer(table.Bytes, "<f4", table.VectorLen(at), table.Vector(at)))
