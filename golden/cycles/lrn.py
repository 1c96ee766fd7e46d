"""Cycles of the local response normalisation."""
from collections.abc import Sequence

import numpy as np

from arch.geometry import Geometry
from arch.unit import lrn
from arch.unit.lrn import LrnConfig
from golden.cycles.streams import Readiness, State, Walk

__all__ = ["State", "passed"]


def passed(geometry: Geometry, commands: Sequence[LrnConfig], offered: np.ndarray, vector_offered: np.ndarray,
           ready: Readiness, taker: np.ndarray | None = None, state: State | None = None
           ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cycles in which commands and vectors are taken and vectors leave, from those in which they are offered and the taker's.

    `taker`: for each vector a cycle before which it is not taken. With a `state` the commands follow others, and it is brought
    up to date.
    """
    state = state or State()
    walk = Walk(commands, offered, vector_offered, ready, taker, state)
    for config, start in walk:
        count = config.pixels * config.output_blocks
        earliest = np.maximum(walk.vectors(count), start + 3)
        gives = pause = None                    # those that pass
        latency = lrn.PASS
        if config.enable:
            # Those of a block are made of the vectors of the next one, and those of the last block of none.
            earliest = np.append(earliest, np.full(config.pixels, start + 3, np.int64))
            gives = np.arange(len(earliest)) >= config.pixels
            pause, latency = np.zeros(len(earliest), np.int64), lrn.latency(geometry.output_lanes)
            pause[1:] = np.where(gives[:-1], lrn.turn(geometry.output_lanes), lrn.FILL) - 1
        made = walk.issue(earliest, takes=slice(count), pause=pause, gives=gives, latency=latency, back=lrn.BACK)
        state.free = start + 3
        if count:
            state.free = int(made[-1]) + (latency if config.enable else 2)
    return walk.cycles()
