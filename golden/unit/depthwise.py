"""Values of the depthwise convolution."""
from collections.abc import Iterator

import numpy as np

from arch.geometry import Geometry
from arch.unit.depthwise import KERNEL, LEAST_COLUMNS, PAIR_WORDS, PLANES, DepthwiseConfig
from golden.unit.rules import require
from golden.values import requantise
from nets.int8.network import Requantise

__all__ = ["UNIT", "Depthwise"]


class Depthwise:
    """The convolution, with the last two rows at each place of its line memory, and its constants.

    A place before which no row has come holds what the last command there left, as the chip's does.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.lines = np.zeros((geometry.depthwise_words, 2, geometry.output_lanes), np.uint8)      # a row ago, two rows ago
        self.biases, self.multipliers, self.shifts = np.zeros((3, PAIR_WORDS, 2), np.int64)
        self.weights = np.zeros((PAIR_WORDS, 2, KERNEL * KERNEL), np.int8)

    @staticmethod
    def rows(config: DepthwiseConfig, rows: int) -> int:
        """Rows that come out of so many."""
        return config.out_rows

    @staticmethod
    def problems(config: DepthwiseConfig) -> Iterator[str]:
        """What is wrong with a record by itself."""
        if not config.enable and config.out_rows != config.rows:
            yield f"out_rows without a depthwise convolution must be {config.rows}, not {config.out_rows}"
        if config.enable and config.columns < LEAST_COLUMNS:
            yield f"columns of a depthwise convolution must be at least {LEAST_COLUMNS}, not {config.columns}"

    def write(self, words: np.ndarray, stored: np.ndarray) -> None:
        """Put words of storage, uint16 (n, 6), where they belong; those behind the last plane are lost."""
        plane, place = np.divmod(words, PAIR_WORDS)
        stored = np.ascontiguousarray(stored, "<u2")
        of = plane == 0
        self.biases[place[of]] = stored[of, :4].copy().view("<i4")
        for memory, column in ((self.multipliers, 4), (self.shifts, 5)):
            memory[place[of]] = stored[of, column, None] >> [0, 8] & 0xFF
        for channel in range(PLANES - 1):
            of = plane == 1 + channel
            self.weights[place[of], channel] = stored[of, :5].copy().view(np.int8)[:, :KERNEL * KERNEL]

    def step(self, config: DepthwiseConfig, q: np.ndarray) -> np.ndarray:
        """Vectors that come out: uint8 (output blocks, PO, out rows, out columns)."""
        require((config.output_blocks, config.rows, config.columns) == (len(q), *q.shape[2:]),
                f"depthwise convolution must take {(len(q), *q.shape[2:])} blocks, rows and columns, "
                f"not {(config.output_blocks, config.rows, config.columns)}")
        if not config.enable:
            return q
        rows = self._rows(config, q)
        done = config.lead + np.arange(config.out_rows) * config.stride_y + 2
        require(not done.size or done[-1] < rows.shape[2], f"rows must be complete after {rows.shape[2] - 2} rows, "
                                                           f"not after {done[-1] - 1 if done.size else 0}")
        bias, weight, how = self._constants(config)
        across = np.arange(config.out_columns) * config.stride_x
        acc = np.zeros((*rows.shape[:2], len(done), config.out_columns), np.int64)
        for down in range(KERNEL):
            for along in range(KERNEL):
                acc += weight[:, :, KERNEL * down + along, None, None] * rows[:, :, done - 2 + down][..., across + along]
        acc += bias[..., None, None]
        require(np.abs(acc).max(initial=0) < 1 << 31, "accumulators must stay within 32 bits")
        return requantise(acc.reshape(how.shift.size, *acc.shape[2:]), how).reshape(acc.shape)

    def _rows(self, config: DepthwiseConfig, q: np.ndarray) -> np.ndarray:
        """Two rows of the memory, those of the band and the virtual ones, with padding on both sides: int64 (blocks, PO, rows,
        columns)."""
        blocks, lanes = q.shape[:2]
        stop = config.base + blocks * config.columns
        require(stop <= len(self.lines), f"places of the depthwise convolution must end at {len(self.lines)}, not at {stop}")
        kept = self.lines[config.base:stop].reshape(blocks, config.columns, 2, lanes).transpose(0, 3, 2, 1)
        rows = np.concatenate([kept[:, :, ::-1], q], axis=2)
        self.lines[config.base:stop] = rows[:, :, :-3:-1].transpose(0, 3, 2, 1).reshape(-1, 2, lanes)
        wide = max(config.left + config.columns, (config.out_columns - 1) * config.stride_x + KERNEL)
        padded = np.full((blocks, lanes, rows.shape[2] + config.overhang_rows, wide), config.padding, np.int64)
        first = 2 - config.history          # rows of the memory that are those of the map
        padded[:, :, first:rows.shape[2], config.left:config.left + config.columns] = rows[:, :, first:]
        return padded

    def _constants(self, config: DepthwiseConfig) -> tuple[np.ndarray, np.ndarray, Requantise]:
        """Biases (blocks, PO), weights (blocks, PO, taps) and the rule of all channels."""
        places, pairs = config.pair_words(self.geometry), self.geometry.pairs

        def channels(values):
            """Of pairs, the last of a block first."""
            return values[places].reshape(-1, pairs, 2, *values.shape[2:])[:, ::-1].reshape(-1, 2 * pairs, *values.shape[2:])
        weight, shift = channels(self.weights), channels(self.shifts)
        require((weight != -128).all(), "weights must be -127..127, not -128")
        require(((shift >= 1) & (shift <= 39)).all(), f"shifts must be 1..39, not {shift.min()}..{shift.max()}")
        return channels(self.biases), weight.astype(np.int64), Requantise(
            multiplier=channels(self.multipliers).ravel(), shift=shift.ravel(), zero_point=config.zero_point, low=config.low,
            high=config.high)


UNIT = Depthwise        # as `golden.units` finds it
