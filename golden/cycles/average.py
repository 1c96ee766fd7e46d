"""Cycles of the global average."""
from collections.abc import Sequence

import numpy as np

from arch.geometry import Geometry
from arch.unit import average
from arch.unit.average import AverageConfig
from golden.cycles.streams import Readiness, State, Walk

__all__ = ["State", "passed"]


def passed(geometry: Geometry, commands: Sequence[AverageConfig], offered: np.ndarray, vector_offered: np.ndarray,
           ready: Readiness, taker: np.ndarray | None = None, state: State | None = None
           ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cycles in which commands and vectors are taken and vectors leave, from those in which they are offered and the taker's.

    `taker`: for each vector that leaves a cycle before which it is not taken. With a `state` the commands follow others, and
    it is brought up to date.
    """
    state = state or State()
    walk = Walk(commands, offered, vector_offered, ready, taker, state)
    for config, start in walk:
        count = config.pixels * config.output_blocks
        gives = pause = None                    # one that passes
        latency = average.PASS
        earliest, takes = np.maximum(walk.vectors(count), start + 3), slice(None)
        if config.enable:
            # A fraction is made of the sums as if another vector had come, when the result before it is there.
            each = config.pixels + config.last * config.fraction
            turn = np.tile(np.arange(each), config.output_blocks if count else 0)
            takes, gives = turn < config.pixels, (turn >= config.pixels - 1) & bool(config.last)
            earliest, given = np.full(len(turn), start + 3), earliest
            earliest[takes] = given
            pause, latency = np.zeros(len(turn), np.int64), average.latency(geometry.output_lanes)
            pause[1:][gives[:-1]] = latency - 1     # the next one waits for the result
        made = walk.issue(earliest, takes=takes, pause=pause, gives=gives, latency=latency, back=average.BACK)
        state.free = start + 3
        if count:
            state.free = int(made[-1]) + (latency if config.enable and config.last else 2)
    return walk.cycles()
