"""A line that damages what it carries, by a seed: for the protocol's tests and the fuzzer."""
from collections import Counter
from collections.abc import Callable
import random
from typing import Protocol

from arch.protocol import FLAG

__all__ = ["Board", "FAULTS", "FaultyLine"]

FAULTS = ("flip", "lose", "repeat", "reorder", "truncate", "insert", "reset")


class Board(Protocol):
    """The far end: bytes in, bytes out, and a reset button."""

    def feed(self, data: bytes) -> bytes:
        """Takes bytes and returns those that it sent meanwhile."""

    def reset(self) -> None:
        """Presses the button."""


class FaultyLine:
    """A `host.link.Link` to a board, both directions of which damage a share `rate` of the frames. Time is simulated: it passes
    (`now`) when nobody sends, so sessions are given it as their clock.

    `damaged` counts frames by fault. `resets` says whether the board may be reset in the middle of a frame.
    """

    def __init__(self, board: Board, *, seed: int, rate: float, baud: int = 3_000_000, faults: tuple[str, ...] = FAULTS):
        self.board, self.baud, self.rate = board, baud, rate
        self.faults = faults
        self.damaged: Counter[str] = Counter()
        self.frames = 0
        self._random = random.Random(seed)
        self._time = 0.0
        self._arrived = bytearray()

    def now(self) -> float:
        """Seconds."""
        return self._time

    def write(self, data: bytes) -> None:
        self._time += len(data) * 10 / self.baud
        for part in self._frames(data):
            fault = self._fault(part)
            if fault == "reset":
                cut = self._random.randrange(len(part))
                back = self.board.feed(part[:cut])
                self.board.reset()
                # What was being sent stops anywhere.
                self._return(back[:self._random.randint(0, len(back))] + self.board.feed(part[cut:]))
            else:
                self._return(self.board.feed(self._damage(fault, part)))

    def _return(self, data: bytes) -> None:
        for part in self._frames(data):
            fault = self._fault(part)
            self._arrived += part if fault == "reset" else self._damage(fault, part)

    def read(self, timeout_s: float) -> bytes:
        if not self._arrived:
            self._return(self.board.feed(b""))
        if not self._arrived:
            self._time += timeout_s + 1e-6
        data = bytes(self._arrived)
        self._arrived.clear()
        return data

    def close(self) -> None:
        pass

    def _frames(self, data: bytes) -> list[bytes]:
        """Pieces that end with the flag at a frame's end."""
        parts, begin = [], 0
        while begin < len(data):
            end = data.find(FLAG, begin + 1) + 1 or len(data)
            parts.append(data[begin:end])
            begin = end
        return parts

    def _fault(self, part: bytes) -> str | None:
        self.frames += 1
        if self._random.random() >= self.rate:
            return None
        fault = self._random.choice(self.faults)
        self.damaged[fault] += 1
        return fault

    def _damage(self, fault: str | None, part: bytes) -> bytes:
        pick: Callable[[int], int] = self._random.randrange
        data = bytearray(part)
        at = pick(len(data))
        some = self._random.choice((1, 1, 2, 4, 30))
        match fault:
            case "flip":
                for _ in range(some):
                    data[pick(len(data))] ^= 1 << pick(8)
            case "lose":
                del data[at:at + some]
            case "repeat":
                data[at:at] = data[at:at + some]
            case "reorder":
                end = min(len(data), at + 2 * some)
                middle = min(at + some, end)
                data[at:end] = data[middle:end] + data[at:middle]
            case "truncate":
                del data[at:]
            case "insert":
                data[at:at] = self._random.randbytes(some)
        return bytes(data)
