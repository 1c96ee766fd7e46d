"""Cycles of the writer."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arch import pipeline
from arch.unit.writer import WriterConfig
from golden.cycles.streams import Readiness, depart

__all__ = ["State", "addresses", "taken", "vectors", "written"]


def vectors(config: WriterConfig) -> int:
    """Vectors that a command writes."""
    return config.output_blocks * config.rows * config.columns


@dataclass
class State:
    """What is left of the commands before: the next one may be taken from cycle `free` on."""

    free: int = 0


def taken(commands: Sequence[WriterConfig], offered: np.ndarray, vector_offered: np.ndarray, ready: Readiness,
          state: State | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Cycles in which commands and vectors are taken, from those in which they are offered and those after one with a grant.

    With a `state` the commands follow others, and it is brought up to date.
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
    return np.array(command_cycles, np.int64), np.concatenate([np.zeros(0, np.int64), *cycles])


def written(vector_taken: np.ndarray) -> np.ndarray:
    """Cycles of the writes."""
    return np.asarray(vector_taken, np.int64) + pipeline.WRITE_GRANT - 1


def addresses(config: WriterConfig, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Word and lane group of each vector of a command, in order; `groups` vectors share a word."""
    block, row, column = np.ogrid[:config.output_blocks, :config.rows, :config.columns]
    place = config.lane + block
    word = (config.base + place // groups + (config.row_start + row * config.row_words) % config.ring_words
            + column * config.pixel_words) % (1 << 15)
    return word.ravel(), np.broadcast_to(place % groups, word.shape).ravel()
