"""An SDRAM with a fault, behind the reference of the board's side: what its lines carry, and what its cells hold, word by word.

Nothing here knows how `host.selftest` finds faults. Each access goes over the lines as the controller has it: the row over the
address lines, then the column over the same ones, the bank with both; between requests all rows are closed for a refresh.
"""
from collections.abc import Callable
from dataclasses import dataclass, field
import random

import numpy as np

from arch.sdram import A10, BANKS

__all__ = ["FaultyMemory", "MemoryFault", "faults"]

_A10 = 1 << A10


@dataclass(frozen=True, kw_only=True)
class MemoryFault:
    """One fault, by `kind`: `stuck` (a line, at `value`), `shorted` (two lines, `value` wins), `swapped` (two lines), `open` (a
    data line that holds what it carried last), `cell` (a bit of a word, stuck at `value`), `weak` (turns to `value` after 0.1 s),
    `row` and `column` (of a bank, all of whose words are lost). `lines` are named as on the board."""

    kind: str
    lines: tuple[str, ...] = ()
    value: int = 0
    bank: int = 0
    row: int = 0
    column: int = 0
    bit: int = 0

    def __str__(self) -> str:
        at = ("/".join(self.lines) or f"bank {self.bank}" + f" row {self.row}" * (self.kind != "column")
              + f" column {self.column}" * (self.kind != "row") + f" bit {self.bit}" * (self.kind in ("cell", "weak")))
        return f"{self.kind} {at}" + f" {self.value}" * (self.kind in ("stuck", "shorted", "cell", "weak"))


_HELD_S = 0.1


@dataclass
class FaultyMemory:
    """Words of an SDRAM as `host.device.Device.storage`: slices are read and written. `now` tells seconds, `cas` is what the
    controller asks the chip for; `seed` makes what cells hold at first, and what floats."""

    row_bits: int
    column_bits: int
    fault: MemoryFault | None
    now: Callable[[], float] = lambda: 0.0
    cas: int = 3
    seed: int = 1
    _bus: int = 0               # what the data lines carried last
    _written: float = 0.0
    _random: random.Random = field(init=False)

    def __post_init__(self):
        self._random = random.Random(self.seed)
        self.cells = np.resize(np.random.default_rng(self.seed).integers(0, 1 << 16, 0xFFF1, dtype=np.uint16), len(self))
        self._known: dict[tuple[int, int], tuple[int, int]] = {}
        # The mode register, from lines with the same fault.
        self._latency = self._lines(self.cas << 4, 0)[0] >> 4 & 7

    def __len__(self) -> int:
        return BANKS << self.row_bits + self.column_bits

    def _lines(self, a: int, bank: int) -> tuple[int, int]:
        """Address and bank lines as the chip sees them."""
        if (a, bank) not in self._known:
            values = {f"A{n}": a >> n & 1 for n in range(13)} | {f"BA{n}": bank >> n & 1 for n in range(2)}
            self._spoil(values)
            self._known[a, bank] = (sum(values[f"A{n}"] << n for n in range(13)), sum(values[f"BA{n}"] << n for n in range(2)))
        return self._known[a, bank]

    def _data(self, word: int) -> int:
        """The data lines, either way."""
        if self.fault is None or not any(line.startswith("DQ") for line in self.fault.lines):
            return word
        values = {f"DQ{n}": word >> n & 1 for n in range(16)}
        self._spoil(values)
        if self._is("open") and self.fault.lines[0] in values:
            values[self.fault.lines[0]] = self._bus >> int(self.fault.lines[0][2:]) & 1
        return sum(values[f"DQ{n}"] << n for n in range(16))

    def _is(self, kind: str, line: str = "") -> bool:
        return self.fault is not None and self.fault.kind == kind and (not line or line in self.fault.lines)

    def _spoil(self, values: dict[str, int]) -> None:
        if self.fault is None or not set(self.fault.lines) & values.keys():
            return
        one, *other = self.fault.lines
        match self.fault.kind:
            case "stuck":
                values[one] = self.fault.value
            case "shorted":
                both = values[one] & values[other[0]] if self.fault.value == 0 else values[one] | values[other[0]]
                values[one] = values[other[0]] = both
            case "swapped":
                values[one], values[other[0]] = values[other[0]], values[one]

    def _floating(self) -> int:
        """Nobody drives: what was there last, and noise."""
        return self._bus ^ self._random.getrandbits(16) & self._random.getrandbits(16)

    @property
    def _silent(self) -> bool:
        """No command arrives as it was sent."""
        return any(self._is("stuck", line) for line in ("CLK", "CKE", "CS", "RAS", "CAS")) or (
            self._is("stuck", "WE") and self.fault.value == 0)

    def _cells(self, start: int, stop: int) -> list[int | None]:
        """Which cell each access of one request reaches; None where no row is open."""
        found: list[int | None] = []
        opened: dict[int, int] = {}                             # bank -> row, to the chip
        wanted: dict[int, int] = {}                             # to the controller
        for address in range(start, stop):
            column, rest = address & (1 << self.column_bits) - 1, address >> self.column_bits
            bank, row = rest % BANKS, rest // BANKS
            if wanted.get(bank) != row:
                wanted[bank] = row
                a, b = self._lines(row, bank)
                opened[b] = a & (1 << self.row_bits) - 1
            a, b = self._lines(column & _A10 - 1 | (column & -_A10) << 1, bank)
            there = opened.get(b)
            place = a & _A10 - 1 | (a >> 1) & -_A10
            found.append(None if there is None else (there * BANKS + b << self.column_bits)
                         + (place & (1 << self.column_bits) - 1))
            if a & _A10:                                        # the row is closed behind the word
                opened.pop(b, None)
        return found

    def _age(self) -> None:
        """What a weak cell holds now."""
        fault = self.fault
        if self._is("weak") and self.now() - self._written > _HELD_S:
            self._set(self._place(fault), fault.bit, fault.value)

    def _place(self, fault: MemoryFault) -> int:
        return (fault.row * BANKS + fault.bank << self.column_bits) + fault.column

    def _set(self, cell: int, bit: int, value: int) -> None:
        self.cells[cell] = int(self.cells[cell]) & ~(1 << bit) | value << bit

    def _lost(self, cell: int) -> bool:
        """Whether a word lies in a damaged row or column."""
        row, bank, column = cell >> self.column_bits + 2, cell >> self.column_bits & 3, cell & (1 << self.column_bits) - 1
        fault = self.fault
        return (self._is("row") and (bank, row) == (fault.bank, fault.row)
                or self._is("column") and (bank, column) == (fault.bank, fault.column))

    def __setitem__(self, where: slice, words) -> None:
        self._age()
        for cell, word in zip(self._cells(where.start, where.stop), map(int, words), strict=True):
            self._bus = word
            seen = self._data(word)
            if cell is None or self._silent or self._is("stuck", "WE"):
                continue
            for byte, mask in ((0x00FF, "DQML"), (0xFF00, "DQMU")):
                if not (self._is("stuck", mask) and self.fault.value == 1):
                    self.cells[cell] = int(self.cells[cell]) & ~byte | seen & byte
            if self._is("weak") and cell == self._place(self.fault):
                self._written = self.now()
        if self._is("cell"):
            self._set(self._place(self.fault), self.fault.bit, self.fault.value)

    def __getitem__(self, where: slice) -> np.ndarray:
        self._age()
        words = []
        for cell in self._cells(where.start, where.stop):
            word = self._floating() if cell is None or self._silent else int(self.cells[cell])
            if cell is not None and self._lost(cell):
                word = self._random.getrandbits(16)
            for byte, mask in ((0x00FF, "DQML"), (0xFF00, "DQMU")):
                if self._is("stuck", mask) and self.fault.value == 1:
                    word = word & ~byte | self._floating() & byte
            words.append(word)
        if (shift := self.cas - self._latency) and not self._silent:      # words come when nobody waits for them, or too early
            n = len(words)
            words = [words[k + shift] if abs(shift) == 1 and 0 <= k + shift < n else self._floating() for k in range(n)]
        seen = []
        for word in words:
            seen.append(self._data(word))
            self._bus = seen[-1]
        return np.array(seen, "<u2")


def faults(row_bits: int, column_bits: int, seed: int = 1) -> list[MemoryFault]:
    """Faults of every kind, at places of their own: of lines that reach rows alone, columns too, and banks."""
    rng = random.Random(seed)
    low, high = range(min(column_bits, A10)), [n for n in range(row_bits) if n >= column_bits or n == A10]

    def cell() -> dict:
        return {"bank": rng.randrange(BANKS), "row": rng.randrange(1 << row_bits), "column": rng.randrange(1 << column_bits)}
    found = [MemoryFault(kind="stuck", lines=(line,), value=value) for value in (0, 1) for line in (
        f"A{rng.choice(low)}", f"A{rng.choice(high)}", "A0", "A4", f"BA{value}", f"DQ{rng.randrange(8)}",
        f"DQ{rng.randrange(8, 16)}")]
    for value in (0, 1):
        a, b = rng.sample(low, 2)
        d, e = rng.sample(range(16), 2)
        found += [MemoryFault(kind="shorted", lines=lines, value=value) for lines in (
            (f"A{a}", f"A{b}"), (f"A{a}", f"A{rng.choice(high)}"), (f"A{high[0]}", f"A{high[-1]}"), ("BA0", "BA1"),
            (f"DQ{d}", f"DQ{e}"))]
    found += [MemoryFault(kind="swapped", lines=(f"A{rng.choice(low)}", f"A{rng.choice(high)}")) for _ in range(3)]
    found += [MemoryFault(kind="open", lines=(f"DQ{rng.randrange(16)}",)) for _ in range(2)]
    found += [MemoryFault(kind="stuck", lines=(line,), value=1) for line in ("DQML", "DQMU", "WE", "CS", "RAS", "CAS")]
    found += [MemoryFault(kind="stuck", lines=(line,), value=0) for line in ("WE", "CKE", "CLK")]
    for value in (0, 1):
        found += [MemoryFault(kind=kind, value=value, bit=rng.randrange(16), **cell())
                  for kind in ("cell", "cell", "weak", "weak")]
    found += [MemoryFault(kind=kind, **cell()) for kind in ("row", "row", "column", "column")]
    return found
