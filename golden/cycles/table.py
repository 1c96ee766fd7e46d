"""Cycles of the table."""
from collections.abc import Sequence

import numpy as np

from arch.geometry import Geometry
from arch.unit.table import BACK, LATENCY, TableConfig
from golden.cycles.streams import Readiness, State, Walk

__all__ = ["State", "passed"]


def passed(geometry: Geometry, commands: Sequence[TableConfig], offered: np.ndarray, vector_offered: np.ndarray,
           ready: Readiness, taker: np.ndarray | None = None, state: State | None = None
           ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cycles in which commands and vectors are taken and vectors leave, from those in which they are offered and the taker's.

    `taker`: for each vector a cycle before which it is not taken. With a `state` the commands follow others, and it is brought
    up to date.
    """
    state = state or State()
    walk = Walk(commands, offered, vector_offered, ready, taker, state)
    for config, start in walk:
        made = walk.issue(np.maximum(walk.vectors(config.vectors), start + 3), latency=LATENCY, back=BACK)
        state.free = int(made[-1]) + 2
    return walk.cycles()
