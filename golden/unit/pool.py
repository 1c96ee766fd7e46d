"""Values of the pool."""
from collections.abc import Iterator

import numpy as np

from arch.geometry import Geometry
from arch.unit.pool import POOL_AVERAGE, POOL_NONE, PoolConfig
from golden.unit.rules import require

__all__ = ["UNIT", "Pool"]


class Pool:
    """The streaming pool, with the results of the last two rows at each place of its line memory.

    A place before which no row has come holds what the last command there left, as the chip's does.
    """

    def __init__(self, geometry: Geometry):
        self.lines = np.zeros((geometry.pool_words, 2, geometry.output_lanes), np.int32)     # a row ago, two rows ago

    @staticmethod
    def rows(config: PoolConfig, rows: int) -> int:
        """Rows that come out of so many."""
        return config.out_rows

    @staticmethod
    def problems(config: PoolConfig) -> Iterator[str]:
        """What is wrong with a record by itself."""
        if config.mode == POOL_NONE and config.out_rows != config.rows:
            yield f"out_rows without a pool must be {config.rows}, not {config.out_rows}"

    def step(self, config: PoolConfig, q: np.ndarray) -> np.ndarray:
        """Vectors that come out: uint8 (output blocks, PO, out rows, out columns)."""
        require((config.output_blocks, config.rows, config.columns) == (len(q), *q.shape[2:]),
                 f"pool must take {(len(q), *q.shape[2:])} blocks, rows and columns, "
                 f"not {(config.output_blocks, config.rows, config.columns)}")
        if config.mode == POOL_NONE:
            return q
        average = config.mode == POOL_AVERAGE
        across = np.arange(config.out_columns) * config.stride_x - config.left
        rows = self._horizontal(config, q, across, average)
        real = np.arange(-2, config.rows + config.overhang_rows)        # rows -2 and -1 are those of the memory
        real = np.where(real < 0, real >= -config.history, real < config.rows)
        done = config.lead + np.arange(config.out_rows) * config.stride_y + 2
        require(not done.size or done[-1] < len(real), f"pooled rows must be complete after {len(real) - 2} rows, "
                                                        f"not after {done[-1] - 1 if done.size else 0}")
        combine = np.add if average else np.maximum
        total = np.zeros((*rows.shape[:2], len(done), config.out_columns), np.int32)
        for back in range(config.kernel_y):
            combine(total, rows[:, :, done - back] * real[done - back, None], out=total)
        return self._mean(config, total, real, done, across).astype(np.uint8) if average else total.astype(np.uint8)

    def _horizontal(self, config: PoolConfig, q: np.ndarray, across: np.ndarray, average: bool) -> np.ndarray:
        """Results along the rows, two of the memory in front: int32 (blocks, PO, 2 + rows + overhang, out columns)."""
        blocks, lanes = q.shape[:2]
        most = max(config.columns, int(across[-1]) + config.kernel_x)
        padded = np.zeros((blocks, lanes, config.rows + config.overhang_rows, config.left + most), np.int32)
        padded[:, :, :config.rows, config.left:config.left + config.columns] = q
        rows = np.zeros((*padded.shape[:3], config.out_columns), np.int32)
        combine = np.add if average else np.maximum
        for tap in range(config.kernel_x):
            combine(rows, padded[..., across + config.left + tap], out=rows)
        stop = config.base + blocks * config.out_columns
        require(stop <= len(self.lines), f"places of the pool must end at {len(self.lines)}, not at {stop}")
        kept = self.lines[config.base:stop].reshape(blocks, config.out_columns, 2, lanes).transpose(0, 3, 2, 1)
        rows = np.concatenate([kept[:, :, ::-1], rows], axis=2)
        if config.kernel_y > 1:
            kept = rows[:, :, :-3:-1].transpose(0, 3, 2, 1).reshape(-1, 2, lanes)
            self.lines[config.base:stop] = kept
        return rows

    @staticmethod
    def _mean(config: PoolConfig, total: np.ndarray, real: np.ndarray, done: np.ndarray, across: np.ndarray) -> np.ndarray:
        """Sums divided by what counts in them, halves rounded up."""
        counted = real.copy()
        columns = np.arange(-1, max(config.columns, int(across[-1]) + config.kernel_x) + 1)
        in_map = (columns >= 0) & (columns < config.columns)
        counts = in_map.copy()
        if config.include_padding:
            counts |= (columns == -1) & bool(config.left) | (columns == config.columns) & bool(config.padded_right)
            if config.top:
                counted[1 - config.history:2 - config.history] = True
            if config.overhang_rows and config.padded_bottom:
                counted[config.rows + 2] = True

        def positions(rows, columns):
            down = sum(rows[done - back].astype(np.int32) for back in range(config.kernel_y))
            return down[:, None] * sum(columns[across + 1 + tap].astype(np.int32) for tap in range(config.kernel_x))
        count = np.maximum(positions(counted, counts), 1)
        padding = positions(counted, counts) - positions(real, in_map)
        return (total + config.zero_point * padding + count // 2) // count


UNIT = Pool
