"""In which order the steps of a group's stages run.

A group of several stages runs depth-first in row bands: always the deepest stage whose input is there, but rather not one that
reads what the command just before it writes, since that would wait until the engine is empty. A group of one stage may cut its
output blocks into chunks, so that weights stream through the weight memory: chunk by chunk with all bands inside, or
band by band with all chunks inside. Chunk by chunk run also several stages of which each block reads what the same block of
another one wrote (an addition behind a convolution, a depthwise convolution behind another one).
"""
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, lru_cache
from itertools import chain
from operator import itemgetter

from arch.geometry import Geometry
from compiler import costs
from compiler.bands import Band
from compiler.schedule.rings import Rings
from compiler.schedule.steps import Cuts, Step, row_bands, shortest_pass, weight_words
from compiler.stages import Buffer, Stage

__all__ = ["Order", "Way", "alike", "alone", "chunk_by_chunk", "fewest_places", "interleaved"]


class Way(Enum):
    """How the steps of a group are nested."""

    BANDS = "bands"         # several stages, band by band
    CHUNKS = "chunks"       # for each chunk of output blocks all bands
    RELOAD = "reload"       # one stage: for each band all chunks, whose weights come again for each band if they do not all fit


@dataclass(eq=False)
class Order:
    """Steps of a group's stages in the order in which they run.

    `pinned`: stages whose weights stay to the group's end; those of others are loaded again for each band. `settled`: the same of
    parameters.
    """

    stages: Sequence[Stage]
    steps: list[Step]
    way: Way
    pinned: frozenset[Stage]
    settled: frozenset[Stage] = frozenset()

    @cached_property
    def rings(self) -> Rings:
        """How many rows of each buffer it needs."""
        return Rings(self.stages, self.steps, by_chunk=self.way is Way.CHUNKS)

    @cached_property
    def buffers(self) -> dict[Buffer, None]:
        """What its stages read and write, each once."""
        read = [source.buffer for stage in self.stages for source in stage.sources]
        return dict.fromkeys([*read, *(stage.target.buffer for stage in self.stages)])

    @cached_property
    def sampled(self) -> frozenset[Buffer]:
        """The buffers that must be in storage since only some of their pixels come (`compiler.stages.Stage.sampled`)."""
        return frozenset(buffer.of for stage in self.stages for buffer in stage.inputs if buffer.of)

    @property
    def by_chunk(self) -> bool:
        """Whether what several stages exchange is there chunk by chunk of output blocks."""
        return self.way is Way.CHUNKS and len(self.stages) > 1

    @cached_property
    def cycles(self) -> int:
        """Cycles in which the array is taken by all steps, if nothing is waited for."""
        return sum(step.cycles for step in self.steps)

    @cached_property
    def chunks(self) -> int:
        """Ranges of output blocks that steps have."""
        return len({step.blocks for step in self.steps})

    @cached_property
    def chunk_words(self) -> int:
        """Words of a target's pixels that a chunk has at most."""
        return max(len(step.output_words) for step in self.steps)

    def bands_of(self, stage: Stage) -> int:
        """Bands of a stage."""
        return len({step.band.rows for step in self.steps if step.stage is stage})


# Several stages

def interleaved(geometry: Geometry, stages: Sequence[Stage], cuts: Cuts, rows: Sequence[int]) -> Iterator[Order]:
    """All stages band by band, the bands of each with so many `rows` of its convolution; nothing if constants do not fit."""
    bands = [cuts.bands(stage, count) for stage, count in zip(stages, rows, strict=True)]
    several = [stage for stage, cut in zip(stages, bands, strict=True) if len(cut) > 1]
    single = len(several) < len(stages)
    small = _parameters(geometry, several) <= geometry.parameter_words // (1 + single)
    ways: Iterable[tuple[int, ...]] = ()
    for pinned in dict.fromkeys(_pinned(geometry, stages, several, share, small) for share in costs.PINNED_SHARES):
        settled = frozenset(several) if small else pinned
        spare = geometry.parameter_words - _parameters(geometry, () if small else pinned)
        # Weights that a single band uses, or that come again for each, need not all be there at once.
        free = geometry.weight_words - sum(weight_words(stage) for stage in pinned)
        if any(stage not in pinned and 2 * stage.work.block_words > free for stage in stages):
            continue
        # What a silent command reads is held until a later one writes: nothing may be loaded over it for those between.
        if any(stage not in pinned and _silent(stage, cut) for stage, cut in zip(stages, bands, strict=True)):
            continue
        parts = [[range(stage.work.blocks)] if stage in pinned else _chunks(geometry, stage, 1, free, spare=spare)
                 for stage in stages]
        if not all(parts):
            continue
        steps = [[cuts.steps(stage, count, blocks) for blocks in blocks_of]
                 for stage, count, blocks_of in zip(stages, rows, parts, strict=True)]
        ways = ways or _ways(stages, [blocks_of[0] for blocks_of in steps])
        for turns in ways:
            bands_of = [zip(*blocks_of, strict=True) for blocks_of in steps]
            yield Order(stages, [step for n in turns for step in next(bands_of[n])], Way.BANDS, pinned, settled)


def _parameters(geometry: Geometry, stages: Iterable[Stage]) -> int:
    """Parameter words of stages."""
    return sum(stage.work.blocks for stage in stages) * geometry.pairs


def _silent(stage: Stage, cut: Sequence[Band]) -> bool:
    """Whether some band of a stage writes nothing."""
    return any(not len(band.pooled) or stage.work.average and not band.last for band in cut)


def _pinned(geometry: Geometry, stages: Sequence[Stage], several: Sequence[Stage], share: float, small: bool) -> frozenset[Stage]:
    """Of the stages with several bands, those whose weights stay: all, or what finds room in this share of the memory, and unless
    all their parameters are `small` enough to stay, beside those of two other blocks."""
    if small and sum(map(weight_words, stages)) <= geometry.weight_words:
        return frozenset(several)
    largest = max(stage.work.block_words for stage in stages)
    room = min(int(share * geometry.weight_words), geometry.weight_words - 2 * largest)
    blocks = sum(stage.work.blocks for stage in several) if small else geometry.parameter_words // geometry.pairs - 2
    pinned = []
    for stage in sorted(several, key=weight_words, reverse=True):
        if weight_words(stage) <= room and stage.work.blocks <= blocks:
            pinned.append(stage)
            room -= weight_words(stage)
            blocks -= stage.work.blocks
    return frozenset(pinned)


def _ways(stages: Sequence[Stage], bands: Sequence[Sequence[Step]]) -> Iterable[tuple[int, ...]]:
    """The turns that stages of such bands may take: see `_turns`."""
    # For each stage the earlier ones whose rows it reads, and those that write beside it.
    makers = tuple(tuple(m for m in range(n) if stage.reads_of(stages[m])) for n, stage in enumerate(stages))
    beside = tuple(tuple(m for m, other in enumerate(stages) if m != n and other.target.buffer is stage.target.buffer)
                   for n, stage in enumerate(stages))
    reads = tuple(tuple(step.input_rows.stop for step in of_stage) for of_stage in bands)
    writes = tuple(tuple(step.output_rows.stop for step in of_stage) for of_stage in bands)
    return dict.fromkeys(_turns(makers, beside, reads, writes, avoids_waits) for avoids_waits in (True, False))


@lru_cache(maxsize=1 << 14)
def _turns(makers: tuple[tuple[int, ...], ...], beside: tuple[tuple[int, ...], ...], reads: tuple[tuple[int, ...], ...],
           writes: tuple[tuple[int, ...], ...], avoids_waits: bool) -> tuple[int, ...]:
    """Which stage runs its next band, turn by turn: the deepest possible one first; rather none whose output nobody needs yet,
    and none that reads what the one before it wrote, if this `avoids_waits`.

    Of each stage: those that make what it reads, those that write `beside` it, and the rows that each band needs and completes.
    Networks repeat themselves, and turns are the same whichever weights stay: so they are kept.
    """
    count = len(reads)
    readers = [[m for m in range(count) if n in makers[m]] for n in range(count)]
    complete = [[(0, -1)] for _ in reads]                       # (rows of the target that are complete, turn) per band
    turns: list[int] = []
    left = [len(bands) for bands in reads]
    position = [0] * count
    while any(left):
        # Of the stages that could run: rather none ahead of those beside it or two bands ahead of its readers, none that waits
        # for the last turn, none that its readers do not wait for.
        choices: list[tuple[bool, bool, bool, int]] = []
        for n in reversed(range(count)):
            if not left[n]:
                continue
            rows = complete[n][-1][0]
            latest = _ready(reads[n][position[n]], [complete[m] for m in makers[n]])
            if latest is not None:
                ahead = any(left[m] and complete[m][-1][0] < rows for m in beside[n])
                early, too_early = (readers[n] != [] and all(
                    not left[m] or reads[m][min(position[m] + further, len(reads[m]) - 1)] <= rows
                    for m in readers[n]) for further in (0, 1))
                choice = ahead or too_early, avoids_waits and 0 <= latest == len(turns) - 1, early, -n
                choices.append(choice)
                if not any(choice[:3]):
                    break
        n = -min(choices)[3]
        complete[n].append((writes[n][position[n]], len(turns)))
        turns.append(n)
        position[n] += 1
        left[n] -= 1
    return tuple(turns)


def _ready(stop: int, makers: Sequence[list[tuple[int, int]]]) -> int | None:
    """The last turn that completes rows up to `stop` of what all makers write; None if not all are complete."""
    latest = -1
    for complete in makers:
        if complete[-1][0] < stop:
            return None
        latest = max(latest, complete[bisect_left(complete, stop, key=itemgetter(0))][1])
    return latest


def alike(stages: Sequence[Stage]) -> bool:
    """Whether stages may run chunk by chunk: all have as many output blocks, none of which reads what another one wrote, and all
    but the last are read by one behind them."""
    return (all(stage.work.blocks == stages[0].work.blocks and not stage.work.average and not stage.work.lrn
                and len(stage.work.portions) == 1
                for stage in stages)
            and all(any(other.reads_of(stage) for other in stages[n + 1:]) for n, stage in enumerate(stages[:-1]))
            and all(stage.follows(other) for n, stage in enumerate(stages) for other in stages[:n] if stage.reads_of(other)))


def chunk_by_chunk(geometry: Geometry, stages: Sequence[Stage], cuts: Cuts, rows: Sequence[int]) -> Iterator[Order]:
    """All stages, which are `alike`, for one chunk of output blocks after the other, in bands of so many `rows` of each one's
    convolution; nothing if constants do not fit."""
    bands = [cuts.bands(stage, count) for stage, count in zip(stages, rows, strict=True)]
    blocks, word = stages[0].work.blocks, geometry.blocks_per_word
    weights = sum(stage.work.block_words for stage in stages)
    parameters = geometry.parameter_words // (2 * len(stages) * geometry.pairs)
    places = fewest_places(stages) // max(1, sum(stage.work.places for stage in stages))
    for share in costs.CHUNK_SHARES:
        most = min(int(share * geometry.weight_words) // weights, parameters, places)
        sizes = [size for size in range(word, most + 1, word) if all(_whole(stage, size) for stage in stages)]
        if most >= blocks or not sizes:
            continue
        chunks = _even(blocks, sizes)
        first = [Step.of(stage, cut, chunks[0]) for stage, cut in zip(stages, bands, strict=True)]
        for turns in _ways(stages, first):
            steps: list[Step] = []
            for turn, chunk in enumerate(chunks):
                parts = [iter(Step.of(stage, cut, chunk, turn)) for stage, cut in zip(stages, bands, strict=True)]
                steps += [next(parts[n]) for n in turns]
            yield Order(stages, steps, Way.CHUNKS, frozenset())


def fewest_places(stages: Sequence[Stage]) -> int:
    """Places of the line memories that stages use: of the smallest, for all of them get places of their own."""
    return min((stage.work.most_places for stage in stages if stage.work.places), default=stages[0].work.most_places)


# One stage

def _chunks(geometry: Geometry, stage: Stage, cut: int, words: int, held: int = costs.CHUNKS_HELD,
            spare: int | None = None) -> list[range]:
    """Output blocks in chunks of which `words` weight words hold `held`, `spare` parameter words (None: all) two, and the pool's
    line memory one; `cut` bands. None where all must be in one, and do not fit."""
    work, spare = stage.work, geometry.parameter_words if spare is None else spare
    if work.lrn:
        fit = (work.blocks * work.block_words <= words and work.blocks * geometry.pairs <= spare
               and work.blocks * work.places <= work.most_places)
        return [range(work.blocks)] if fit else []
    most = work.blocks
    if work.blocks * work.block_words > words // held:
        most = max(1, words // (held * work.block_words))
    most = min(most, max(1, spare // (2 * geometry.pairs)))
    if work.places:
        most = min(most, max(1, work.most_places // work.places))
    if work.average and cut > 1 or len(work.portions) > 1:
        most = 1
    word = geometry.blocks_per_word             # none begins within a word
    return _even(work.blocks, [size for size in range(1, most + 1) if size == work.blocks or (
        (size < word or size % word == 0) and _whole(stage, size))])


def _whole(stage: Stage, size: int) -> bool:
    """Whether no chunk of so many blocks begins within blocks that read the same of their own and goes on behind them."""
    repeat = stage.work.own.repeat if stage.work.own.step else 1
    return size % repeat == 0 or repeat % size == 0


def _even(blocks: int, sizes: Sequence[int]) -> list[range]:
    """As few chunks of blocks as possible, of about one of these sizes, which rise."""
    least = -(-blocks // -(-blocks // sizes[-1]))
    size = next(size for size in sizes if size >= least)
    return [range(a, min(a + size, blocks)) for a in range(0, blocks, size)]


def _chunked(geometry: Geometry, stage: Stage, rows: int) -> Iterator[Order]:
    """One stage in bands of `rows` rows of its convolution and chunks of blocks, in all ways that are possible."""
    work, cut = stage.work, stage.work.bands(row_bands(stage.work.size[0], rows))
    # The share of storage's words that the weights of a chunk take while one before it is computed.
    share = geometry.pairs * geometry.input_lanes / max(rows * work.size[1], shortest_pass(geometry))
    held = (costs.FEW_CHUNKS_HELD, costs.CHUNKS_HELD) if share <= costs.FEW_CHUNKS_SHARE else (costs.CHUNKS_HELD,)
    whole = weight_words(stage) <= geometry.weight_words and work.blocks * geometry.pairs <= geometry.parameter_words
    too_many = work.places * work.blocks > work.most_places
    for chunks in dict.fromkeys(tuple(_chunks(geometry, stage, len(cut), geometry.weight_words, count)) for count in held):
        if not chunks:
            continue
        for running in (False, True) if work.average and len(cut) > 1 else (False,):
            parts = [Step.of(stage, cut, blocks, turn, running=running) for turn, blocks in enumerate(chunks)]
            yield Order([stage], list(chain(*parts)), Way.CHUNKS, frozenset())
        if len(work.portions) > 1 or len(chunks) > 1 and (work.average and len(cut) > 1 or too_many or _silent(stage, cut)):
            continue
        parts = [Step.of(stage, cut, blocks) for blocks in chunks]
        yield Order([stage], list(chain(*zip(*parts, strict=True))), Way.RELOAD,
                    frozenset([stage] if whole and len(cut) > 1 else []))


def alone(geometry: Geometry, stage: Stage) -> Iterator[Order]:
    """Orders of a stage alone, in bands of few and of many rows."""
    height, width = stage.work.size
    most = min(height, stage.work.most_rows)
    options = {-(-height // parts) for parts in range(-(-height // most), height + 1)} | {most}
    if len(options) > costs.BANDS_TRIED:
        ranked = sorted(options, reverse=True)
        options = {ranked[0], ranked[1], *ranked[2::max(1, len(ranked) // 5)], ranked[-1]}
    for rows in sorted(options, reverse=True):
        yield from _chunked(geometry, stage, rows)
