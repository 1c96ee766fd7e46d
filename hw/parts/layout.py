"""Amaranth layouts of what the engine's units exchange: records of commands, and vectors."""
from amaranth import Shape, unsigned
from amaranth.lib import data

from arch.command import Command
from arch.geometry import Geometry
from arch.record import STORAGE, Record

__all__ = ["command_layout", "record_layout", "vector_layout"]


def record_layout(record: type[Record], storage_bits: int = STORAGE) -> data.StructLayout:
    """Layout whose fields, order and widths are those of the record's `pack(storage_bits)`."""
    return data.StructLayout({f.name: Shape(f.bits, f.signed) for f in (f.within(storage_bits) for f in record.fields())})


def command_layout(geometry: Geometry) -> data.StructLayout:
    """Layout of `Command.pack()`: one field per unit of an engine that has a record."""
    return data.StructLayout({name: record_layout(record) for name, record in Command.records(geometry).items()})


def vector_layout(lanes: int) -> data.ArrayLayout:
    """A vector of bytes, one per output channel."""
    return data.ArrayLayout(unsigned(8), lanes)
