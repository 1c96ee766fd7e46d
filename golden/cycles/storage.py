"""Cycles of storage, block RAM or SDRAM, as the DMA sees it."""
import numpy as np

from arch.transfer import RAM_READ
from golden.cycles.sdram import Request, SdramCycles

__all__ = ["RamCycles", "RamServed", "SdramStorage"]


class RamServed:
    """A request in time, as `Served`: `taken` is the cycle in which it was taken, `words` those of its words."""

    def __init__(self, request: Request, taken: int, words: np.ndarray):
        self.request, self.taken, self.words = request, taken, words
        self.count, self.last = len(words), int(words[-1]) if len(words) else taken

    def earliest(self, number: int, column: int) -> int:
        """A word's cycle; see `Served`."""
        return int(self.words[number])


class RamCycles:
    """Storage of `words` words in time, counted from the end of reset, request by request. All is decided at once."""

    def __init__(self, words: int):
        self.words, self.free = words, 0        # the next request may be taken in this cycle
        self.column = 0                         # nothing is left to decide

    def request(self, request: Request) -> RamServed:
        """The next request. Raises ValueError for an address or a length that storage cannot be given."""
        bits = (self.words - 1).bit_length()
        if not 0 <= request.address < 1 << bits:
            raise ValueError(f"Address must be 0..{(1 << bits) - 1} words, not {request.address}")
        if not 0 <= request.length < 1 << 17:
            raise ValueError(f"Length must be 0..131071 words, not {request.length}")
        taken = max(self.free, request.offered)
        turn = taken + 1 + np.arange(request.length, dtype=np.int64)
        self.free = taken + 1 + request.length
        return RamServed(request, taken, turn if request.write else turn + RAM_READ)

    def finish(self) -> None:
        """Nothing is left to decide."""

    def settle(self, cycle: int) -> None:
        """Nothing is left to decide."""


class SdramStorage(SdramCycles):
    """`SdramCycles` that can be asked before all requests are known."""

    def settle(self, cycle: int) -> None:
        """Decides all words up to and with those of `cycle`. No request must follow that was offered before the next cycle."""
        while self.hold <= cycle and self._busy_after(self.hold):
            self._refresh()
        self._columns(cycle + 1)
