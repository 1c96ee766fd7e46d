"""Stream boundaries in time: when beats that are ready to go are taken by somebody who is not always ready."""
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

__all__ = ["NEVER", "PLACES", "Denials", "Readiness", "State", "Walk", "depart", "issue"]

NEVER = 1 << 62         # a cycle that does not come

PLACES = 16             # of the queue behind a unit that cannot wait half way


@dataclass
class State:
    """What is left of a unit's commands before: cycles of their last results, and from which on the next one may be taken."""

    left: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    free: int = 0


class Readiness:
    """The cycles in which somebody is ready: cycle k when `pattern[k % len(pattern)]`; always, without a pattern.

    Raises ValueError for a pattern that is never ready.
    """

    def __init__(self, pattern: np.ndarray | None = None):
        self.pattern = None if pattern is None or np.all(pattern) else np.asarray(pattern, bool)
        if self.pattern is not None:
            if not self.pattern.any():
                raise ValueError("a pattern must be ready in some cycle")
            self._cycles = np.flatnonzero(self.pattern)                             # ready cycles of a period
            self._before = np.concatenate(([0], np.cumsum(self.pattern)))[:-1]      # ready cycles before each cycle of it

    @property
    def always(self) -> bool:
        return self.pattern is None

    def index(self, cycle):
        """Number of ready cycles before the given cycles."""
        if self.always:
            return cycle
        period, phase = np.divmod(cycle, len(self.pattern))
        return period * len(self._cycles) + self._before[phase]

    def cycle(self, index):
        """The ready cycle with the given number: inverse of `index` on ready cycles."""
        if self.always:
            return index
        period, phase = np.divmod(index, len(self._cycles))
        return period * len(self.pattern) + self._cycles[phase]

    def after(self, cycle: int, count: int = 0) -> int:
        """The ready cycle with `count` others between it and a cycle."""
        return int(self.cycle(self.index(cycle) + count))

    def clear(self, cycle: int) -> int:
        """How many cycles from this one on are surely ready."""
        return NEVER if self.always else 0

    def later(self) -> "Readiness":
        """The same a cycle later, as through a register."""
        return Readiness(None if self.always else np.roll(self.pattern, 1))

    def following(self, cycle):
        """The first ready cycle that is not before the given cycles."""
        return self.cycle(self.index(cycle))


class Denials(Readiness):
    """All cycles but the given ones (sorted)."""

    def __init__(self, cycles: Sequence[int]):
        super().__init__()
        self._denied = list(cycles)

    @cached_property
    def _cycles(self) -> np.ndarray:
        return np.array(self._denied, np.int64)

    @cached_property
    def _shift(self) -> np.ndarray:
        return self._cycles - np.arange(len(self._cycles))

    @property
    def always(self) -> bool:
        return not self._denied

    def index(self, cycle):
        return cycle - np.searchsorted(self._cycles, cycle)

    def cycle(self, index):
        return index + np.searchsorted(self._shift, index, side="right")

    def after(self, cycle: int, count: int = 0) -> int:
        denied = self._denied
        number = bisect_left(denied, cycle)
        cycle += count
        while number < len(denied) and denied[number] <= cycle:
            number, cycle = number + 1, cycle + 1
        return cycle

    def clear(self, cycle: int) -> int:
        number = bisect_left(self._denied, cycle)
        return self._denied[number] - cycle if number < len(self._denied) else NEVER


def depart(offered: np.ndarray, ready: Readiness, apart: int = 1) -> np.ndarray:
    """Cycles in which the beats of a stream are taken, in order, at least `apart` cycles apart, none before it is `offered`."""
    if apart > 1:
        cycles, turn = [], 0
        for at in offered:
            cycles.append(ready.after(max(int(at), turn)))
            turn = cycles[-1] + apart
        return np.array(cycles, np.int64)
    # Counted in ready cycles, beat i goes at max(offered, that of beat i - 1, plus one): a running maximum.
    index = ready.index(np.asarray(offered, np.int64))
    order = np.arange(len(index))
    return ready.cycle(np.maximum.accumulate(index - order) + order)


def issue(earliest: np.ndarray, *, latency: int, left: np.ndarray, ready: Readiness, pause: np.ndarray | None = None,
          waits: np.ndarray | None = None, gives: np.ndarray | None = None, taker: np.ndarray | None = None,
          back: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Cycles of a unit's steps, one a cycle in order, and those in which their results leave, appended to `left`.

    A step is made no earlier than `earliest` and `pause` cycles later than its turn; one that `waits` needs one of `PLACES`
    credits to be there. One that `gives` takes it, for a result that is offered `latency` cycles later; the credit is there again
    `back` cycles after the result left. None of these arrays: no step pauses, all wait, all give. `taker`: for each result,
    those in `left` included, a cycle before which nobody takes it.
    """
    count, known, results = len(earliest), len(left), slice(None) if gives is None else gives
    turn = np.arange(count)
    if pause is not None:
        turn = turn + np.cumsum(pause)
    # Without a wait for credits, which mostly are back in time.
    made = np.maximum.accumulate(earliest - turn) + turn
    offered = made[results] + latency
    if taker is not None:
        offered = np.maximum(offered, taker[known:known + len(offered)])
    if known and len(offered):
        offered[0] = max(offered[0], left[-1] + 1)
    went = np.append(left, depart(offered, ready))
    credit = known - PLACES + (np.arange(count) if gives is None else np.cumsum(gives) - gives)     # given back by this result
    needs = credit >= 0
    if waits is not None:
        needs &= waits
    if np.all(went[credit[needs]] + back <= made[needs]):
        return made, went
    slack = np.iinfo(np.int64).min // 2
    for first in range(0, len(offered) + 1, PLACES):        # the credits of these results were given back by earlier ones
        group = slice(*np.searchsorted(credit, (known - PLACES + first, known + first)))
        at, waiting = earliest[group].copy(), needs[group]
        at[waiting] = np.maximum(at[waiting], went[credit[group][waiting]] + back)
        made[group] = np.maximum.accumulate(np.append(slack, at - turn[group]))[1:] + turn[group]
        slack = np.maximum.accumulate(np.append(slack, at - turn[group]))[-1]
        part = slice(first, first + PLACES)
        offered = made[results][part] + latency
        if known + first and len(offered):
            offered = np.maximum(offered, went[known + first - 1] + 1)
        if taker is not None:
            offered = np.maximum(offered, taker[known + first:known + first + len(offered)])
        went[known + first:known + first + len(offered)] = depart(offered, ready)
    return made, went


class Walk:
    """The commands of a unit, one after the other, with their vectors and results.

    Iterating gives each command with the cycle in which it is taken: as soon as it is offered, but not before `state.free`, which
    whoever iterates sets for the next one. `offered` and `vector_offered`: cycles from which on commands and vectors are there;
    `taker`: for each result a cycle before which nobody takes it. `state` is that of the commands before, and is brought up to
    date.
    """

    def __init__(self, commands: Sequence[Any], offered: np.ndarray, vector_offered: np.ndarray, ready: Readiness,
                 taker: np.ndarray | None, state: State):
        self._commands, self._vectors, self._ready = zip(commands, offered, strict=True), vector_offered, ready
        self._state, self._left, self._before = state, state.left, len(state.left)
        self._taker = None if taker is None else np.concatenate((np.zeros(self._before, np.int64), taker))
        self._position, self._starts, self._taken = 0, [], [np.zeros(0, np.int64)]

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        for config, at in self._commands:
            self._starts.append(max(int(at), self._state.free))
            yield config, self._starts[-1]

    def vectors(self, count: int) -> np.ndarray:
        """Cycles from which on the next vectors are there."""
        self._position += count
        return self._vectors[self._position - count:self._position]

    def issue(self, earliest: np.ndarray, *, takes: slice | np.ndarray = slice(None), **how: Any) -> np.ndarray:
        """Cycles of the command's steps, of which those of `takes` take a vector each; the rest is that of `issue`."""
        made, self._left = issue(earliest, left=self._left, ready=self._ready, taker=self._taker, **how)
        self._taken.append(made[takes])
        self._state.left = self._left[-PLACES:]
        return made

    def cycles(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """In which the commands and vectors were taken, and results left."""
        return np.array(self._starts, np.int64), np.concatenate(self._taken), self._left[self._before:]
