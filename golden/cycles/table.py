"""Cycles of the table."""
from collections.abc import Sequence

import numpy as np

from arch.geometry import Geometry
from arch.unit.table import BACK, LATENCY, TableConfig
from golden.cycles.streams import PLACES, Readiness, State, issue

__all__ = ["State", "passed"]


def passed(geometry: Geometry, commands: Sequence[TableConfig], offered: np.ndarray, vector_offered: np.ndarray,
           ready: Readiness, taker: np.ndarray | None = None, state: State | None = None
           ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cycles in which commands and vectors are taken and vectors leave, from those in which they are offered and the taker's.

    `taker`: for each vector a cycle before which it is not taken. With a `state` the commands follow others, and it is brought
    up to date.
    """
    state = state or State()
    command_cycles, taken, left = [], [], state.left
    position, free, before = 0, state.free, len(left)
    if taker is not None:
        taker = np.concatenate((np.zeros(before, np.int64), taker))
    for config, at in zip(commands, offered, strict=True):
        start = max(int(at), free)
        earliest = np.maximum(vector_offered[position:position + config.vectors], start + 3)
        made, left = issue(earliest, latency=LATENCY, left=left, ready=ready, taker=taker, back=BACK)
        command_cycles.append(start)
        taken.append(made)
        position += config.vectors
        free = int(made[-1]) + 2
    state.left, state.free = left[-PLACES:], free
    return np.array(command_cycles, np.int64), np.concatenate([np.zeros(0, np.int64), *taken]), left[before:]
