"""The command of the convolution engine: one record per unit, as plain numbers with widths and ranges.

A command computes one band of output rows of one convolution for a range of output blocks (PO channels each). The order of
beats is: output block, pass (ky, kx, input block), row, column; each unit gets its own record and counts for itself.

Words: activation addresses count words of PI bytes; weight addresses count words of PI pairs of weights; a vector is PO bytes.
A map lies in a ring of rows: row y of it is at `base + (y mod ring rows) * row_words`, pixel x `x * pixel_words` further on,
block b one word per block further on. `ring_words` is (ring rows) * row_words.
"""
from dataclasses import field, make_dataclass

from arch.geometry import Geometry
from arch.record import Record
from arch.units import UNITS, units

__all__ = ["Command"]

_Records = make_dataclass("_Records", [
    (unit.name, unit.record | None, field(default=None)) if unit.optional else (unit.name, unit.record)
    for unit in UNITS if unit.record], frozen=True, kw_only=True)


class Command(_Records):
    """One compute command: the records of all units but the gather, which has a queue of its own."""

    def present(self) -> dict[str, Record]:
        """The records by name, in packing order, but for units that the command does not know of."""
        found = {unit.name: getattr(self, unit.name) for unit in UNITS if unit.record}
        return {name: record for name, record in found.items() if record is not None}

    def pack(self) -> int:
        """All records as one integer, the first in the lowest bits."""
        word = position = 0
        for record in self.present().values():
            word |= record.pack() << position
            position += record.bits()
        return word

    @classmethod
    def records(cls, geometry: Geometry) -> dict[str, type[Record]]:
        """Record type of each unit that an engine has, in packing order."""
        return {unit.name: unit.told(geometry) for unit in units(geometry) if unit.record}

    @classmethod
    def bits(cls, geometry: Geometry) -> int:
        """Width of a packed command."""
        return sum(record.bits() for record in cls.records(geometry).values())
