"""One convolution, with the pool fused behind it, as commands and memory images."""
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from arch.command import (
    ADDRESS,
    POOL_AVERAGE,
    POOL_MAX,
    POOL_NONE,
    AverageConfig,
    Command,
    LoadConfig,
    PoolConfig,
    RequantiseConfig,
    WindowConfig,
    WriterConfig,
)
from arch.geometry import Geometry
from nets.graph import Window
from nets.quantised import QAvgPool, QConv, QGlobalAvgPool, QMaxPool

__all__ = ["LayerError", "LayerPlan", "Map", "Phase", "plan_layer"]

Pool = QMaxPool | QAvgPool | QGlobalAvgPool
NO_POOL = Window(kernel=(1, 1))


class LayerError(ValueError):
    """A layer cannot run on an engine; the message says which resource or rule stands against it."""


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
class _Band:
    """Rows of the convolution's output, and the rows of the pool's output that they complete."""

    rows: range
    pooled: range
    lead: int
    overhang: int


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


def _pooled_bands(geometry: Geometry, size: tuple[int, int], window: Window, pooled: tuple[int, int]) -> list[_Band]:
    """Bands of the convolution's output of `size`, each with the pooled rows whose last window row it holds."""
    height, width = size
    complete = [o * window.stride[0] - window.padding[0] + window.kernel[0] - 1 for o in range(pooled[0])]
    result, done = [], 0
    for rows in bands(height, width, geometry.band_pixels, window.kernel[0]):
        overhang = max(0, complete[-1] + 1 - height) if rows.stop == height else 0
        until = done
        while until < pooled[0] and complete[until] < rows.stop + overhang:
            until += 1
        lead = complete[done] - rows.start if until > done else len(rows) + overhang
        result.append(_Band(rows=rows, pooled=range(done, until), lead=lead, overhang=overhang))
        done = until
    return result


def weight_image(geometry: Geometry, weight: np.ndarray) -> np.ndarray:
    """Weights int8 (out, in, ky, kx) in the order of loads: (blocks out, ky, kx, blocks in, pairs from the last, PI, 2)."""
    lanes, columns = geometry.input_lanes, geometry.output_lanes
    out, in_, height, width = weight.shape
    full = np.zeros((-(-out // columns) * columns, -(-in_ // lanes) * lanes, height, width), np.int8)
    full[:out, :in_] = weight
    full = full.reshape(-1, geometry.pairs, 2, full.shape[1] // lanes, lanes, height, width)
    return full.transpose(0, 5, 6, 3, 1, 4, 2)[:, :, :, :, ::-1]


def parameter_image(geometry: Geometry, values: np.ndarray, out: int, fill: int) -> np.ndarray:
    """One parameter of `out` channels in the order of loads: (blocks out, pairs from the last, 2). `fill` for idle columns."""
    full = np.full(-(-out // geometry.output_lanes) * geometry.output_lanes, fill, np.int64)
    full[:out] = np.asarray(values).reshape(-1)
    return full.reshape(-1, geometry.pairs, 2)[:, ::-1]


def _require(condition: bool, message: str):
    if not condition:
        raise LayerError(message)


def plan_layer(geometry: Geometry, conv: QConv, *, source: Map, target: Map, zero_point: int, pool: Pool | None = None,
               weight_base: int = 0, parameter_base: int = 0) -> LayerPlan:
    """Commands and images for `conv`, and `pool` behind it, from map `source` to map `target`.

    `zero_point` is the input's; the pool's is that of the convolution's output. Weights go into the weight memory from
    `weight_base` on, wrapping. Raises LayerError if the layer does not fit the engine.
    """
    window = conv.window
    size = window.output_size(source.height, source.width)
    _check_conv(geometry, conv, source, size)
    pool_window = pool.window if isinstance(pool, QMaxPool | QAvgPool) else NO_POOL
    pooled = pool_window.output_size(*size, ceil_mode=getattr(pool, "ceil_mode", False))
    final = (1, 1) if isinstance(pool, QGlobalAvgPool) else pooled
    _require((target.channels, target.height, target.width) == (len(conv.weight), *final),
             f"target must be {(len(conv.weight), *final)}, not {(target.channels, target.height, target.width)}")
    _check_pool(pool, pool_window)

    cut = _pooled_bands(geometry, size, pool_window, pooled)
    image = weight_image(geometry, conv.weight)
    images = [parameter_image(geometry, np.broadcast_to(v, len(conv.weight)), len(conv.weight), fill)
              for v, fill in ((conv.bias, 0), (conv.requantise.multiplier, 0), (conv.requantise.shift, 1))]
    per_block = image[0].size // (2 * geometry.input_lanes)
    # A global average of several bands has one running sum.
    single = isinstance(pool, QGlobalAvgPool) and len(cut) > 1
    phases = []
    for blocks in _block_ranges(geometry, len(image), per_block, pooled[1], single):
        part = slice(blocks.start, blocks.stop)
        load = LoadConfig(weights=weight_base, parameters=parameter_base, passes=per_block // geometry.pairs,
                          output_blocks=len(blocks))
        commands = tuple(
            Command(window=_window(geometry, conv, source, size, band, blocks, zero_point), load=load,
                    requantise=RequantiseConfig(zero_point=conv.requantise.zero_point, low=conv.requantise.low,
                                                high=conv.requantise.high),
                    pool=_pool(pool, pool_window, size, pooled, band, blocks, conv.requantise.zero_point),
                    average=_average(pool, conv.requantise.zero_point, pooled, band, blocks, cut),
                    writer=_writer(geometry, target, band, blocks, pool, cut))
            for band in cut)
        phases.append(Phase(weight_base=weight_base, weights=image[part].reshape(-1, geometry.input_lanes, 2),
                            parameter_base=parameter_base, commands=commands,
                            **{name: values[part].reshape(-1, 2) for name, values in
                               zip(("biases", "multipliers", "shifts"), images, strict=True)}))
        weight_base = (weight_base + len(blocks) * per_block) % geometry.weight_words
        parameter_base = (parameter_base + len(blocks) * geometry.pairs) % geometry.parameter_words
    return LayerPlan(phases=tuple(phases), macs=conv.weight.size * size[0] * size[1])


def _check_conv(geometry: Geometry, conv: QConv, source: Map, size: tuple[int, int]):
    window = conv.window
    _require(conv.groups == 1, f"groups must be 1, not {conv.groups}")
    _require(window.dilation == (1, 1), f"dilation must be 1, not {window.dilation}")
    _require(max(window.kernel) <= 11, f"kernel must be at most 11, not {window.kernel}")
    _require(max(window.stride) <= 4, f"stride must be at most 4, not {window.stride}")
    _require(max(window.padding) <= 15, f"padding must be at most 15, not {window.padding}")
    _require(source.channels == conv.weight.shape[1], f"source must have {conv.weight.shape[1]} channels, not {source.channels}")
    _require(source.offset % geometry.input_lanes == 0, f"source offset must be a multiple of {geometry.input_lanes}, "
                                                       f"not {source.offset}")
    _require(size[1] <= geometry.band_pixels, f"output rows must be at most {geometry.band_pixels} pixels, not {size[1]}")


def _check_pool(pool: Pool | None, window: Window):
    if isinstance(pool, QGlobalAvgPool):
        for name in ("multiplier", "shift"):
            values = np.unique(getattr(pool.requantise, name))
            _require(len(values) == 1, f"global average must have one {name}, not {len(values)}")
    _require(window.dilation == (1, 1), f"pool dilation must be 1, not {window.dilation}")
    _require(max(window.kernel) <= 3, f"pool kernel must be at most 3, not {window.kernel}")
    _require(max(window.stride) <= 3, f"pool stride must be at most 3, not {window.stride}")
    _require(max(window.padding) <= 1, f"pool padding must be at most 1, not {window.padding}")


def _block_ranges(geometry: Geometry, blocks: int, per_block: int, columns: int, single: bool) -> Iterator[range]:
    """Output blocks of each phase: all of them, or so few that two phases fit the memories; one if `single`."""
    _require(per_block <= geometry.weight_words, f"weights of {geometry.output_lanes} channels must be at most "
                                                 f"{geometry.weight_words} words, not {per_block}")
    _require(columns <= geometry.pool_words, f"pooled rows must be at most {geometry.pool_words} pixels, not {columns}")
    most = geometry.pool_words // columns
    if blocks * per_block > geometry.weight_words or blocks * geometry.pairs > geometry.parameter_words:
        most = min(most, geometry.weight_words // (2 * per_block), geometry.parameter_words // (2 * geometry.pairs))
    most = 1 if single else max(1, most)
    for start in range(0, blocks, most):
        yield range(start, min(start + most, blocks))


def _window(geometry: Geometry, conv: QConv, source: Map, size, band: _Band, blocks: range, zero_point: int) -> WindowConfig:
    window = conv.window
    first = band.rows.start * window.stride[0] - window.padding[0]
    base = source.base + source.offset // geometry.input_lanes
    return WindowConfig(
        start=(base - window.padding[1] * source.pixel_words) % (1 << ADDRESS),
        first_row=first, first_column=-window.padding[1], row_start=first % source.ring_rows * source.row_words,
        row_words=source.row_words if source.ring_rows > 1 else 0,
        row_step=window.stride[0] % source.ring_rows * source.row_words,
        ring_words=source.words, pixel_words=source.pixel_words, column_step=window.stride[1] * source.pixel_words,
        height=source.height, width=source.width, kernel_y=window.kernel[0], kernel_x=window.kernel[1],
        stride_y=window.stride[0], stride_x=window.stride[1], blocks=-(-source.channels // geometry.input_lanes),
        output_blocks=len(blocks), rows=len(band.rows), columns=size[1], zero_point=zero_point)


def _pool(pool, window: Window, size, pooled, band: _Band, blocks: range, zero_point: int) -> PoolConfig:
    mode = POOL_MAX if isinstance(pool, QMaxPool) else POOL_AVERAGE if isinstance(pool, QAvgPool) else POOL_NONE
    top, left, bottom, right = window.padding
    overhang = (pooled[1] - 1) * window.stride[1] - left + window.kernel[1] - size[1]
    reaches_top = band.pooled and band.pooled[0] * window.stride[0] < top
    return PoolConfig(
        mode=mode, kernel_y=window.kernel[0], kernel_x=window.kernel[1], stride_y=window.stride[0], stride_x=window.stride[1],
        left=left, rows=len(band.rows), columns=size[1], out_rows=len(band.pooled), out_columns=pooled[1],
        output_blocks=len(blocks), history=min(window.kernel[0] - 1, band.rows.start), lead=band.lead,
        overhang_rows=band.overhang, include_padding=int(getattr(pool, "count_include_pad", False)),
        top=top if reaches_top else 0, padded_right=max(0, min(overhang, right)), padded_bottom=min(band.overhang, bottom),
        zero_point=zero_point)


def _average(pool, zero_point: int, pooled, band: _Band, blocks: range, cut: list[_Band]) -> AverageConfig:
    if not isinstance(pool, QGlobalAvgPool):
        return AverageConfig(enable=0, first=1, last=1, pixels=len(band.pooled) * pooled[1], output_blocks=len(blocks), start=0,
                             multiplier=0, shift=1, zero_point=0, low=0, high=255)
    how = pool.requantise
    return AverageConfig(
        enable=1, first=int(band is cut[0]), last=int(band is cut[-1]), pixels=len(band.pooled) * pooled[1],
        output_blocks=len(blocks), start=-pooled[0] * pooled[1] * zero_point, multiplier=int(np.max(how.multiplier)),
        shift=int(np.max(how.shift)), zero_point=how.zero_point, low=how.low, high=how.high)


def _writer(geometry: Geometry, target: Map, band: _Band, blocks: range, pool, cut: list[_Band]) -> WriterConfig:
    average = isinstance(pool, QGlobalAvgPool)
    rows = int(band is cut[-1]) if average else len(band.pooled)
    position = target.offset // geometry.output_lanes + blocks.start
    _require(target.offset % geometry.output_lanes == 0, f"target offset must be a multiple of {geometry.output_lanes}, "
                                                        f"not {target.offset}")
    first = 0 if average else band.pooled.start % target.ring_rows
    return WriterConfig(
        base=target.base + position // geometry.blocks_per_word, lane=position % geometry.blocks_per_word,
        row_start=first * target.row_words, row_words=target.row_words, ring_words=target.words,
        pixel_words=target.pixel_words, rows=rows, columns=1 if average else target.width, output_blocks=len(blocks))
