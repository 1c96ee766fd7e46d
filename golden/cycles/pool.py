"""Cycles of the pool."""
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from arch.geometry import Geometry
from arch.unit.pool import LATENCY, POOL_NONE, PoolConfig
from golden.cycles.streams import PLACES, Readiness, issue

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
class State:
    """What is left of the commands before: cycles of their last results and steps, the pause behind these, and from which
    cycle on the next command may be taken."""

    left: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    recent: np.ndarray = field(default_factory=lambda: np.full(PLACES, -1, np.int64))
    rest: int = 0
    free: int = 0


def passed(geometry: Geometry, commands: Sequence[PoolConfig], offered: np.ndarray, vector_offered: np.ndarray, ready: Readiness,
           taker: np.ndarray | None = None, state: State | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cycles in which commands and vectors are taken and results leave, from those in which they are offered and the taker's.

    `taker`: for each result a cycle before which it is not taken. With a `state` the commands follow others, and it is brought
    up to date.
    """
    state = state or State()
    command_cycles, taken, left = [], [], state.left
    position, free, rest, before = 0, state.free, state.rest, len(left)
    recent = state.recent                           # when places for steps prepared ahead came back
    if taker is not None:
        taker = np.concatenate((np.zeros(before, np.int64), taker))
    for config, at in zip(commands, offered, strict=True):
        start = max(int(at), free)
        prepared = max(start + 3, int(recent[0]) + 1) + 1
        least = max(prepared + 3, int(recent[-1]) + 1 + rest)
        if config.mode == POOL_NONE:                # each step takes a vector and gives it
            count = config.rows * config.columns * config.output_blocks
            real, gives, pause = slice(None), None, None
            earliest = np.maximum(vector_offered[position:position + count], least)
        else:
            real, gives, pause = steps(config)
            count = int(real.sum())
            earliest = np.zeros(len(real), np.int64)
            earliest[real] = vector_offered[position:position + count]
            np.maximum(earliest, least, out=earliest)
        made, left = issue(earliest, pause=pause, waits=gives, gives=gives, latency=LATENCY, left=left, ready=ready,
                           taker=taker)
        command_cycles.append(start)
        taken.append(made[real])
        position += count
        recent, rest = np.append(recent, made), 2 * _short(config)
        free = max(prepared + len(made), int(recent[-PLACES - 1]) + 2)      # the cycle after the last step was prepared
        recent = recent[-PLACES:]
    state.left, state.recent, state.rest, state.free = left[-PLACES:], recent, rest, free
    return np.array(command_cycles, np.int64), np.concatenate([np.zeros(0, np.int64), *taken]), left[before:]
