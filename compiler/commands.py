"""The compute command of a band of a convolution: a record for each unit of the engine."""
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from arch.command import Command
from arch.record import ADDRESS
from arch.unit.average import AverageConfig
from arch.unit.load import LoadConfig
from arch.unit.requantise import RequantiseConfig
from arch.unit.window import WindowConfig
from arch.unit.writer import WriterConfig
from compiler.bands import Band
from compiler.convolution import MOST_STRIDE, Convolution
from compiler.maps import Map

__all__ = ["command"]


def command(work: Convolution, *, sources: Sequence[Map], target: Map, band: Band, blocks: range, weights: int, parameters: int,
            place: int | None = None, pool_base: int = 0, running: bool = False) -> Command:
    """The command of a band of a convolution and a range of its output blocks, whose weights and parameters begin at these
    words; it reads one source.

    `place`: of the first of these blocks in the target's pixel, in blocks; by default where `target` has the map's. `running`: a
    global average writes what it has so far, also before the last band.
    """
    if place is None:
        place = target.offset // work.geometry.output_lanes + blocks.start
    (source,) = sources
    if work.whole:                      # whose rows, all of them there, lie one behind the other
        source = replace(source, height=1, width=1, pixel_words=source.words, ring_rows=1)
    return Command(window=_window(work, source, band, blocks),
                   load=LoadConfig(weights=weights, parameters=parameters, passes=work.passes, output_blocks=len(blocks)),
                   requantise=RequantiseConfig(**{name: getattr(work.conv.requantise, name)
                                                  for name in ("zero_point", "low", "high")}),
                   pool=work.pool_record(band, blocks, pool_base), average=_average(work, band, blocks, running or band.last),
                   writer=_writer(work, target, band, blocks, place, running or band.last))


def _window(work: Convolution, source: Map, band: Band, blocks: range) -> WindowConfig:
    window = work.conv.window
    first = band.rows.start * window.stride[0] - window.padding[0]
    base = source.base + source.offset // work.geometry.input_lanes
    beside = window.kernel[1] - 1 if work.tap_words else 0          # taps that are no columns of the map
    # Longer strides have no padding, and these only tell what is padding.
    stride_y, stride_x = (stride if stride <= MOST_STRIDE else 1 for stride in window.stride)
    return WindowConfig(
        start=(base - window.padding[1] * source.pixel_words) % (1 << ADDRESS),
        first_row=first, first_column=-window.padding[1], row_start=first % source.ring_rows * source.row_words,
        row_words=source.row_words if source.ring_rows > 1 else 0,
        row_step=window.stride[0] % source.ring_rows * source.row_words,
        ring_words=source.words, pixel_words=work.tap_words or source.pixel_words,
        column_step=(window.stride[1] if work.size[1] > 1 else 1) * source.pixel_words,
        height=source.height, width=source.width + beside, kernel_y=window.kernel[0], kernel_x=window.kernel[1],
        stride_y=stride_y, stride_x=stride_x, blocks=-(-source.channels // work.geometry.input_lanes),
        output_blocks=len(blocks), rows=len(band.rows), columns=work.size[1], zero_point=work.zero_point)


def _average(work: Convolution, band: Band, blocks: range, emits: bool) -> AverageConfig:
    pixels = len(band.pooled) * work.pooled[1]
    if not work.average:
        return AverageConfig(enable=0, first=1, last=1, pixels=pixels, output_blocks=len(blocks), start=0, multiplier=0, shift=1,
                             zero_point=0, low=0, high=255)
    how = work.pool.requantise
    return AverageConfig(
        enable=1, first=int(band.first), last=int(emits), pixels=pixels, output_blocks=len(blocks),
        start=-work.pooled[0] * work.pooled[1] * work.conv.requantise.zero_point, multiplier=int(np.max(how.multiplier)),
        shift=int(np.max(how.shift)), zero_point=how.zero_point, low=how.low, high=how.high)


def _writer(work: Convolution, target: Map, band: Band, blocks: range, place: int, emits: bool) -> WriterConfig:
    per_word = work.geometry.blocks_per_word
    first = 0 if work.average else band.pooled.start % target.ring_rows
    return WriterConfig(
        base=target.base + place // per_word, lane=place % per_word, row_start=first * target.row_words,
        row_words=target.row_words, ring_words=target.words, pixel_words=target.pixel_words,
        rows=int(emits) if work.average else len(band.pooled), columns=1 if work.average else target.width,
        output_blocks=len(blocks))
