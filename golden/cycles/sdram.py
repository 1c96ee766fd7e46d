"""Cycles of the SDRAM controller: every word of every request, refresh included.

Everything is counted in cycles of decision: a column read or write decided in cycle c is on the pins in cycle c + `COLUMN`, a
row command decided in cycle t takes the column's place of cycle t + 1. Rows are kept open; one request's next row, or the next
request's first, is opened while words of the present one pass.
"""
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from arch.sdram import BANKS, LOOKUP, SEGMENT, Timing

__all__ = ["Request", "SdramCycles", "Served", "serve"]

_NEVER = -(1 << 40)


@dataclass(kw_only=True, slots=True)
class Request:
    """`length` words from word `address` on, wrapping at the end of the chip; offered from cycle `offered` on."""

    write: bool
    address: int
    length: int
    offered: int = 0


class Served:
    """A request in time: `taken` is the cycle in which it was taken, `count` how many of its words are decided; the last of them
    comes in cycle `last`. Each comes `latency` cycles behind its decision."""

    __slots__ = ("request", "taken", "count", "last", "latency", "_spans")

    def __init__(self, request: Request, taken: int, latency: int):
        self.request, self.taken, self.count = request, taken, 0
        self.last, self.latency = _NEVER, latency
        self._spans: list[tuple[int, int]] = []         # first cycle and number of words that come one a cycle

    def add(self, decided: int, number: int) -> None:
        """The next words are decided in cycles from `decided` on."""
        first = decided + self.latency
        self._spans.append((first, number))
        self.count += number
        self.last = first + number - 1

    def earliest(self, number: int, column: int) -> int:
        """A cycle before which a word does not come, if words that are not decided yet are decided from cycle `column` on."""
        if number + 1 == self.count:
            return self.last
        return column + number - self.count + self.latency if number >= self.count else self._spans[0][0] + number

    @property
    def words(self) -> np.ndarray:
        """Cycles in which its words so far were given, or asked for if they are to be written; int64 (n,)."""
        if len(self._spans) == 1:
            first, number = self._spans[0]
            return np.arange(first, first + number)
        return np.concatenate([np.zeros(0, np.int64), *(np.arange(first, first + number) for first, number in self._spans)])


class _Segment:
    """Part of a request within one row: `count` words are left."""

    __slots__ = ("served", "write", "count", "bank", "row", "last")

    def __init__(self, served: Served, address: int, count: int, timing: Timing):
        line = address >> timing.column_bits
        self.served, self.write, self.count = served, served.request.write, count
        self.bank, self.row = line % BANKS, line // BANKS
        self.last = _NEVER                              # decided


class SdramCycles:
    """The controller in time, counted from the end of reset, request by request.

    `request` returns as soon as it is known when the request's last part is taken. The words before are then decided, later
    ones depend on the next request; `finish` decides them all, and must not be followed by a request that was offered before
    the last of them. With `renews` the mode register is set after each refresh.
    """

    def __init__(self, timing: Timing, *, renews: bool = False):
        self.timing, self.renews = timing, renews
        self.free = 0                                   # the next request may be taken in this cycle
        # The row unit next waits for a segment in cycle `now`, and work stops for a refresh in cycle `hold`.
        self.now, self.hold = timing.ready, timing.first_refresh
        self.open: list[int | None] = [None] * BANKS
        self.activated, self.wrote = [_NEVER] * BANKS, [_NEVER] * BANKS
        self.read = _NEVER                              # last column
        self.current: _Segment | None = None            # words are passing
        self.column = 0                                 # the next may be decided in this cycle

    def _columns(self, end: int) -> None:
        """Decides columns in cycles before `end`, as far as there are any."""
        segment = self.current
        if segment is None or not segment.count:
            return
        first = self.column
        if segment.write:
            first = max(first, self.read + self.timing.turnaround)
        if first >= end:
            return
        number = min(segment.count, end - first)
        segment.served.add(first, number)
        segment.count -= number
        segment.last = last = first + number - 1
        self.column = last + 1
        if segment.write:
            self.wrote[segment.bank] = last
        else:
            self.read = last

    def _row_command(self, cycle: int) -> None:
        """A row command decided in `cycle` takes the next place of a column."""
        self._columns(cycle + 1)
        self.column = max(self.column, cycle + 2)

    def _busy_after(self, end: int) -> bool:
        """Whether words of the current segment are left when cycle `end` is over."""
        self._columns(end + 1)
        return self.current is not None and self.current.count > 0

    def _activate(self, cycle: int, segment: _Segment) -> None:
        self.activated[segment.bank], self.open[segment.bank] = cycle, segment.row

    def _closable(self, bank: int) -> int:
        """First cycle in which a precharge may be decided."""
        return max(self.activated[bank] + self.timing.row_open, self.wrote[bank] + self.timing.wr - 1)

    def _refresh(self) -> None:
        """Stops in cycle `hold`, closes all rows, refreshes, opens the current row again."""
        timing = self.timing
        busy = self._busy_after(self.hold)
        precharge = max(self.hold + 2, *(self._closable(bank) for bank in range(BANKS)))
        free = precharge + timing.rp + (timing.rfc + timing.mrd + 1 if self.renews else max(timing.rfc, 2))
        self.open = [None] * BANKS
        resume = free + 1
        if busy:
            self._activate(free, self.current)
            resume = free + max(timing.rcd, 2)
        self.column = max(self.column, resume + 1)
        self.now = resume + 1
        self.hold += timing.period

    def _prepare(self, segment: _Segment, taken: int) -> bool:
        """Opens the segment's row and makes it current; False if a refresh comes first."""
        timing, cycle = self.timing, taken + LOOKUP
        bank = segment.bank
        if self.open[bank] not in (None, segment.row):
            if self.current is not None and self.current.bank == bank:
                if self._busy_after(self.hold - 1):
                    return False
                cycle = max(cycle, self.current.last + 2)
            cycle = max(cycle, self._closable(bank))
            if cycle >= self.hold:
                return False
            self._row_command(cycle)
            self.open[bank] = None
            cycle += timing.rp
        if self.open[bank] is None:
            cycle = max(cycle, max(self.activated) + timing.rrd)
            if cycle >= self.hold:
                return False
            self._row_command(cycle)
            self._activate(cycle, segment)
            cycle += max(timing.rcd, 2)
        if cycle > self.hold or self._busy_after(self.hold):
            return False
        if self.current is not None:
            cycle = max(cycle, self.current.last)
        self.current, self.column, self.now = segment, cycle + 1, cycle + 2
        return True

    def _take(self, segment: _Segment, offered: int) -> int:
        """Cycle in which a segment is taken; returns when it is current."""
        while max(self.now, offered) >= self.hold:
            self._refresh()
        taken = at = max(self.now, offered)
        while not self._prepare(segment, at):
            self._refresh()
            at = self.now - 1               # the lookup begins in cycle `now`
        return taken

    def request(self, request: Request) -> Served:
        """The next request. Raises ValueError for an address or a length that the controller cannot be given."""
        timing = self.timing
        if not 0 <= request.address < 1 << timing.address_bits:
            raise ValueError(f"Address must be 0..{(1 << timing.address_bits) - 1} words, not {request.address}")
        if not 0 <= request.length < 1 << 17:
            raise ValueError(f"Length must be 0..131071 words, not {request.length}")
        served = Served(request, max(self.free, request.offered), 1 if request.write else timing.read)
        self.free = served.taken + 2                    # without any words
        offered, address, left = served.taken + SEGMENT, request.address, request.length
        while left:
            count = min(left, timing.columns - address % timing.columns)
            taken = self._take(_Segment(served, address, count, timing), offered)
            self.free, offered = taken + 1, taken + SEGMENT
            address, left = (address + count) % (1 << timing.address_bits), left - count
        return served

    def finish(self) -> None:
        """Decides all words of the requests so far."""
        while self._busy_after(self.hold):
            self._refresh()


def serve(timing: Timing, requests: Iterable[Request]) -> list[Served]:
    """When each request is taken and its words pass; see `SdramCycles`."""
    sdram = SdramCycles(timing)
    served = [sdram.request(request) for request in requests]
    sdram.finish()
    return served
