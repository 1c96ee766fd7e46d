# amaranth: UnusedElaboratable=no
"""The simulated SDRAM alone, driven pin by pin: each rule is kept to the clock, and what is not refreshed is lost."""
import numpy as np
import pytest

from arch.sdram import Timing
from hw.storage.sdram_upkeep import ACTIVATE, ALL_BANKS, MODE, PRECHARGE, REFRESH
from sim.models.sdram import SdramChip, SdramDesign, blocks, chip_timing
from sim.verilog.export import SimulationError

READ, WRITE, STOP = 0b101, 0b001, 0b011         # levels of (ras_n, cas_n, we_n), bit 0 first; STOP: burst terminate
TIMING = Timing(clock_mhz=100, row_bits=4, column_bits=5, cas=3, rcd=4, rp=5, ras=14, rc=21, rfc=12, rrd=7, wr=9, mrd=6,
                interval=400, power_up=50, refreshes=3)


@pytest.fixture(scope="module")
def design() -> SdramDesign:
    return SdramDesign(SdramChip(TIMING))


class Driver:
    """Commands clock by clock; every command returns the clock in which it was on the pins."""

    def __init__(self, design, **changes):
        self.sim = design.simulate()
        self.sim.set("timing", chip_timing(TIMING, **changes))
        for pin in ("cs_n", "ras_n", "cas_n", "we_n"):
            self.sim.set(f"pins__{pin}", 1)
        self.before = np.random.default_rng(3).integers(0, 1 << 16, 2048, dtype=np.uint16)
        self.sim.feed("load", blocks(0, self.before, TIMING))
        self.sim.step(64)
        self.sim.set("pins__cke", 1)
        self.sim.set("pins__cs_n", 0)

    def command(self, code: int, bank: int = 0, address: int = 0, wait: int = 1, word: int | None = None) -> None:
        """The command, then the next one `wait` clocks later."""
        for pin, value in {"ras_n": code & 1, "cas_n": code >> 1 & 1, "we_n": code >> 2, "ba": bank, "a": address,
                           "dq_o": word or 0, "dq_oe": word is not None}.items():
            self.sim.set(f"pins__{pin}", value)
        self.sim.step(1)
        for pin, value in {"ras_n": 1, "cas_n": 1, "we_n": 1, "dq_oe": 0}.items():
            self.sim.set(f"pins__{pin}", value)
        self.sim.step(wait - 1)

    def start(self, *, power_up: int = TIMING.power_up, rp: int = TIMING.rp, rfc: int = TIMING.rfc,
              refreshes: int = TIMING.refreshes, mode: int = TIMING.cas << 4, mrd: int = TIMING.mrd) -> None:
        self.sim.step(power_up - 1)         # the clock in which cke came counts
        self.command(PRECHARGE, address=ALL_BANKS, wait=rp)
        for _ in range(refreshes):
            self.command(REFRESH, wait=rfc)
        self.command(MODE, address=mode, wait=mrd)

    def read(self, bank: int, column: int) -> int:
        self.command(READ, bank, column, wait=TIMING.cas)
        word = self.sim.get("pins__dq_i")
        self.sim.step(1)
        return word


def place(row: int, bank: int, column: int) -> int:
    return (row * 4 + bank) * 32 + column


def test_words_are_kept(design):
    chip = Driver(design)
    chip.start()
    chip.command(ACTIVATE, 2, 9, wait=TIMING.rcd)
    assert [chip.read(2, column) for column in (0, 31, 7)] == [chip.before[place(9, 2, column)] for column in (0, 31, 7)]
    chip.sim.step(1)
    chip.command(WRITE, 2, 7, word=0xBEEF)
    assert [chip.read(2, column) for column in (6, 7, 8)] == [chip.before[place(9, 2, 6)], 0xBEEF, chip.before[place(9, 2, 8)]]
    chip.sim.step(1)
    chip.command(WRITE, 2, 1, word=0x1234, wait=TIMING.wr)
    chip.command(PRECHARGE, 2, wait=TIMING.rp)
    chip.command(ACTIVATE, 2, 9, wait=TIMING.rcd)
    assert chip.read(2, 1) == 0x1234


def test_masked_bytes_stay(design):
    chip = Driver(design)
    chip.start()
    chip.command(ACTIVATE, 0, 0, wait=TIMING.rcd)
    chip.sim.set("pins__dqm", 2)
    chip.command(WRITE, 0, 4, word=0xBEEF)
    chip.sim.set("pins__dqm", 0)
    chip.sim.step(2)
    assert chip.read(0, 4) == int(chip.before[4]) & 0xFF00 | 0xEF


def test_nothing_is_read_unasked(design):
    """Garbage that changes each clock: a word captured a clock early or late is noticed."""
    chip = Driver(design)
    chip.start()
    seen = []
    for _ in range(20):
        seen.append(chip.sim.get("pins__dq_i"))
        chip.sim.step(1)
    assert len(set(seen)) == 20


# Two commands as close as may be: `wait` clocks; a clock less stops the run.
def opened(chip, bank=0, row=3, wait=40):
    chip.start()
    chip.command(ACTIVATE, bank, row, wait=wait)


def rcd(chip, wait):
    opened(chip, wait=wait)
    chip.command(READ, 0, 1)


def ras(chip, wait):
    opened(chip, wait=wait)
    chip.command(PRECHARGE, 0)


def ras_of_all(chip, wait):
    opened(chip, bank=3, wait=wait)
    chip.command(PRECHARGE, address=ALL_BANKS)


def rp(chip, wait):
    opened(chip)
    chip.command(PRECHARGE, 0, wait=wait)
    chip.command(ACTIVATE, 0, 1)


def rp_refresh(chip, wait):
    opened(chip)
    chip.command(PRECHARGE, 0, wait=wait)
    chip.command(REFRESH)


def rp_mode(chip, wait):
    opened(chip)
    chip.command(PRECHARGE, 0, wait=wait)
    chip.command(MODE, address=0x30)


def rc(chip, wait):
    opened(chip, wait=TIMING.ras)
    chip.command(PRECHARGE, 0, wait=wait - TIMING.ras)
    chip.command(ACTIVATE, 0, 1)


def rc_refresh(chip, wait):
    opened(chip, wait=TIMING.ras)
    chip.command(PRECHARGE, 0, wait=wait - TIMING.ras)
    chip.command(REFRESH)


def rrd(chip, wait):
    opened(chip, wait=wait)
    chip.command(ACTIVATE, 1, 1)


def wr(chip, wait):
    opened(chip)
    chip.command(WRITE, 0, 1, word=5, wait=wait)
    chip.command(PRECHARGE, 0)


def rfc(chip, wait):
    chip.start(rfc=wait)


def rfc_activate(chip, wait):
    chip.start()
    chip.command(REFRESH, wait=wait)
    chip.command(ACTIVATE)


def mrd(chip, wait):
    chip.start(mrd=wait)
    chip.command(ACTIVATE)


def power_up(chip, wait):
    chip.start(power_up=wait)


def refreshes(chip, number):
    chip.start(refreshes=number)
    chip.command(ACTIVATE)


def turnaround(chip, wait):
    opened(chip)
    chip.command(READ, 0, 1, wait=wait)
    chip.command(WRITE, 0, 1, word=5)


CLOSEST = {rcd: (TIMING.rcd, "tRCD"), ras: (TIMING.ras, "tRAS"), ras_of_all: (TIMING.ras, "tRAS"), rp: (TIMING.rp, "tRP"),
           rp_refresh: (TIMING.rp, "tRP before refresh"), rp_mode: (TIMING.rp, "tRP before mode register"),
           rc: (TIMING.rc, "tRC"), rc_refresh: (TIMING.rc, "tRC before refresh"), rrd: (TIMING.rrd, "tRRD"),
           wr: (TIMING.wr, "tWR"), rfc: (TIMING.rfc, "tRFC"), rfc_activate: (TIMING.rfc, "tRFC"), mrd: (TIMING.mrd, "tMRD"),
           power_up: (TIMING.power_up, "power-up wait"),
           refreshes: (TIMING.refreshes, "activate before the start is complete"),
           turnaround: (TIMING.turnaround, "data pins driven by both")}


@pytest.mark.parametrize("steps", CLOSEST, ids=lambda steps: steps.__name__)
def test_each_distance_is_kept_to_the_clock(design, steps, capfd):
    least, rule = CLOSEST[steps]
    steps(Driver(design), least)
    with pytest.raises(SimulationError, match="an assertion of the design failed"):
        steps(Driver(design), least - 1)
    assert f"SDRAM: {rule}," in "".join(capfd.readouterr())


@pytest.mark.parametrize(("steps", "rule"), [
    (lambda chip: (opened(chip), chip.command(ACTIVATE, 0, 4)), "activate of an open bank"),
    (lambda chip: (opened(chip), chip.command(READ, 1, 0)), "column of a closed bank"),
    (lambda chip: (opened(chip), chip.command(READ, 0, 32)), "column beyond the last, or auto precharge"),
    (lambda chip: (opened(chip), chip.command(READ, 0, ALL_BANKS)), "column beyond the last, or auto precharge"),
    (lambda chip: (opened(chip), chip.command(WRITE, 0, 0)), "write without data"),
    (lambda chip: (opened(chip), chip.command(STOP)), "burst terminate"),
    (lambda chip: (opened(chip), chip.command(REFRESH)), "refresh with an open bank"),
    (lambda chip: (opened(chip), chip.command(MODE, 0, 0x30)), "mode register with an open bank"),
    (lambda chip: (chip.start(), chip.command(ACTIVATE, 0, 16)), "row beyond the last"),
    (lambda chip: (chip.sim.step(60), chip.command(REFRESH)), "refresh before precharge"),
    (lambda chip: chip.start(mode=0x20), "CAS latency of the mode register"),
    (lambda chip: chip.start(mode=0x33), "burst length must be 1"),
    (lambda chip: chip.start(mode=0xB0), "reserved bits of the mode register"),
    (lambda chip: (chip.start(), chip.sim.step(TIMING.interval)), "refresh interval")])
def test_illegal_commands_stop_the_run(design, steps, rule, capfd):
    with pytest.raises(SimulationError, match="an assertion of the design failed"):
        steps(Driver(design))
    assert f"SDRAM: {rule}," in "".join(capfd.readouterr())


def test_rows_that_are_not_refreshed_lose_their_words(design):
    """Refreshed row by row in turn, row 0 first; a row read too late is garbage, its neighbour is not."""
    chip = Driver(design, retention=1000, interval=1 << 30)
    chip.start(refreshes=16)                # every row, the first some 250 clocks before the last
    chip.sim.step(1000 - TIMING.mrd - 8 * TIMING.rfc)
    chip.command(ACTIVATE, 1, 2, wait=TIMING.rrd)
    chip.command(ACTIVATE, 2, 12, wait=TIMING.rcd)
    assert chip.read(1, 5) != chip.before[place(2, 1, 5)]
    assert chip.read(2, 5) == chip.before[place(12, 2, 5)]
    chip.sim.step(1)
    chip.command(WRITE, 1, 5, word=77)      # the row holds again what is written now
    assert chip.read(1, 5) == 77


def test_refused_blocks():
    with pytest.raises(ValueError, match="Loaded words must be multiples of 32, not 32 from 8 on"):
        blocks(8, np.zeros(32), TIMING)
    with pytest.raises(ValueError, match="Loaded words must lie in the chip's 2048, not end at 2080"):
        blocks(2016, np.zeros(64), TIMING)
