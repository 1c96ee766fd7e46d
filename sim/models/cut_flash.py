"""A SPI flash that loses its power in the middle of a change, and keeps what real ones keep: anything."""
import random

from arch.flash import BLOCK_BYTES, PAGE_BYTES, SECTOR_BYTES, Command
from sim.models.flash import FlashChip

__all__ = ["CutFlash", "PowerCut"]

_SIZES = {Command.PROGRAM: PAGE_BYTES, Command.ERASE_SECTOR: SECTOR_BYTES, Command.ERASE_BLOCK: BLOCK_BYTES}
_CLEAR = 0.12                   # of the cuts come just before a change, and as many just behind it
_WEAK = 6                       # bits at most that a cut leaves between 0 and 1


class PowerCut(Exception):
    """The power has gone, of the chip and of all around it."""


class CutFlash(FlashChip):
    """A chip whose change number `cut` (a page programmed, a sector or block erased; from 0 on, None for never) ends in PowerCut.

    What was to be programmed is so in part: the first bytes, or bits here and there. What was to be erased is as before, or in
    part programmed to zeros, as chips do it first, or on its way from there to ones. Some bits of it may be weak: they read
    differently from time to time, until they are programmed or erased again.
    """

    def __init__(self, size: int, *, seed: int, slow: int = 1):
        super().__init__(size, slow=slow)
        self.changes, self.cut = 0, None
        self.weak: dict[int, int] = {}                  # bits by address
        self._random = random.Random(seed)

    def power_up(self) -> None:
        """After a cut: as chips begin."""
        self.busy, self.enabled, self.asleep = 0, False, True

    def read(self, address: int, count: int | None = None) -> bytes:
        return self._shaken(address, super().read(address, count))

    def exchange(self, sent: bytes) -> bytes:
        command, address = sent[0], int.from_bytes(sent[1:4], "big") % len(self.bytes)
        changes = command in _SIZES and self.enabled and not self.busy and not self.asleep
        changes = changes and (len(sent) > 4 if command == Command.PROGRAM else len(sent) == 4)
        if not changes:
            back = super().exchange(sent)
            return back[:4] + self._shaken(address, back[4:]) if command == Command.READ else back
        size = _SIZES[command]
        start = address - address % size
        before = bytes(self.bytes[start:start + size])
        back, after = super().exchange(sent), bytes(self.bytes[start:start + size])
        self._settle(start, after, erased=command != Command.PROGRAM)
        self.changes += 1
        if self.changes - 1 == self.cut:
            self.cut = None
            fate = self._random.random()
            if fate < 2 * _CLEAR:                       # before it began, or when it was over
                self.bytes[start:start + size] = before if fate < _CLEAR else after
                raise PowerCut
            partial = self._programmed if command == Command.PROGRAM else self._erased
            self.bytes[start:start + size] = partial(before, after)
            self._weaken(start, before, after)
            raise PowerCut
        return back

    def _settle(self, start: int, after: bytes, *, erased: bool) -> None:
        """Weak bits that the change makes strong."""
        for place in [place for place in self.weak if start <= place < start + len(after)]:
            self.weak[place] &= 0 if erased else after[place - start]
            if not self.weak[place]:
                del self.weak[place]

    def _weaken(self, start: int, before: bytes, after: bytes) -> None:
        changed = [n for n in range(len(before)) if before[n] != after[n]]
        for place in self._random.sample(changed, min(len(changed), self._random.randrange(_WEAK + 1))):
            bits = before[place] ^ after[place]
            self.weak[start + place] = self.weak.get(start + place, 0) | bits & self._random.randrange(256)

    def _some(self, size: int) -> bytes:
        """Bits that are set in some share of the places, which may be none or all of them."""
        share = self._random.randrange(5)
        noise = [int.from_bytes(self._random.randbytes(size), "little") for _ in range(2)]
        bits = (0, noise[0] & noise[1], noise[0], noise[0] | noise[1], (1 << 8 * size) - 1)[share]
        return bits.to_bytes(size, "little")

    def _programmed(self, before: bytes, after: bytes) -> bytes:
        if self._random.random() < 0.3:
            end = self._random.randrange(len(before) + 1)
            return after[:end] + before[end:]
        return bytes(old & (new | kept) for old, new, kept in zip(before, after, self._some(len(before)), strict=True))

    def _erased(self, before: bytes, after: bytes) -> bytes:
        some = self._some(len(before))
        if self._random.random() < 0.4:
            return bytes(old & kept for old, kept in zip(before, some, strict=True))
        return some

    def _shaken(self, address: int, data: bytes) -> bytes:
        if not self.weak:
            return data
        shaken = bytearray(data)
        for place, bits in self.weak.items():
            if address <= place < address + len(shaken):
                shaken[place - address] ^= bits & self._random.randrange(256)
        return bytes(shaken)
