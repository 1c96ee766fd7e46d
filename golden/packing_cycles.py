"""Cycles of the link's unpacker (docs/packing.md), from the frame and from when storage has room."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from arch.packing import HEAD, LIMIT, Head
from golden.packing import unpack

__all__ = ["Timeline", "timeline"]

BURST = 16                      # words that are asked for together at most
TAKE, BYTE, END = 2, 7, 2       # cycles of a span's part that is taken, in front of a byte's first bit, and to be done
KEPT, SHARED, WORD = 3, 2, 1    # behind a byte's last bit; more with one channel, which takes the places of three; of a word


@dataclass
class Timeline:
    """Cycles from that of the start on: in which each word was `given`, room was `asked` for (with address and words), the frame
    `moved` on, and all was `done`."""

    given: list[int] = field(default_factory=list)
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    done: int = 0


def timeline(arguments: Sequence[int], latency: int, room: Callable[[int], bool], ready: Callable[[int], bool]) -> Timeline:
    """Of a frame's arguments. `room`, `ready`: whether in a cycle storage takes a word, and a request."""
    return _Course(arguments, room, ready).run(1 + latency)


class _Course:
    """`now`: the next cycle."""

    def __init__(self, arguments: Sequence[int], room: Callable[[int], bool], ready: Callable[[int], bool]):
        self.head, self.unpacked, self.found = Head.of(arguments), unpack(arguments), Timeline()
        self.room, self.ready, self.codes = room, ready, list(self.unpacked.codes)
        self.bits, self.position, self.now = 16 * (len(arguments) - HEAD), 0, 0

    def run(self, opened: int) -> Timeline:
        self.found.moved.append(opened)
        self.now, left = opened + 1, self.head.span
        for address, _ in self.unpacked.rows:
            self.now, left = self.now + TAKE, left - self.head.row_words
            if not self._row(address):
                return self._end(0)
            self.now += 1
            if not left:
                return self._end(0)
            self.now, left = self.now + TAKE, left - self.head.skip
            if left < 0:
                return self._end(1)
        self.now += TAKE
        return self._end(1)

    def _end(self, failed: int) -> Timeline:
        self.found.done = self.now + failed + END - 1
        return self.found

    def _row(self, address: int) -> bool:
        """Whether its stream did not end."""
        burst, count = 0, 2 * self.head.row_words
        for n in range(count):
            if not self._code(*self.codes.pop(0)):
                self.now += 2                               # a bit was needed; it fails
                if burst:
                    self._ask(address, burst)
                return False
            self.now += KEPT + (0 if self.head.three else SHARED)
            if n % 2:
                self.now = _next(self.room, self.now + WORD)
                self.found.given.append(self.now)
                self.now, burst = self.now + 1, burst + 1
                if burst == BURST or n == count - 1:
                    self._ask(address, burst)
                    address, burst = address + burst, 0
        return True

    def _code(self, ones: int, further: int) -> bool:
        """Whether all of it was there."""
        self.now += BYTE
        self._bits(ones)
        last = self.unpacked.ended and not self.codes
        if ones < LIMIT and not (last and self.position == self.bits):
            self._bits(1)
        self._bits(further)
        return not last

    def _bits(self, count: int) -> None:
        for _ in range(count):
            if self.position % 16 == 0:
                self.found.moved.append(self.now)
                self.now += 1
            self.position, self.now = self.position + 1, self.now + 1

    def _ask(self, address: int, words: int) -> None:
        self.now = _next(self.ready, self.now)
        self.found.asked.append((self.now, address, words))
        self.now += 1


def _next(may: Callable[[int], bool], cycle: int) -> int:
    while not may(cycle):
        cycle += 1
    return cycle
