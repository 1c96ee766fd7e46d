"""Cycles of the gather in the engine, whose words wait until the write port is free, a command at a time, as its pixels come."""
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from arch import pipeline
from arch.gather import line_bytes
from arch.geometry import Geometry
from arch.unit.gather import GatherConfig
from golden.cycles.gather import gathered
from golden.cycles.streams import Denials, depart

__all__ = ["GatherCycles", "GatherTimeline", "UNKNOWN", "gather_timeline"]

UNKNOWN = 1 << 40           # cycles from here on follow from pixels of which nothing is known yet
_NO_CYCLES = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class GatherTimeline:
    """Cycles, int64: of the handshakes of commands and pixels, of the words' writes at the engine's write port, and in which the
    engine's count first includes each command."""

    taken: np.ndarray
    pixels: np.ndarray
    written: np.ndarray
    done: np.ndarray


def gather_timeline(geometry: Geometry, commands: Sequence[GatherConfig], offered: Sequence[int], pixels: Sequence[int],
                    others: np.ndarray) -> GatherTimeline:
    """The timeline of commands and pixels offered in the given cycles, while `others` write in theirs (sorted)."""
    gather = GatherCycles(geometry)
    for config, cycle in zip(commands, offered, strict=True):
        gather.give(config, int(cycle))
    gather.pixels(pixels)
    gather.follow(others, UNKNOWN)
    taken, pixels_taken, done = (np.array(cycles, np.int64) for cycles in (gather.taken, gather.pixels_taken, gather.done))
    return GatherTimeline(taken=taken, pixels=pixels_taken, written=gather.written, done=done)


@dataclass
class _State:
    """Between two commands: pixels used, and from which cycle on the next may be taken; words that came and left last."""

    position: int = 0
    free: int = 0
    arrived: np.ndarray = field(default_factory=lambda: _NO_CYCLES)
    left: np.ndarray = field(default_factory=lambda: _NO_CYCLES)


class GatherCycles:
    """The gather in time, with as many pixels as are known. It stops while too many words wait for the write port.

    Give commands with the cycles from which on they are offered, and `pixels` likewise; then `follow` finds out what that and
    the `others`' writes mean. `taken`, `done` of commands, `pixels_taken`, `written`: cycles, from UNKNOWN on those that depend
    on pixels to come.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.taken: list[int] = []
        self.done: list[int] = []
        self.pixels_taken: list[int] = []
        self.wanted = 0                     # pixels of all commands given
        self._given: list[tuple[GatherConfig, int]] = []
        self._offered = _NO_CYCLES
        self._states = [_State()]           # before each command, and after the last one that is known to its end
        self._words: list[np.ndarray] = []  # of each command

    def give(self, config: GatherConfig, offered: int) -> None:
        self._given.append((config, offered))
        self.wanted += config.image_rows * config.width

    def pixels(self, cycles: Sequence[int]) -> None:
        """More pixels are offered, from these cycles on."""
        self._offered = np.append(self._offered, cycles)

    @property
    def known(self) -> int:
        """Pixels of which it is known when they are offered."""
        return len(self._offered)

    @property
    def short(self) -> int:
        """Pixels that must still come before the first command that does not have all of its own can have an event: up to those
        that its windows need, if they are not there, else all. 0 if there is no such command."""
        missing = self._states[-1].position - len(self._offered)
        for config, _ in self._given[len(self._states) - 1:]:
            rows = min(config.first_row + (config.rows - 1) * config.stride + config.kernel, config.height) - config.next_row
            needed = missing + max(rows, 0) * config.width
            missing += config.image_rows * config.width
            if missing > 0:
                return needed if 0 < needed < missing else missing
        return 0

    @property
    def since(self) -> int:
        """Others' writes before this cycle matter no more."""
        return int(self._states[-1].left[0]) if len(self._states[-1].left) else 0

    def follow(self, others: np.ndarray, until: int) -> None:
        """Finds out everything that is known; what happens before `until` is taken as settled."""
        number = len(self._states) - 1
        state = self._states[-1]
        del self.taken[number:], self.done[number:], self._words[number:], self.pixels_taken[state.position:]
        for config, offered in self._given[number:]:
            state, taken, done, pixels, words = self._command(state, config, offered, others)
            self.taken.append(taken)
            self.done.append(done)
            self.pixels_taken += pixels.tolist()
            self._words.append(words)
            if state.free >= UNKNOWN:
                break
            if done < until and len(self._states) == len(self.done):
                self._states.append(state)
        self.taken += [UNKNOWN] * (len(self._given) - len(self.taken))
        self.done += [UNKNOWN] * (len(self._given) - len(self.done))

    @property
    def written(self) -> np.ndarray:
        """Cycles of the words so far: int64 (n,)."""
        return np.concatenate([_NO_CYCLES, *self._words])

    def _command(self, state: _State, config: GatherConfig, offered: int, others: np.ndarray):
        wanted = config.image_rows * config.width
        pixels = np.full(wanted, UNKNOWN, np.int64)
        known = self._offered[state.position:state.position + wanted]
        pixels[:len(known)] = known
        stops, write = _stops(state.arrived, state.left), Denials(others)
        # Stops depend on the words before. Supposing at first that there are no more of them, each round gets at least one more
        # cycle of them right, until nothing changes.
        while True:
            taken, went, words, ended = gathered([config], [max(offered, state.free)], pixels, Denials(stops),
                                                 line_bytes=line_bytes(self.geometry), lanes=self.geometry.input_lanes)
            arrived = words if len(words) and words[-1] == ended[0] else np.append(words, ended)       # its end, at last
            first = int(state.left[-1]) + 1 if len(state.left) else 0
            left = depart(np.maximum(arrived + 1, first), write)
            came, gone = np.append(state.arrived, arrived), np.append(state.left, left)
            known = came < UNKNOWN
            now = _stops(came[known], gone[known])
            if np.array_equal(now, stops):
                break
            stops = now
        start, last = int(taken[0]), int(went[-1]) + config.right if len(went) else int(taken[0]) + 1
        free = max(last + pipeline.GATHER_FILL, int(ended[0]) - pipeline.GATHER + pipeline.GATHER_ROW)
        done = int(left[-1]) + pipeline.ACTIVATION_WRITE + pipeline.ACTIVATION_TO_READ
        after = _State(state.position + wanted, free, came[-32:], gone[-32:])
        return after, start, done, went, left[:len(words)]


def _stops(arrived: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Cycles without grant: those after a cycle in which too many words wait."""
    most = np.arange(1, len(arrived) + 1) - np.searchsorted(left, arrived, side="right")    # that wait when a word has come
    if not np.any(most > pipeline.GATHER_WAITING):
        return _NO_CYCLES
    first = int(arrived[0])
    cycles = int(left[-1]) + 1 - first
    # What came in a cycle waits from the next one on.
    waiting = np.cumsum(np.bincount(arrived - first, minlength=cycles) - np.bincount(left - first, minlength=cycles))
    return np.flatnonzero(waiting > pipeline.GATHER_WAITING) + first + 2
