"""SDRAM chips as data, their timings in clocks, and the controller's constants that the reference computes with.

Sources, and how far each was read:
- Alliance Memory, "AS4C32M16SB-7TCN / -7TIN / -6TIN", rev. 1.0, June 2016, and "AS4C16M16SA-C&I", rev. 3.0, March 2015: table 16
  of both, read in full.
- Winbond, "W9825G6JH 4M x 4 banks x 16 bits SDRAM", rev. A04, 29 November 2011, section 9.5. Icepi Zero carries the next die,
  W9825G6KH (its bill of materials names the part without a grade): figures of the slower -6I column, which hold for both.
- ISSI, "IS42S16160G" (42-45S83200G-16160G) and "IS42S16160B", 7 ns grades: as open controllers for these parts quote them, the
  originals were not at hand. tRRD and tDPL of the G die are those of the B die, and write recovery and mode register also
  get the two clocks that ISSI's older parts ask for.
- Micron, "128Mb: x32 SDRAM", table 12, grade -6A, for MT48LC16M16A2-6A, whose own sheet was not at hand.
- ESMT, M12L2561616A-6T: figures of the 6 ns grades above; its own sheet was not at hand.
Access, hold and setup are Alliance's (table 16) and Micron's; the other makers' parts are promised no slower by any sheet that
was read. All makers ask for two clocks of write recovery and mode register, or for times that are more at their fastest clock.
Eight refreshes after 200 us of power satisfy every maker.
"""
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor

__all__ = ["A10", "BANKS", "CHIPS", "COLUMN", "LOOKUP", "MOST_WORDS", "PULL", "SEGMENT", "Chip", "Time", "Timing"]

BANKS = 4
# Pins A0..A12 give a row. A10 closes all banks with a precharge, and its own with a column, so the column's bits go around it.
ROW_BITS, COLUMN_BITS, A10 = 13, 12, 10
MOST_WORDS = BANKS << ROW_BITS + COLUMN_BITS        # of 16 bits, that these reach

# Controller, in cycles. Request or segment taken -> its next segment offered; segment taken -> first row command decided.
SEGMENT = 3
LOOKUP = 4
# A word to be written is asked for -> it is there. Column decided -> in the registers of its pins: the cycle after it was decided
# its word is asked for.
PULL = 2
COLUMN = PULL + 2


@dataclass(frozen=True)
class Time:
    """At least `ns` nanoseconds and at least `clocks` clocks."""

    ns: float
    clocks: int = 1

    def cycles(self, clock_mhz: Fraction) -> int:
        """The least whole number of clocks."""
        return max(self.clocks, ceil(Fraction(str(self.ns)) * clock_mhz / 1000))


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Timings of one chip in clocks of `clock_mhz`; what controller, simulated chip and reference share.

    Names are those of the datasheets without the t: `rcd` activate to column, `rp` precharge to activate, `ras` activate to
    precharge, `rc` activate to activate of a bank, `rfc` refresh to anything, `rrd` activate to activate of another bank, `wr`
    last written word to precharge, `mrd` mode register to anything. `interval` between refreshes at most; `power_up` before
    the first command; `refreshes` before the mode register is set.

    Of the board: `pin_registers` that each pin has beside the controller's own, at most 2; inputs have one more, with which a
    word is taken `cas` + `late` of our clocks after its command left the pin; `late` is 0 or 1.

    Raises ValueError for figures out of range, or when too little time is left between refreshes.
    """

    clock_mhz: float
    row_bits: int
    column_bits: int
    cas: int
    rcd: int
    rp: int
    ras: int
    rc: int
    rfc: int
    rrd: int
    wr: int
    mrd: int
    interval: int
    power_up: int
    refreshes: int = 8
    pin_registers: int = 0
    late: int = 0

    def __post_init__(self):
        for name in ("rcd", "rp", "ras", "rc", "rfc", "rrd", "wr", "mrd", "power_up", "refreshes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 clock or more, not {getattr(self, name)}")
        if self.cas not in (2, 3):
            raise ValueError(f"CAS latency must be 2 or 3, not {self.cas}")
        for name, most in (("row_bits", ROW_BITS), ("column_bits", COLUMN_BITS), ("pin_registers", 2), ("late", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be 0..{most}, not {getattr(self, name)}")
        if self.period < 4 * (self.row_open + self.rp + self.rfc + self.rcd):
            raise ValueError(f"Refresh interval must leave time for work, not be {self.interval} clocks")

    @property
    def row_open(self) -> int:
        """Activate to precharge, such that `rc` is kept without a timer of its own."""
        return max(self.ras, self.rc - self.rp)

    @property
    def period(self) -> int:
        """Clocks between the controller's refreshes: shorter than `interval` by the longest time that one may be late."""
        return self.interval - (self.row_open + self.rp + self.rfc + self.mrd + self.wr + 4)

    @property
    def columns(self) -> int:
        """Words of a row."""
        return 1 << self.column_bits

    @property
    def address_bits(self) -> int:
        """Of a word's address: row, bank, column, from the top; so consecutive rows lie in different banks."""
        return self.row_bits + (BANKS - 1).bit_length() + self.column_bits

    @property
    def ready(self) -> int:
        """Cycle after reset in which the first segment may be taken."""
        return self.power_up + self.rp + self.refreshes * self.rfc + self.mrd + 3

    @property
    def first_refresh(self) -> int:
        """Cycle in which work first stops for a refresh; the next ones follow each `period`."""
        return self.ready - 1 + self.period

    @property
    def turnaround(self) -> int:
        """Column read -> column write: a free cycle on the data pins between the chip's last word and ours."""
        return self.cas + 2 + self.late

    @property
    def read(self) -> int:
        """Column read decided -> its word on the read stream: pins, the chip, input register."""
        return self.cas + 1 + COLUMN + 2 * self.pin_registers + self.late


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A 16-bit SDRAM of four banks. `cycle_ns`: least clock cycle for a CAS latency of 2 and of 3; `access_ns` likewise: from an
    edge of the clock to its word at the pins, at most, where it stays until `hold_ns` after the next edge. What is given to the
    chip must be there `setup_ns` before an edge and `kept_ns` after it."""

    name: str
    row_bits: int = 13
    column_bits: int
    cycle_ns: tuple[float, float]
    rcd: Time
    rp: Time
    ras: Time
    rc: Time
    rfc: Time
    rrd: Time
    wr: Time
    mrd: Time
    access_ns: tuple[float, float] = (6, 5.4)
    hold_ns: float = 2.5
    setup_ns: float = 1.5
    kept_ns: float = 0.8
    refresh_ms: float = 64
    power_up_us: float = 200

    @classmethod
    def any_of(cls, chips: Sequence["Chip"]) -> "Chip":
        """A chip whose timings satisfy all of these, and as large as the smallest."""
        first, times = chips[0], ("rcd", "rp", "ras", "rc", "rfc", "rrd", "wr", "mrd")
        worst = {name: Time(max(getattr(chip, name).ns for chip in chips), max(getattr(chip, name).clocks for chip in chips))
                 for name in times}
        pairs = {name: tuple(max(both) for both in zip(*(getattr(chip, name) for chip in chips), strict=True))
                 for name in ("cycle_ns", "access_ns")}
        most = {name: max(getattr(chip, name) for chip in chips) for name in ("setup_ns", "kept_ns", "power_up_us")}
        least = {name: min(getattr(chip, name) for chip in chips) for name in (
            "row_bits", "column_bits", "hold_ns", "refresh_ms")}
        return cls(name=first.name if len(chips) == 1 else " or ".join(chip.name for chip in chips),
                   **worst, **pairs, **most, **least)

    @property
    def bytes(self) -> int:
        """Capacity."""
        return BANKS << self.row_bits + self.column_bits + 1

    def holding(self, words: int) -> "Chip":
        """The chip, or if it has fewer words one that has longer rows and is like it in all else; of at most `MOST_WORDS`."""
        bits = (words - 1).bit_length() - self.row_bits - (BANKS - 1).bit_length()
        return replace(self, column_bits=max(self.column_bits, bits))

    def cas(self, clock_mhz: float) -> int:
        """The lowest CAS latency that a clock allows."""
        return 2 if Fraction(str(clock_mhz)) * Fraction(str(self.cycle_ns[0])) <= 1000 else 3

    def timing(self, clock_mhz: float, *, rated: bool = True, pin_registers: int = 0, late: int = 0) -> Timing:
        """Timings at a clock of 25..166 MHz, with the lowest CAS latency that it allows.

        `rated=False` accepts a clock above the chip's grade. Raises ValueError for figures out of range.
        """
        limit = 166.7 if not rated else 1000 / self.cycle_ns[1]
        if not 25 <= clock_mhz <= limit:
            raise ValueError(f"Clock of {self.name} must be 25..{limit:.1f} MHz, not {clock_mhz}")
        clock, cas = Fraction(str(clock_mhz)), self.cas(clock_mhz)
        names = ("rcd", "rp", "ras", "rc", "rfc", "rrd", "wr", "mrd")
        return Timing(clock_mhz=clock_mhz, row_bits=self.row_bits, column_bits=self.column_bits, cas=cas,
                      interval=floor(Fraction(str(self.refresh_ms)) * clock * 1000 / (1 << self.row_bits)),
                      power_up=ceil(Fraction(str(self.power_up_us)) * clock), pin_registers=pin_registers, late=late,
                      **{name: getattr(self, name).cycles(clock) for name in names})


def _alliance(name: str, column_bits: int, grade: int) -> Chip:
    rcd, rc, two = {6: (18, 60, 12), 7: (21, 63, 14)}[grade]
    return Chip(name=f"{name}-{grade}", column_bits=column_bits, cycle_ns=(10, grade), rcd=Time(rcd), rp=Time(rcd), ras=Time(42),
                rc=Time(rc), rfc=Time(rc), rrd=Time(two), wr=Time(two, 2), mrd=Time(two, 2),
                access_ns=(6, {6: 5, 7: 5.4}[grade]))


CHIPS = {chip.name.lower(): chip for chip in (
    # ULX3S, by batch: 64 MB, then 32 MB.
    _alliance("AS4C32M16SB", 10, 7), _alliance("AS4C32M16SB", 10, 6),
    _alliance("AS4C16M16SA", 9, 7), _alliance("AS4C16M16SA", 9, 6),
    Chip(name="IS42S16160G-7", column_bits=9, cycle_ns=(10, 7), rcd=Time(15), rp=Time(15), ras=Time(37), rc=Time(60),
         rfc=Time(60), rrd=Time(14), wr=Time(14, 2), mrd=Time(14, 2)),
    Chip(name="MT48LC16M16A2-6A", column_bits=9, cycle_ns=(10, 6), rcd=Time(18), rp=Time(18), ras=Time(42), rc=Time(60),
         rfc=Time(60), rrd=Time(12), wr=Time(12, 2), mrd=Time(0, 2), access_ns=(7.5, 5.4)),
    Chip(name="M12L2561616A-6T", column_bits=9, cycle_ns=(10, 6), rcd=Time(18), rp=Time(18), ras=Time(42), rc=Time(60),
         rfc=Time(60), rrd=Time(12), wr=Time(12, 2), mrd=Time(12, 2)),
    # Icepi Zero.
    Chip(name="W9825G6KH-6", column_bits=9, cycle_ns=(10, 6), rcd=Time(18), rp=Time(18), ras=Time(42), rc=Time(60),
         rfc=Time(60), rrd=Time(0, 2), wr=Time(0, 2), mrd=Time(0, 2)),
    # iCESugar-Pro.
    Chip(name="IS42S16160B-7", column_bits=9, cycle_ns=(10, 7), rcd=Time(20), rp=Time(20), ras=Time(45), rc=Time(67.5),
         rfc=Time(67.5), rrd=Time(14), wr=Time(14, 2), mrd=Time(15, 2)),
)}
