"""Words that did not hold what was written: whether it is the row, the column, a cell, or nothing that stays."""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from host.selftest.finding import Finding
from host.selftest.lines import Places
from host.session import Session

__all__ = ["Suspects"]

_ALL = 0xFFFF
_LOOKS, _MOST = 24, 4096        # suspects that are looked at one by one; that are remembered
_ROW, _COLUMN = 32, 32          # neighbours that are tried
_REPLACE = "a memory chip with bad cells must be replaced; networks that end below this word run all the same"
_WEAK = ("if there are many, the supply or the refreshes are at fault: measure 3.3 V at the SDRAM; build for the chip that is "
         "on the board (hw.build --sdram NAME); a few cells: the chip must be replaced")


@dataclass(frozen=True)
class _Wrong:
    """Bits of words that read as one though zero was written, and the other way round."""

    high: np.ndarray
    low: np.ndarray

    @property
    def any(self) -> np.ndarray:
        return self.high | self.low


class Suspects:
    """Words that were wrong once, and what becomes of them when they are tested again.

    `hold` waits as long as cells must hold. `healthy`: bits of words that count.
    """

    def __init__(self, session: Session, places: Places | None, words: int, hold: Callable[[], None]):
        self.session, self.places, self.words, self.hold, self.healthy = session, places, words, hold, _ALL
        self._waiting: dict[int, int] = {}
        self._rows: set[tuple[int, int]] = set()        # bank and row, bank and column, that are known to be bad
        self._columns: set[tuple[int, int]] = set()
        self._cells: set[int] = set()

    @property
    def full(self) -> bool:
        """More of them are no news."""
        return len(self._waiting) >= _MOST

    def add(self, addresses: np.ndarray, wrong: np.ndarray) -> None:
        """Words at these addresses had these bits wrong, those that had any."""
        for n in np.flatnonzero(wrong):
            self._waiting[int(addresses[n])] = self._waiting.get(int(addresses[n]), 0) | int(wrong[n])

    def findings(self) -> list[Finding]:
        """Of all that are not yet explained."""
        found, unsteady, looks = [], [], 0
        waiting, self._waiting = self._waiting, {}
        left = 0
        for address in waiting:
            if self._known(address):
                continue
            if looks == _LOOKS:
                left += 1
                continue
            looks += 1
            finding = self._look(address)
            if finding is None:
                unsteady.append(address)
            else:
                found.append(finding)
        if unsteady:
            found.append(self._unsteady(unsteady, waiting))
        if left:
            found.append(Finding(names=("many words",), seen=f"{left:,} more words were wrong",
                                 means="so many are hardly bad cells: the phase of the memory's clock, its supply, refreshes",
                                 try_="look at the phase in host.info, measure the supply, build at a lower clock (--freq)"))
        return found

    def _known(self, address: int) -> bool:
        if self.places is None:
            return address in self._cells
        row, bank, column = self.places.split(address)
        return address in self._cells or (bank, row) in self._rows or (bank, column) in self._columns

    def _wrong(self, addresses: np.ndarray, hold: bool) -> _Wrong:
        seen = []
        for word in (0, _ALL):
            self.session.write_each(addresses, [word] * len(addresses))
            if hold:
                self.hold()
            seen.append(self.session.read_each(addresses))
        return _Wrong(seen[0] & self.healthy, ~seen[1] & self.healthy)

    def _look(self, address: int) -> Finding | None:
        """None if it is right again."""
        late, alone = False, self._wrong(np.array([address]), False)
        if not alone.any[0]:
            late, alone = True, self._wrong(np.array([address]), True)
        name = self._name(address)
        self._cells.add(address)
        if not alone.any[0]:
            return None
        many = self.places and self._neighbours(address, late)
        which = ", ".join(str(n) for n in range(16) if int(alone.any[0]) >> n & 1)
        when = "do not hold as long as they must" if late else "are other than they were written"
        what = "weak" if late else "bad"
        if many:
            return Finding(names=(f"{many}, {what}",), seen=f"words of it {when}, as {name}, bits {which}",
                           means="a line inside the memory chip is at fault", try_=_WEAK if late else _REPLACE)
        way = "low" if not alone.high[0] else "high" if not alone.low[0] else "anyhow"
        state = f"weak, turning {way}" if late else f"stuck {way}"
        return Finding(names=(f"{name}, bits {which} {state}",), seen=f"bits {which} of this word {when}",
                       means="cells of the memory lose their charge between refreshes" if late else
                       "cells of the memory are damaged", try_=_WEAK if late else _REPLACE)

    def _name(self, address: int) -> str:
        return f"word {address}" if self.places is None else self.places.name(address)

    def _unsteady(self, addresses: list[int], bits: dict[int, int]) -> Finding:
        first = addresses[0]
        return Finding(names=("unsteady words",),
                       seen=f"{len(addresses)} words were wrong once, and right when they were tested again; the first is "
                            f"{self._name(first)}, bits {bits[first]:#06x}",
                       means="words are lost now and then: the phase of the memory's clock, its supply, or noise",
                       try_="test again; look at the phase in host.info; build at a lower clock (--freq)")

    def _neighbours(self, address: int, late: bool) -> str:
        """The row or the column, if more than half of its words that are tried are wrong as well."""
        places = self.places
        row, bank, column = places.split(address)
        columns = np.unique(np.arange(_ROW) * (1 << places.column_bits) // _ROW)
        rows = np.unique(np.arange(_COLUMN) * (1 << places.row_bits) // _COLUMN)
        for kept, key, addresses, name in (
                (self._rows, (bank, row), places.address(row, bank, columns), f"bank {bank}, row {row}, all columns"),
                (self._columns, (bank, column), places.address(rows, bank, column), f"bank {bank}, column {column}, all rows")):
            addresses = addresses[(addresses < self.words) & (addresses != address)]
            if len(addresses) and 2 * np.count_nonzero(self._wrong(addresses, late).any) > len(addresses):
                kept.add(key)
                return name
        return ""
