"""Cycles of the inverter: a vector leaves in the cycle in which it is taken."""
from dataclasses import dataclass

import numpy as np

from golden.cycles.streams import depart

__all__ = ["State", "passed"]


@dataclass
class State:
    """The next command may be taken from cycle `free` on."""

    free: int = 0


def passed(geometry, commands, offered, vector_offered, ready, taker=None, state=None):
    """Cycles in which commands and vectors are taken, and vectors leave."""
    state, starts, cycles, position = state or State(), [], [np.zeros(0, np.int64)], 0
    for config, at in zip(commands, offered, strict=True):
        starts.append(max(int(at), state.free))
        part = slice(position, position + config.vectors)
        earliest = np.maximum(vector_offered[part], starts[-1] + 1)
        cycles.append(depart(earliest if taker is None else np.maximum(earliest, taker[part]), ready))
        state.free = int(cycles[-1][-1]) + 1 if config.vectors else starts[-1] + 1
        position = part.stop
    took = np.concatenate(cycles)
    return np.array(starts, np.int64), took, took
