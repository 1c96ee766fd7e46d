"""The compute command of a band of a convolution: a record for each unit of the engine."""
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from arch.command import Command
from arch.record import ADDRESS
from arch.unit.average import AverageConfig
from arch.unit.load import LoadConfig
from arch.unit.lrn import ENTRIES, LrnConfig
from arch.unit.requantise import RequantiseConfig
from arch.unit.table import TABLE_WORDS, TableConfig
from arch.unit.window import WindowConfig
from arch.unit.writer import WriterConfig
from compiler.bands import Band
from compiler.convolution import EVERYTHING, MOST_STRIDE, Convolution, rule
from compiler.maps import Map

__all__ = ["command"]


def command(work: Convolution, *, sources: Sequence[Map], target: Map, band: Band, blocks: range, weights: int, parameters: int,
            place: int | None = None, pool_base: int = 0, running: bool = False, table: int = 0, lrn: int = 0, filters: int = 0,
            portion: int = 0) -> Command:
    """The command of a band of a convolution and a range of its output blocks, or, by its number, a portion of one's sums
    (`Convolution.portions`), whose weights and parameters begin at these words. It reads one source, or of each of `work.maps`
    sources the same rows, none of which may go around its ring there; a source begins with the word that the first of these
    blocks reads.

    `place`: of the first of these blocks in the target's pixel, in blocks; by default where `target` has the map's. `running`: a
    global average writes what it has so far, also before the last band. `table`, `lrn`, `filters`: words of their units at which
    the table, the function of a normalisation, and the constants of a depthwise convolution begin.
    """
    if place is None:
        place = target.offset // work.geometry.output_lanes + blocks.start
    if work.whole:                      # whose rows, all of them there, lie one behind the other
        sources = [replace(source, height=1, width=1, pixel_words=source.words, ring_rows=1) for source in sources]
    passes = len(work.portion_words[portion]) // work.geometry.pairs
    return Command(window=(_window(work, sources[0], band, blocks, portion) if work.maps == 1
                           else _sum(work, sources, band, blocks)),
                   load=LoadConfig(weights=weights, parameters=parameters, passes=passes, output_blocks=len(blocks)),
                   requantise=RequantiseConfig(**rule(work.conv.requantise)), table=_table(work, band, blocks, table),
                   depthwise=work.depthwise_record(band, blocks, pool_base, filters),
                   pool=work.pool_record(band, blocks, pool_base), lrn=_lrn(work, band, blocks, lrn),
                   average=_average(work, band, blocks, running or band.last),
                   writer=_writer(work, target, band, blocks, place, running or band.last))


def _window(work: Convolution, source: Map, band: Band, blocks: range, portion: int) -> WindowConfig:
    window, words = work.conv.window, work.portions[portion]
    first = band.rows.start * window.stride[0] - window.padding[0]
    # Longer strides have no padding, and these only tell what is padding.
    stride_y, stride_x = (stride if stride <= MOST_STRIDE else 1 for stride in window.stride)
    column_step = (window.stride[1] if work.size[1] > 1 else 1) * source.pixel_words
    if work.conv.requantise.fraction:           # both bytes of a score are made of the same
        column_step = stride_x = 0
    portions = {}
    if len(work.portions) > 1:
        portions = {"blocks": len(words), "block_step": 0, "block_repeat": 1, "goes_on": int(portion > 0)}
    return Command.records(work.geometry)["window"](
        start=(source.base + _first_word(work, source) + words.start - window.padding[1] * source.pixel_words) % (1 << ADDRESS),
        first_row=first, first_column=-window.padding[1], row_start=first % source.ring_rows * source.row_words,
        row_words=source.row_words if source.ring_rows > 1 else 0,
        row_step=window.stride[0] % source.ring_rows * source.row_words,
        ring_words=source.words, pixel_words=source.pixel_words,
        column_step=column_step, height=source.height, width=source.width,
        kernel_y=window.kernel[0], kernel_x=window.kernel[1], stride_y=stride_y, stride_x=stride_x,
        **_common(work, band, blocks) | portions)


def _sum(work: Convolution, sources: Sequence[Map], band: Band, blocks: range) -> WindowConfig:
    """The window of a sum of two maps: a kernel of two rows, one in each of them, in a ring that is the whole memory."""
    a, b = sources
    memory, rows = work.geometry.activation_words, band.rows
    if (a.pixel_words, a.row_words) != (b.pixel_words, b.row_words) or any(
            rows.start % one.ring_rows + len(rows) > one.ring_rows for one in sources):
        raise AssertionError("maps that are added must have pixels of the same words, and rows that follow each other")
    along = 0 if work.conv.requantise.fraction else 1
    first, second = (one.base + rows.start % one.ring_rows * one.row_words + _first_word(work, one) for one in sources)
    return Command.records(work.geometry)["window"](
        start=0, first_row=0, first_column=0, row_start=first, row_words=(second - first) % memory, row_step=a.row_words % memory,
        ring_words=memory, pixel_words=a.pixel_words, column_step=along * a.pixel_words, height=len(rows) + 1, width=a.width,
        kernel_y=2, kernel_x=1, stride_y=1, stride_x=along, **_common(work, band, blocks))


def _first_word(work: Convolution, source: Map) -> int:
    """The first word of a pixel that is read."""
    return source.offset // work.geometry.input_lanes


def _common(work: Convolution, band: Band, blocks: range) -> dict[str, int]:
    own = work.own if work.own.step else EVERYTHING
    if blocks.start % own.repeat and blocks.start // own.repeat != (blocks.stop - 1) // own.repeat:
        raise AssertionError(f"output blocks that read the same words must begin a command, or be all of it, not {blocks}")
    return {"blocks": work.input_words, "output_blocks": len(blocks), "block_step": own.step, "block_repeat": own.repeat,
            "rows": len(band.rows), "columns": work.size[1], "zero_point": work.zero_point}


def _table(work: Convolution, band: Band, blocks: range, first: int) -> TableConfig | None:
    """None for an engine without tables."""
    if "table" not in work.geometry.options:
        return None
    return TableConfig(enable=int(work.table is not None), table=first // TABLE_WORDS,
                       vectors=len(blocks) * len(band.rows) * work.size[1])


def _lrn(work: Convolution, band: Band, blocks: range, first: int) -> LrnConfig | None:
    """None for an engine without normalisations."""
    if "lrn" not in work.geometry.options:
        return None
    layer, (zero_point, zero_point_out) = work.lrn, work.lrn_zero_points
    return LrnConfig(enable=int(layer is not None), function=first // ENTRIES, size=layer.size if layer else 1,
                     pixels=len(band.pooled) * work.pooled[1], output_blocks=len(blocks), zero_point=zero_point,
                     zero_point_out=zero_point_out)


def _average(work: Convolution, band: Band, blocks: range, emits: bool) -> AverageConfig:
    pixels = len(band.pooled) * work.pooled[1]
    if not work.average:
        return AverageConfig(enable=0, first=1, last=1, pixels=pixels, output_blocks=len(blocks), start=0, multiplier=0, shift=1,
                             zero_point=0, low=0, high=255)
    how = work.pool.requantise
    return AverageConfig(
        enable=1, first=int(band.first), last=int(emits), pixels=pixels, output_blocks=len(blocks),
        start=-work.pooled[0] * work.pooled[1] * work.result_zero_point, multiplier=int(np.max(how.multiplier)),
        shift=int(np.max(how.shift)), **rule(how))


def _writer(work: Convolution, target: Map, band: Band, blocks: range, place: int, emits: bool) -> WriterConfig:
    per_word = work.geometry.blocks_per_word
    first = 0 if work.average else band.pooled.start % target.ring_rows
    return WriterConfig(
        base=target.base + place // per_word, lane=place % per_word, row_start=first * target.row_words,
        row_words=target.row_words, ring_words=target.words, pixel_words=target.pixel_words,
        rows=int(emits) if work.average else len(band.pooled), columns=work.shape[2],
        output_blocks=len(blocks))
