"""The machine's instructions: 16-bit words in storage, a field a word.

An instruction is a header, up to four waits, and the fields of its record in their order. A field of up to 16 bits is one word,
a wider one two, the low one first; negative numbers are two's complement of 16 or 32 bits. Header: bits 3:0 opcode, bits 7:4
which waits follow (bit 4 + n for `QUEUES[n]`), bits 15:8 `SYNC`, so that data taken for a program are found out at once.

Commands go to four queues, each in order, all beside each other. A command that is through gives a token of its queue; tokens
are only counted, never taken. A wait of a command holds it back, at the head of its queue, until so many tokens of the other
queue (or its own) have been given since the start of the program.

A program begins with `START`, ends with `END`, and never jumps. In the order of the program each wait is for tokens of earlier
commands, so it can always run one command after the other: no program that the compiler makes can stop for ever.
"""
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

from arch.command import Command
from arch.geometry import Geometry
from arch.record import ADDRESS, STORAGE, STORED, Field, Record, address, number
from arch.unit.gather import GatherConfig
from arch.weight_stream import CHECKED, EIGHTS, HEADER

__all__ = ["BODIES", "CONTROL", "CodedTransfer", "END", "Instruction", "InstructionError", "OPTION_OF", "Opcode", "PixelTransfer",
           "QUEUES", "QUEUE_OF", "SYNC", "Start", "TRANSFERRED", "Transfer", "Waits", "WordRange", "decode", "encode",
           "memory_of", "opcodes", "records", "storage_words", "word_ranges"]

SYNC = 0xA5
TRANSFERRED = "transferred"     # memory of a field: the one that the transfer's opcode names, see `memory_of`
QUEUES = ("load", "store", "gather", "compute")
CONTROL = "control"


class Opcode(IntEnum):
    """Neither erased nor blank storage (all zeros, all ones) is an instruction."""

    START = 1
    END = 2
    LOAD_WEIGHTS = 3
    LOAD_PARAMETERS = 4
    LOAD_ACTIVATIONS = 5
    LOAD_PIXELS = 6
    STORE = 7
    GATHER = 8
    COMPUTE = 9
    LOAD_CODED = 10


@dataclass(frozen=True, kw_only=True)
class Start(Record):
    """Which engine the program is for, and where in storage it may write: `store_words` words from `store_base` on."""

    digest0: int = number(0, 0xFFFF, "", doc="of the geometry's digest, bits 15:0")
    digest1: int = number(0, 0xFFFF, "", doc="bits 31:16")
    digest2: int = number(0, 0xFFFF, "", doc="bits 47:32")
    digest3: int = number(0, 0xFFFF, "", doc="bits 63:48")
    store_base: int = number(0, (1 << STORAGE) - 1, "words", memory=STORED, doc="first word that may be written")
    store_words: int = number(0, 1 << STORAGE, "words", memory=STORED, doc="how many may be")

    @property
    def digest(self) -> int:
        return self.digest0 | self.digest1 << 16 | self.digest2 << 32 | self.digest3 << 48

    @classmethod
    def of(cls, geometry: Geometry, store_base: int, store_words: int) -> "Start":
        parts = {f"digest{n}": geometry.digest >> 16 * n & 0xFFFF for n in range(4)}
        return cls(store_base=store_base, store_words=store_words, **parts)


@dataclass(frozen=True, kw_only=True)
class End(Record):
    """The program is over when all commands before are through."""


END = End()


@dataclass(frozen=True, kw_only=True)
class Transfer(Record):
    """`runs` runs of `words` words of a memory on the chip, from or to storage.

    Run n lies at `chip` + n * chip_step on the chip (in its words, see `storage_words`), and at `storage` + n * storage_step in
    storage. Every word must lie inside the memory and inside storage; what is stored, in the region that `Start` gives.
    """

    storage: int = number(0, (1 << STORAGE) - 1, "words of 16 bits", memory=STORED, doc="where the first run lies in storage")
    storage_step: int = number(0, (1 << STORAGE) - 1, "words of 16 bits", memory=STORED, doc="from a run to the next in storage")
    chip: int = address(memory=TRANSFERRED, doc="where the first run lies on the chip")
    chip_step: int = address(memory=TRANSFERRED, doc="from a run to the next on the chip")
    words: int = number(1, 1 << ADDRESS, "words", memory=TRANSFERRED, doc="of a run, on the chip")
    runs: int = number(1, 1023, "runs")


@dataclass(frozen=True, kw_only=True)
class PixelTransfer(Record):
    """`rows` rows of an image for the gather: `width` pixels of `channels` bytes each, without gaps but from row to row.

    Row n begins at the low byte of word `storage` + n * storage_step; a byte left over in its last word is ignored.
    """

    storage: int = number(0, (1 << STORAGE) - 1, "words of 16 bits", memory=STORED, doc="where the first row lies")
    storage_step: int = number(0, 0xFFFF, "words of 16 bits", doc="from a row to the next")
    width: int = number(1, 1023, "pixels")
    channels: int = number(1, 4, "bytes", doc="of a pixel")
    rows: int = number(1, 1023, "rows")

    @property
    def row_words(self) -> int:
        """Words of 16 bits that a row takes."""
        return -(-self.width * self.channels // 2)


@dataclass(frozen=True, kw_only=True)
class CodedTransfer(Record):
    """A block of compressed weights (`arch.weight_stream`, docs/weight_stream.md): `words` words from `storage` on, decoded into
    `chip_words` words of weight memory from `chip` on; or, if these are 0, a table, for all blocks up to the next one, or to the
    end of the program.

    A block that has not as many weights as these words take, or is damaged in another way, stops the machine: words that lie
    before the damage are written, and nothing but the block's own.
    """

    storage: int = number(0, (1 << STORAGE) - 1, "words of 16 bits", memory=STORED, doc="where the block lies in storage")
    words: int = number(HEADER + CHECKED, 0xFFFF, "words of 16 bits", doc="of the block in storage, all counted")
    chip: int = address(memory=TRANSFERRED, doc="where its weights lie on the chip")
    chip_words: int = number(0, EIGHTS, "words", doc="of its weights on the chip; 0: it is a table")


BODIES = {Opcode.START: Start, Opcode.END: End, Opcode.LOAD_WEIGHTS: Transfer, Opcode.LOAD_PARAMETERS: Transfer,
          Opcode.LOAD_ACTIVATIONS: Transfer, Opcode.LOAD_PIXELS: PixelTransfer, Opcode.STORE: Transfer,
          Opcode.GATHER: GatherConfig, Opcode.COMPUTE: Command, Opcode.LOAD_CODED: CodedTransfer}
QUEUE_OF = {Opcode.START: CONTROL, Opcode.END: CONTROL, Opcode.LOAD_WEIGHTS: "load", Opcode.LOAD_PARAMETERS: "load",
            Opcode.LOAD_ACTIVATIONS: "load", Opcode.LOAD_PIXELS: "load", Opcode.STORE: "store", Opcode.GATHER: "gather",
            Opcode.COMPUTE: "compute", Opcode.LOAD_CODED: "load"}
# Of the geometry, without which an instruction is none.
OPTION_OF = {Opcode.LOAD_CODED: "decoder"}


@cache
def opcodes(geometry: Geometry) -> tuple[Opcode, ...]:
    """What machines of a geometry know."""
    return tuple(one for one in Opcode if one not in OPTION_OF or OPTION_OF[one] in geometry.options)


def storage_words(geometry: Geometry, opcode: Opcode) -> int:
    """Words of 16 bits in storage that a word of a transfer's memory takes.

    Weights: a word for each input lane, the pair's first column in the low byte. Parameters: biases of both columns (32 bits
    each, low word first), both multipliers in a word, both shifts in a word, the first column low. Activations: two lanes a word.
    """
    return {Opcode.LOAD_WEIGHTS: geometry.input_lanes, Opcode.LOAD_PARAMETERS: 6,
            Opcode.LOAD_ACTIVATIONS: geometry.input_lanes // 2, Opcode.STORE: geometry.input_lanes // 2}[opcode]


@dataclass(frozen=True, kw_only=True)
class Waits(Record):
    """Tokens of each queue that must have been given since the start; 0 waits for nothing."""

    load: int = number(0, 0xFFFF, "tokens", default=0)
    store: int = number(0, 0xFFFF, "tokens", default=0)
    gather: int = number(0, 0xFFFF, "tokens", default=0)
    compute: int = number(0, 0xFFFF, "tokens", default=0)


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """An opcode, its record (`BODIES[opcode]`) and what it waits for. Control instructions wait for nothing."""

    opcode: Opcode
    body: Record | Command
    waits: Waits = Waits()

    def __post_init__(self):
        if not isinstance(self.body, BODIES[self.opcode]):
            raise TypeError(f"body of {self.opcode.name} must be {BODIES[self.opcode].__name__}, not {self.body!r}")
        if self.queue == CONTROL and self.waits != Waits():
            raise ValueError(f"{self.opcode.name} must wait for nothing, not {self.waits}")

    @property
    def queue(self) -> str:
        """One of `QUEUES`, or `CONTROL`."""
        return QUEUE_OF[self.opcode]

    @property
    def records(self) -> tuple[Record, ...]:
        """What the body consists of, in the order of the words."""
        return tuple(self.body.present().values()) if isinstance(self.body, Command) else (self.body,)

    @property
    def words(self) -> int:
        """Words in storage: header, waits, fields."""
        waits = sum(getattr(self.waits, queue) > 0 for queue in QUEUES)
        return 1 + waits + sum(record.encoded_words() for record in self.records)


class InstructionError(ValueError):
    """Words that are no instruction; `word` is the index of the offending one."""

    def __init__(self, word: int, reason: str):
        super().__init__(f"word {word}: {reason}")
        self.word, self.reason = word, reason


@dataclass(frozen=True, kw_only=True)
class WordRange:
    """What one word of an instruction may be: low..high, as a signed number if `low` is negative.

    `name` is the field's, `record.field` in a command, with `.high` for the upper half of a wide field, whose lower half may be
    anything.
    """

    name: str
    low: int
    high: int


def memory_of(opcode: Opcode, entry: Field) -> str:
    """Parameter of the geometry: words of the memory in which what a field says must lie; empty if that is none, or storage."""
    moved = {Opcode.LOAD_WEIGHTS: "weight_words", Opcode.LOAD_CODED: "weight_words", Opcode.LOAD_PARAMETERS: "parameter_places"}
    if entry.memory == TRANSFERRED:
        return moved.get(opcode, "activation_words")
    return "" if entry.memory == STORED else entry.memory


def records(geometry: Geometry, opcode: Opcode) -> dict[str, type[Record]]:
    """What an instruction's body consists of: the records of a command by name, or the body's own record, named by nothing."""
    body = BODIES[opcode]
    return body.records(geometry) if body is Command else {"": body}


@cache
def _fields(geometry: Geometry, opcode: Opcode, storage_bits: int) -> tuple[tuple[str, Field], ...]:
    return tuple((f"{name}.{entry.name}".lstrip("."), entry.within(storage_bits))
                 for name, record in records(geometry, opcode).items() for entry in record.fields())


@cache
def word_ranges(geometry: Geometry, opcode: Opcode, storage_bits: int = STORAGE) -> tuple[WordRange, ...]:
    """The range of each word behind the header and the waits: what a machine checks as the words come, whose storage addresses
    have `storage_bits` bits."""
    ranges = []
    for name, entry in _fields(geometry, opcode, storage_bits):
        memory = memory_of(opcode, entry)
        high = entry.most(getattr(geometry, memory)) if memory else entry.high
        if entry.bits <= 16:
            ranges.append(WordRange(name=name, low=entry.low, high=high))
        else:
            low = -(1 << 15) if entry.signed else 0
            ranges += [WordRange(name=name, low=0, high=0xFFFF),
                       WordRange(name=f"{name}.high", low=max(entry.low >> 16, low), high=high >> 16)]
    return tuple(ranges)


def encode(instruction: Instruction) -> list[int]:
    """The instruction's words, 0..65535 each."""
    waits = [getattr(instruction.waits, queue) for queue in QUEUES]
    header = SYNC << 8 | sum((wait > 0) << 4 + n for n, wait in enumerate(waits)) | instruction.opcode
    words = [header, *(wait for wait in waits if wait)]
    for record in instruction.records:
        for entry in record.fields():
            value = getattr(record, entry.name)
            words.append(value & 0xFFFF)
            if entry.bits > 16:
                words.append(value >> 16 & 0xFFFF)
    return words


def decode(words: Iterable[int], geometry: Geometry, storage_bits: int = STORAGE) -> Iterator[Instruction]:
    """The instructions of a program, up to and with `END`, as a machine reads them whose storage addresses have `storage_bits`.
    Raises InstructionError at the first illegal word, and for words that end before the program does. Words behind `END` are not
    looked at."""
    position, stream = -1, iter(words)

    def take() -> int:
        nonlocal position
        position += 1
        word = next(stream, None)
        if word is None:
            raise InstructionError(position, "the program ends without END")
        return int(word)

    known, first = opcodes(geometry), True
    while True:
        header = take()
        if header >> 8 != SYNC:
            raise InstructionError(position, f"header must begin with 0x{SYNC:02x}, not 0x{header >> 8:02x}")
        if header & 15 not in known:
            raise InstructionError(position, f"opcode must be {min(known)}..{max(known)}, not {header & 15}")
        opcode = Opcode(header & 15)
        if first != (opcode is Opcode.START):
            raise InstructionError(position, "START must be the first instruction, and no other")
        if QUEUE_OF[opcode] == CONTROL and header >> 4 & 15:
            raise InstructionError(position, f"{opcode.name} must not wait")
        first = False
        waits = {}
        for n, queue in enumerate(QUEUES):
            if header >> 4 + n & 1:
                waits[queue] = take()
                if not waits[queue]:
                    raise InstructionError(position, f"wait for {queue} must be 1..65535 tokens, not 0")
        found = []
        for entry in word_ranges(geometry, opcode, storage_bits):
            word = take()
            value = word - (1 << 16) if entry.low < 0 and word >> 15 else word
            if not entry.low <= value <= entry.high:
                raise InstructionError(position, f"{opcode.name} {entry.name} must be {entry.low}..{entry.high}, not {value}")
            found.append(word)
        for at, name, entry, value in _values(geometry, opcode, storage_bits, found):
            if not entry.low <= value <= entry.high:        # a wide field whose halves are each in range
                raise InstructionError(position - len(found) + at, f"{opcode.name} {name} must be {entry.low}..{entry.high}, "
                                                                   f"not {value}")
        if opcode is Opcode.START and Start.of(geometry, 0, 0).digest != sum(word << 16 * n for n, word in enumerate(found[:4])):
            raise InstructionError(position - len(found) + 1, "the program was compiled for another geometry")
        yield Instruction(opcode=opcode, body=_body(geometry, opcode, found), waits=Waits(**waits))
        if opcode is Opcode.END:
            return


def _values(geometry: Geometry, opcode: Opcode, storage_bits: int, words: list[int]) -> Iterator[tuple[int, str, Field, int]]:
    """Each field's number of words up to its end, name and value."""
    at = 0
    for name, entry in _fields(geometry, opcode, storage_bits):
        width = 16 if entry.bits <= 16 else 32
        value = words[at] | (words[at + 1] << 16 if width == 32 else 0)
        at += width // 16
        yield at, name, entry, value - (1 << width) if entry.signed and value >> width - 1 else value


def _body(geometry: Geometry, opcode: Opcode, words: list[int]) -> Record | Command:
    """The record whose words were found to be in range."""
    values = (value for *_, value in _values(geometry, opcode, STORAGE, words))
    found = {name: record(**{entry.name: next(values) for entry in record.fields()})
             for name, record in records(geometry, opcode).items()}
    return Command(**found) if opcode is Opcode.COMPUTE else found[""]
