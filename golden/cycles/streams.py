"""Stream boundaries in time: when beats that are ready to go are taken by somebody who is not always ready."""
import numpy as np

__all__ = ["NO_END", "PLACES", "Readiness", "depart", "issue"]

NO_END = 1 << 60        # cycles

PLACES = 16             # of the queue behind a unit that cannot wait half way


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
        return NO_END if self.always else 0

    def later(self) -> "Readiness":
        """The same a cycle later, as through a register."""
        return Readiness(None if self.always else np.roll(self.pattern, 1))

    def following(self, cycle):
        """The first ready cycle that is not before the given cycles."""
        return self.cycle(self.index(cycle))


def depart(offered: np.ndarray, ready: Readiness) -> np.ndarray:
    """Cycles in which the beats of a stream are taken, in order, at most one a cycle, none before it is `offered`."""
    # Counted in ready cycles, beat i goes at max(offered, that of beat i - 1, plus one): a running maximum.
    index = ready.index(np.asarray(offered, np.int64))
    order = np.arange(len(index))
    return ready.cycle(np.maximum.accumulate(index - order) + order)


def issue(earliest: np.ndarray, *, pause: np.ndarray, waits: np.ndarray, gives: np.ndarray, latency: int | np.ndarray,
          left: np.ndarray, ready: Readiness, taker: np.ndarray | None = None, back: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Cycles of a unit's steps, one a cycle in order, and those in which their results leave, appended to `left`.

    A step is made no earlier than `earliest` and `pause` cycles later than its turn; one that `waits` needs one of `PLACES`
    tokens to be there. One that `gives` takes it, for a result that is offered `latency` cycles later; the token is there again
    `back` cycles after the result left. `taker`: for each result, those in `left` included, a cycle before which nobody takes it.
    """
    turn = np.arange(len(earliest)) + np.cumsum(pause)
    results = np.flatnonzero(gives)
    latency = np.broadcast_to(latency, len(results))
    if ready.always:            # tokens are always back in time
        made = np.maximum.accumulate(earliest - turn) + turn
        went = depart(made[results] + latency, ready)
        if taker is None or np.all(taker[len(left):len(left) + len(went)] <= went):
            return made, np.append(left, went)
    known, left = len(left), np.append(left, np.zeros(len(results), np.int64))
    made = np.empty(len(earliest), np.int64)
    before = np.cumsum(gives) - gives                       # results of earlier steps
    slack = np.iinfo(np.int64).min // 2
    for first in range(0, len(results) + 1, PLACES):        # the tokens of these results were given back by earlier ones
        group = slice(*np.searchsorted(before, (first, first + PLACES)))
        at, token = earliest[group].copy(), known + before[group] - PLACES
        needs = waits[group] & (token >= 0)
        at[needs] = np.maximum(at[needs], left[token[needs]] + back)
        made[group] = np.maximum.accumulate(np.append(slack, at - turn[group]))[1:] + turn[group]
        slack = np.maximum.accumulate(np.append(slack, at - turn[group]))[-1]
        part = slice(first, first + PLACES)
        offered = made[results[part]] + latency[part]
        if known + first and len(offered):
            offered = np.maximum(offered, left[known + first - 1] + 1)
        if taker is not None:
            offered = np.maximum(offered, taker[known + first:known + first + len(offered)])
        left[known + first:known + first + len(offered)] = depart(offered, ready)
    return made, left
