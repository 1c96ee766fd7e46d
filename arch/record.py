"""Records: plain numbers with widths, ranges and meanings, that commands and instructions are made of.

A field says all that others need to know of it: codec, checker, queues, disassembler and the page of instructions read it here.
"""
from dataclasses import dataclass, field, fields, replace
from functools import cache

__all__ = ["ADDRESS", "SIZE", "STORAGE", "STORED", "WEIGHT_ADDRESS", "Field", "Record", "address", "bits_of_storage", "number"]

ADDRESS = 15            # bits of an activation word address
WEIGHT_ADDRESS = 14     # bits of a weight or parameter word address
SIZE = 10               # bits of a height or width
STORAGE = 28            # bits of a storage address in a program, in words of 16 bits
STORED = "stored"       # memory of a field that grows with storage, see `Field.within`
_LEAST_STORAGE = 24     # what every chip handles: all with up to 32 MB of storage read the same programs


def bits_of_storage(words: int) -> int:
    """Bits of a storage address that a chip with so many words of storage handles: its registers have no more, and it refuses
    programs that need more."""
    return max(_LEAST_STORAGE, (words - 1).bit_length())


@dataclass(frozen=True)
class Field:
    """A number in a record: bit width, range low..high (both included), unit. Signed when `low` is negative.

    `memory`: parameter of the geometry, words of the memory in which what the field says must lie, or
    `arch.instruction.TRANSFERRED`, or `STORED`; empty for none. `doc`: what the field means.
    """

    name: str
    bits: int
    low: int
    high: int
    unit: str
    memory: str
    doc: str

    @property
    def signed(self) -> bool:
        return self.low < 0

    def most(self, words: int) -> int:
        """The greatest value for a memory of so many words: an address is below them, a number of words (1 and more) is not."""
        return min(self.high, words if self.low else words - 1)

    def within(self, bits: int) -> "Field":
        """The field in a chip whose storage addresses have so many bits."""
        less = STORAGE - bits if self.memory == STORED else 0
        return replace(self, bits=self.bits - less, high=self.high >> less) if less else self


def number(low: int, high: int, unit: str, *, bits: int | None = None, default: int | None = None, memory: str = "",
           doc: str = ""):
    """A dataclass field for a number low..high, see `Field`; its width is the smallest that holds the range unless given."""
    needed = max(high.bit_length(), 1) if low >= 0 else max((-low - 1).bit_length(), high.bit_length()) + 1
    meta = {"field": (bits or needed, low, high, unit, memory, doc)}
    return field(metadata=meta) if default is None else field(metadata=meta, default=default)


def address(*, memory: str, doc: str = ""):
    """A dataclass field for an address of `ADDRESS` bits. `memory` must be said: an address that nobody limits (empty: what is
    made of it wraps modulo 2**ADDRESS, or is limited with it) is one on purpose."""
    return number(0, (1 << ADDRESS) - 1, "words", memory=memory, doc=doc)


@dataclass(frozen=True, kw_only=True)
class Record:
    """Base of the records: checks ranges, packs to an integer, first field in the lowest bits.

    Raises TypeError or ValueError for a value outside its field's range.
    """

    def __post_init__(self):
        for entry in self.fields():
            value = getattr(self, entry.name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{type(self).__name__}.{entry.name} must be an integer, not {value!r}")
            if not entry.low <= value <= entry.high:
                what = f"{type(self).__name__}.{entry.name} must be {entry.low}..{entry.high} {entry.unit}"
                raise ValueError(f"{what.rstrip()}, not {value}")

    @classmethod
    @cache          # asked for each record that is made
    def fields(cls) -> tuple[Field, ...]:
        """Fields in packing order."""
        return tuple(Field(entry.name, *entry.metadata["field"]) for entry in fields(cls))

    @classmethod
    def most(cls, name: str) -> int:
        """The greatest value that a field may have."""
        return next(entry.high for entry in cls.fields() if entry.name == name)

    @classmethod
    def bits(cls) -> int:
        """Width of the packed record."""
        return sum(entry.bits for entry in cls.fields())

    @classmethod
    @cache
    def encoded_words(cls) -> int:
        """Words of 16 bits that it takes in an instruction: two for a field of more bits."""
        return sum(1 + (entry.bits > 16) for entry in cls.fields())

    def pack(self, storage_bits: int = STORAGE) -> int:
        """The record as an unsigned integer of `bits()` bits, or fewer if storage addresses have only `storage_bits`."""
        word = position = 0
        for entry in (entry.within(storage_bits) for entry in self.fields()):
            word |= (getattr(self, entry.name) & (1 << entry.bits) - 1) << position
            position += entry.bits
        return word
