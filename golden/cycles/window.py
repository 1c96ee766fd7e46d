"""Cycles of the window generator and of the loaders that it waits for: when each beat is issued."""
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from arch import pipeline
from arch.geometry import Geometry
from arch.unit.window import WindowConfig
from golden.cycles.streams import Readiness, depart

__all__ = ["Issue", "State", "issue"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Issue:
    """Cycles, int64: of the beats `first` and `last` of each pass, of `emitting` beats (those of the last passes, whose results
    leave the array) in order, and of the handshakes with which each command's records are taken."""

    first: np.ndarray
    last: np.ndarray
    emitting: np.ndarray
    window_taken: np.ndarray
    load_taken: np.ndarray
    scale_taken: np.ndarray


class _Loader:
    """`hw.engine.weights.GroupReader` and the config stream in front of it, group by group."""

    def __init__(self, words: int, soon: int, free_after: int):
        self.words, self.soon, self.free_after = words, soon, free_after
        self.free = 0               # from this cycle on the next group's first word may be read
        self.idle = 0               # from this cycle on the next config may be taken
        self.taken: list[int] = []

    def take(self, offered: int):
        """A command's record."""
        self.taken.append(max(self.idle, int(offered)))
        self.free = max(self.free, self.taken[-1] + 2)

    def read(self) -> int:
        """The next group is read; the cycle from which on `ready` shows."""
        last = self.free + self.words - 1
        self.idle = last + 2
        return last + 1 - self.soon

    def used(self, shown: int):
        """The group's registers were used in the cycle in which the window generator shows it."""
        self.free = shown + self.free_after


@dataclass
class State:
    """What is left of the commands before: the loaders, and from which cycles on a command may be taken (`idle`), passes may
    follow (`settled`), no beat is left (`over`)."""

    weights: _Loader
    scales: _Loader
    idle: int = 0
    settled: int = 0
    over: int = 0

    def copy(self) -> "State":
        """The same, to be changed on its own."""
        return replace(self, weights=copy(self.weights), scales=copy(self.scales))

    @classmethod
    def fresh(cls, geometry: Geometry) -> "State":
        """After a reset."""
        return cls(_Loader(geometry.pairs, pipeline.weights_soon(geometry), pipeline.weights_free_after(geometry)),
                   _Loader(geometry.pairs, geometry.pairs - 1, pipeline.parameters_free_after(geometry)))


def issue(geometry: Geometry, windows: Sequence[WindowConfig], window_offered: np.ndarray, load_offered: np.ndarray,
          scale_offered: np.ndarray, grant: Readiness, room: np.ndarray | None = None, state: State | None = None) -> Issue:
    """Cycles of commands whose records are offered in the given cycles.

    `grant`: the cycles with `read_grant`. `room`: for each emitting beat, the first cycle in which it may be issued, because its
    place will be free. With a `state` the commands follow others, and it is brought up to date.
    """
    state = state or State.fresh(geometry)
    weights, scales = state.weights, state.scales
    weights.taken, scales.taken = [], []
    least = pipeline.MIN_REVISIT - 1
    first, last, emitting, window_taken, position = [], [], [], [], 0
    idle, settled, over = state.idle, state.settled, state.over
    for window, at, load_at, scale_at in zip(windows, window_offered, load_offered, scale_offered, strict=True):
        window_taken.append(max(idle, int(at)))
        weights.take(load_at)
        scales.take(scale_at)
        waiting = window_taken[-1] + 4
        pixels, passes = window.pixels, window.passes
        apart = 2 if window.columns == 1 and window.rows > 1 else 1     # least distance of two beats
        span = apart * (pixels - 1)
        number, before = 0, None                # `before`: start of the pass before, if nothing held up its beats
        while number < window.output_blocks * passes:
            left = passes - 1 - number % passes
            waiting = max(waiting, settled, weights.read() + 1)
            if not left:
                waiting = max(waiting, scales.read() + 1)
            start = max(waiting + 1, over)
            begin, clear = start + apart - 1, grant.clear(start + apart - 1)
            if left and clear > span and before is not None:
                # All that a pass waits for counts from the start of the one before: until something holds up beats, or the last
                # pass comes, they follow each other as these two did.
                period = start - before
                more = min(left - 1, (clear - 1 - span) // period)
                first += range(begin, begin + more * period, period)
                last += range(begin + span, begin + span + more * period, period)
                start, begin, number = start + more * period, begin + more * period, number + more
                if more:
                    weights.used(begin - period + pipeline.WINDOW)
                    weights.read()
            before = start if left and clear > span else None
            held = not left and room is not None
            if clear > span and not held:
                cycles, end, fourth = None, begin + span, begin + apart * (least - 1)
            elif apart == 1 and not held:
                cycles, begin, end = None, grant.after(begin), grant.after(begin, span)
                fourth = grant.after(begin, least - 1)
            else:
                earliest = np.full(pixels, begin, np.int64)
                if held:
                    np.maximum(earliest, room[position:position + pixels], out=earliest)
                cycles = depart(earliest, grant, apart)
                begin, end = int(cycles[0]), int(cycles[-1])
                fourth = int(cycles[least - 1]) if pixels >= least else 0
            settled = (fourth if pixels >= least else end + least - pixels) + 2
            over = end + 1
            weights.used(begin + pipeline.WINDOW)
            if not left:
                scales.used(begin + pipeline.WINDOW)
                if cycles is None:
                    cycles = np.arange(begin, end + 1, apart) if clear > span else depart(np.full(pixels, begin), grant)
                emitting.append(cycles)
                position += pixels
            first.append(begin)
            last.append(end)
            waiting, idle = start + 5, start + 2
            number += 1
    state.idle, state.settled, state.over = idle, settled, over
    return Issue(first=np.array(first, np.int64), last=np.array(last, np.int64), emitting=np.concatenate(emitting),
                 window_taken=np.array(window_taken), load_taken=np.array(weights.taken), scale_taken=np.array(scales.taken))
