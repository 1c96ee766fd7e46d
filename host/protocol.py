"""Bytes and messages, without any input or output: frames, requests, replies (docs/protocol.md)."""
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np

from arch.flash import BLOCK_BYTES
from arch.protocol import (
    COUNTERS,
    ESCAPE,
    FLAG,
    FLIP,
    FRAME_WORDS,
    INFO_WORDS,
    NAME_WORDS,
    PACKING,
    STATUS_WORDS,
    Identity,
    State,
)
from arch.slots import Outcome
from cli import WorkError

__all__ = ["OTHER_VERSION", "Deframer", "Info", "Message", "ProtocolError", "Status", "checksum", "counters", "number", "pair"]

_FLAG, _ESCAPE = bytes([FLAG]), bytes([ESCAPE])
_ESCAPED_FLAG, _ESCAPED_ESCAPE = bytes([ESCAPE, FLAG ^ FLIP]), bytes([ESCAPE, ESCAPE ^ FLIP])


OTHER_VERSION = "build its bitstream with this version of Fireline (python -m hw.build)"      # what to do about another one


class ProtocolError(WorkError):
    """An undamaged message that this version cannot understand."""


def checksum(words: np.ndarray) -> int:
    """CRC-32 of words (uint16), as the board computes it of storage."""
    return crc32(np.ascontiguousarray(words, "<u2"))


def pair(value: int) -> list[int]:
    """A number below 2**32 as two words."""
    return [value & 0xFFFF, value >> 16]


def number(words: np.ndarray) -> int:
    """Inverse of `pair`, of any number of words."""
    return sum(int(word) << 16 * n for n, word in enumerate(words))


@dataclass(frozen=True, eq=False)
class Message:
    """A request or reply: kind (0..255), sequence number (0..255), arguments as words of 16 bits."""

    kind: int
    sequence: int
    words: np.ndarray

    @classmethod
    def of(cls, kind: int, sequence: int, words=()) -> "Message":
        return cls(kind, sequence, np.asarray(words, "<u2"))

    def to_bytes(self) -> bytes:
        """The frame. Raises ValueError if it is too long."""
        if len(self.words) > FRAME_WORDS - 3:
            raise ValueError(f"Arguments of a frame must be at most {FRAME_WORDS - 3} words, not {len(self.words)}")
        body = bytes([self.kind, self.sequence]) + self.words.astype("<u2").tobytes()
        body += crc32(body).to_bytes(4, "little")
        return _FLAG + body.replace(_ESCAPE, _ESCAPED_ESCAPE).replace(_FLAG, _ESCAPED_FLAG) + _FLAG

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, Message) and (self.kind, self.sequence) == (other.kind, other.sequence)
                and np.array_equal(self.words, other.words))


class Deframer:
    """Cuts a stream of bytes into messages."""

    _LONGEST = 2 * 2 * FRAME_WORDS          # every byte escaped

    def __init__(self):
        self._buffer = b""

    def feed(self, data: bytes) -> list[Message | None]:
        """Messages that end in `data`, None for each damaged one."""
        *whole, rest = (self._buffer + data).split(_FLAG)
        # What is too long already cannot be undamaged; its end need not be kept.
        self._buffer = rest[:self._LONGEST + 1]
        return [self._message(body) for body in whole if body]

    @staticmethod
    def _message(body: bytes) -> Message | None:
        # An escape turns the next byte over, whatever it is, and at the end of a frame it is damage.
        parts = body.split(_ESCAPE)
        plain = bytearray(parts[0])
        k = 1
        while k < len(parts):
            part = parts[k]
            if not part:                    # an escape was escaped, which no sender does; the CRC decides
                if k + 1 == len(parts):
                    return None
                plain.append(ESCAPE ^ FLIP)
                k += 1
                plain += parts[k]
            else:
                plain.append(part[0] ^ FLIP)
                plain += part[1:]
            k += 1
        if len(plain) % 2 or not 6 <= len(plain) <= 2 * FRAME_WORDS:
            return None
        if crc32(plain[:-4]) != int.from_bytes(plain[-4:], "little"):
            return None
        return Message(plain[0], plain[1], np.frombuffer(bytes(plain[2:-4]), "<u2"))


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a board says of itself."""

    nonce: int
    version: int
    counters: int
    identity: Identity

    @classmethod
    def of(cls, words: np.ndarray) -> "Info":
        """From a reply's words. Raises ProtocolError if they cannot be of this version."""
        if len(words) < 4 or len(words) != INFO_WORDS:
            raise ProtocolError(f"Reply to INFO must be {INFO_WORDS} words, not {len(words)}: {OTHER_VERSION}")
        name = np.asarray(words[-NAME_WORDS:], "<u2").tobytes().rstrip(b"\0")
        try:
            identity = Identity(digest=number(words[4:8]), storage_words=number(words[8:10]), clock_khz=number(words[10:12]),
                                flash_offset=BLOCK_BYTES * int(words[12]), flash_bytes=BLOCK_BYTES * int(words[13]),
                                name=name.decode("ascii"), packing=bool(words[3] & PACKING))
        except ValueError as error:
            raise ProtocolError(f"Reply to INFO makes no sense, {error}: {OTHER_VERSION}") from None
        return cls(nonce=number(words[:2]), version=int(words[2]), counters=int(words[3]) % PACKING, identity=identity)


@dataclass(frozen=True, kw_only=True)
class Status:
    """State of the machine; cycles from the start of the program to its end.

    If it failed: `fault` is an `arch.control.Fault`; below DEADLOCK it is about word `word` of the program, in
    instruction `index`, which has `opcode`; otherwise about command `index` of `queue`. `booting`: the board tries
    the slots in its flash; `booted`: it has found one since its reset, whose program begins at word `program`. `outcome` says
    which one, and why others were not booted. `calibrating`: the board looks for the phase of its SDRAM's clock; `no_window`: it
    has found none, and its storage is of no use.
    """

    running: bool
    finished: bool
    failed: bool
    fault: int = 0
    queue: int = 0
    opcode: int = 0
    index: int = 0
    word: int = 0
    cycles: int = 0
    booting: bool = False
    booted: bool = False
    program: int = 0
    outcome: Outcome = field(default_factory=Outcome)
    calibrating: bool = False
    no_window: bool = False

    @classmethod
    def of(cls, words: np.ndarray) -> "Status":
        """From a reply's words. Raises ProtocolError for a wrong number of them."""
        if len(words) != STATUS_WORDS:
            raise ProtocolError(f"Reply to STATUS must be {STATUS_WORDS} words, not {len(words)}: {OTHER_VERSION}")
        state = int(words[0])
        try:
            outcome = Outcome.of(int(words[10]))
        except ValueError as error:
            raise ProtocolError(f"Reply to STATUS makes no sense, {error}: {OTHER_VERSION}") from None
        return cls(running=bool(state & State.RUNNING), finished=bool(state & State.FINISHED), failed=bool(state & State.FAILED),
                   fault=int(words[1]) & 0xFF,
                   queue=int(words[1]) >> 8 & 15, opcode=int(words[1]) >> 12, index=number(words[2:4]), word=number(words[4:6]),
                   cycles=number(words[6:8]), program=number(words[8:10]), booting=bool(state & State.BOOTING),
                   booted=bool(state & State.BOOTED), outcome=outcome,
                   calibrating=bool(state & State.CALIBRATING), no_window=bool(state & State.NO_WINDOW))

    def words(self) -> list[int]:
        """Inverse of `of`."""
        state = (State.RUNNING * self.running | State.FINISHED * self.finished | State.FAILED * self.failed
                 | State.BOOTING * self.booting | State.BOOTED * self.booted
                 | State.CALIBRATING * self.calibrating | State.NO_WINDOW * self.no_window)
        return [state, self.fault | self.queue << 8 | self.opcode << 12, *pair(self.index), *pair(self.word), *pair(self.cycles),
                *pair(self.program), self.outcome.word]


def counters(words: np.ndarray) -> dict[str, int]:
    """Counters by name. Raises ProtocolError for a wrong number of them."""
    if len(words) != 2 * len(COUNTERS):
        raise ProtocolError(f"Reply to COUNTERS must be {2 * len(COUNTERS)} words, not {len(words)}: {OTHER_VERSION}")
    return {name: number(words[2 * n:2 * n + 2]) for n, name in enumerate(COUNTERS)}
