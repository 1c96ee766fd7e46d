"""Cycles of the global average."""
from collections.abc import Sequence

import numpy as np

from arch import pipeline
from arch.command import AverageConfig
from golden.cycles.streams import Readiness, issue

__all__ = ["passed"]


def passed(commands: Sequence[AverageConfig], offered: np.ndarray, vector_offered: np.ndarray, ready: Readiness,
           lanes: int, taker: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cycles in which commands and vectors are taken and vectors leave, from those in which they are offered and the taker's.

    `taker`: for each vector that leaves a cycle before which it is not taken.
    """
    command_cycles, taken, left = [], [], np.zeros(0, np.int64)
    position, free = 0, 0
    for config, at in zip(commands, offered, strict=True):
        start = max(int(at), free)
        count = config.pixels * config.output_blocks
        ends = np.arange(1, count + 1) % max(config.pixels, 1) == 0
        gives, pause = np.ones(count, bool), np.zeros(count, np.int64)
        if config.enable:
            gives = ends & bool(config.last)
            pause[1:][gives[:-1]] = pipeline.average(lanes) - 1     # the next vector waits for the result
        latency = pipeline.average(lanes) if config.enable else pipeline.AVERAGE_PASS
        earliest = np.maximum(vector_offered[position:position + count], start + 2)
        made, left = issue(earliest, pause=pause, waits=np.ones(count, bool), gives=gives, latency=latency, left=left,
                           ready=ready, taker=taker)
        command_cycles.append(start)
        taken.append(made)
        position += count
        free = start + 2
        if count:
            free = int(made[-1]) + (latency if config.enable and config.last else 1)
    return np.array(command_cycles, np.int64), np.concatenate([np.zeros(0, np.int64), *taken]), left
