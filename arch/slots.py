"""Model slots in the flash that configures the FPGA: where they lie, and the records in them.

Behind the bitstream come two state sectors, then slots of equal size: the factory's, A and B. A slot is a header of one page,
then the payload: storage from word 0 on, and its CRC-32. The state that counts says which slot is active, and whether it has
proved itself. Numbers have the low byte first; all CRCs are zlib's.
"""
from dataclasses import dataclass, replace
from enum import IntEnum
from hashlib import sha256
import struct
from zlib import crc32

import numpy as np

from arch.flash import BLOCK_BYTES, PAGE_BYTES, SECTOR_BYTES

__all__ = ["ERASED", "FACTORY", "HEADER_MAGIC", "Header", "Layout", "MARK_AT", "MOST_BYTES", "MOST_COUNTER", "Outcome",
           "SelfTest", "Slot", "SLOT_NAMES", "STATE_BYTES", "STATE_MAGIC", "State", "Why", "layout", "newest"]

MOST_BYTES = 1 << 24            # of flash: what three bytes of address reach
FACTORY = 0
SLOT_NAMES = ("factory", "A", "B")
_LEAST = {3: 1 << 20, 2: 512 << 10, 1: BLOCK_BYTES}     # bytes of a slot, for so many slots

HEADER_MAGIC = 0x31534C46       # "FLS1"
# What the chip looks at, from the first word on: magic, digest, security counter, words, program; self-test: output from and
# before, most cycles, CRC. Then bytes of the header, version, SHA-256 of the payload's words, name.
_SIGNED = struct.Struct("<IQIIIIIIIII32s32s")
_SIGNATURE_BYTES, _NAME_BYTES = 64, 32
_CRC = struct.Struct("<I")

STATE_MAGIC = 0x54534C46        # "FLST"
_STATE = struct.Struct("<IIIBBBx12x")           # magic, counter, floor, active, fallback, on trial
STATE_BYTES = _STATE.size + _CRC.size
MARK_AT = STATE_BYTES           # byte of a state sector
ERASED = 0xFF                   # a byte; a mark that is not set
MOST_COUNTER = (1 << 32) - 1


class Why(IntEnum):
    """Why a slot was not booted, in the order in which it is looked at."""

    NOT_TRIED = 0
    MAGIC = 1                   # no header there
    HEADER = 2                  # its CRC
    GEOMETRY = 3                # for another engine
    SIZE = 4                    # payload or output not in storage, or nothing; program not in the payload
    SECURITY = 5                # counter below the floor
    PAYLOAD = 6                 # its CRC
    OUTPUT = 7                  # of the self-test, or a fault of the machine
    LATE = 8                    # self-test took more cycles than the header allows
    TRIAL = 9                   # was on trial, had its turn, and nobody confirmed it


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things lie, all in bytes: `slots` slots of `slot_bytes`, after the state sectors at `offset`."""

    offset: int
    flash_bytes: int
    slots: int
    slot_bytes: int

    def state(self, sector: int) -> int:
        """Address of state sector 0 or 1."""
        return self.offset + sector * SECTOR_BYTES

    def slot(self, number: int) -> int:
        """Address of a slot."""
        return self.offset + BLOCK_BYTES + number * self.slot_bytes

    @property
    def updates(self) -> bool:
        """Whether a slot can be written while another one stays."""
        return self.slots > 1

    def name(self, number: int) -> str:
        """For people. Of two slots the first one is the factory's at first, and A later."""
        return SLOT_NAMES[number]


def layout(flash_bytes: int, offset: int) -> Layout:
    """The layout of a flash of so many bytes, with everything from `offset` on for slots: three of at least 1 MiB each, else two
    of 512 KiB, else a single one, which cannot be updated. Raises ValueError if not even that fits."""
    for name, value, least in (("flash_bytes", flash_bytes, BLOCK_BYTES), ("flash_offset", offset, 0)):
        if not least <= value <= MOST_BYTES or value % BLOCK_BYTES:
            raise ValueError(f"{name} must be a multiple of {BLOCK_BYTES} up to {MOST_BYTES}, not {value}")
    for slots, least in _LEAST.items():
        size = (flash_bytes - offset - BLOCK_BYTES) // slots // BLOCK_BYTES * BLOCK_BYTES
        if size >= least:
            return Layout(offset=offset, flash_bytes=flash_bytes, slots=slots, slot_bytes=size)
    raise ValueError(f"Flash of {flash_bytes:,} bytes must reach {2 * BLOCK_BYTES:,} beyond its offset {offset:,} for a slot, "
                     f"but {max(0, flash_bytes - offset):,} are there")


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """What the program must compute from the payload: words of storage from `output` on, before `end`, with this CRC-32, in at
    most `cycles` cycles. They are 0 before it starts."""

    output: int
    end: int
    checksum: int
    cycles: int


@dataclass(frozen=True, kw_only=True)
class Header:
    """First page of a slot. `words` of payload, in which the program begins at word `program`; `name` of at most 32 bytes."""

    digest: int
    words: int
    program: int
    security: int
    test: SelfTest
    version: int
    sha256: bytes
    name: str
    signature: bytes = bytes(_SIGNATURE_BYTES)
    header_bytes: int = PAGE_BYTES

    @property
    def signed(self) -> bytes:
        """What the signature is made of: everything before it."""
        test = self.test
        return _SIGNED.pack(HEADER_MAGIC, self.digest, self.security, self.words, self.program, test.output, test.end,
                            test.cycles, test.checksum, self.header_bytes, self.version, self.sha256, self.name.encode())

    def to_bytes(self) -> bytes:
        """The page; its last word is the CRC of all before."""
        body = (self.signed + self.signature).ljust(PAGE_BYTES - _CRC.size, b"\0")
        return body + _CRC.pack(crc32(body))

    @classmethod
    def of(cls, page: bytes) -> "Header":
        """The fields, whatever they are. Raises ValueError, saying which of magic and CRC is wrong."""
        if page[:4] != _CRC.pack(HEADER_MAGIC):
            raise ValueError("no header of a slot")
        if crc32(page[:PAGE_BYTES - _CRC.size]) != int.from_bytes(page[PAGE_BYTES - _CRC.size:PAGE_BYTES], "little"):
            raise ValueError("the header's CRC is wrong")
        (_, digest, security, words, program, output, end, cycles, checksum, header_bytes, version, hashed,
         name) = _SIGNED.unpack_from(page)
        return cls(digest=digest, words=words, program=program, security=security, version=version, sha256=hashed,
                   header_bytes=header_bytes,
                   test=SelfTest(output=output, end=end, checksum=checksum, cycles=cycles),
                   name=name.rstrip(b"\0").decode(errors="replace"),
                   signature=page[_SIGNED.size:_SIGNED.size + _SIGNATURE_BYTES])

    def fits(self, storage_words: int) -> bool:
        """Whether all that the header names is in storage."""
        return (self.program < self.words <= storage_words) and (self.test.output < self.test.end <= storage_words)

    @property
    def slot_bytes(self) -> int:
        """That header, payload and its CRC take."""
        return PAGE_BYTES + 2 * self.words + _CRC.size


@dataclass(frozen=True, kw_only=True, eq=False)
class Slot:
    """A slot's contents: header, and words of storage from address 0 on (uint16)."""

    header: Header
    words: np.ndarray

    @classmethod
    def make(cls, words: np.ndarray, *, name: str, **fields) -> "Slot":
        """With the header that the words need; `fields` are the header's others. A longer name loses its end."""
        name = name.encode()[:_NAME_BYTES].decode(errors="ignore")
        words = np.ascontiguousarray(words, "<u2")
        return cls(header=Header(words=len(words), sha256=sha256(words.tobytes()).digest(), name=name, **fields), words=words)

    def with_signature(self, signature: bytes) -> "Slot":
        return replace(self, header=replace(self.header, signature=signature))

    def to_bytes(self) -> bytes:
        """As flash holds it."""
        payload = np.ascontiguousarray(self.words, "<u2").tobytes()
        return self.header.to_bytes() + payload + _CRC.pack(crc32(payload))


@dataclass(frozen=True, kw_only=True)
class State:
    """A state record. `trial`: the active slot has not proved itself yet, and if the mark behind the record is set it has had its
    turn. No slot but the factory's is booted with a security counter below `floor`."""

    counter: int
    active: int
    fallback: int
    trial: bool
    floor: int

    def to_bytes(self) -> bytes:
        body = _STATE.pack(STATE_MAGIC, self.counter, self.floor, self.active, self.fallback, self.trial)
        return body + _CRC.pack(crc32(body))

    @classmethod
    def of(cls, data: bytes) -> "State | None":
        """The record at the beginning of a sector, None if there is none, or a damaged one."""
        if len(data) < STATE_BYTES or crc32(data[:_STATE.size]) != int.from_bytes(data[_STATE.size:STATE_BYTES], "little"):
            return None
        magic, counter, floor, active, fallback, trial = _STATE.unpack_from(data)
        if magic != STATE_MAGIC:
            return None
        return cls(counter=counter, active=active, fallback=fallback, trial=trial != 0, floor=floor)

    def next(self, **changes) -> "State":
        """The record that replaces this one, in the other sector. Raises ValueError after the last counter, which no flash lives
        to see."""
        if self.counter == MOST_COUNTER:
            raise ValueError(f"Counter of a state must be below {MOST_COUNTER} to go on")
        return replace(self, counter=self.counter + 1, **changes)


def newest(states: tuple[State | None, State | None]) -> int | None:
    """Which of the two sectors' records counts: the one with the greater counter, the first one of equals; None if there is
    none."""
    first, second = states
    if first is None or second is None:
        return None if first is second else int(first is None)
    return int(second.counter > first.counter)


_NO_SLOT = (1 << 2) - 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a boot came to: the slot that was booted, None if none was, and whether it is on trial; `state`: there is a state that
    counts; `whys`: for each of `SLOT_NAMES`, why it was not booted, if it was not. On the line it is a word: 4 bits each for
    whys, 2 for the slot, one each for trial and state."""

    slot: int | None = None
    trial: bool = False
    state: bool = False
    whys: tuple[Why, ...] = (Why.NOT_TRIED,) * len(SLOT_NAMES)

    @property
    def word(self) -> int:
        """16 bits."""
        slot = _NO_SLOT if self.slot is None else self.slot
        return sum(why << 4 * n for n, why in enumerate(self.whys)) | slot << 12 | self.trial << 14 | self.state << 15

    @classmethod
    def of(cls, word: int) -> "Outcome":
        """From a word. Raises ValueError for a reason that there is none."""
        slot = word >> 12 & _NO_SLOT
        return cls(slot=None if slot == _NO_SLOT else slot, trial=bool(word >> 14 & 1), state=bool(word >> 15 & 1),
                   whys=tuple(Why(word >> 4 * n & 15) for n in range(len(SLOT_NAMES))))
