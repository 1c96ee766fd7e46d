"""Steps: the compute commands of a stage, one for a band of rows and a range of output blocks."""
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from arch import pipeline, units
from arch.gather import line_bytes
from arch.geometry import Geometry
from compiler import costs
from compiler.bands import Band
from compiler.stages import Origin, Slice, Stage

__all__ = ["Cuts", "Step", "band_rows", "gather_row_cycles", "row_bands", "shortest_pass", "visible_after", "weight_words"]


@dataclass(frozen=True, eq=False)
class Step:
    """One compute command: a band of a stage for some of its output blocks, or a portion of one's sums, by its number
    (`compiler.convolution.Convolution.portions`). `turn` counts how often the stage began anew.

    `input_rows` of its sources are read, `output_rows` of its target written. `running`: of a global average, writes the mean of
    what its bands have brought so far, so that its token ends what it reads; the last band's is the one that stays.
    """

    stage: Stage
    band: Band
    blocks: range
    input_rows: range
    output_rows: range
    turn: int = 0
    running: bool = False
    portion: int = 0

    @classmethod
    def of(cls, stage: Stage, cut: Sequence[Band], blocks: range, turn: int = 0, *, running: bool = False) -> "list[Step]":
        """Steps of a stage for each band of a cut."""
        work = stage.work
        return [cls(stage, band, blocks, work.input_rows(band.rows),
                    range(int(band.last or running)) if work.average else band.pooled, turn, running, portion)
                for band in cut for portion in range(len(work.portions))]

    @cached_property
    def cycles(self) -> int:
        """Cycles in which the array, or what is fused behind it, is taken by it, if nothing is waited for."""
        work = self.stage.work
        pixels = len(self.band.rows) * work.size[1]
        array = len(self.weights) // work.geometry.pairs * max(pixels, shortest_pass(work.geometry))
        return max(array, len(self.blocks) * work.stream_cycles(len(self.band.rows))) + 1

    @cached_property
    def weights(self) -> range:
        """Which of the stage's weight words it needs."""
        work = self.stage.work
        first = self.blocks.start * work.block_words
        if len(work.portions) == 1:
            return range(first, self.blocks.stop * work.block_words)
        part = work.portion_words[self.portion]
        return range(first + part.start, first + part.stop)

    @property
    def complete(self) -> int:
        """Rows of the target that are complete when it is through, as far as its blocks go."""
        unfinished = self.running and not self.band.last or self.portion < len(self.stage.work.portions) - 1
        return 0 if unfinished else self.output_rows.stop

    @cached_property
    def late_rows(self) -> range:
        """Rows of the sources that may still be read when the step has given its token, until a later one that writes gives its
        own: all if this one writes nothing, else those that only rows behind the last one that completes a pooled row need."""
        if not len(self.output_rows):
            return self.input_rows
        work = self.stage.work
        if not len(self.band.pooled) or work.whole:
            return range(0)
        window, pool = work.conv.window, work.pool_window
        complete = self.band.pooled[-1] * pool.stride[0] - pool.padding[0] + pool.kernel[0]
        first = complete * window.stride[0] - window.padding[0] + window.kernel[0] - 1      # its last tap
        return range(min(max(first, self.input_rows.start), self.input_rows.stop), self.input_rows.stop)

    @property
    def sources(self) -> tuple[Slice, ...]:
        """What is read of the stage's sources."""
        return self.stage.sources

    @property
    def output_words(self) -> range:
        """Words of the target's pixels that are written."""
        return self.stage.output_words(self.blocks)


def weight_words(stage: Stage) -> int:
    """All weight words of a stage."""
    return stage.work.blocks * stage.work.block_words


@cache
def shortest_pass(geometry: Geometry) -> int:
    """Cycles of the shortest pass: it lasts at least as long as the next one's weights take to shift in."""
    return pipeline.WINDOW + pipeline.weights_free_after(geometry) + geometry.pairs - pipeline.weights_soon(geometry) + 2


def visible_after(geometry: Geometry) -> int:
    """Last beat of a command issued -> first beat of a command that waits for what it writes, about."""
    return units.latency(geometry) + costs.HANDOVER_CYCLES


def gather_row_cycles(geometry: Geometry, *, columns: int, kernel: int, tap_bytes: int) -> float:
    """About how many cycles the gather takes for a row of `columns` windows: of a square kernel, with `tap_bytes` in each row."""
    return columns * (kernel * (1 + (tap_bytes - 1) / line_bytes(geometry)) + 0.5) + 20


def row_bands(height: int, rows: int, first: int | None = None) -> list[range]:
    """Rows 0..height-1 in bands of `rows`, the first one of `first`."""
    edges = [0, *range(first or min(rows, height), height, rows), height]
    return [range(a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a]


def band_rows(geometry: Geometry, stage: Stage, fraction: float) -> int:
    """Rows of a stage's convolution in a band, for a fraction of the map; a multiple of the pool's stride where possible."""
    height, width = stage.work.size
    stride = stage.work.pool_window.stride[0]
    rows = max(1, round(fraction * height))
    most = stage.work.most_rows
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
        """Bands of so many rows of a stage's convolution; the first of a single row where the gather makes what it reads, so that
        the engine starts early, but not where a global average has sums of several blocks, and room for one of them."""
        key = stage, rows
        if key not in self._bands:
            early = (any(buffer.origin is Origin.GATHER for buffer in stage.inputs)
                     and not (stage.work.average and stage.work.blocks > 1))
            self._bands[key] = stage.work.bands(row_bands(stage.work.size[0], rows, 1 if early else None))
        return self._bands[key]

    def steps(self, stage: Stage, rows: int, blocks: range) -> list[Step]:
        """A step for each of these bands."""
        key = stage, rows, blocks
        if key not in self._steps:
            self._steps[key] = Step.of(stage, self.bands(stage, rows), blocks)
        return self._steps[key]
