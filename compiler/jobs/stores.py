"""Stores in the estimate of `compiler.jobs.timing`: what they and loads cost each other, and the array."""
from collections import deque
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from compiler import costs
from compiler.jobs.job import Job

__all__ = ["Span", "Stores"]

SHARE = costs.STORE_SHARE / (1 - costs.STORE_SHARE)     # words of a store for each word of a load beside it


@dataclass(frozen=True)
class Span:
    """Cycles from which and until which a job runs, and a store that a load lets pass though no word on the chip asks for it."""

    start: float
    end: float
    behind: Job | None = None

    def meanwhile(self, start: float, end: float) -> float:
        """Cycles of it from `start` to `end`."""
        return max(0, min(self.end, end) - max(self.start, start))


class Stores:
    """The stores that are scheduled, one after the other, each with a span in `spans`.

    A load beside a store takes most of storage's words. So a load that has time waits for stores whose room on the chip, or whose
    words, are wanted earlier; others make the stores beside them end later.
    """

    def __init__(self, jobs: Sequence[Job], spans: MutableMapping[Job, Span]):
        self.spans, self.free = spans, 0.0
        self.under_way: deque[Job] = deque()            # as far as loads are scheduled
        self.reading: deque[Job] = deque()              # as far as compute commands are
        self.wanted: dict[Job, int] = {}                # by the compute job of this number, or for its sake
        for job in jobs:
            for other in job.after:
                if other.queue == "store":
                    self.wanted[other] = min(self.wanted.get(other, job.need), job.need)

    def add(self, job: Job, start: float, cycles: float, loading: float) -> float:
        """The next store, which takes so many cycles alone and may run from `start` on, beside loads of so many cycles that are
        on their way; returns by how many these end later."""
        start = max(self.free, start)
        self.free = start + cycles + min(loading, cycles / SHARE)
        self.spans[job] = Span(start, self.free)
        self.under_way.append(job)
        self.reading.append(job)
        return min(cycles, loading * SHARE)

    def load(self, job: Job, start: float, cycles: float) -> Span:
        """The span of a load that may run from `start` on and takes so many cycles alone."""
        behind = None
        for store in self.under_way:
            span = self.spans[store]
            if span.start <= start < span.end and self.wanted.get(store, job.need) < job.need:
                start, behind = span.end + costs.TOKEN_CYCLES, store
        while self.under_way and self.spans[self.under_way[0]].end <= start:
            self.under_way.popleft()
        end, since = start + cycles, start
        for number, store in enumerate(self.under_way):
            since = max(since, self.spans[store].start)
            if since >= end:
                break
            loading, storing = end - since, self.spans[store].end - since
            end += min(storing, loading * SHARE)
            self._delay(number, min(loading, storing / SHARE))
            since = self.spans[store].end
        return Span(start, end, behind)

    def _delay(self, first: int, cycles: float) -> None:
        """This one of those under way and all behind it end later. Their starts stay: the program has them in this order."""
        for store in islice(self.under_way, first, None):
            self.spans[store] = replace(self.spans[store], end=self.spans[store].end + cycles)
        self.free += cycles

    def lent(self, start: float, end: float) -> float:
        """Cycles of the activation memory's read port that stores take from the array meanwhile."""
        lent = since = 0.0
        for store in self.reading:
            span = replace(self.spans[store], start=max(since, self.spans[store].start))
            lent += span.meanwhile(start, end) / (span.end - span.start) * store.body.words * store.body.runs
            since = span.end
        while self.reading and self.spans[self.reading[0]].end <= end:
            self.reading.popleft()
        return lent
