"""Cycles of the depthwise convolution."""
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from arch.geometry import Geometry
from arch.unit.depthwise import BACK, DRAIN, KERNEL, LATENCY, PASS, WINDOW, DepthwiseConfig, load_cycles
from golden.cycles import streams
from golden.cycles.streams import NEVER, PLACES, Readiness, Walk

__all__ = ["State", "passed", "steps"]


@cache
def steps(config: DepthwiseConfig, load: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The steps of a command that convolves, in order: whether each takes a vector, gives a result, and the pause before it:
    behind a window, and of `load` cycles for a block's constants."""
    columns = max(config.columns, (config.out_columns - 1) * config.stride_x - config.left + KERNEL)
    rows = config.rows + config.overhang_rows
    real, gives = np.zeros((rows, columns), bool), np.zeros((rows, columns), bool)
    real[:config.rows, :config.columns] = True
    across = KERNEL - 1 - config.left + config.stride_x * np.arange(config.out_columns)
    down = config.lead + config.stride_y * np.arange(config.out_rows)
    gives[np.ix_(down, across)] = True
    real, gives = (np.tile(part.ravel(), config.output_blocks) for part in (real, gives))
    pause = np.zeros(len(gives), np.int64)
    pause[1:] = (WINDOW - 1) * gives[:-1]
    pause[::rows * columns] += load
    pause[0] = 0
    return real, gives, pause


@dataclass
class State(streams.State):
    """As of any unit; also cycles of the last steps, the pause behind these, and the last step that completed a window."""

    recent: np.ndarray = field(default_factory=lambda: np.full(PLACES, -1, np.int64))
    rest: int = 0
    window: int = -NEVER


def passed(geometry: Geometry, commands: Sequence[DepthwiseConfig], offered: np.ndarray, vector_offered: np.ndarray,
           ready: Readiness, taker: np.ndarray | None = None, state: State | None = None
           ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cycles in which commands and vectors are taken and results leave, from those in which they are offered and the taker's.

    `taker`: for each result a cycle before which it is not taken. With a `state` the commands follow others, and it is brought
    up to date.
    """
    state, load = state or State(), load_cycles(geometry)
    walk = Walk(commands, offered, vector_offered, ready, taker, state)
    for config, start in walk:
        prepared = max(start + 3, int(state.recent[0]) + 1) + 1
        least = max(prepared + 3, int(state.recent[-1]) + 1 + state.rest)
        if config.enable:
            real, gives, pause = steps(config, load)
            earliest = np.zeros(len(real), np.int64)
            earliest[real] = walk.vectors(int(real.sum()))
            np.maximum(earliest, least + load, out=earliest)
        else:                                       # each step takes a vector and gives it
            real, gives, pause = slice(None), None, None
            earliest = np.maximum(walk.vectors(config.rows * config.columns * config.output_blocks),
                                  max(least, state.window + DRAIN))
        made = walk.issue(earliest, takes=real, pause=pause, waits=gives, gives=gives, latency=LATENCY if config.enable else PASS,
                          back=BACK)
        state.rest = (WINDOW - 1) * int(bool(config.enable and gives[-1]))
        if config.enable and gives.any():
            state.window = int(made[gives][-1])
        recent = np.append(state.recent, made)
        state.free = max(prepared + len(made), int(recent[-PLACES - 1]) + 2)    # the cycle after the last step was prepared
        state.recent = recent[-PLACES:]
    return walk.cycles()
