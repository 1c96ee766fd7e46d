"""Stream boundaries in time: when beats that are ready to go are taken by somebody who is not always ready."""
import numpy as np

__all__ = ["Readiness", "depart"]


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

    def following(self, cycle):
        """The first ready cycle that is not before the given cycles."""
        return self.cycle(self.index(cycle))


def depart(offered: np.ndarray, ready: Readiness) -> np.ndarray:
    """Cycles in which the beats of a stream are taken, in order, at most one a cycle, none before it is `offered`."""
    # Counted in ready cycles, beat i goes at max(offered, that of beat i - 1, plus one): a running maximum.
    index = ready.index(np.asarray(offered, np.int64))
    order = np.arange(len(index))
    return ready.cycle(np.maximum.accumulate(index - order) + order)
