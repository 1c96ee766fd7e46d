"""Cycles of the writer."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arch import pipeline
from arch.geometry import Geometry
from arch.unit.writer import WriterConfig
from golden.cycles.streams import Readiness, depart

__all__ = ["State", "passed", "vectors"]


def vectors(config: WriterConfig) -> int:
    """Vectors that a command writes."""
    return config.output_blocks * config.rows * config.columns


@dataclass
class State:
    """What is left of the commands before: the next one may be taken from cycle `free` on."""

    free: int = 0


def passed(geometry: Geometry, commands: Sequence[WriterConfig], offered: np.ndarray, vector_offered: np.ndarray,
           ready: Readiness, taker: None = None, state: State | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cycles in which commands and vectors are taken and vectors written, from those in which they are offered and those after
    one with a grant.

    Nobody takes what is written: `taker` is None. With a `state` the commands follow others, and it is brought up to date.
    """
    state = state or State()
    command_cycles, cycles, position, free = [], [], 0, state.free
    for config, at in zip(commands, offered, strict=True):
        start = max(int(at), free)
        count = vectors(config)
        waiting = np.maximum(vector_offered[position:position + count], start + 2)
        went = depart(waiting, ready, 2 if config.columns == 1 and config.rows > 1 else 1)
        command_cycles.append(start)
        cycles.append(went)
        position += count
        free = int(went[-1]) + 1 if count else start + 2
    state.free = free
    took = np.concatenate([np.zeros(0, np.int64), *cycles])
    return np.array(command_cycles, np.int64), took, took + pipeline.WRITE_GRANT - 1
