"""Groups of consecutive stages: the order of their commands, and how much of each buffer must be on the chip for it.

A group of several stages runs depth-first in row bands: always the deepest stage whose input is there, but rather not one that
reads what the command just before it writes, since that would wait until the engine is empty. A group of one stage may cut its
output blocks into chunks, so that weights stream through the weight memory: chunk by chunk with all bands inside, or
band by band with all chunks inside.
"""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain, islice

from arch import pipeline
from arch.geometry import Geometry
from compiler.layer import Band
from compiler.stages import Buffer, Stage

__all__ = ["Cuts", "Order", "Step", "brought_rows", "chunked", "interleaved", "ring_rows", "row_steps", "rows_for",
           "step_cycles", "turns", "visible_after", "weight_words"]

STAYING = 0.3, 0.8      # shares of the weight memory for weights that stay when others stream: fewer commands, or less traffic
CHUNKS = 4              # chunks that the weight memory holds when weights stream: one in use, others on their way
FEW_CHUNKS = 2          # and where each is there long before the one before it is through
FEW_SHARE = 0.5         # of storage's words that such weights take at most


@dataclass(frozen=True, eq=False)
class Step:
    """One compute command: a band of a stage for some of its output blocks. `turn` counts how often the stage began anew.

    `writes`: rows of the target, `reads`: of the source.
    """

    stage: Stage
    band: Band
    blocks: range
    reads: range
    writes: range
    turn: int = 0

    @classmethod
    def of(cls, stage: Stage, cut: Sequence[Band], blocks: range, turn: int = 0) -> "list[Step]":
        """Steps of a stage for each band of a cut."""
        work = stage.work
        return [cls(stage, band, blocks, work.input_rows(band.rows), range(int(band.last)) if work.average else band.pooled, turn)
                for band in cut]

    @cached_property
    def late(self) -> range:
        """Rows of the source that may still be read when the step has given its token, until a later one that writes gives its
        own: all if this one writes nothing, else those that only rows behind the last one that completes a pooled row need."""
        if not len(self.writes):
            return self.reads
        if not len(self.band.pooled):
            return range(0)
        work = self.stage.work
        window, pool = work.conv.window, work.pool_window
        complete = (self.band.pooled[-1] * pool.stride[0] - pool.padding[0] + pool.kernel[0])
        first = complete * window.stride[0] - window.padding[0] + window.kernel[0] - 1      # its last tap
        return range(min(max(first, self.reads.start), self.reads.stop), self.reads.stop)

    @property
    def words(self) -> range:
        """Words of the target's pixels that are written."""
        per_word = self.stage.work.geometry.blocks_per_word
        first = self.stage.writes.start
        return range(first + self.blocks.start // per_word, first + -(-self.blocks.stop // per_word))


@dataclass(eq=False)
class Order:
    """Steps in the order in which they run. `kind`: "bands", "chunks" (outside, bands inside) or "reload" (chunks inside).

    `pinned`: stages whose weights stay to the group's end; those of others are loaded again for each band.
    """

    stages: Sequence[Stage]
    steps: list[Step]
    kind: str
    rows: int
    pipelined: bool
    pinned: frozenset[Stage]
    rings: dict[tuple, int] = field(default_factory=dict)
    visits: dict[Buffer, list["_Visit"]] = field(default_factory=dict)


def step_cycles(geometry: Geometry, step: Step) -> int:
    """Cycles in which the array is taken by a step, if nothing is waited for."""
    pixels = len(step.band.rows) * step.stage.work.size[1]
    return len(step.blocks) * step.stage.work.passes * max(pixels, _shortest_pass(geometry)) + 1


@cache
def _shortest_pass(geometry: Geometry) -> int:
    """A pass lasts at least as long as the next one's weights take to shift in."""
    return pipeline.weights_free_after(geometry) + geometry.pairs - pipeline.weights_soon(geometry) + 3


def visible_after(geometry: Geometry) -> int:
    """Last beat of a command issued -> first beat of a command that waits for what it writes, about."""
    return pipeline.vector(geometry) + pipeline.OUTPUT_FIFO + pipeline.POOL + pipeline.AVERAGE_PASS + pipeline.WRITER + 25


def row_steps(height: int, rows: int, first: int | None = None) -> list[range]:
    """Rows 0..height-1 in bands of `rows`, the first one of `first`."""
    edges = [0, *range(first or min(rows, height), height, rows), height]
    return [range(a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a]


def rows_for(geometry: Geometry, stage: Stage, fraction: float) -> int:
    """Rows of a stage's convolution in a band, for a fraction of the map; a multiple of the pool's stride where possible."""
    height, width = stage.work.size
    stride = stage.work.pool_window.stride[0]
    rows = max(1, round(fraction * height))
    most = max(1, geometry.band_pixels // width)
    parts = -(-rows // most)
    rows = -(-rows // parts)
    if stride > 1 and rows >= stride and rows < height:
        rows = max(stride, rows // stride * stride)
    return min(rows, height)


class Cuts:
    """Stages in bands, and the steps of those: the same ones whoever asks, since many orders of steps are compared."""

    def __init__(self):
        self._bands: dict[tuple[Stage, int], list[Band]] = {}
        self._steps: dict[tuple[Stage, int, range], list[Step]] = {}

    def bands(self, stage: Stage, rows: int) -> list[Band]:
        """Bands of so many rows of a stage's convolution."""
        key = stage, rows
        if key not in self._bands:
            gathered = stage.source.made == "gather"
            self._bands[key] = stage.work.bands(row_steps(stage.work.size[0], rows, 1 if gathered else None))
        return self._bands[key]

    def steps(self, stage: Stage, rows: int, blocks: range) -> list[Step]:
        """A step for each of these bands."""
        key = stage, rows, blocks
        if key not in self._steps:
            self._steps[key] = Step.of(stage, self.bands(stage, rows), blocks)
        return self._steps[key]


def interleaved(geometry: Geometry, stages: Sequence[Stage], made: Cuts, band_rows: Sequence[int],
                rows: int) -> Iterator[Order]:
    """All stages band by band, the bands of each with so many rows of its convolution, which match `rows` rows of the last
    stage's output; nothing if constants do not fit."""
    cuts = [made.bands(stage, count) for stage, count in zip(stages, band_rows, strict=True)]
    several = [stage for stage, cut in zip(stages, cuts, strict=True) if len(cut) > 1]
    single = len(several) < len(stages)
    if sum(stage.work.blocks for stage in several) * geometry.pairs > geometry.parameter_words // (1 + single):
        return
    for pinned in dict.fromkeys(_pinned(geometry, stages, several, share) for share in STAYING):
        # Weights that a single band uses, or that come again for each, need not all be there at once.
        free = geometry.weight_words - sum(weight_words(stage) for stage in pinned)
        if any(stage not in pinned and 2 * stage.work.block_words > free for stage in stages):
            continue
        # What a silent command reads is held until a later one writes: nothing may be loaded over it for those between.
        if any(stage not in pinned and _silent(stage, cut) for stage, cut in zip(stages, cuts, strict=True)):
            continue
        parts = [[range(stage.work.blocks)] if stage in pinned else chunks_of(geometry, stage, 1, free) for stage in stages]
        steps = [[made.steps(stage, count, blocks) for blocks in blocks_of]
                 for stage, count, blocks_of in zip(stages, band_rows, parts, strict=True)]
        for pipelined in (True, False):
            yield depth_first(stages, steps, rows=rows, pipelined=pipelined, pinned=pinned)


def _silent(stage: Stage, cut: Sequence[Band]) -> bool:
    """Whether some band of a stage writes nothing."""
    return any(not len(band.pooled) or stage.work.average and not band.last for band in cut)


def weight_words(stage: Stage) -> int:
    """All weight words of a stage."""
    return stage.work.blocks * stage.work.block_words


def _pinned(geometry: Geometry, stages: Sequence[Stage], several: Sequence[Stage], share: float) -> frozenset[Stage]:
    """Of the stages with several bands, those whose weights stay: all, or what finds room in this share of the memory."""
    if sum(map(weight_words, stages)) <= geometry.weight_words:
        return frozenset(several)
    largest = max(stage.work.block_words for stage in stages)
    room = min(int(share * geometry.weight_words), geometry.weight_words - 2 * largest)
    pinned = []
    for stage in sorted(several, key=weight_words, reverse=True):
        if weight_words(stage) <= room:
            pinned.append(stage)
            room -= weight_words(stage)
    return frozenset(pinned)


def depth_first(stages: Sequence[Stage], parts: list[list[list[Step]]], *, rows: int, pipelined: bool,
                pinned: frozenset[Stage]) -> Order:
    """The steps of stages (of each: for some output blocks, band by band), the deepest possible one first."""
    count = len(stages)
    # For each stage the earlier ones whose rows it reads, and those that write beside it.
    makers = [[m for m in range(n) if stages[m].target is stage.source and _meet(stages[m].writes, stage.reads)]
              for n, stage in enumerate(stages)]
    beside = [[m for m in range(count) if m != n and stages[m].target is stage.target] for n, stage in enumerate(stages)]
    bands = [list(zip(*blocks_of, strict=True)) for blocks_of in parts]
    made = [[(0, -1)] for _ in stages]                          # (rows of the target that are complete, step) per band
    steps: list[Step] = []
    left = [len(steps_of) for steps_of in bands]
    position = [0] * count
    while any(left):
        # Of the stages that could run: rather none ahead of those beside it, rather none that waits for the last step.
        choices: list[tuple[bool, bool, int]] = []
        for n in reversed(range(count)):
            if not left[n]:
                continue
            ahead = any(left[m] and made[m][-1][0] < made[n][-1][0] for m in beside[n])
            stop, latest, ready = bands[n][position[n]][0].reads.stop, -1, True
            for m in makers[n]:
                found = next((at for rows_made, at in made[m] if rows_made >= stop), None) if made[m][-1][0] >= stop else None
                if found is None:
                    ready = False
                    break
                latest = max(latest, found)
            if ready:
                waits = pipelined and 0 <= latest == len(steps) - 1
                choices.append((ahead, waits, -n))
                if not ahead and not waits:
                    break
        n = -min(choices)[2]
        steps += bands[n][position[n]]
        made[n].append((steps[-1].writes.stop, len(steps) - 1))
        position[n] += 1
        left[n] -= 1
    return Order(stages=stages, steps=steps, kind="bands", rows=rows, pipelined=pipelined, pinned=pinned)


def _meet(a: range, b: range) -> bool:
    return a.start < b.stop and b.start < a.stop


def chunks_of(geometry: Geometry, stage: Stage, cut: int, words: int, held: int = CHUNKS) -> list[range]:
    """Output blocks in chunks of which `words` weight words hold `held`, and the pool's line memory one."""
    work = stage.work
    most = work.blocks
    if work.blocks * work.block_words > words // held:
        most = max(1, words // (held * work.block_words))
    most = min(most, max(1, geometry.parameter_words // (2 * geometry.pairs)))
    if work.places:
        most = min(most, max(1, geometry.pool_words // work.places))
    if work.average and cut > 1:
        most = 1
    if most < work.blocks and most >= geometry.blocks_per_word:
        most -= most % geometry.blocks_per_word
    count = -(-work.blocks // most)
    if not (work.average and cut > 1):
        most = -(-work.blocks // count)
        most = -(-most // geometry.blocks_per_word) * geometry.blocks_per_word if most >= geometry.blocks_per_word else most
    return [range(a, min(a + most, work.blocks)) for a in range(0, work.blocks, most)]


def chunked(geometry: Geometry, stage: Stage, rows: int) -> Iterator[Order]:
    """One stage in bands of `rows` rows of its convolution and chunks of blocks, in all ways that are possible."""
    work, cut = stage.work, stage.work.bands(row_steps(stage.work.size[0], rows))
    share = geometry.pairs * geometry.input_lanes / max(rows * work.size[1], _shortest_pass(geometry))
    held = (FEW_CHUNKS, CHUNKS) if share <= FEW_SHARE else (CHUNKS,)
    whole = weight_words(stage) <= geometry.weight_words and work.blocks * geometry.pairs <= geometry.parameter_words
    too_many = work.places * work.blocks > geometry.pool_words
    for chunks in dict.fromkeys(tuple(chunks_of(geometry, stage, len(cut), geometry.weight_words, count)) for count in held):
        parts = [Step.of(stage, cut, blocks, turn) for turn, blocks in enumerate(chunks)]
        yield Order(stages=[stage], steps=list(chain(*parts)), kind="chunks", rows=rows, pipelined=False, pinned=frozenset())
        if len(chunks) > 1 and (work.average and len(cut) > 1 or too_many or _silent(stage, cut)):
            continue
        parts = [Step.of(stage, cut, blocks) for blocks in chunks]
        yield Order(stages=[stage], steps=list(chain(*zip(*parts, strict=True))), kind="reload", rows=rows, pipelined=False,
                    pinned=frozenset([stage] if whole and len(cut) > 1 else []))


def turns(order: Order, buffer: Buffer) -> int:
    """How often a group goes over a buffer's rows from the top."""
    return 1 + max((step.turn for step in order.steps if step.stage.source is buffer), default=0)


def ring_rows(order: Order, buffer: Buffer, *, stored: bool = False) -> int:
    """Rows of a buffer, written and perhaps read within the group, that must be on the chip; `stored` rows go to storage too."""
    key = buffer, stored
    if key not in order.rings:
        order.rings[key] = _ring_rows(order, buffer, stored)
    return order.rings[key]


def _ring_rows(order: Order, buffer: Buffer, stored: bool) -> int:
    writes = [(n, step) for n, step in enumerate(order.steps) if step.stage.target is buffer and len(step.writes)]
    needs = sorted(((n, step.reads.start) for n, step in enumerate(order.steps)
                    if step.stage.source is buffer and len(step.reads)), reverse=True)
    most, lowest, at = 1, buffer.height, 0
    for n, step in reversed(writes):
        while at < len(needs) and needs[at][0] > n:
            lowest = min(lowest, needs[at][1])
            at += 1
        most = max(most, step.writes.stop - min(lowest, step.writes.start))
    return min(max(most, _unstored_rows(order, [step for _, step in writes]) if stored else 0), buffer.height)


def _unstored_rows(order: Order, writes: Sequence[Step]) -> int:
    """Rows that a step writes and those that are not yet stored then: what a step completes is stored during the next one."""
    most, turn, progress, complete = 0, -1, {}, [0, 0]
    for step in writes:
        if step.turn != turn:
            turn, complete = step.turn, [0, 0]
            progress = {s: 0 for s in order.stages if s.target is step.stage.target}
        most = max(most, step.writes.stop - complete[-2])
        if step.blocks.stop == step.stage.work.blocks or order.kind == "chunks":
            progress[step.stage] = step.writes.stop
        complete.append(min(progress.values()))
    return most


@dataclass
class _Visit:
    """Steps in a row that read the same rows of a buffer in the same turn. `late`: the lowest row that steps before one of them
    may still read when all their tokens are given."""

    reads: range
    turn: int
    late: int


def _visits(order: Order, buffer: Buffer) -> list[_Visit]:
    if buffer in order.visits:
        return order.visits[buffer]
    found = order.visits[buffer] = []
    lowest = buffer.height
    for step in order.steps:
        reads = step.stage.source is buffer and len(step.reads)
        if reads:
            if found and found[-1].turn != step.turn:
                lowest = buffer.height
            if found and (found[-1].turn, found[-1].reads) == (step.turn, step.reads):
                found[-1].late = min(found[-1].late, lowest)
            else:
                found.append(_Visit(step.reads, step.turn, lowest))
        if len(step.writes):
            lowest = buffer.height
        if reads and len(step.late):
            lowest = min(lowest, step.late.start)
    return found


def brought_rows(order: Order, buffer: Buffer, depth: int, *, beside_late: bool = True) -> int:
    """Rows of a buffer, brought from storage or by the gather, that must be on the chip so that `depth` bands find room.

    Rows that steps before may still read must be there beside a band's own; beside those of the bands ahead only with
    `beside_late`. Without, some bands wait, often the second one only, and the ring is smaller.
    """
    key = buffer, depth, beside_late
    if key not in order.rings:
        visits, most, low = _visits(order, buffer), 1, None
        for n in reversed(range(len(visits))):
            reads, turn, late = visits[n].reads, visits[n].turn, visits[n].late
            if n + 1 == len(visits) or visits[n + 1].turn != turn:
                low = reads.start
            low, stop, ahead = min(low, reads.start), reads.stop, 0
            most = max(most, stop - late)
            for later in islice(visits, n + 1, None):
                if later.turn != turn:
                    break
                if later.reads.stop > stop:
                    ahead += 1
                    if ahead >= depth:
                        break
                    stop = later.reads.stop
            most = max(most, stop - (min(low, late) if beside_late else low))
        order.rings[key] = min(most, buffer.height)
    return order.rings[key]
