"""Cycles of the pool."""
from collections.abc import Sequence

import numpy as np

from arch import pipeline
from arch.command import POOL_NONE, PoolConfig
from golden.cycles.streams import Readiness, depart

__all__ = ["passed", "steps"]

PLACES = 16             # results that may be under way or wait to be taken
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


def passed(commands: Sequence[PoolConfig], offered: np.ndarray, vector_offered: np.ndarray,
           ready: Readiness) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cycles in which commands and vectors are taken and results leave, from those in which they are offered and the taker's."""
    command_cycles, taken, left = [], [], np.zeros(0, np.int64)
    position, free = 0, 0
    for config, at in zip(commands, offered, strict=True):
        start = max(int(at), free)
        real, gives, pause = steps(config)
        earliest = np.zeros(len(real), np.int64)
        earliest[real] = vector_offered[position:position + real.sum()]
        np.maximum(earliest, start + 2, out=earliest)
        made, left = _made(earliest, gives, pause, left, ready)
        command_cycles.append(start)
        taken.append(made[real])
        position += int(real.sum())
        free = int(made[-1]) + 1
    return np.array(command_cycles, np.int64), np.concatenate([np.zeros(0, np.int64), *taken]), left


def _made(earliest: np.ndarray, gives: np.ndarray, pause: np.ndarray, left: np.ndarray,
          ready: Readiness) -> tuple[np.ndarray, np.ndarray]:
    """Cycles of the steps, and `left` with those appended in which their results leave."""
    turn = np.arange(len(earliest)) + np.cumsum(pause)
    results = np.flatnonzero(gives)
    if ready.always:        # a token is always back in time
        made = np.maximum.accumulate(earliest - turn) + turn
        return made, np.append(left, depart(made[results] + pipeline.POOL, ready))
    made = np.empty_like(earliest)
    done = 0
    bound = np.int64(-1)                # what the step before allows, less its turn
    for first in range(0, len(results) + 1, PLACES):
        # Up to PLACES results at a time: the tokens that they take came back with earlier ones.
        group = results[first:first + PLACES]
        end = int(group[-1]) + 1 if len(group) == PLACES else len(earliest)
        at, part = earliest[done:end].copy(), turn[done:end]
        if len(left) >= PLACES:
            back = left[len(left) - PLACES:][:len(group)] + 1
            at[group - done] = np.maximum(at[group - done], back)
        elif len(left) + len(group) > PLACES:
            tail = PLACES - len(left)
            at[group[tail:] - done] = np.maximum(at[group[tail:] - done], left[:len(group) - tail] + 1)
        if not len(at):
            break
        made[done:end] = np.maximum.accumulate(np.append(bound, at - part))[1:] + part
        bound = made[end - 1] - turn[end - 1]
        previous = left[-1] if len(left) else np.int64(-1)
        offer = np.maximum(made[group] + pipeline.POOL, previous + 1)
        left = np.append(left, depart(offer, ready))
        done = end
    return made, left
