"""One convolution, with the pool fused behind it, as commands and memory images."""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from arch.command import Command
from arch.geometry import Geometry
from arch.record import ADDRESS
from arch.unit.average import AverageConfig
from arch.unit.load import LoadConfig
from arch.unit.pool import POOL_AVERAGE, POOL_MAX, POOL_NONE, PoolConfig
from arch.unit.requantise import RequantiseConfig
from arch.unit.window import WindowConfig
from arch.unit.writer import WriterConfig
from cli import RequestError
from compiler.images import parameter_image, weight_image
from nets.graph import Window
from nets.int8.network import QAvgPool, QConv, QGlobalAvgPool, QMaxPool

__all__ = ["Band", "Convolution", "LayerError", "LayerPlan", "Map", "Phase", "Pool", "bands", "cut_bands", "plan_layer"]

Pool = QMaxPool | QAvgPool | QGlobalAvgPool
NO_POOL = Window(kernel=(1, 1))


class LayerError(RequestError):
    """A layer cannot run on an engine; `reasons` say which resources or rules stand against it, and how much is missing."""

    def __init__(self, *reasons: str):
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True, kw_only=True)
class Map:
    """Where a tensor (channels, height, width) lies in activation memory: a ring of `ring_rows` rows from word `base` on.

    Channel c of pixel (y, x) is byte (offset + c) % PI of word
    base + (y % ring_rows) * row_words + x * pixel_words + (offset + c) // PI.
    `offset` makes several maps share their pixels (concatenation) and is a multiple of PO; a map that is read has offset
    0 modulo PI.
    """

    base: int
    channels: int
    height: int
    width: int
    pixel_words: int
    ring_rows: int
    offset: int = 0

    @classmethod
    def whole(cls, geometry: Geometry, shape: tuple[int, int, int], base: int) -> "Map":
        """A map that holds a tensor of this shape completely, alone, from `base` on."""
        channels, height, width = shape
        return cls(base=base, channels=channels, height=height, width=width, ring_rows=height,
                   pixel_words=-(-channels // geometry.input_lanes))

    @property
    def row_words(self) -> int:
        return self.width * self.pixel_words

    @property
    def words(self) -> int:
        """Words of activation memory, from `base` on."""
        return self.ring_rows * self.row_words

    def bytes_of(self, geometry: Geometry, rows: range | None = None) -> np.ndarray:
        """Byte address in activation memory, (PI * word + lane), of each element: (channels, rows, width)."""
        y = np.arange(self.height) if rows is None else np.asarray(rows)
        c = self.offset + np.arange(self.channels)[:, None, None]
        word = (self.base + (y % self.ring_rows * self.row_words)[None, :, None]
                + np.arange(self.width)[None, None, :] * self.pixel_words + c // geometry.input_lanes)
        return word * geometry.input_lanes + c % geometry.input_lanes

    def store(self, geometry: Geometry, memory: np.ndarray, q: np.ndarray):
        """Put tensor `q` into `memory` (uint8, words x PI)."""
        memory.reshape(-1)[self.bytes_of(geometry)] = q

    def fetch(self, geometry: Geometry, memory: np.ndarray) -> np.ndarray:
        """The tensor in `memory`: uint8 (channels, height, width)."""
        return memory.reshape(-1)[self.bytes_of(geometry)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Phase:
    """Commands that use one part of the weight and parameter memories, and what must be there before they start.

    `weights` int8 (words, PI, 2) from word `weight_base` on (wrapping); `biases` int64, `multipliers`, `shifts`, (words, 2) each,
    from word `parameter_base` on.
    """

    weight_base: int
    weights: np.ndarray
    parameter_base: int
    biases: np.ndarray
    multipliers: np.ndarray
    shifts: np.ndarray
    commands: tuple[Command, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerPlan:
    """Phases in order. Phase n + 2 reuses the memory of phase n when they do not fit side by side."""

    phases: tuple[Phase, ...]
    macs: int               # of the layer, without what idle lanes do

    @property
    def commands(self) -> tuple[Command, ...]:
        return tuple(command for phase in self.phases for command in phase.commands)


@dataclass(frozen=True, kw_only=True)
class Band:
    """Rows of the convolution's output, and the rows of the pool's output that they complete. `first` and `last` of the map."""

    rows: range
    pooled: range
    lead: int
    overhang: int
    first: bool
    last: bool


def bands(rows: int, columns: int, pixels: int, least: int = 1) -> list[range]:
    """Output rows cut into as few bands of at most `pixels` pixels as possible: of about one size if that gives each `least`
    rows, otherwise as large as possible but for the last."""
    most = min(rows, pixels // columns)
    count = -(-rows // most)
    if rows // count >= least:
        edges = [rows * n // count for n in range(count + 1)]
    else:
        edges = [*range(0, rows, most), rows]
    return [range(a, b) for a, b in zip(edges, edges[1:], strict=False)]


def cut_bands(cut: list[range], window: Window, pooled: int) -> list[Band]:
    """Bands of those rows of a convolution's output, each with the rows (of `pooled`) whose last window row it holds."""
    height = cut[-1].stop
    complete = [o * window.stride[0] - window.padding[0] + window.kernel[0] - 1 for o in range(pooled)]
    result, done = [], 0
    for rows in cut:
        overhang = max(0, complete[-1] + 1 - height) if rows.stop == height else 0
        until = done
        while until < pooled and complete[until] < rows.stop + overhang:
            until += 1
        lead = complete[done] - rows.start if until > done else len(rows) + overhang
        result.append(Band(rows=rows, pooled=range(done, until), lead=lead, overhang=overhang, first=rows.start == 0,
                           last=rows.stop == height))
        done = until
    return result


def _require(condition: bool, message: str):
    if not condition:
        raise LayerError(message)


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution:
    """A convolution and the pool fused behind it, on an input of `height` x `width` with zero point `zero_point`.

    `spare`: computes all of the convolution's output, even what no window of the pool reads.

    Raises LayerError when it is made if no engine of this geometry can run it, whatever its memories hold.
    """

    geometry: Geometry
    conv: QConv
    pool: Pool | None
    height: int
    width: int
    zero_point: int
    spare: bool = False

    def __post_init__(self):
        reasons = [*_against_conv(self.conv), *_against_pool(self.pool, self.pool_window), *self._against_memories()]
        if reasons:
            raise LayerError(*reasons)

    def _against_memories(self) -> Iterator[str]:
        """What is too small, and by how much; the engine's parameter that would have to grow."""
        geometry = self.geometry
        for what, unit, used, name in (
                (f"weights of {geometry.output_lanes} channels", "words", self.block_words, "weight_words"),
                ("output rows", "pixels", self.size[1], "band_pixels"), ("pooled rows", "pixels", self.places, "pool_words"),
                ("parameters", "words", geometry.pairs, "parameter_words")):
            room = getattr(geometry, name)
            if used > room:
                yield f"{what} must be at most {room} {unit} ({name}), not {used}: {used - room} are missing"

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of the convolution's output, as far as it is computed."""
        size, window = self.conv.window.output_size(self.height, self.width), self.pool_window
        if self.spare or window == NO_POOL:
            return size
        pooled = window.output_size(*size, ceil_mode=getattr(self.pool, "ceil_mode", False))
        read = ((count - 1) * window.stride[n] - window.padding[n] + window.kernel[n] for n, count in enumerate(pooled))
        return tuple(map(min, size, read))

    @cached_property
    def pool_window(self) -> Window:
        return self.pool.window if isinstance(self.pool, QMaxPool | QAvgPool) else NO_POOL

    @cached_property
    def pooled(self) -> tuple[int, int]:
        """Height and width behind the pool; of a global average, before it."""
        return self.pool_window.output_size(*self.size, ceil_mode=getattr(self.pool, "ceil_mode", False))

    @property
    def average(self) -> bool:
        """Whether a global average is fused."""
        return isinstance(self.pool, QGlobalAvgPool)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of what is written."""
        return (len(self.conv.weight), *((1, 1) if self.average else self.pooled))

    @property
    def blocks(self) -> int:
        """Output blocks."""
        return -(-len(self.conv.weight) // self.geometry.output_lanes)

    @cached_property
    def passes(self) -> int:
        """Passes of an output block."""
        return (-(-self.conv.weight.shape[1] // self.geometry.input_lanes)
                * self.conv.window.kernel[0] * self.conv.window.kernel[1])

    @property
    def block_words(self) -> int:
        """Weight words of an output block."""
        return self.passes * self.geometry.pairs

    @property
    def places(self) -> int:
        """Places of the pool's line memory that an output block takes."""
        return self.pooled[1] if self.pool is not None and self.pool_window.kernel[0] > 1 else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates, without what idle lanes do."""
        return self.conv.weight.size * self.size[0] * self.size[1]

    def bands(self, cut: list[range]) -> list[Band]:
        """Bands of those rows of the convolution's output."""
        return cut_bands(cut, self.pool_window, self.pooled[0])

    def input_rows(self, rows: range) -> range:
        """Rows of the input that these rows of the convolution's output are made of."""
        window = self.conv.window
        first = rows.start * window.stride[0] - window.padding[0]
        last = (rows.stop - 1) * window.stride[0] - window.padding[0] + window.kernel[0]
        first = min(max(first, 0), self.height)
        return range(first, max(min(last, self.height), first))

    @cached_property
    def weights(self) -> np.ndarray:
        """All weights in the order of loads: int8 (words, PI, 2)."""
        return weight_image(self.geometry, self.conv.weight).reshape(-1, self.geometry.input_lanes, 2)

    @cached_property
    def parameters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Biases, multipliers and shifts in the order of loads: int64 (words, 2) each."""
        out, how = len(self.conv.weight), self.conv.requantise
        return tuple(parameter_image(self.geometry, np.broadcast_to(values, out), out, fill).reshape(-1, 2)
                     for values, fill in ((self.conv.bias, 0), (how.multiplier, 0), (how.shift, 1)))

    def command(self, *, sources: Sequence[Map], target: Map, band: Band, blocks: range, weights: int, parameters: int,
                place: int | None = None, pool_base: int = 0) -> Command:
        """The command of a band and a range of output blocks, whose weights and parameters begin at these words; of one source.

        `place`: of the first of these blocks in the target's pixel, in blocks; by default where `target` has the map's.
        """
        if place is None:
            place = target.offset // self.geometry.output_lanes + blocks.start
        (source,) = sources
        return Command(window=_window(self, source, band, blocks),
                       load=LoadConfig(weights=weights, parameters=parameters, passes=self.passes, output_blocks=len(blocks)),
                       requantise=RequantiseConfig(**{name: getattr(self.conv.requantise, name)
                                                      for name in ("zero_point", "low", "high")}),
                       pool=_pool(self, band, blocks, pool_base), average=_average(self, band, blocks),
                       writer=_writer(self, target, band, blocks, place))


def plan_layer(geometry: Geometry, conv: QConv, *, source: Map, target: Map, zero_point: int, pool: Pool | None = None,
               weight_base: int = 0, parameter_base: int = 0) -> LayerPlan:
    """Commands and images for `conv`, and `pool` behind it, from map `source` to map `target`.

    `zero_point` is the input's; the pool's is that of the convolution's output. Weights go into the weight memory from
    `weight_base` on, wrapping. Raises LayerError if the layer does not fit the engine.
    """
    _require(source.channels == conv.weight.shape[1], f"source must have {conv.weight.shape[1]} channels, not {source.channels}")
    _require(source.offset % geometry.input_lanes == 0, f"source offset must be a multiple of {geometry.input_lanes}, "
                                                       f"not {source.offset}")
    work = Convolution(geometry=geometry, conv=conv, pool=pool, height=source.height, width=source.width, zero_point=zero_point,
                       spare=True)
    _require((target.channels, target.height, target.width) == work.shape,
             f"target must be {work.shape}, not {(target.channels, target.height, target.width)}")
    _require(target.offset % geometry.output_lanes == 0, f"target offset must be a multiple of {geometry.output_lanes}, "
                                                        f"not {target.offset}")
    cut = work.bands(bands(*work.size, geometry.band_pixels, work.pool_window.kernel[0]))
    per_block, phases = work.block_words, []
    # A global average of several bands has one running sum.
    for blocks in _block_ranges(work, single=work.average and len(cut) > 1):
        part, pairs = (slice(blocks.start * words, blocks.stop * words) for words in (per_block, geometry.pairs))
        commands = tuple(work.command(sources=[source], target=target, band=band, blocks=blocks, weights=weight_base,
                                      parameters=parameter_base) for band in cut)
        biases, multipliers, shifts = (values[pairs] for values in work.parameters)
        phases.append(Phase(weight_base=weight_base, weights=work.weights[part], parameter_base=parameter_base,
                            commands=commands, biases=biases, multipliers=multipliers, shifts=shifts))
        weight_base = (weight_base + len(blocks) * per_block) % geometry.weight_words
        parameter_base = (parameter_base + len(blocks) * geometry.pairs) % geometry.parameter_words
    return LayerPlan(phases=tuple(phases), macs=work.macs)


def _against_conv(conv: QConv) -> Iterator[str]:
    window = conv.window
    if conv.groups != 1:
        yield f"groups must be 1, not {conv.groups}"
    if window.dilation != (1, 1):
        yield f"dilation must be 1, not {window.dilation}"
    for what, most in (("kernel", 11), ("stride", 4), ("padding", 15)):
        if max(getattr(window, what)) > most:
            yield f"{what} must be at most {most}, not {getattr(window, what)}"


def _against_pool(pool: Pool | None, window: Window) -> Iterator[str]:
    if isinstance(pool, QGlobalAvgPool):
        for name in ("multiplier", "shift"):
            values = np.unique(getattr(pool.requantise, name))
            if len(values) != 1:
                yield f"global average must have one {name}, not {len(values)}"
    if window.dilation != (1, 1):
        yield f"pool dilation must be 1, not {window.dilation}"
    for what, most in (("kernel", 3), ("stride", 3), ("padding", 1)):
        if max(getattr(window, what)) > most:
            yield f"pool {what} must be at most {most}, not {getattr(window, what)}"


def _block_ranges(work: Convolution, single: bool) -> Iterator[range]:
    """Output blocks of each phase: all of them, or so few that two phases fit the memories; one if `single`."""
    geometry, blocks, per_block = work.geometry, work.blocks, work.block_words
    most = geometry.pool_words // work.pooled[1]
    if blocks * per_block > geometry.weight_words or blocks * geometry.pairs > geometry.parameter_words:
        most = min(most, geometry.weight_words // (2 * per_block), geometry.parameter_words // (2 * geometry.pairs))
    most = 1 if single else max(1, most)
    for start in range(0, blocks, most):
        yield range(start, min(start + most, blocks))


def _window(work: Convolution, source: Map, band: Band, blocks: range) -> WindowConfig:
    window = work.conv.window
    first = band.rows.start * window.stride[0] - window.padding[0]
    base = source.base + source.offset // work.geometry.input_lanes
    return WindowConfig(
        start=(base - window.padding[1] * source.pixel_words) % (1 << ADDRESS),
        first_row=first, first_column=-window.padding[1], row_start=first % source.ring_rows * source.row_words,
        row_words=source.row_words if source.ring_rows > 1 else 0,
        row_step=window.stride[0] % source.ring_rows * source.row_words,
        ring_words=source.words, pixel_words=source.pixel_words, column_step=window.stride[1] * source.pixel_words,
        height=source.height, width=source.width, kernel_y=window.kernel[0], kernel_x=window.kernel[1],
        stride_y=window.stride[0], stride_x=window.stride[1], blocks=-(-source.channels // work.geometry.input_lanes),
        output_blocks=len(blocks), rows=len(band.rows), columns=work.size[1], zero_point=work.zero_point)


def _pool(work: Convolution, band: Band, blocks: range, base: int) -> PoolConfig:
    pool, window, columns, out_columns = work.pool, work.pool_window, work.size[1], work.pooled[1]
    mode = POOL_MAX if isinstance(pool, QMaxPool) else POOL_AVERAGE if isinstance(pool, QAvgPool) else POOL_NONE
    top, left, bottom, right = window.padding
    overhang = (out_columns - 1) * window.stride[1] - left + window.kernel[1] - columns
    reaches_top = band.pooled and band.pooled[0] * window.stride[0] < top
    return PoolConfig(
        mode=mode, kernel_y=window.kernel[0], kernel_x=window.kernel[1], stride_y=window.stride[0], stride_x=window.stride[1],
        left=left, rows=len(band.rows), columns=columns, out_rows=len(band.pooled), out_columns=out_columns,
        output_blocks=len(blocks), history=min(window.kernel[0] - 1, band.rows.start), lead=band.lead,
        overhang_rows=band.overhang, include_padding=int(getattr(pool, "count_include_pad", False)),
        top=top if reaches_top else 0, padded_right=max(0, min(overhang, right)), padded_bottom=min(band.overhang, bottom),
        zero_point=work.conv.requantise.zero_point, base=base)


def _average(work: Convolution, band: Band, blocks: range) -> AverageConfig:
    pixels = len(band.pooled) * work.pooled[1]
    if not work.average:
        return AverageConfig(enable=0, first=1, last=1, pixels=pixels, output_blocks=len(blocks), start=0, multiplier=0, shift=1,
                             zero_point=0, low=0, high=255)
    how = work.pool.requantise
    return AverageConfig(
        enable=1, first=int(band.first), last=int(band.last), pixels=pixels, output_blocks=len(blocks),
        start=-work.pooled[0] * work.pooled[1] * work.conv.requantise.zero_point, multiplier=int(np.max(how.multiplier)),
        shift=int(np.max(how.shift)), zero_point=how.zero_point, low=how.low, high=how.high)


def _writer(work: Convolution, target: Map, band: Band, blocks: range, place: int) -> WriterConfig:
    per_word = work.geometry.blocks_per_word
    first = 0 if work.average else band.pooled.start % target.ring_rows
    return WriterConfig(
        base=target.base + place // per_word, lane=place % per_word, row_start=first * target.row_words,
        row_words=target.row_words, ring_words=target.words, pixel_words=target.pixel_words,
        rows=int(band.last) if work.average else len(band.pooled), columns=1 if work.average else target.width,
        output_blocks=len(blocks))
