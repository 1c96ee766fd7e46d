"""Which lines between FPGA and memory explain what was read: every simple fault's effect is computed and compared."""
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from arch.sdram import A10, BANKS, ROW_BITS

__all__ = ["Fault", "Places", "address_faults", "cells_of", "data_faults", "tags"]

_BANK_BITS = (BANKS - 1).bit_length()
LINES = (*(f"A{n}" for n in range(ROW_BITS)), *(f"BA{n}" for n in range(_BANK_BITS)))
_BITS = 16
_GARBAGE = 0.8                  # of words that nobody drives: the others are as they should be by chance


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where words lie in an SDRAM: row, bank and column are the bits of an address from the top. Row and column go over the same
    lines, one after the other; a column's bits go around A10."""

    row_bits: int
    column_bits: int

    @property
    def address_bits(self) -> int:
        return self.row_bits + _BANK_BITS + self.column_bits

    @property
    def rows(self) -> int:
        """In all banks."""
        return BANKS << self.row_bits

    def address(self, row, bank, column):
        """Of a word, or of many."""
        return (row << _BANK_BITS | bank) << self.column_bits | column

    def split(self, address):
        """Row, bank and column."""
        column, rest = address & (1 << self.column_bits) - 1, address >> self.column_bits
        return rest >> _BANK_BITS, rest & BANKS - 1, column

    def opened(self, address):
        """The lines that open the row of an address, a bit for each of `LINES`."""
        row, bank, _ = self.split(address)
        return row | bank << ROW_BITS

    def chosen(self, address):
        """Those that choose its word."""
        _, bank, column = self.split(address)
        low = (1 << A10) - 1
        return column & low | (column & ~low) << 1 | bank << ROW_BITS

    @property
    def column_lines(self) -> int:
        """The lines that bring a column's bits."""
        all_ = (1 << self.column_bits) - 1
        low = (1 << A10) - 1
        return all_ & low | (all_ & ~low) << 1

    def name(self, address: int) -> str:
        """Of a word, for people."""
        row, bank, column = self.split(address)
        return f"bank {bank}, row {row}, column {column}"


@dataclass(frozen=True)
class Fault:
    """A fault of lines that carry a number: its name, and what arrives of what is sent."""

    name: str
    arrives: Callable[[np.ndarray], np.ndarray]


def _stuck(names, line: int) -> Iterator[Fault]:
    yield Fault(f"{names[line]} stuck low or not connected", lambda sent: sent & ~(1 << line))
    yield Fault(f"{names[line]} stuck high", lambda sent: sent | 1 << line)


def _pair(names, a: int, b: int) -> Iterator[Fault]:
    both = 1 << a | 1 << b

    def bits(sent):
        return sent >> a & 1, sent >> b & 1
    yield Fault(f"{names[a]} and {names[b]} shorted, low wins",
                lambda sent: sent & ~both | (bits(sent)[0] & bits(sent)[1]) * both)
    yield Fault(f"{names[a]} and {names[b]} shorted, high wins",
                lambda sent: sent & ~both | (bits(sent)[0] | bits(sent)[1]) * both)
    yield Fault(f"{names[a]} and {names[b]} swapped", lambda sent: sent & ~both | bits(sent)[0] << b | bits(sent)[1] << a)


def _faults(names: Sequence[str], lines: Sequence[int]) -> Iterator[Fault]:
    for line in lines:
        yield from _stuck(names, line)
    for a, b in combinations(lines, 2):
        yield from _pair(names, a, b)


def cells_of(places: Places, addresses: np.ndarray, fault: Fault | None = None) -> np.ndarray:
    """Which cell each address reaches, as a number; -1 where the bank that is opened is not that of which a word is chosen."""
    opened, chosen = places.opened(addresses), places.chosen(addresses)
    if fault is not None:
        opened, chosen = fault.arrives(opened), fault.arrives(chosen)
    same = opened >> ROW_BITS == chosen >> ROW_BITS
    rows = opened & (1 << ROW_BITS) - 1 & (1 << places.row_bits) - 1
    return np.where(same, ((opened >> ROW_BITS) << places.row_bits | rows) << ROW_BITS | chosen & places.column_lines, -1)


def tags(count: int) -> np.ndarray:
    """So many words (at most 2,048), any two of which differ in at least four bits: so two bad data lines hide no difference."""
    if count > 1 << 11:
        raise ValueError(f"count must be at most 2048, not {count}")
    numbers, words = np.arange(count), np.zeros(count, "<u2")
    places = [n for n in range(1, _BITS) if n & n - 1]                  # of data in an extended Hamming code
    for bit, place in enumerate(places):
        words |= ((numbers >> bit & 1) << place).astype("<u2")
    for check in (1, 2, 4, 8):
        covered = sum(1 << n for n in range(1, _BITS) if n & check and n != check)
        words |= (_parity(words & covered) << check).astype("<u2")
    return words | _parity(words).astype("<u2")


def _parity(words: np.ndarray) -> np.ndarray:
    folded = words.astype(np.int64)
    for shift in (8, 4, 2, 1):
        folded ^= folded >> shift
    return folded & 1


def _share(true: np.ndarray) -> float:
    return float(true.mean()) if len(true) else 1.0


def address_faults(places: Places, addresses: np.ndarray, written: np.ndarray, seen: np.ndarray, healthy: int = 0xFFFF
                   ) -> tuple[str, ...]:
    """Names of all simple faults of the address lines, each of which alone explains what was seen: `written` went to the
    addresses one after the other, then `seen` was read there. Only `healthy` bits of words count. Empty if none does."""
    found: dict[str, int] = {}
    for fault in _faults(LINES, [*range(places.row_bits), *range(ROW_BITS, len(LINES))]):
        cells = cells_of(places, addresses, fault)
        # What was written to each cell last.
        last: dict[int, int] = {int(cell): n for n, cell in enumerate(cells)}
        expected = written[[last[int(cell)] for cell in cells]]
        known, wrong = cells >= 0, ((written ^ seen) & healthy) != 0
        # Where no row is open, what is read is anything but what was written, nearly.
        if not ((expected ^ seen) & healthy)[known].any() and _share(wrong[~known]) > _GARBAGE:
            found[fault.name] = int(known.sum())
    most = max(found.values(), default=0)
    return tuple(name for name, known in found.items() if known == most > len(addresses) // 2)


def data_faults(sent: np.ndarray, seen: np.ndarray) -> dict[int, str]:
    """What is wrong with each bit of words, by its number: a line that is stuck, shorted or swapped with another one, or does not
    follow what is sent. `sent` must hold each bit alone and all bits but each, at least."""
    bits_sent = sent[:, None] >> np.arange(_BITS) & 1
    bits_seen = seen[:, None] >> np.arange(_BITS) & 1
    bad = [n for n in range(_BITS) if (bits_sent[:, n] != bits_seen[:, n]).any()]
    found: dict[int, str] = {}
    for n in bad:
        if len(set(bits_seen[:, n])) == 1:
            found[n] = f"DQ{n} stuck {'high' if bits_seen[0, n] else 'low'}"
            continue
        found[n] = f"DQ{n} does not follow"
        for other in (other for other in range(_BITS) if other != n):
            a, b = sorted((n, other))
            for what, value in (("shorted, low wins", bits_sent[:, n] & bits_sent[:, other]),
                                ("shorted, high wins", bits_sent[:, n] | bits_sent[:, other]),
                                ("swapped", bits_sent[:, other])):
                if other in bad and (bits_seen[:, n] == value).all():
                    found[n] = f"DQ{a} and DQ{b} {what}"
    return found
