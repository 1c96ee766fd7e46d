"""One convolution, with the pool or a depthwise one fused behind it: sizes, images of constants, what stands against it."""
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
import math

import numpy as np

from arch.geometry import Geometry
from arch.unit.depthwise import KERNEL, WINDOW, DepthwiseConfig, load_cycles
from arch.unit.gather import GatherConfig
from arch.unit.lrn import MOST_SIZE
from arch.unit.pool import POOL_AVERAGE, POOL_MAX, POOL_NONE, PoolConfig
from arch.unit.window import WindowConfig
from compiler.bands import Band, cut_bands
from compiler.images import filter_words, parameter_image, weight_image
from compiler.lowering.needs import in_portions, lacking
from nets.graph import Window
from nets.int8.network import QLRN, SHIFT_MAX, QAvgPool, QConv, QGlobalAvgPool, QLayer, QMaxPool, QTable, Requantise

__all__ = ["Convolution", "EVERYTHING", "MOST_KERNEL", "MOST_PADDING", "MOST_SIDE", "MOST_STRIDE", "Own", "Pool", "picks",
           "rule"]

Pool = QMaxPool | QAvgPool | QGlobalAvgPool
NO_POOL = Window(kernel=(1, 1))
# Limits of the commands' records.
MOST_KERNEL, MOST_STRIDE, MOST_SIDE = (WindowConfig.most(name) for name in ("kernel_y", "stride_y", "height"))
MOST_BLOCKS, MOST_PADDING = WindowConfig.most("blocks"), GatherConfig.most("left")
CARRIED = "; --units carry adds what lets sums go on from command to command"
MOST_POOL = {"kernel": PoolConfig.most("kernel_y"), "stride": PoolConfig.most("stride_y"), "padding": PoolConfig.most("left")}


def picks(layer: QLayer) -> bool:
    """Whether a layer is a pool of single pixels in steps that only a convolution can make."""
    return (isinstance(layer, QMaxPool) and layer.window.kernel == (1, 1) and max(layer.window.stride) > MOST_POOL["stride"]
            and not any(layer.window.padding))


def rule(how: Requantise) -> dict[str, int]:
    """Zero point and limits, which tell scores beyond theirs (`arch.scores`)."""
    beyond = int(how.fraction)
    return {"zero_point": how.zero_point, "low": how.low - beyond, "high": how.high + beyond, "fraction": beyond}


@dataclass(frozen=True)
class Own:
    """Which words of a pixel an output block reads: as many as there are weights for, from (block // repeat) * step on."""

    step: int
    repeat: int


EVERYTHING = Own(step=0, repeat=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution:
    """A convolution and what is fused behind it, table, pool and normalisation, on an input of `height` x `width` with zero point
    `zero_point`. In the pool's place may be a depthwise convolution that the engine's unit computes
    (`compiler.lowering.needs.filters`).

    `own`: the input words of each output block; `conv.weight` has weights for those alone. `maps`: so many maps of the same size
    are convolved and summed, the weights of each below those of the one before it (`conv.weight` has `maps` times the rows of the
    kernel). `spare`: computes all of the convolution's output, even what no window of the pool reads. `whole`: the input is
    read as a single pixel, its channels those of all pixels, row by row, each with all its words; the convolution is 1x1.
    `table_zero_point`: of what the table gives, if there is one. `lrn_zero_points`: of what the normalisation takes and
    gives; all output blocks of a band that goes through it are in one command.

    What an engine cannot run can be made too, and asked what stands `against` it.
    """

    geometry: Geometry
    conv: QConv
    pool: Pool | QConv | None
    height: int
    width: int
    zero_point: int
    spare: bool = False
    own: Own = EVERYTHING
    maps: int = 1
    whole: bool = False
    table: QTable | None = None
    table_zero_point: int = 0
    lrn: QLRN | None = None
    lrn_zero_points: tuple[int, int] = (0, 0)

    def against(self) -> Iterator[tuple[QLayer, str]]:
        """What stands against it on this engine, whatever its memories hold: whether convolution or pool, and why."""
        geometry, window = self.geometry, self.conv.window
        if self.conv.groups != 1:
            yield self.conv, f"groups must be 1, not {self.conv.groups}"
        if window.dilation != (1, 1):
            yield self.conv, f"dilation must be 1, not {window.dilation}"
        for what, most in (("kernel", MOST_KERNEL), ("padding", MOST_PADDING)):
            if max(getattr(window, what)) > most:
                yield self.conv, f"{what} must be at most {most}, not {getattr(window, what)}"
        if any(window.stride[axis] > MOST_STRIDE and any(window.padding[axis::2]) for axis in range(2)):
            yield self.conv, f"stride must be at most {MOST_STRIDE} where there is padding, not {window.stride}"
        for what, value in (("rows", self.height), ("columns", self.width)):
            if value > MOST_SIDE and not self.whole:
                yield self.conv, f"input {what} must be at most {MOST_SIDE}, not {value}: make the image smaller (--size)"
        if self.passes > MOST_BLOCKS and self.whole:
            yield self.conv, (f"a map that is read at once must have at most {MOST_BLOCKS} words of "
                              f"{geometry.input_lanes} channels, not {self.passes}: pool it before, or give it fewer channels")
        yield from self._too_much(self.conv, f"weights of {geometry.output_lanes} channels", "words",
                                  max(map(len, self.portion_words)), "weight_words", CARRIED if self.carries else "")
        yield from self._too_much(self.conv, "output rows", "pixels", self.size[1], "band_pixels")
        yield from self._too_much(self.conv, "parameters", "words", geometry.pairs, "parameter_words")
        if self.table is not None and (reason := lacking("table", geometry)):
            yield self.table, reason
        if self.pool is not None and not self.filtered:
            yield from self._against_pool(self.pool, self.pool_window)
        if self.lrn is not None:
            yield from self._against_lrn(self.lrn)

    def _too_much(self, layer: QLayer, what: str, unit: str, used: int, name: str, instead: str = ""
                  ) -> Iterator[tuple[QLayer, str]]:
        """If the engine's parameter `name` would have to grow: by how much, and what would do `instead`."""
        room = getattr(self.geometry, name)
        if used > room:
            yield layer, f"{what} must be at most {room} {unit} ({name}), not {used}: {used - room} are missing{instead}"

    def _against_lrn(self, layer: QLRN) -> Iterator[tuple[QLayer, str]]:
        if reason := lacking("lrn", self.geometry):
            yield layer, reason
        if layer.size > MOST_SIZE:
            yield layer, f"size must be at most {MOST_SIZE} channels, not {layer.size}"
        yield from self._too_much(self.conv, f"parameters of {len(self.conv.weight)} channels before a normalisation", "words",
                                  self.blocks * self.geometry.pairs, "parameter_words")

    def _against_pool(self, pool: Pool, window: Window) -> Iterator[tuple[QLayer, str]]:
        if isinstance(pool, QGlobalAvgPool):
            for name in ("multiplier", "shift"):
                values = np.unique(getattr(pool.requantise, name))
                if len(values) != 1:
                    yield pool, f"global average must have one {name}, not {len(values)}"
        if window.dilation != (1, 1):
            yield pool, f"pool dilation must be 1, not {window.dilation}"
        large = [(what, most) for what, most in MOST_POOL.items() if max(getattr(window, what)) > most]
        if large and isinstance(pool, QAvgPool):        # others are convolutions
            if max(window.kernel) > MOST_KERNEL:
                yield pool, (f"the kernel of an average pool must be at most {MOST_KERNEL}, or a product with factors of its "
                             f"stride, not {window.kernel}")
            if any(window.padding) or max(window.kernel) <= MOST_KERNEL:
                yield pool, ("an average pool of more than 3x3 must divide by one number everywhere, not by fewer values at the "
                             "border: count its padding (count_include_pad=1), or pad nothing")
            return
        for what, most in large:
            yield pool, f"pool {what} must be at most {most}, not {getattr(window, what)}"
        yield from self._too_much(pool, "pooled rows", "pixels", self.places, "pool_words")

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of the convolution's output, as far as it is computed; of scores two columns, for their two bytes."""
        if self.conv.requantise.fraction:
            return 1, 2
        size, window = self.conv.window.output_size(*((1, 1) if self.whole else (self.height, self.width))), self.pool_window
        if self.spare or window == NO_POOL:
            return size
        pooled = window.output_size(*size, ceil_mode=getattr(self.pool, "ceil_mode", False))
        read = ((count - 1) * window.stride[n] - window.padding[n] + window.kernel[n] for n, count in enumerate(pooled))
        return tuple(map(min, size, read))

    @property
    def most_rows(self) -> int:
        """Rows of a command at most; those of a sum have a row of the window for each map."""
        return max(1, min(self.geometry.band_pixels // self.size[1], MOST_SIDE + 1 - self.maps))

    @cached_property
    def pool_window(self) -> Window:
        return self.pool.window if isinstance(self.pool, QMaxPool | QAvgPool | QConv) else NO_POOL

    @cached_property
    def pooled(self) -> tuple[int, int]:
        """Height and width behind the pool; of a global average, before it."""
        return self.pool_window.output_size(*self.size, ceil_mode=getattr(self.pool, "ceil_mode", False))

    @property
    def result_zero_point(self) -> int:
        """Zero point of what the pool takes."""
        return self.table_zero_point if self.table else self.conv.requantise.zero_point

    @property
    def pointwise(self) -> bool:
        """Whether each value is made of those of the same pixel in its own block alone."""
        return bool(self.own.step) and self.pool is None and self.lrn is None and self.conv.window == NO_POOL

    @property
    def filtered(self) -> bool:
        """Whether a depthwise convolution is fused."""
        return isinstance(self.pool, QConv)

    @property
    def average(self) -> bool:
        """Whether a global average is fused."""
        return isinstance(self.pool, QGlobalAvgPool)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of what is written."""
        return (len(self.conv.weight), *((1, 1 + self.pool.requantise.fraction) if self.average else self.pooled))

    @property
    def blocks(self) -> int:
        """Output blocks."""
        return -(-len(self.conv.weight) // self.geometry.output_lanes)

    @property
    def input_words(self) -> int:
        """Words of a pixel that an output block reads."""
        return -(-self.conv.weight.shape[1] // self.geometry.input_lanes)

    @cached_property
    def passes(self) -> int:
        """Passes of an output block."""
        return self.input_words * math.prod(self.conv.weight.shape[2:])

    @property
    def block_words(self) -> int:
        """Weight words of an output block."""
        return self.passes * self.geometry.pairs

    @property
    def carries(self) -> bool:
        """Whether its sums can go on from command to command, in an engine that does so."""
        return self.pool is None and self.maps == 1

    @cached_property
    def portions(self) -> tuple[range, ...]:
        """Input words that the commands of an output block read, one after the other, each going on with the sums of the one
        before: all at once, if there is room for their weights and for those that come next (`needs.in_portions`).

        Only engines with the option `carry` go on with sums.
        """
        words, geometry = self.input_words, self.geometry
        if "carry" in geometry.options and in_portions(geometry, self.block_words, self.blocks, math.prod(self.size)):
            most = geometry.weight_words // 2 * words // self.block_words       # one portion in use, the next one on its way
            if most and self.carries:
                count = -(-words // most)
                return tuple(range(n * words // count, (n + 1) * words // count) for n in range(count))
        return (range(words),)

    @cached_property
    def portion_words(self) -> tuple[range, ...]:
        """Weight words of each portion, of those of an output block."""
        per_word = self.block_words // self.input_words
        return tuple(range(portion.start * per_word, portion.stop * per_word) for portion in self.portions)

    @property
    def places(self) -> int:
        """Places of the line memory that an output block takes: of the pool's, or of the depthwise convolution's."""
        if self.filtered:
            return self.size[1]
        return self.pooled[1] if self.pool is not None and self.pool_window.kernel[0] > 1 else 0

    @property
    def most_places(self) -> int:
        """Places of this line memory that there are."""
        return self.geometry.depthwise_words if self.filtered else self.geometry.pool_words

    def pool_record(self, band: Band, blocks: range, base: int) -> PoolConfig:
        """What the pool is told with the command of a band and a range of output blocks, whose places begin at `base`."""
        if self.filtered:               # what it gives passes
            return PoolConfig(mode=POOL_NONE, kernel_y=1, kernel_x=1, stride_y=1, stride_x=1, left=0, rows=len(band.pooled),
                              columns=self.pooled[1], out_rows=len(band.pooled), out_columns=self.pooled[1],
                              output_blocks=len(blocks), history=0, lead=0, overhang_rows=0, include_padding=0, top=0,
                              padded_right=0, padded_bottom=0, zero_point=0)
        pool, window, columns, out_columns = self.pool, self.pool_window, self.size[1], self.pooled[1]
        mode = POOL_MAX if isinstance(pool, QMaxPool) else POOL_AVERAGE if isinstance(pool, QAvgPool) else POOL_NONE
        top, left, bottom, right = window.padding
        overhang = (out_columns - 1) * window.stride[1] - left + window.kernel[1] - columns
        reaches_top = band.pooled and band.pooled[0] * window.stride[0] < top
        return PoolConfig(
            mode=mode, kernel_y=window.kernel[0], kernel_x=window.kernel[1], stride_y=window.stride[0],
            stride_x=window.stride[1], left=left, rows=len(band.rows), columns=columns, out_rows=len(band.pooled),
            out_columns=out_columns, output_blocks=len(blocks), history=min(window.kernel[0] - 1, band.rows.start),
            lead=band.lead, overhang_rows=band.overhang, include_padding=int(getattr(pool, "count_include_pad", False)),
            top=top if reaches_top else 0, padded_right=max(0, min(overhang, right)),
            padded_bottom=min(band.overhang, bottom), zero_point=self.result_zero_point, base=base)

    def depthwise_record(self, band: Band, blocks: range, base: int, words: int) -> DepthwiseConfig | None:
        """What the depthwise convolution is told, whose places begin at `base` and whose constants at `words`; None for an engine
        without the unit."""
        if "depthwise" not in self.geometry.options:
            return None
        rows, columns = len(band.rows), self.size[1]
        shared = {"rows": rows, "columns": columns, "output_blocks": len(blocks)}
        if not self.filtered:
            return DepthwiseConfig(enable=0, stride_y=1, stride_x=1, left=0, out_rows=rows, out_columns=columns, history=0,
                                   lead=0, overhang_rows=0, padding=0, zero_point=0, low=0, high=0, base=0, words=0, **shared)
        window, limits = self.pool_window, rule(self.pool.requantise)
        return DepthwiseConfig(
            enable=1, stride_y=window.stride[0], stride_x=window.stride[1], left=window.padding[1], out_rows=len(band.pooled),
            out_columns=self.pooled[1], history=min(KERNEL - 1, band.rows.start), lead=band.lead, overhang_rows=band.overhang,
            padding=self.result_zero_point, base=base, words=words, **shared,
            **{name: limits[name] for name in ("zero_point", "low", "high")})

    @cached_property
    def filter_constants(self) -> list[np.ndarray]:
        """Constants of the depthwise convolution, if there is one, for each plane of its unit: words of storage."""
        return filter_words(self.geometry, self.pool) if self.filtered else []

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the array, without what idle lanes do."""
        return self.conv.weight.size * math.prod(self.size) // (1 + self.conv.requantise.fraction)

    def bands(self, cut: list[range]) -> list[Band]:
        """Bands of those rows of the convolution's output; of larger ones where something is fused that must complete some row
        in each."""
        if self.filtered:
            height, window = self.size[0], self.pool_window
            first, rows = (max(len(rows), least) for rows, least in ((cut[0], KERNEL - window.padding[0]),
                                                                     (cut[min(1, len(cut) - 1)], window.stride[0])))
            edges = [0, *range(min(first, height), height, rows), height]
            cut = [range(a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a]
        return cut_bands(cut, self.pool_window, self.pooled[0])

    def stream_cycles(self, rows: int) -> int:
        """Cycles in which what is fused behind it is taken by so many rows of an output block, where that may be more than the
        array's."""
        if not self.filtered:
            return 0
        window = self.pool_window
        return (rows * (self.size[1] + window.padding[3]) + (WINDOW - 1) * rows // window.stride[0] * self.pooled[1]
                + load_cycles(self.geometry))

    def input_rows(self, rows: range) -> range:
        """Rows of the input that these rows of the convolution's output are made of."""
        if self.whole:
            return range(self.height)
        window = self.conv.window
        first = rows.start * window.stride[0] - window.padding[0]
        last = (rows.stop - 1) * window.stride[0] - window.padding[0] + window.kernel[0]
        first = min(max(first, 0), self.height)
        return range(first, max(min(last, self.height), first))

    @cached_property
    def weights(self) -> np.ndarray:
        """All weights in the order of loads: int8 (words, PI, 2)."""
        image, lanes = weight_image(self.geometry, self.conv.weight), self.geometry.input_lanes
        parts = [image[:, :, :, portion.start:portion.stop].reshape(self.blocks, -1, lanes, 2) for portion in self.portions]
        return (np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]).reshape(-1, lanes, 2)

    @cached_property
    def parameters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Biases, multipliers and shifts in the order of loads: int64 (words, 2) each."""
        out, how = len(self.conv.weight), self.conv.requantise
        return tuple(parameter_image(self.geometry, np.broadcast_to(values, out), out, fill).reshape(-1, 2)
                     for values, fill in ((self.conv.bias, 0), (how.multiplier, 0), (how.shift, SHIFT_MAX)))
