"""Cycles of DMA and storage: every request, and what becomes of every word."""
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from arch.geometry import Geometry
from arch.instruction import Opcode, PixelTransfer, Transfer
from arch.transfer import (
    CHECK,
    DECIDE,
    FETCHED,
    FIRST_BURST,
    LOADED,
    NEXT_BURST,
    NEXT_RUN,
    NEXT_TRANSFER,
    PIXEL,
    PIXEL_BACK,
    PIXELS,
    STORE_BACK,
    STORE_READ,
    STORE_REQUEST,
    STORED,
    WRITE,
    burst_words,
    places,
)
from golden.cycles.sdram import Request
from golden.cycles.storage import RamCycles, SdramStorage

__all__ = ["SOURCES", "Burst", "DmaCycles", "bursts"]

SOURCES = ("fetch", "store", "load")        # of requests, in the arbiter's order

# Least cycles from a decision of the arbiter, and from a word of the program that is not the last one asked for, to an offer
# that follows from it.
DECIDED, PROGRAM_WORD = 5, 12

_NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Burst:
    """`length` words of storage from `address` on, the first of them word `at` of its run; `end`: the last of its command."""

    opcode: Opcode | None               # None: fetched
    address: int
    length: int
    at: int
    end: bool
    body: Transfer | PixelTransfer | None


def bursts(geometry: Geometry, opcode: Opcode, body: Transfer | PixelTransfer) -> Iterator[Burst]:
    """The bursts of a transfer in order."""
    pixels = opcode is Opcode.LOAD_PIXELS
    words = body.row_words if pixels else body.words * places(geometry, opcode)
    most, runs = burst_words(geometry, opcode) * places(geometry, opcode), body.rows if pixels else body.runs
    for run in range(runs):
        start = body.storage + run * body.storage_step
        for at in range(0, words, most):
            length = min(most, words - at)
            yield Burst(opcode, start + at, length, at, run == runs - 1 and at + length == words, body)


@cache
def _completing(width: int, channels: int) -> np.ndarray:
    """For each pixel of a row, the word that completes it."""
    return (np.arange(1, width + 1) * channels - 1) // 2


class _Transfers:
    """A walk through one transfer after the other: when each burst is offered."""

    def __init__(self, geometry: Geometry, taken: list[list[int]]):
        self.geometry, self.taken = geometry, taken
        self.commands: deque[tuple[Opcode, Transfer | PixelTransfer, int]] = deque()
        self.walk: Iterator[Burst] = iter(())
        self.burst: Burst | None = None         # the next one
        self.earliest: int | None = 0           # cycle in which it is offered, if that is known
        self.reserved = 0                       # pixels, of rows before the next one
        self.free = 0                           # the next transfer may be taken
        self.checked: int | None = None         # a row of pixels would be checked now, were there room

    def give(self, opcode: Opcode, body: Transfer | PixelTransfer, offered: int) -> None:
        self.commands.append((opcode, body, offered))

    def find(self, pixels_taken: np.ndarray) -> int | None:
        """Cycle in which the next burst is offered; None if that is not known."""
        if self.burst is None:
            if not self.commands:
                return None
            opcode, body, offered = self.commands.popleft()
            self.walk = bursts(self.geometry, opcode, body)
            self.taken.append([max(offered, self.free)])
            self._prepare(next(self.walk), self.taken[-1][0] + FIRST_BURST)
        if self.checked is not None:
            missing = self.reserved + self.burst.body.width - PIXELS        # pixels that must have left
            if missing > len(pixels_taken):
                return None
            if missing > 0:
                self.checked = max(self.checked, int(pixels_taken[missing - 1]) + PIXEL_BACK)
            self.reserved += self.burst.body.width
            self.earliest, self.checked = self.checked + CHECK, None
        return self.earliest

    def _prepare(self, burst: Burst, checked: int) -> None:
        """The next burst is the first of its run."""
        self.burst, self.earliest = burst, checked + CHECK
        if burst.opcode is Opcode.LOAD_PIXELS:
            self.checked = checked

    def take(self, cycle: int) -> Burst:
        """The burst that was offered is taken."""
        taken, following = self.burst, next(self.walk, None)
        if following is None:
            self.burst, self.free = None, cycle + NEXT_TRANSFER
        elif following.at:
            self.burst, self.earliest = following, cycle + NEXT_BURST
        else:
            self._prepare(following, cycle + NEXT_RUN)
        return taken


class DmaCycles:
    """The DMA in time, counted from the end of reset, in front of `storage`, which nobody else uses.

    Give commands in the order of their queue with the cycle from which on each is offered, and the cycles in which pixels are
    taken; `advance` then follows all that happens before a cycle. What matters before that cycle must have been given: then
    one pass in time is enough, even if later offers depend on completions. With everything known, `finish` does it at once.
    Transfers must be within their memories: the model knows no faults.

    Arrays, int64, of what is known so far:

    - `load_done`, `store_done`: cycles in which the strobes are high.
    - `load_taken`, `store_taken`: in which commands are taken, of those that were.
    - `activation_writes`: at the engine's port; `write_grant` is low `pipeline.WRITER` cycles before.
    - `activation_reads`: cycles with `read_grant` low.
    - `pixels`: cycles from which on pixels are offered, if the pixel before has been taken.
    - `fetched`: cycles of the program's words. `fetch_taken`: of the fetches.
    - `requests`: (n, 4) cycle taken by storage, `SOURCES` number, address, length.
    """

    def __init__(self, geometry: Geometry, storage: RamCycles | SdramStorage):
        self.geometry, self.storage = geometry, storage
        self._fetches: deque[tuple[int, int, int]] = deque()
        self._pixels_taken = np.zeros(0, np.int64)
        self._free = 0                  # of the arbiter
        self._fetch_free = 0
        # Stores: cycle in which the reader is free, and the burst that it asks for; last words of earlier bursts.
        self._reader, self._asks = 0, None
        self._stored: deque = deque([None, None], maxlen=2)
        self._passing: deque[list] = deque()        # [burst, served, words seen]
        self._seen: dict[str, int] = {}
        self._out: dict[str, list] = {name: [] for name in (
            "load_done", "store_done", "activation_writes", "activation_reads", "pixels", "fetched", "load_taken", "store_taken",
            "fetch_taken", "requests")}
        self._loads = _Transfers(geometry, self._out["load_taken"])
        self._stores = _Transfers(geometry, self._out["store_taken"])

    def load(self, opcode: Opcode, body: Transfer | PixelTransfer, offered: int) -> None:
        self._loads.give(opcode, body, offered)

    def store(self, body: Transfer, offered: int) -> None:
        self._stores.give(Opcode.STORE, body, offered)

    def fetch(self, address: int, length: int, offered: int) -> None:
        """1..512 words, from an address that has the bits of storage's."""
        self._fetches.append((address, length, offered))

    def take_pixels(self, cycles: Iterable[int]) -> None:
        """The next pixels are taken in the given cycles."""
        self._pixels_taken = np.append(self._pixels_taken, np.asarray(cycles, np.int64))

    def _read(self) -> int | None:
        """Cycle in which the next request of a store is offered; its words are read."""
        offered = self._stores.find(self._pixels_taken)         # a command may be taken while a burst waits
        if self._asks is None:
            if offered is None:
                return None
            before = self._stored[0]            # the burst before the last: all its words are decided
            half = int(before.words[-1]) + STORE_BACK if before else 0
            taken = max(offered, self._reader, half)
            burst = self._stores.take(taken)
            count = burst.length // places(self.geometry, Opcode.STORE)
            self._out["activation_reads"].append(taken + STORE_READ + np.arange(count))
            self._reader, self._asks = taken + count + STORE_READ - 1, (burst, taken + STORE_REQUEST)
            self._stores.find(self._pixels_taken)
        return self._asks[1]

    def advance(self, until: int) -> None:
        """Follows everything up to the cycle before `until`."""
        while self._decide(until):
            pass
        self.storage.settle(until - 1)
        self._collect()

    def new(self, name: str) -> np.ndarray:
        """What one of the arrays got since the last time it was asked for here."""
        parts, first = self._out[name], self._seen.get(name, 0)
        if len(parts) == first:
            return _NOTHING
        self._seen[name] = len(parts)
        return np.concatenate([np.asarray(part, np.int64) for part in parts[first:]])

    @property
    def missing(self) -> int | None:
        """How many pixels must have been taken before the row that waits for room can be asked for; None if no row waits."""
        row = self._loads.burst if self._loads.checked is not None else None
        return None if row is None else self._loads.reserved + row.body.width - PIXELS

    def horizon(self, now: int) -> int | None:
        """A cycle before which nothing can be offered that follows from what `advance` up to `now` left unknown. None if nothing
        more can come without a new command."""
        fetch = max(self._fetches[0][2], self._fetch_free) if self._fetches else None
        offers = [cycle for cycle in (fetch, self._read(), self._loads.find(self._pixels_taken)) if cycle is not None]
        bounds = [max(self._free, now, min(offers)) + DECIDED] if offers else []
        before = now                                    # the next word that is not known comes then at the earliest
        for burst, served, _ in self._passing:
            known = len(served.words)
            if known == burst.length:
                continue
            last = before + burst.length - known - 1
            if burst.opcode is None:
                bounds += [last + FETCHED + 2, before + FETCHED + PROGRAM_WORD]
            elif burst.end:
                bounds.append(last + 4)
            else:
                bounds.append(last + 2)
            before = last + 1
        return min(bounds, default=None)

    def finish(self) -> None:
        """Follows everything that was given to its end. Nothing must be given afterwards."""
        while self._decide(None):
            pass
        self.storage.finish()
        self._collect()

    def _decide(self, until: int | None) -> bool:
        """The arbiter's next decision, if it falls before `until`."""
        fetch = max(self._fetches[0][2], self._fetch_free) if self._fetches else None
        offers = fetch, self._read(), self._loads.find(self._pixels_taken)
        known = [cycle for cycle in offers if cycle is not None]
        if not known:
            return False
        cycle = max(self._free, min(known))
        if until is not None and cycle >= until:
            return False
        taken = cycle + DECIDE
        source = next(n for n, offered in enumerate(offers) if offered is not None and offered <= cycle)
        if source == 0:
            address, length, _ = self._fetches.popleft()
            self._fetch_free = taken + 1
            self._out["fetch_taken"].append([taken])
            burst = Burst(None, address, length, 0, False, None)
        elif source == 1:
            burst, self._asks = self._asks[0], None
            self._reader = max(self._reader, taken + 1)
        else:
            burst = self._loads.take(taken)
        served = self.storage.request(
            Request(write=source == 1, address=burst.address, length=burst.length, offered=taken + 1))
        self._free = served.taken + 1
        if source == 1:
            self._stored.append(served)
        self._out["requests"].append([(served.taken, source, burst.address, burst.length)])
        self._passing.append([burst, served, 0])
        if len(self._passing) > 16:
            self._collect()
        return True

    def _collect(self) -> None:
        """What becomes of the words that were decided since the last time."""
        out = self._out
        while self._passing:
            burst, served, seen = self._passing[0]
            words = served.words
            new = words[seen:]
            match burst.opcode:
                case None:
                    out["fetched"].append(new + FETCHED)
                case Opcode.LOAD_ACTIVATIONS:
                    size = places(self.geometry, burst.opcode)
                    out["activation_writes"].append(words[size - 1::size][seen // size:] + WRITE)
                case Opcode.LOAD_PIXELS:
                    completing = _completing(burst.body.width, burst.body.channels)
                    first, last = np.searchsorted(completing, (burst.at + seen, burst.at + len(words)))
                    part = completing[first:last] - burst.at
                    second = np.arange(first, last) % 2 if burst.body.channels == 1 else 0
                    out["pixels"].append(words[part] + PIXEL + second)
            if len(words) < burst.length:
                self._passing[0][2] = len(words)
                return
            if burst.end:
                store = burst.opcode is Opcode.STORE
                out["store_done" if store else "load_done"].append(words[-1:] + (STORED if store else LOADED))
            self._passing.popleft()

    def __getattr__(self, name: str) -> np.ndarray:
        if name.startswith("_") or name not in self._out:
            raise AttributeError(name)
        shape = (0, 4) if name == "requests" else (0,)
        return np.concatenate([np.zeros(shape, np.int64), *self._out[name]])
