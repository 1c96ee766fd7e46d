"""Cycles of whole programs: front end, DMA, storage, gather and engine together."""
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arch import control, pipeline, units
from arch.geometry import Geometry
from arch.instruction import QUEUES, Instruction, Opcode
from arch.sdram import Timing
from arch.transfer import PIXEL, STORE_READ, WRITE
from golden.cycles.coded import coded_blocks
from golden.cycles.dma import DmaCycles
from golden.cycles.engine import EngineCycles
from golden.cycles.gather_port import UNKNOWN, GatherCycles
from golden.cycles.sequencer import SequencerCycles
from golden.cycles.storage import RamCycles, SdramStorage
from golden.cycles.weight_decoder import Block

__all__ = ["MachineTimeline", "run", "storage_of"]

NEXT = 2                # least cycles from an event to an offer that follows from it

# Commands behind which events of the gather may come earlier than was known: pixels for it, or other writes, which come or move.
# (One write moved may change by more than a cycle when the gather stops: it notices late that too many of its words wait.)
ABOUT_GATHER = frozenset((Opcode.GATHER, Opcode.COMPUTE, Opcode.LOAD_PIXELS, Opcode.LOAD_ACTIVATIONS, Opcode.STORE))


@dataclass(frozen=True, kw_only=True, eq=False)
class MachineTimeline:
    """A program in time; cycles, int64, as in `start`.

    `offered`, `taken`, `done`: for each queue, of its commands offered by the sequencer, taken by their units, completed. `end`:
    in which the machine shows it; `cycles`: what it counts. `written`: of the engine's writes to its activation memory, of all
    compute commands; `gathered`: of the gather's. `requests`: as `golden.cycles.dma.DmaCycles` has them.
    """

    start: int
    end: int
    offered: Mapping[str, np.ndarray]
    taken: Mapping[str, np.ndarray]
    done: Mapping[str, np.ndarray]
    written: np.ndarray
    gathered: np.ndarray
    requests: np.ndarray

    @property
    def cycles(self) -> int:
        return self.end - self.start - 1


def storage_of(timing: Timing | None, words: int) -> RamCycles | SdramStorage:
    """Storage from its reset on: an SDRAM, or so many words of block RAM."""
    return RamCycles(words) if timing is None else SdramStorage(timing)


def run(program: Sequence[Instruction], geometry: Geometry, storage: RamCycles | SdramStorage, *, address: int,
        start: int, contents: np.ndarray | None = None) -> MachineTimeline:
    """The timeline of a program at word `address` of storage, whose sequencer starts in cycle `start`.

    Cycles count from the reset of `storage`; requests of others before must have been made to it. `contents`: words of storage
    (uint16) from word 0 on, looked at for coded loads only. Raises ValueError for a program whose commands wait for ever, and for
    coded loads of blocks that are damaged, or without contents.
    """
    coded = [instruction.body for instruction in program if instruction.opcode is Opcode.LOAD_CODED]
    if coded and contents is None:
        raise ValueError("the cycles of coded loads follow from the contents of storage")
    return _Run(program, geometry, storage, address, start, coded_blocks(coded, contents)).follow()


class _Run:
    """All parts, followed in time: everything before cycle `now` is known, of every part.

    A part's events may depend on those of others that are earlier by some cycles at least, so that time goes on by the distance
    to the next event that is not known yet.
    """

    def __init__(self, program: Sequence[Instruction], geometry: Geometry, storage, address: int, start: int,
                 blocks: Iterable[Block] = ()):
        self.blocks = iter(blocks)                      # of coded loads to come
        self.geometry, self.now, self.start, self.address = geometry, start, start, address
        self.sequencer = SequencerCycles(program, start)
        self.dma, self.engine, self.gather = DmaCycles(geometry, storage), EngineCycles(geometry), GatherCycles(geometry)
        self.space = (1 << storage.timing.address_bits) if isinstance(storage, SdramStorage) else storage.words
        self.commands = {queue: [i for i in program if i.queue == queue] for queue in QUEUES}
        self.given = dict.fromkeys(QUEUES, 0)
        self.fetched = 0                                # requests for words given to the DMA
        self.pixels = 0                                 # taken, as the DMA was told
        self.told = {(queue, what): 0 for queue in ("gather", "compute") for what in ("taken", "done")}
        self.events: dict[tuple[str, str], list[int]] = {(queue, what): [] for queue in QUEUES for what in ("taken", "done")}
        self.writes: list[int] = []                     # of the DMA on the chip
        self.denied, self.stale = False, False          # the engine, the gather have not heard of all that
        self.due, self.missing = UNKNOWN, None          # see `_due`; pixels for which the DMA waits

    def follow(self) -> MachineTimeline:
        while self.sequencer.finished is None:
            self._tell()
            until = self.dma.follow(self.now, self._until(), self.sequencer.incomplete)
            if until is None:
                if self.sequencer.finished is None:
                    raise ValueError("program must not wait for ever")
                break
            assert until > self.now
            self.now = until
        arrays = {key: np.array(cycles, np.int64) for key, cycles in self.events.items()}
        return MachineTimeline(
            start=self.start, end=self.sequencer.finished,
            offered={queue: np.array(self.sequencer.offered[queue], np.int64) for queue in QUEUES},
            taken={queue: arrays[queue, "taken"] for queue in QUEUES}, done={queue: arrays[queue, "done"] for queue in QUEUES},
            written=np.concatenate([np.zeros(0, np.int64), *(c.written for c in self.engine.commands)]),
            gathered=self.gather.written, requests=self.dma.requests)

    def _tell(self) -> None:
        """Tells each part what the others did up to now, until no part changes any more."""
        dma, sequencer = self.dma, self.sequencer
        changed = True
        if dma.missing != self.missing:
            self.missing, self.due = dma.missing, self.now
        while changed:
            changed = False
            for _ in dma.new("fetch_taken"):
                sequencer.asked()
            words = dma.new("fetched")
            if words:
                sequencer.arrive(words)
                changed = True
            for queue in ("load", "store"):
                for what in ("taken", "done"):
                    for cycle in dma.new(f"{queue}_{what}"):
                        self._event(queue, what, cycle)
                        changed = True
            self._lend()
            changed |= self._units()
            changed |= self._offers()

    def _event(self, queue: str, what: str, cycle: int) -> None:
        self.events[queue, what].append(cycle)
        getattr(self.sequencer, what)(queue, cycle)

    def _lend(self) -> None:
        """Cycles in which the DMA uses the activation memory, and pixels that it offers."""
        reads, writes = self.dma.new("activation_reads"), self.dma.new("activation_writes")
        if reads or writes:
            self.writes += writes
            self.engine.lend(reads, [cycle - pipeline.WRITE_GRANT for cycle in writes])
            self.denied = self.stale = True
        pixels = self.dma.new("pixels")
        if pixels:
            self.gather.pixels(pixels)
            self.stale = True

    def _units(self) -> bool:
        """Events of engine and gather up to now."""
        due = self._gathering and self.due <= self.now
        # What is lent delays the engine: as long as nothing happens in it even without that, it need not know.
        if self.denied and (due or self._next("compute") <= self.now):
            self.engine.follow()
            self.denied, self.stale = False, True
        changed = self._events("compute")
        if due:
            if self.stale:
                self.gather.follow(self._others(self.gather.since), self.now)
                self.stale = False
            changed |= self._events("gather")
            until = bisect_right(self.gather.pixels_taken, self.now, lo=self.pixels)
            self.dma.take_pixels(self.gather.pixels_taken[self.pixels:until])
            self.pixels, changed = until, changed or until > self.pixels
            self.due = self._due()
        return changed

    def _events(self, queue: str) -> bool:
        """Tells the sequencer what happened in a unit up to now."""
        changed = False
        for what in ("taken", "done"):
            for cycle in self._cycles(queue, what):
                if cycle > self.now:
                    break
                self._event(queue, what, cycle)
                self.told[queue, what] += 1
                changed = True
        return changed

    def _due(self) -> int:
        """The first cycle in which something of the gather may concern others: an event, or a pixel taken for which the DMA
        waits. That holds until it waits for another, or one of `ABOUT_GATHER` is offered."""
        due, missing, known = self._next("gather"), self.dma.missing, self.gather.pixels_taken
        if missing is not None and missing > self.pixels:
            at = known[missing - 1] if missing <= len(known) else UNKNOWN
            due = min(due, at if at < UNKNOWN else self.now + PIXEL + max(missing - 1 - self.gather.known, 0))
        lent = self._lent()
        if lent is not None and due < UNKNOWN:
            due = min(due, self.now + lent)
        if self.gather.short and self.dma.busy():
            due = min(due, self.now + PIXEL + self.gather.short)
        return due

    def _others(self, since: int) -> np.ndarray:
        """Cycles from about `since` on in which somebody else than the gather writes activations."""
        parts = [np.array(self.writes[bisect_left(self.writes, since):], np.int64)]
        for command in reversed(self.engine.commands):
            if len(command.written):
                if command.written[-1] < since:
                    break
                parts.append(command.written)
        return np.sort(np.concatenate(parts))

    @property
    def _gathering(self) -> bool:
        # A gather may be done before it has taken pixels that no window uses.
        return self.told["gather", "done"] < self.given["gather"] or self.pixels < self.gather.wanted

    def _lent(self) -> int | None:
        """In how many cycles, at least, a write that is not known may meet the gather's: one of the DMA, or one of the engine
        behind a beat that waits for a store. None if there is none without a new command."""
        loads = self.commands["load"][len(self.events["load", "done"]):self.given["load"]]
        if any(load.opcode is Opcode.LOAD_ACTIVATIONS for load in loads):
            return WRITE
        return STORE_READ + units.vector(self.geometry) if len(self.events["store", "done"]) < self.given["store"] else None

    def _cycles(self, queue: str, what: str) -> list[int]:
        """Events that the sequencer was not yet told."""
        first = self.told[queue, what]
        if queue == "gather":
            return getattr(self.gather, what)[first:]
        return [getattr(command, what) for command in self.engine.commands[first:]]

    def _next(self, queue: str) -> int:
        """The next of these."""
        return min((cycles[0] for what in ("taken", "done") if (cycles := self._cycles(queue, what))), default=UNKNOWN)

    def _offers(self) -> bool:
        """Commands that the sequencer offers, to their units."""
        changed, offered = False, self.sequencer.offered
        for queue in QUEUES:
            while self.given[queue] < len(offered[queue]):
                command, cycle = self.commands[queue][self.given[queue]], offered[queue][self.given[queue]]
                assert cycle >= self.now, "an offer that nobody expected"
                self.given[queue] += 1
                match queue:
                    case "load":
                        block = next(self.blocks) if command.opcode is Opcode.LOAD_CODED else None
                        self.dma.load(command.opcode, command.body, cycle, block)
                    case "store":
                        self.dma.store(command.body, cycle)
                    case "gather":
                        self.gather.give(command.body, cycle)
                    case "compute":
                        self.engine.give(command.body, cycle)
                if command.opcode in ABOUT_GATHER:
                    self.due = self.now
                self.stale, changed = True, True
        fetches = self.sequencer.fetches
        if self.fetched < len(fetches) and fetches[self.fetched] <= self.now:
            self.dma.fetch((self.address + self.fetched * control.BURST) % self.space, control.BURST, fetches[self.fetched])
            self.fetched, changed = self.fetched + 1, True
        return changed

    def _until(self) -> int | None:
        """A cycle before which no part but the DMA itself can cause an event for it; None if no part could."""
        bounds = [self.sequencer.fetches[-1]] if self.fetched < len(self.sequencer.fetches) else []
        events = [self._next("compute"), self.due if self._gathering else UNKNOWN]
        bounds += [cycle + NEXT for cycle in events if cycle < UNKNOWN]
        return min(bounds, default=None)
