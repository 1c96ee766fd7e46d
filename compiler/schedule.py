"""Which stages run together, in bands of how many rows, and which buffers leave the chip: the cheapest way that fits.

A buffer that one group writes and another reads is either whole in activation memory or *spilled*: stored by rows and loaded
again, by rows, by whoever reads it. The input of a network without gather and its output are in storage anyway. All ways to cut
the stages into groups are compared by dynamic programming over the cuts, by their estimated cycles.
"""
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from arch.geometry import Geometry
from compiler.groups import (
    Cuts,
    Order,
    Step,
    brought_rows,
    chunked,
    interleaved,
    ring_rows,
    rows_for,
    step_cycles,
    turns,
    visible_after,
    weight_words,
)
from compiler.stages import Buffer, NetworkError, Problem, Stage, Stages

__all__ = ["Group", "Local", "schedule"]

LONGEST = 16            # stages of a group at most
MOST_STREAMED = 3       # times the weight memory: weights of a group at most
LOAD_SHARE = 0.93       # of the storage's words that long loads reach
RUN_CYCLES = 14         # lost by a run of a transfer that does not follow on
MOST_NARROW = 6         # words of a pixel that are stored together, where not all have room: more are stored too late
SPILL_CYCLES = 2        # for each word of a spilled buffer that is moved, so that buffers stay where time is not lost by it
GROUP_CYCLES = 200      # a group's start, so that of equal schedules the one with fewer groups is taken


@dataclass(frozen=True)
class _Ahead:
    """How many bands of what is brought find room, see `brought_rows`."""

    bands: int
    beside_late: bool = True


_AHEAD = (_Ahead(2), _Ahead(2, beside_late=False), _Ahead(1))       # the first that fits is taken


@dataclass(eq=False)
class Local:
    """Words `words` of the pixels of a buffer, `rows` rows of them, in activation memory while a group runs.

    `brought`: from storage or by the gather; `stored`: to storage. `narrow`: only so many of the words at a time, those of one
    or several chunks, in `copies` places in turn.
    """

    buffer: Buffer
    words: range
    rows: int
    brought: bool = False
    stored: bool = False
    narrow: int = 0
    copies: int = 1
    base: int = -1

    @property
    def size(self) -> int:
        """Activation words."""
        return self.copies * self.rows * self.buffer.width * (self.narrow or len(self.words))

    def beside(self, words: range) -> range:
        """The words of a pixel that lie side by side with some of them."""
        if not self.narrow:
            return self.words
        first = words.start - (words.start - self.words.start) % self.narrow
        return range(first, min(first + self.narrow, self.words.stop))

    @property
    def whole(self) -> bool:
        return self.rows == self.buffer.height and not self.narrow


@dataclass(eq=False)
class Group:
    """Stages first..last - 1, their steps in order, and the buffers on the chip meanwhile, among them those `kept` for later."""

    first: int
    last: int
    order: Order
    locals: dict[Buffer, Local]
    kept: tuple[Buffer, ...]
    cycles: float                       # estimated
    compute_cycles: int
    storage_words: int

    @property
    def stages(self) -> Sequence[Stage]:
        return self.order.stages


@dataclass(eq=False)
class _Node:
    """The best way to run all stages before a cut with these buffers whole on the chip."""

    cycles: float
    group: Group | None = None
    before: "_Node | None" = None
    here: frozenset = frozenset()
    groups: list[Group] = field(default_factory=list)


def schedule(stages: Stages, geometry: Geometry, capacity: int | None = None) -> list[Group]:
    """The groups in order. `capacity`: activation words to use at most. Raises NetworkError where nothing fits."""
    return _Scheduler(stages, geometry, capacity or geometry.activation_words).run()


class _Scheduler:
    def __init__(self, stages: Stages, geometry: Geometry, capacity: int):
        self.all, self.stages, self.geometry, self.capacity = stages, stages.stages, geometry, capacity
        self.buffers: dict[Buffer, tuple[int, int, int]] = {}       # first writer, last writer, last reader (stage numbers)
        for n, stage in enumerate(self.stages):
            for buffer, reads in ((stage.source, True), (stage.target, False)):
                first, wrote, read = self.buffers.get(buffer, (n, -1, -1))
                self.buffers[buffer] = (first, wrote if reads else n, n if reads else read)
        self.cuts = Cuts()
        self.costs: dict[Order, int] = {}
        self.locals: dict[tuple[Order, Buffer, bool, _Ahead], Local | None] = {}
        self.least: dict[tuple[int, int], float] = {}

    def run(self) -> list[Group]:
        count = len(self.stages)
        nodes: list[dict[frozenset, _Node]] = [{} for _ in range(count + 1)]
        nodes[0][frozenset()] = _Node(0)
        reached = 0
        for first in range(count):
            if not nodes[first]:
                continue
            reached = first
            for last in range(first + 1, min(count, first + LONGEST) + 1):
                orders = list(self._orders(first, last))
                if not orders and last > first + 1 and self._too_big(first, last):
                    break
                for node in nodes[first].values():
                    for group, kept in self._groups(orders, first, last, node, nodes[last]):
                        cycles = node.cycles + group.cycles
                        old = nodes[last].get(kept)
                        if old is None or cycles < old.cycles:
                            nodes[last][kept] = _Node(cycles, group, node, kept)
        if not nodes[count]:
            raise NetworkError(self._problems(reached, nodes[reached]))
        node, groups = min(nodes[count].values(), key=lambda node: node.cycles), []
        while node.group:
            groups.append(node.group)
            node = node.before
        return groups[::-1]

    # Orders

    def _too_big(self, first: int, last: int) -> bool:
        part, geometry = self.stages[first:last], self.geometry
        return (sum(map(weight_words, part)) > MOST_STREAMED * geometry.weight_words
                or sum(stage.work.blocks * stage.work.places for stage in part) > geometry.pool_words)

    def _orders(self, first: int, last: int) -> Iterator[Order]:
        if last == first + 1:
            yield from self._single(self.stages[first])
            return
        part = self.stages[first:last]
        if self._too_big(first, last) or any(s.work.average and s.work.size[0] * s.work.size[1] > self.geometry.band_pixels
                                             for s in part):
            return
        height, tried, cut = part[-1].target.height, set(), set()
        for rows in sorted({min(height, r) for r in (1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 16, 20, 28, 1023)}):
            band_rows = tuple(rows_for(self.geometry, stage, rows / height) for stage in part)
            if band_rows in cut:
                continue
            cut.add(band_rows)
            order = None
            for order in interleaved(self.geometry, part, self.cuts, band_rows, rows):
                key = order.pinned, tuple((id(step.stage), step.band.rows) for step in order.steps)
                if key not in tried:
                    tried.add(key)
                    yield order
            inside = {s.target for s in part} & {s.source for s in part}
            if order and sum(ring_rows(order, buffer) * buffer.row_words for buffer in inside) > self.capacity:
                return

    def _single(self, stage: Stage) -> Iterator[Order]:
        height, width = stage.work.size
        most = min(height, self.geometry.band_pixels // width)
        options = {-(-height // parts) for parts in range(-(-height // most), height + 1)} | {most}
        if len(options) > 8:
            ranked = sorted(options, reverse=True)
            options = {ranked[0], ranked[1], *ranked[2::max(1, len(ranked) // 5)], ranked[-1]}
        for rows in sorted(options, reverse=True):
            yield from chunked(self.geometry, stage, rows)

    # Groups

    def _groups(self, orders: Iterable[Order], first: int, last: int, node: _Node,
                found: Mapping[frozenset, _Node]) -> Iterator[tuple[Group, frozenset]]:
        """Groups behind a node with what they keep; none that is certainly no better than what was `found`."""
        part, whole = self.stages[first:last], node.here
        targets, sources = {s.target for s in part}, {s.source for s in part}
        fresh = [b for b in self.buffers if b in targets and self.buffers[b][0] >= first and self._needed(b, last)]
        passing = [b for b in whole if b not in targets and b not in sources]
        choices = product((True, False), repeat=len(fresh)) if len(fresh) <= 2 else [(True,) * len(fresh), (False,) * len(fresh)]
        for keep in choices:
            kept_new = {b for b, yes in zip(fresh, keep, strict=True) if yes}
            kept = frozenset(b for b in whole | kept_new if self._needed(b, last))
            for order in orders:
                if kept in found and node.cycles + self._cycles(order) + GROUP_CYCLES >= found[kept].cycles:
                    continue
                for ahead in _AHEAD:
                    group = self._group(order, first, last, whole | kept_new, passing, kept, ahead)
                    if group:
                        yield group, kept
                        if order.kind != "reload":
                            break

    def _needed(self, buffer: Buffer, last: int) -> bool:
        """Whether stages from `last` on read or write a buffer."""
        _, wrote, read = self.buffers[buffer]
        return max(wrote, read) >= last

    def _group(self, order: Order, first: int, last: int, whole: frozenset | set, passing: Sequence[Buffer], kept: frozenset,
               ahead: _Ahead) -> Group | None:
        locals_: dict[Buffer, Local] = {}
        sizes = sum(buffer.words for buffer in passing)
        late = False
        for buffer in dict.fromkeys([s.source for s in order.stages] + [s.target for s in order.stages]):
            key = order, buffer, buffer in whole, ahead
            if key not in self.locals:
                self.locals[key] = self._local(order, buffer, first, last, buffer in whole, ahead)
            local = self.locals[key]
            if local is None:
                return None
            late |= (local.brought and not local.whole) or local.narrow > 0 and local.copies == 1
            locals_[buffer] = local
            sizes += local.size
            if sizes > self.capacity:
                return None
        for buffer, local in locals_.items():
            if local.copies > 1:
                # More chunks side by side are stored in longer runs.
                chunks = 1 + min(MOST_NARROW // local.narrow - 1, (self.capacity - sizes) // local.size)
                if chunks > 1:
                    locals_[buffer] = replace(local, narrow=chunks * local.narrow)
        compute, (words, spilled, runs) = self._cycles(order), self._traffic(order, locals_)
        moved = words / LOAD_SHARE + runs * RUN_CYCLES
        cycles = max(compute, moved, self._gather_cycles(order)) + GROUP_CYCLES + spilled * SPILL_CYCLES + self._held(order)
        if late and ahead.bands == 1:
            cycles += min(compute, moved)
        for buffer in passing:
            locals_[buffer] = Local(buffer, range(buffer.pixel_words), buffer.height)
        return Group(first, last, order, locals_, tuple(kept), cycles, compute, words)

    def _local(self, order: Order, buffer: Buffer, first: int, last: int, whole: bool, ahead: _Ahead) -> Local | None:
        """What a group has of a buffer on the chip; None where it cannot be."""
        writers = [s for s in order.stages if s.target is buffer]
        readers = [s for s in order.stages if s.source is buffer]
        output = buffer is self.all.output
        pixel = range(buffer.pixel_words)
        if whole:
            return Local(buffer, pixel, buffer.height, stored=output and bool(writers))
        if buffer.made != "stages":
            return self._brought(order, buffer, readers, ahead)
        before, later = self.buffers[buffer][0] < first, self._needed(buffer, last)
        if writers and readers and (before or any(s.target is buffer for s in self.stages[last:])):
            return None
        if not writers:
            return self._brought(order, buffer, readers, ahead)
        stored = output or later or before
        words = range(min(s.writes.start for s in writers), max(s.writes.stop for s in writers))
        if not stored:
            return Local(buffer, words, ring_rows(order, buffer))
        per_word = self.geometry.blocks_per_word
        if order.kind == "chunks" and ahead.bands > 1:
            # Nothing waits for a chunk's words to be stored when each has words of its own.
            return Local(buffer, words, buffer.height, stored=True)
        if ahead.bands == 1 and not readers and order.kind == "reload" and len({step.blocks for step in order.steps}) > 1:
            if any(step.blocks.start % per_word for step in order.steps):
                return None
            return Local(buffer, words, max(1, *(len(step.writes) for step in order.steps)), stored=True, copies=2,
                         narrow=max(len(step.words) for step in order.steps))
        if order.kind == "chunks":
            if any(step.blocks.start % per_word for step in order.steps):
                return None
            return Local(buffer, words, ring_rows(order, buffer, stored=True), stored=True,
                         narrow=max(len(step.words) for step in order.steps))
        return Local(buffer, words, ring_rows(order, buffer, stored=True), stored=True)

    def _brought(self, order: Order, buffer: Buffer, readers: Sequence[Stage], ahead: _Ahead) -> Local | None:
        words = range(min(s.reads.start for s in readers), max(s.reads.stop for s in readers))
        return Local(buffer, words, brought_rows(order, buffer, ahead.bands, beside_late=ahead.beside_late), brought=True)

    # Costs

    def _cycles(self, order: Order) -> int:
        """Cycles of the array, with what is waited for because one step reads what another writes."""
        if order not in self.costs:
            latency, now = visible_after(self.geometry), 0
            made: dict[Stage, tuple[list[int], list[int]]] = {stage: ([], []) for stage in order.stages}
            for step in order.steps:
                need = step.reads.stop
                for stage, (stops, times) in made.items():
                    if stage.target is step.stage.source:
                        at = bisect_left(stops, need)
                        if at < len(times):
                            now = max(now, times[at])
                now += step_cycles(self.geometry, step)
                stops, times = made[step.stage]
                stops.append(step.writes.stop if not step.turn else stops[-1])
                times.append(now + latency)
            self.costs[order] = now
        return self.costs[order]

    def _held(self, order: Order) -> float:
        """Cycles lost because weights that stay to a group's end leave no room for those of the next."""
        held = sum(map(weight_words, order.pinned))
        return max(0, held - self.geometry.weight_words / 2) * self.geometry.input_lanes / 2

    def _traffic(self, order: Order, locals_: dict[Buffer, Local]) -> tuple[int, int, int]:
        """Words of storage moved, those of spilled buffers among them, and runs."""
        lanes, words, spilled, runs = self.geometry.input_lanes, 0, 0, 0
        for stage in order.stages:
            again = 1
            if order.kind != "chunks" and stage not in order.pinned:
                again = len({step.band.rows for step in order.steps if step.stage is stage})
            words += again * stage.work.blocks * (stage.work.block_words * lanes + 6 * self.geometry.pairs)
        for buffer, local in locals_.items():
            if buffer.made == "gather":
                words += _image_words(self.all) * (1 if local.whole else turns(order, buffer))
                continue
            pixels = buffer.height * buffer.width
            size = pixels * len(local.words) * lanes // 2
            split = pixels if len(local.words) < buffer.pixel_words else buffer.height
            if local.brought:
                again = 1 if local.whole else turns(order, buffer)
                words, runs = words + again * size, runs + again * split
                spilled += again * size
            if local.stored:
                words, spilled = words + size, spilled + size
                chunks = (len({step.blocks for step in order.steps}) if order.kind == "chunks" else
                          -(-len(local.words) // local.narrow) if local.narrow else 1)
                runs += pixels * chunks if chunks > 1 else split
        return words, spilled, runs

    def _gather_cycles(self, order: Order) -> float:
        if not any(stage.source.made == "gather" for stage in order.stages):
            return 0
        buffer, conv = next(s.source for s in order.stages if s.source.made == "gather"), self.all.image
        taps = conv.window.kernel[1] * conv.weight.shape[1]
        return turns(order, buffer) * buffer.height * (buffer.width * (conv.window.kernel[0] * (1 + (taps - 1) / 8) + 0.5) + 20)

    # What stands against it

    def _problems(self, reached: int, nodes: Iterable[frozenset]) -> list[Problem]:
        """Of the stage that no group can hold beside the buffers that are whole before it (those of the cheapest of `nodes`), and
        of all behind it that cannot run alone either."""
        problems = []
        for n in range(reached, len(self.stages)):
            least = self._least_words(n)
            if least > self.capacity:
                problems.append(Problem(self.stages[n].layer, f"activation memory (activation_words) must have at least {least} "
                                                              f"words for its smallest band, not {self.capacity}: "
                                                              f"{least - self.capacity} are missing"))
        stage, held = self.stages[reached], min(sum(buffer.words for buffer in whole) for whole in nodes)
        missing = self._least_words(reached) + held - self.capacity
        return problems or [Problem(stage.layer, f"activation memory (activation_words) must hold its bands beside {held} words "
                                                 f"that later layers read, and has {self.capacity}: at least {max(missing, 1)} "
                                                 f"are missing")]

    def _least_words(self, n: int) -> int:
        """Activation words of the smallest band of a stage, source and target in rings."""
        stage = self.stages[n]
        sizes = []
        for order in self._single(stage):
            parts = [self._local(order, buffer, n, n + 1, False, _AHEAD[-1]) for buffer in (stage.source, stage.target)]
            if all(parts):
                sizes.append(sum(part.size for part in parts))
        return min(sizes, default=0)


def _image_words(stages: Stages) -> int:
    """Words of storage of an image of pixels."""
    return stages.input.height * -(-stages.input.width * stages.image.weight.shape[1] // 2)


def steps_of(groups: Iterable[Group]) -> Iterator[tuple[Group, Step]]:
    """All steps of groups in order."""
    for group in groups:
        for step in group.order.steps:
            yield group, step
