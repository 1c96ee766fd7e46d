"""Cycles of the pool."""
from collections.abc import Sequence

import numpy as np

from arch import pipeline
from arch.command import POOL_NONE, PoolConfig
from golden.cycles.streams import Readiness, issue

__all__ = ["passed", "steps"]

SHORT = 3               # rows of fewer columns are followed by a pause of two cycles, where rows are combined


def steps(config: PoolConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The steps of a command, in order: whether each takes a vector, whether it gives a result, and the pause before it."""
    pooled = config.mode != POOL_NONE
    columns, rows = config.columns, config.rows
    if pooled:
        columns = max(columns, (config.out_columns - 1) * config.stride_x - config.left + config.kernel_x)
        rows += config.overhang_rows
    real = np.zeros((rows, columns), bool)
    real[:config.rows, :config.columns] = True
    gives, pause = real.copy(), np.zeros((rows, columns), np.int64)
    if pooled:
        gives[:] = False
        first = config.kernel_x - 1 - config.left
        across = first + config.stride_x * np.arange(config.out_columns)
        down = config.lead + config.stride_y * np.arange(config.out_rows)
        gives[np.ix_(down, across)] = True
        if config.kernel_y > 1 and (config.columns < SHORT or config.out_columns < SHORT):
            pause[:, 0] = 2
    real, gives, pause = (np.tile(part.ravel(), config.output_blocks) for part in (real, gives, pause))
    pause[0] = 0
    return real, gives, pause


def passed(commands: Sequence[PoolConfig], offered: np.ndarray, vector_offered: np.ndarray, ready: Readiness,
           taker: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cycles in which commands and vectors are taken and results leave, from those in which they are offered and the taker's.

    `taker`: for each result a cycle before which it is not taken.
    """
    command_cycles, taken, left = [], [], np.zeros(0, np.int64)
    position, free = 0, 0
    for config, at in zip(commands, offered, strict=True):
        start = max(int(at), free)
        real, gives, pause = steps(config)
        earliest = np.zeros(len(real), np.int64)
        earliest[real] = vector_offered[position:position + real.sum()]
        np.maximum(earliest, start + 2, out=earliest)
        made, left = issue(earliest, pause=pause, waits=gives, gives=gives, latency=pipeline.POOL, left=left, ready=ready,
                           taker=taker)
        command_cycles.append(start)
        taken.append(made[real])
        position += int(real.sum())
        free = int(made[-1]) + 1
    return np.array(command_cycles, np.int64), np.concatenate([np.zeros(0, np.int64), *taken]), left
