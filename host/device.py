"""The board's side of the protocol: the reference that the gateware equals reply by reply, and a board for tests."""
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from arch.flash import SECTOR_BYTES
from arch.memory.calibration import Calibrated, Calibration
from arch.protocol import COUNTERS, DATA_WORDS, LINE_COUNTS, LINE_MOST, REFUSED, REPLY, Identity, Kind, Refusal, arguments
from arch.slots import MOST_BYTES
from host.protocol import Deframer, Message, Status, checksum, number, pair

__all__ = ["Device"]

_OF_FLASH = (Kind.EXCHANGE, Kind.BOOT, Kind.SCAN)
_IDLE = Status(running=False, finished=False, failed=False)


class Device:
    """A board without an engine: bytes in, bytes out, at once.

    `storage` is uint16 of the identity's size. `run`, if given, is called with the program's address at START and returns the
    status that follows; otherwise a program is over at once. `flash`, if there is one, has `exchange` and `scan`, as
    `sim.models.flash.FlashChip`. `boot`, if given, is called with the device at each reset and at BOOT, and returns what
    `golden.boot.Booted` has; `sim.models.booting.booting` is one. `unpack` is `golden.packing.unpack` where the identity has
    `packing`. `phase`: what the calibration of its SDRAM's clock found, if it has one.
    """

    def __init__(self, identity: Identity, run: Callable[[int], Status] | None = None, flash=None,
                 boot: Callable[["Device"], Any] | None = None, unpack: Callable[[list[int]], Any] | None = None,
                 phase: Calibrated | None = None):
        if identity.packing != (unpack is not None):
            raise ValueError("unpack must be given if the identity has packing, and only then")
        self.identity, self.flash, self._boot, self._unpack = identity, flash, boot, unpack
        self.phase = phase or Calibrated(state=Calibration.NONE)
        self.storage = np.zeros(identity.storage_words, "<u2")
        self.starts: list[int] = []
        self.counters = [0] * len(COUNTERS)
        self.run = run or (lambda address: Status(running=False, finished=True, failed=False))
        self.reset()

    def reset(self) -> None:
        """As the button does: storage stays, everything else begins anew."""
        self._deframer, self._connected, self._awaited, self._last = Deframer(), False, 0, 0
        self.line = dict.fromkeys(LINE_COUNTS, 0)           # "lost" counts what bytes alone do not tell: whoever drops some adds
        self._begin()

    def _begin(self) -> None:
        """What flash says is done."""
        self.status = self._idle = replace(_IDLE, no_window=self.phase.state is Calibration.NO_WINDOW)
        if self._boot is not None and not self._idle.no_window:
            found = self._boot(self)
            self._idle = replace(_IDLE, booted=found.header is not None, program=found.header.program if found.header else 0,
                                 outcome=found.outcome)
        self.status = self._idle

    def feed(self, data: bytes) -> bytes:
        """Takes bytes from the line and returns those that go back."""
        return b"".join(self.answer(message).to_bytes() for message in self._deframer.feed(data))

    def answer(self, message: Message | None) -> Message:
        """Obeys a message, or refuses it; None is a damaged one."""
        reason = self._refusal(message)
        self.line["damaged" if message is None else "sound"] += 1
        self.line["unawaited"] += reason == Refusal.SEQUENCE
        if reason is not None:
            return Message.of(REFUSED, message.sequence if message else 0, [reason, self._awaited])
        kind, words = Kind(message.kind), message.words
        if kind is Kind.INFO:
            self._connected = True
        again = kind is not Kind.INFO and message.sequence != self._awaited
        self._awaited, self._last = (message.sequence + 1) % 256, kind
        return Message.of(kind | REPLY, message.sequence, self._obey(kind, words, again))

    def _refusal(self, message: Message | None) -> Refusal | None:
        if not self._connected and (message is None or message.kind != Kind.INFO):
            return Refusal.UNCONNECTED      # even if damaged: the awaited number means nothing yet
        if message is None:
            return Refusal.DAMAGED
        kind, words = message.kind, message.words
        if kind != Kind.INFO:
            again = message.sequence == (self._awaited - 1) % 256 and kind == self._last
            if message.sequence != self._awaited and not again:
                return Refusal.SEQUENCE
        unable = (kind in _OF_FLASH and self.flash is None or kind == Kind.PACKED and not self.identity.packing
                  or kind == Kind.START and not self.identity.digest)
        if kind not in list(Kind) or unable:
            return Refusal.UNKNOWN
        low, high = arguments(Kind(kind))
        if not low <= len(words) <= high:
            return Refusal.LENGTH
        if kind in (Kind.WRITE, Kind.PACKED, Kind.READ, Kind.CHECKSUM, Kind.START, *_OF_FLASH):
            again = kind in (Kind.START, Kind.BOOT) and message.sequence != self._awaited
            if (self.status.running or self.status.booting) and not again:
                return Refusal.BUSY
            if self.status.no_window and self.identity.digest and kind not in (Kind.EXCHANGE, Kind.SCAN):
                return Refusal.MEMORY
            if not self._inside(Kind(kind), words):
                return Refusal.RANGE
        if kind == Kind.PACKED and not self._unpacked(words):
            return Refusal.CODED
        return None

    def _unpacked(self, words: np.ndarray) -> bool:
        """Writes what comes out of packed words; whether all of it makes sense."""
        unpacked = self._unpack(words.tolist())
        for address, row in unpacked.rows:
            self.storage[address:address + len(row)] = row
        return not unpacked.wrong

    def _inside(self, kind: Kind, words: np.ndarray) -> bool:
        if kind == Kind.SCAN:
            return number(words) < MOST_BYTES and number(words) % SECTOR_BYTES == 0
        if kind in _OF_FLASH:
            return True
        count = {Kind.WRITE: len(words) - 2, Kind.START: 1}.get(kind)
        if count is None:
            count = int(words[2]) if kind == Kind.PACKED else number(words[2:])
            if not count or kind == Kind.READ and count > DATA_WORDS:
                return False
        return number(words[:2]) + count <= len(self.storage)

    def _obey(self, kind: Kind, words: np.ndarray, again: bool) -> list[int] | np.ndarray:
        address = number(words[:2])
        match kind:
            case Kind.INFO:
                return [*words, *self.identity.words(len(self.counters))]
            case Kind.WRITE:
                self.storage[address:address + len(words) - 2] = words[2:]
            case Kind.READ:
                return self.storage[address:address + number(words[2:])]
            case Kind.CHECKSUM:
                return pair(checksum(self.storage[address:address + number(words[2:])]))
            case Kind.START if not again:
                self.starts.append(address)
                self.status = replace(self.run(address), booted=self._idle.booted, program=self._idle.program,
                                      outcome=self._idle.outcome)
            case Kind.STATUS:
                return self.status.words()
            case Kind.COUNTERS:
                return [word for counter in self.counters for word in pair(counter)]
            case Kind.PHASE:
                return self.phase.words()
            case Kind.LINE:
                return [min(count, LINE_MOST) for count in self.line.values()]
            case Kind.CLEAR if not again:
                self.status = self._idle
            case Kind.BOOT if not again:
                self._begin()
            case Kind.SCAN:
                return pair(self.flash.scan(address))
            case Kind.EXCHANGE:
                return list(self.flash.exchange(bytes(int(word) & 0xFF for word in words)))
        return []
