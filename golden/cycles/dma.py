"""Cycles of DMA and storage: every request, and what becomes of every word."""
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from arch.control import CHECK, FETCH_AGAIN, FIFO, SPREAD, TOKEN, UNPACK
from arch.geometry import Geometry
from arch.instruction import CodedTransfer, Opcode, PixelTransfer, Transfer
from arch.transfer import (
    CODED_BACK,
    CODED_BURST,
    CODED_COMMAND,
    CODED_PORT,
    CODED_WORDS,
    DECIDE,
    FETCHED,
    FIRST_BURST,
    FIRST_RUN,
    LOAD_BACK,
    LOADED,
    LOADS_AT_ONCE,
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
from golden.cycles import coded
from golden.cycles.coded import CodedCycles
from golden.cycles.sdram import Request, Served
from golden.cycles.storage import RamCycles, RamServed, SdramStorage
from golden.cycles.streams import NEVER
from golden.cycles.weight_decoder import Block

__all__ = ["SOURCES", "Burst", "DmaCycles", "bursts"]

SOURCES = ("fetch", "store", "load")        # of requests, in the arbiter's order

# Least cycles to an offer that follows, from: a decision of the arbiter, or a store's burst taken to be read (the next row of
# pixels; the next transfer needs a whole instruction); a word of storage that completes an instruction; the last word of a fetch.
# From a transfer's last word it is its strobe and `TOKEN`.
DECIDED = DECIDE + NEXT_RUN + FIRST_BURST
INSTRUCTION = FETCHED + FIFO + CHECK + SPREAD + FIFO + UNPACK
REQUESTED = FETCHED + FETCH_AGAIN


Body = Transfer | PixelTransfer | CodedTransfer


class Burst(NamedTuple):
    """`length` words of storage from `address` on, the first of them word `at` of its run; `end`: the last of its command."""

    opcode: Opcode | None               # None: fetched
    address: int
    length: int
    at: int
    end: bool
    body: Body | None


def bursts(geometry: Geometry, opcode: Opcode, body: Body) -> Iterator[Burst]:
    """The bursts of a transfer in order."""
    pixels, block = opcode is Opcode.LOAD_PIXELS, opcode is Opcode.LOAD_CODED
    words = body.row_words if pixels else body.words * places(geometry, opcode)
    most, runs = burst_words(geometry, opcode) * places(geometry, opcode), 1 if block else body.rows if pixels else body.runs
    for run in range(runs):
        start = body.storage + (run and run * body.storage_step)
        for at in range(0, words, most):
            length = min(most, words - at)
            yield Burst(opcode, start + at, length, at, run == runs - 1 and at + length == words, body)


@cache
def _completing(width: int, channels: int) -> np.ndarray:
    """For each pixel of a row, the word that completes it."""
    return (np.arange(1, width + 1) * channels - 1) // 2


class _Transfers:
    """A walk through one transfer after the other: when each is taken, and each burst offered."""

    def __init__(self, geometry: Geometry, taken: list[int]):
        self.geometry, self.taken = geometry, taken
        self.opcodes: list[Opcode] = []         # of those taken
        self.commands: deque[tuple[Opcode, Body, int, Block | None]] = deque()
        self.walk: Iterator[Burst] = iter(())
        self.burst: Burst | None = None         # the next one
        self.earliest = 0                       # cycle in which it is offered, if it is not `checked`
        self.reserved = 0                       # pixels, of rows before the next one
        self.words = 0                          # of coded loads, in bursts before the next one
        self.free = 0                           # the next transfer may be taken
        self.checked: int | None = None         # a row of pixels would be checked now, were there room
        self.coded: CodedCycles | None = None
        self.done: list[int] | None = None      # completions, if they limit how many are under way

    def give(self, opcode: Opcode, body: Body, offered: int, block: Block | None = None) -> None:
        self.commands.append((opcode, body, offered, block))
        self.begin()

    def begin(self) -> None:
        """The next transfer is taken, if there is one, and its turn is known."""
        if self.burst is not None or not self.commands:
            return
        free, behind = self.free, len(self.taken) - LOADS_AT_ONCE
        if self.done is not None and behind >= 0:
            if behind >= len(self.done):
                return
            free = max(free, self.done[behind] + LOAD_BACK)
        opcode, body, offered, block = self.commands.popleft()
        self.walk = bursts(self.geometry, opcode, body)
        self.taken.append(max(offered, free))
        self.opcodes.append(opcode)
        checked = self.taken[-1] + FIRST_RUN
        if block is not None:
            self.coded.give(block, checked + CODED_COMMAND)
        self._prepare(next(self.walk), checked)

    def _prepare(self, burst: Burst, checked: int) -> None:
        """The next burst is the first of its run."""
        self.burst, self.earliest = burst, checked + FIRST_BURST
        if burst.opcode is Opcode.LOAD_PIXELS:
            self.checked = checked

    @property
    def missing(self) -> int | None:
        """How many pixels must have been taken before the row that waits for room can be asked for; None if no row waits."""
        return None if self.checked is None else self.reserved + self.burst.body.width - PIXELS

    @property
    def short(self) -> int | None:
        """How many words the decoder must take before the next burst can be offered, more than those that it is known to take: 0
        for none; None for a load that waits until others are completed."""
        if self.burst is None:
            return None if self.commands else 0
        if self.burst.opcode is not Opcode.LOAD_CODED:
            return 0
        return max(self._full - len(self.coded.taken), 0)

    @property
    def _full(self) -> int:
        """Words that the decoder must have taken before the next burst of a coded load has room."""
        return self.words + CODED_BURST - CODED_WORDS

    def find(self, pixels_taken: list[int]) -> int:
        """Cycle in which the next burst is offered; NEVER if that is not known."""
        self.begin()
        if self.burst is None or self.coded is not None and self.short:
            return NEVER
        if self.burst.opcode is Opcode.LOAD_CODED and self._full > 0:
            return max(self.earliest, self.coded.taken[self._full - 1] + CODED_BACK)
        if self.checked is not None:
            missing = self.missing
            if missing > len(pixels_taken):
                return NEVER
            if missing > 0:
                self.checked = max(self.checked, pixels_taken[missing - 1] + PIXEL_BACK)
            self.reserved += self.burst.body.width
            self.earliest, self.checked = self.checked + FIRST_BURST, None
        return self.earliest

    def take(self, cycle: int) -> Burst:
        """The burst that was offered is taken."""
        taken, following = self.burst, next(self.walk, None)
        if taken.opcode is Opcode.LOAD_CODED:
            self.words += taken.length
        if following is None:
            self.burst, self.free = None, cycle + NEXT_TRANSFER
            self.begin()
        elif following.at:
            self.burst, self.earliest = following, cycle + NEXT_BURST
        else:
            self._prepare(following, cycle + NEXT_RUN)
        return taken


class DmaCycles:
    """The DMA in time, counted from the end of reset, in front of `storage`, which nobody else uses.

    Give commands in the order of their queue with the cycle from which on each is offered, and the cycles in which pixels are
    taken; `follow` then goes as far as nobody can answer to what happens. What matters before that cycle must have been given:
    then one pass in time is enough, even if later offers depend on completions. With everything known, `finish` does it at once.
    Transfers must be within their memories: the model knows no faults.

    Arrays, int64, of what is known so far:

    - `load_done`, `store_done`: cycles in which the strobes are high.
    - `load_taken`, `store_taken`: in which commands are taken, of those that were.
    - `activation_writes`: at the engine's port; `write_grant` is low `pipeline.WRITE_GRANT` cycles before.
    - `weight_writes`, `coded_writes`: at the engine's port, of plain words and of decoded ones.
    - `activation_reads`: cycles with `read_grant` low.
    - `pixels`: cycles from which on pixels are offered, if the pixel before has been taken.
    - `fetched`: cycles of the program's words. `fetch_taken`: of the fetches.
    - `requests`: (n, 4) cycle taken by storage, `SOURCES` number, address, length.
    """

    def __init__(self, geometry: Geometry, storage: RamCycles | SdramStorage):
        self.geometry, self.storage = geometry, storage
        self._fetches: deque[tuple[int, int, int]] = deque()
        self._pixels_taken: list[int] = []
        self._free = 0                  # of the arbiter
        self._fetch_free = 0
        # Stores: cycle in which the reader is free, and the burst that it asks for; last words of earlier bursts.
        self._reader, self._asks = 0, None
        self._stored: deque = deque([None, None], maxlen=2)
        self._passing: deque[tuple] = deque()       # burst, served
        self._words_seen = 0                        # of the first of these
        self._answer = NEVER                        # others may answer from this cycle on to what happened
        self._instruction = 0                       # see `follow`
        self._out: dict[str, list] = {name: [] for name in (
            "load_done", "store_done", "activation_writes", "weight_writes", "activation_reads", "pixels", "fetched",
            "load_taken", "store_taken", "fetch_taken", "requests")}
        self._seen = dict.fromkeys(self._out, 0)
        self._loads = _Transfers(geometry, self._out["load_taken"])
        self._stores = _Transfers(geometry, self._out["store_taken"])
        self._coded: CodedCycles | None = None
        if "decoder" in geometry.options:
            self._coded = self._loads.coded = CodedCycles(geometry, self._loads.opcodes, self._out["load_done"])
            self._loads.done = self._out["load_done"]

    def load(self, opcode: Opcode, body: Body, offered: int, block: Block | None = None) -> None:
        """`block`: of a coded load, what `golden.cycles.coded.coded_blocks` says of it."""
        self._loads.give(opcode, body, offered, block)

    def store(self, body: Transfer, offered: int) -> None:
        self._stores.give(Opcode.STORE, body, offered)

    def fetch(self, address: int, length: int, offered: int) -> None:
        """1..512 words, from an address that has the bits of storage's."""
        self._fetches.append((address, length, offered))

    def take_pixels(self, cycles: Iterable[int]) -> None:
        """The next pixels are taken in the given cycles."""
        self._pixels_taken += map(int, cycles)

    @property
    def missing(self) -> int | None:
        """How many pixels must have been taken before the row that waits for room can be asked for; None if no row waits."""
        return self._loads.missing

    def busy(self) -> bool:
        """Whether anything will happen without a new command, or pixels taken."""
        return bool(self._passing or self._fetches or self._asks or self._stores.burst
                    or self._loads.find(self._pixels_taken) < NEVER or self._coded and self._coded.busy)

    def new(self, name: str) -> list:
        """What one of the arrays got since the last time it was asked for here."""
        found, first = self._out[name], self._seen[name]
        if len(found) == first:
            return []
        self._seen[name] = len(found)
        return found[first:]

    def follow(self, now: int, until: int | None, words: int) -> int | None:
        """Follows everything from cycle `now` on, before which all is known: up to the cycle before the one that is returned.

        That is `until`, or an earlier one in which something may be offered to the DMA because of what happened; None if nothing
        happens any more and `until` is None. `words`: of the program, up to the next one that completes an instruction.
        """
        self._answer, self._instruction = NEVER if until is None else until, words
        for burst, served in self._passing:             # at most one: only the last request has words that are not decided
            self._await(burst, served)
        if self._coded:
            self._coded.advance(now)
            self._expect(self._coded.least + TOKEN)
        while self._decide():
            pass
        if self._answer == NEVER:
            return None
        self._settle(self._answer)
        return self._answer

    def finish(self) -> None:
        """Follows everything that was given to its end. Nothing must be given afterwards."""
        while self._decide(finish=True):
            pass
        self.storage.finish()
        self._collect()
        if self._coded:
            self._coded.advance(NEVER)

    def _settle(self, until: int) -> None:
        """All words before `until` pass; the arbiter decides nothing before it any more."""
        self.storage.settle(until - 1)
        self._collect()
        if self._coded:
            self._coded.advance(until)
            self._loads.begin()

    def _expect(self, cycle: int) -> None:
        """Others may answer in this cycle."""
        self._answer = min(self._answer, cycle)

    def _await(self, burst: Burst, served: Served | RamServed) -> None:
        """Others may answer to words of a burst of which nobody was told yet."""
        if not burst.end:
            return
        last = served.earliest(burst.length - 1, self.storage.column)
        if burst.opcode is not None:
            loaded = coded.LEAST if burst.opcode is Opcode.LOAD_CODED else LOADED
            self._expect(last + (STORED if burst.opcode is Opcode.STORE else loaded) + TOKEN)
            return
        self._expect(last + REQUESTED)
        seen = self._words_seen if burst is self._passing[0][0] else 0
        if 0 < self._instruction <= burst.length - seen:
            self._expect(served.earliest(seen + self._instruction - 1, self.storage.column) + INSTRUCTION)
        self._instruction -= burst.length - seen

    def _offers(self) -> tuple[int, int, int]:
        """Cycles in which each of `SOURCES` offers its next request; NEVER for those of which that is not known."""
        fetch = max(self._fetches[0][2], self._fetch_free) if self._fetches else NEVER
        return fetch, self._read(), self._loads.find(self._pixels_taken)

    def _read(self) -> int:
        """Cycle in which the next request of a store is offered; its words are read. NEVER if there is none."""
        if self._asks is None:
            offered = self._stores.find(self._pixels_taken)
            if offered == NEVER:
                return NEVER
            before = self._stored[0]            # the burst before the last: all its words are decided
            half = before.last + STORE_BACK if before else 0
            taken = max(offered, self._reader, half)
            burst = self._stores.take(taken)
            count = burst.length // places(self.geometry, Opcode.STORE)
            self._out["activation_reads"] += range(taken + STORE_READ, taken + STORE_READ + count)
            self._reader, self._asks = taken + count + STORE_READ - 1, (burst, taken + STORE_REQUEST)
            if burst.end:
                self._expect(taken + DECIDED)
        return self._asks[1]

    def _known(self, finish: bool) -> tuple[int, int, int]:
        """What is offered next, as far as it matters: time goes on until a load's offer is known that may be the first."""
        while True:
            offers = self._offers()
            short = self._loads.short if self._coded else 0
            if short == 0:
                return offers
            # Some words must be taken, one a cycle; or a load be completed.
            known = self._coded.known
            least = max(self._free, known + LOAD_BACK + FIRST_RUN if short is None else known + short - 1 + CODED_BACK)
            if min(offers) <= least or least >= self._answer and not finish:
                return offers
            self._settle(least)

    def _decide(self, *, finish: bool = False) -> bool:
        """The arbiter's next decision, if it falls before others may answer, or to the end."""
        offers = self._known(finish)
        cycle = max(self._free, min(offers))
        if cycle >= (NEVER if finish else self._answer):
            return False
        taken = cycle + DECIDE
        source = 0 if offers[0] <= cycle else 1 if offers[1] <= cycle else 2
        if source == 0:
            address, length, _ = self._fetches.popleft()
            self._fetch_free = taken + 1
            self._out["fetch_taken"].append(taken)
            burst = Burst(None, address, length, 0, True, None)
        elif source == 1:
            burst, self._asks = self._asks[0], None
            self._reader = max(self._reader, taken + 1)
        else:
            burst = self._loads.take(taken)
        # Whoever gives the pixels' places back may have changed.
        if burst.end or source == 2 and self._loads.missing is not None:
            self._expect(cycle + DECIDED)
        served = self.storage.request(
            Request(write=source == 1, address=burst.address, length=burst.length, offered=taken + 1))
        self._free = served.taken + 1
        if source == 1:
            self._stored.append(served)
        self._out["requests"].append((served.taken, source, burst.address, burst.length))
        self._passing.append((burst, served))
        self._await(burst, served)
        if len(self._passing) > 16:
            self._collect()
        return True

    def _collect(self) -> None:
        """What becomes of the words that were decided since the last time."""
        out = self._out
        while self._passing:
            burst, served = self._passing[0]
            seen, count = self._words_seen, served.count
            if count > seen:
                match burst.opcode:
                    case None:
                        out["fetched"] += (served.words[seen:] + FETCHED).tolist()
                    case Opcode.LOAD_ACTIVATIONS:
                        size = places(self.geometry, burst.opcode)
                        out["activation_writes"] += (served.words[size - 1::size][seen // size:] + WRITE).tolist()
                    case Opcode.LOAD_PIXELS:
                        out["pixels"] += self._pixels(burst, served.words, seen)
                    case Opcode.LOAD_WEIGHTS:
                        size = places(self.geometry, burst.opcode)
                        writes = served.words[size - 1::size][seen // size:] + WRITE
                        if self._coded:
                            self._coded.write(writes)
                            writes = writes + CODED_PORT
                        out["weight_writes"] += writes.tolist()
                    case Opcode.LOAD_CODED:
                        self._coded.come(served.words[seen:])
            if count < burst.length:
                self._words_seen = count
                return
            if burst.end and burst.opcode is not None:
                self._complete(burst.opcode, served.last)
            self._passing.popleft()
            self._words_seen = 0

    def _complete(self, opcode: Opcode, last: int) -> None:
        """The last word of a transfer was decided."""
        if opcode is Opcode.STORE:
            self._out["store_done"].append(last + STORED)
        elif self._coded is None:
            self._out["load_done"].append(last + LOADED)
        elif opcode is not Opcode.LOAD_CODED:
            self._coded.complete(last + LOADED)

    @staticmethod
    def _pixels(burst: Burst, words: np.ndarray, seen: int) -> list[int]:
        """Cycles in which the pixels that a burst's words from number `seen` on complete are offered."""
        completing = _completing(burst.body.width, burst.body.channels)
        first, last = np.searchsorted(completing, (burst.at + seen, burst.at + len(words)))
        second = np.arange(first, last) % 2 if burst.body.channels == 1 else 0
        return (words[completing[first:last] - burst.at] + PIXEL + second).tolist()

    @property
    def coded_writes(self) -> np.ndarray:
        return np.array(self._coded.given if self._coded else [], np.int64) + CODED_PORT

    def __getattr__(self, name: str) -> np.ndarray:
        if name.startswith("_") or name not in self._out:
            raise AttributeError(name)
        return np.array(self._out[name], np.int64).reshape((-1, 4) if name == "requests" else -1)
