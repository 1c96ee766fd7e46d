"""Amaranth layouts of the records in `arch.command`."""
from amaranth import Shape
from amaranth.lib import data

from arch.command import Command, Record

__all__ = ["command_layout", "record_layout"]


def record_layout(record: type[Record]) -> data.StructLayout:
    """Layout whose fields, order and widths are those of the record's `pack()`."""
    return data.StructLayout({f.name: Shape(f.bits, f.signed) for f in record.fields()})


def command_layout() -> data.StructLayout:
    """Layout of `Command.pack()`: one field per unit."""
    return data.StructLayout({name: record_layout(record) for name, record in Command.records().items()})
