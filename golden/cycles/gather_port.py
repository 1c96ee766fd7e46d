"""Cycles of the gather in the engine, whose words wait until the write port is free."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arch import pipeline
from arch.gather import line_bytes
from arch.geometry import Geometry
from arch.unit.gather import GatherConfig
from golden.cycles.gather import gathered
from golden.cycles.streams import Readiness, depart

__all__ = ["GatherTimeline", "gather_timeline"]


@dataclass(frozen=True, kw_only=True, eq=False)
class GatherTimeline:
    """Cycles, int64: of the handshakes of commands and pixels, of the words' writes at the engine's write port, and in which the
    engine's count first includes each command."""

    taken: np.ndarray
    pixels: np.ndarray
    written: np.ndarray
    done: np.ndarray


def gather_timeline(geometry: Geometry, commands: Sequence[GatherConfig], offered: np.ndarray, pixels: np.ndarray,
                    others: np.ndarray) -> GatherTimeline:
    """The timeline of commands and pixels offered in the given cycles, while `others` write in theirs (sorted).

    The gather stops while too many words wait, which depends on its own words before. Supposing at first that it never does,
    each round gets at least one more cycle of the stops right, until nothing changes.
    """
    stops = np.zeros(0, np.int64)
    while True:
        grant = Readiness(_except(stops))
        taken, pixel_cycles, words, ended = gathered(commands, offered, pixels, grant, line_bytes=line_bytes(geometry),
                                                     lanes=geometry.input_lanes)
        arrived = np.union1d(words, ended)              # a command's end comes with a word or alone
        horizon = others[others < arrived[-1] + len(others) + len(arrived) + 2]
        left = depart(arrived + 1, Readiness(_except(horizon)))
        now = _stops(arrived, left)
        if np.array_equal(now, stops):
            break
        stops = now
    return GatherTimeline(taken=taken, pixels=pixel_cycles, written=left[np.isin(arrived, words)],
                          done=left[np.isin(arrived, ended)] + pipeline.ACTIVATION_WRITE + pipeline.ACTIVATION_TO_READ)


def _except(cycles: np.ndarray) -> np.ndarray | None:
    """A pattern of all cycles but the given ones, up to twice the last of them."""
    if not len(cycles):
        return None
    pattern = np.ones(2 * int(cycles[-1]) + 1_000_000, bool)
    pattern[cycles] = False
    return pattern


def _stops(arrived: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Cycles without grant: those after a cycle in which too many words wait."""
    cycles = np.arange(int(left[-1]) + 2)
    waiting = np.searchsorted(arrived, cycles) - np.searchsorted(left, cycles)
    return np.flatnonzero(waiting > pipeline.GATHER_WAITING) + 1
