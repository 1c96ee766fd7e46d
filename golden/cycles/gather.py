"""Cycles of the gather."""
from collections.abc import Sequence
from functools import cache

import numpy as np

from arch import pipeline
from arch.unit.gather import GatherConfig
from golden.cycles.streams import Readiness, depart

__all__ = ["gathered", "slots"]


def slots(config: GatherConfig, *, line_bytes: int, lanes: int) -> np.ndarray:
    """For each slot of an output row whether it completes a word: bool."""
    return _slots(config.columns, config.kernel, config.step_bytes, config.tap_bytes, line_bytes, lanes)


@cache
def _slots(columns: int, kernel: int, step_bytes: int, tap_bytes: int, line_bytes: int, lanes: int) -> np.ndarray:
    completes = []
    for pixel in range(columns):
        position = 0
        for _ in range(kernel):
            place, rest = pixel * step_bytes % line_bytes, tap_bytes
            while rest:
                count = min(line_bytes - place, rest)
                position, rest, place = position + count, rest - count, 0
                completes.append(position >= lanes)
                position %= lanes
        # The window's last word is complete as well; what spilled over its end goes in the slot behind.
        spilled = completes[-1] and position > 0
        completes[-1] = True
        completes.append(spilled)
    return np.array(completes)


def gathered(commands: Sequence[GatherConfig], offered: np.ndarray, pixel_offered: np.ndarray, grant: Readiness, *,
             line_bytes: int, lanes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cycles in which commands and pixels are taken, words are written and commands ended, from those of offers and grants."""
    command_cycles, taken, written, ended = [], [], [], []
    position, free = 0, 0
    for config, at in zip(commands, offered, strict=True):
        start = max(int(at), free) + 1
        setup = start + 1
        lines, rows = [], []                    # ends of lines and rows
        completes = slots(config, line_bytes=line_bytes, lanes=lanes)

        def line(config=config, lines=lines, rows=rows, setup=setup):
            """The next line: as soon as there is room and it is its turn."""
            nonlocal position
            need = config.next_row + len(lines) - config.lines + 1 - config.first_row      # rows above that must be done with
            begin = (lines[-1] if lines else setup) + pipeline.GATHER_FILL
            if need > 0:
                begin = max(begin, rows[-(-need // config.stride) - 1] + 3)
            first = begin + 1 + config.left
            went = depart(np.maximum(pixel_offered[position:position + config.width], first), Readiness())
            position += config.width
            taken.append(went)
            lines.append(int(went[-1]) + config.right)

        for row in range(config.rows):
            need = min(config.first_row + row * config.stride + config.kernel, config.height) - config.next_row
            while len(lines) < need:
                line()
            begin = (rows[-1] if rows else setup) + pipeline.GATHER_ROW
            if need > 0:
                begin = max(begin, lines[need - 1] + 3)
            cycles = grant.cycle(grant.index(begin + 1) + np.arange(len(completes)))
            written.append(cycles[completes] + pipeline.GATHER)
            rows.append(int(cycles[-1]))
        while len(lines) < config.image_rows:
            line()
        command_cycles.append(start)
        ended.append(rows[-1] + pipeline.GATHER)
        free = max((lines[-1] if lines else setup) + pipeline.GATHER_FILL, rows[-1] + pipeline.GATHER_ROW)
    empty = np.zeros(0, np.int64)
    return (np.array(command_cycles, np.int64), np.concatenate([empty, *taken]), np.concatenate([empty, *written]),
            np.array(ended, np.int64))
