"""Cycles of the pool."""
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from arch.geometry import Geometry
from arch.unit.pool import LATENCY, POOL_NONE, PoolConfig
from golden.cycles import streams
from golden.cycles.streams import PLACES, Readiness, Walk

__all__ = ["State", "passed", "steps"]

SHORT = 3               # rows of fewer columns are followed by a pause of two cycles, where rows are combined


def _short(config: PoolConfig) -> bool:
    """Whether a pause of 2 cycles follows each row."""
    return config.mode != POOL_NONE and config.kernel_y > 1 and min(config.columns, config.out_columns) < SHORT


@cache
def steps(config: PoolConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The steps of a command that pools, in order: whether each takes a vector, gives a result, and the pause before it."""
    columns = max(config.columns, (config.out_columns - 1) * config.stride_x - config.left + config.kernel_x)
    rows = config.rows + config.overhang_rows
    real, gives = np.zeros((rows, columns), bool), np.zeros((rows, columns), bool)
    real[:config.rows, :config.columns] = True
    across = config.kernel_x - 1 - config.left + config.stride_x * np.arange(config.out_columns)
    down = config.lead + config.stride_y * np.arange(config.out_rows)
    gives[np.ix_(down, across)] = True
    pause = np.zeros((rows, columns), np.int64)
    pause[:, 0] = 2 * _short(config)
    real, gives, pause = (np.tile(part.ravel(), config.output_blocks) for part in (real, gives, pause))
    pause[0] = 0
    return real, gives, pause


@dataclass
class State(streams.State):
    """As of any unit; also cycles of the last steps, when places for those prepared ahead came back, and the pause behind."""

    recent: np.ndarray = field(default_factory=lambda: np.full(PLACES, -1, np.int64))
    rest: int = 0


def passed(geometry: Geometry, commands: Sequence[PoolConfig], offered: np.ndarray, vector_offered: np.ndarray, ready: Readiness,
           taker: np.ndarray | None = None, state: State | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cycles in which commands and vectors are taken and results leave, from those in which they are offered and the taker's.

    `taker`: for each result a cycle before which it is not taken. With a `state` the commands follow others, and it is brought
    up to date.
    """
    state = state or State()
    walk = Walk(commands, offered, vector_offered, ready, taker, state)
    for config, start in walk:
        prepared = max(start + 3, int(state.recent[0]) + 1) + 1
        least = max(prepared + 3, int(state.recent[-1]) + 1 + state.rest)
        if config.mode == POOL_NONE:                # each step takes a vector and gives it
            real, gives, pause = slice(None), None, None
            earliest = np.maximum(walk.vectors(config.rows * config.columns * config.output_blocks), least)
        else:
            real, gives, pause = steps(config)
            earliest = np.zeros(len(real), np.int64)
            earliest[real] = walk.vectors(int(real.sum()))
            np.maximum(earliest, least, out=earliest)
        made = walk.issue(earliest, takes=real, pause=pause, waits=gives, gives=gives, latency=LATENCY)
        recent, state.rest = np.append(state.recent, made), 2 * _short(config)
        state.free = max(prepared + len(made), int(recent[-PLACES - 1]) + 2)    # the cycle after the last step was prepared
        state.recent = recent[-PLACES:]
    return walk.cycles()
