"""SDRAM chips: their figures in clocks."""
from dataclasses import replace
from fractions import Fraction

import pytest

from arch.sdram import CHIPS, MOST_WORDS, Chip, Time, Timing

MHZ = 1 << 20


def test_sizes():
    assert {name: chip.bytes // MHZ for name, chip in CHIPS.items()} == {
        "as4c32m16sb-7": 64, "as4c32m16sb-6": 64, "as4c16m16sa-7": 32, "as4c16m16sa-6": 32, "is42s16160g-7": 32,
        "mt48lc16m16a2-6a": 32, "m12l2561616a-6t": 32, "w9825g6kh-6": 32, "is42s16160b-7": 32}


def test_as4c32m16sb_at_142_mhz():
    """A clock of 7.04 ns: 21 ns are 3, 42 ns 6, 63 ns 9, 14 ns 2; 64 ms / 8192 are 1109 whole clocks."""
    assert CHIPS["as4c32m16sb-7"].timing(142) == Timing(
        clock_mhz=142, row_bits=13, column_bits=10, cas=3, rcd=3, rp=3, ras=6, rc=9, rfc=9, rrd=2, wr=2, mrd=2,
        interval=1109, power_up=28400, refreshes=8)


def test_is42s16160b_at_100_mhz():
    timing = CHIPS["is42s16160b-7"].timing(100)
    assert (timing.cas, timing.rcd, timing.ras, timing.rc, timing.interval, timing.power_up) == (2, 2, 5, 7, 781, 20000)
    assert timing.address_bits == 24 and timing.columns == 512


@pytest.mark.parametrize("clock_mhz", [25, 62.5, 83, 100, 125, 140])
def test_timings_for_any_of_several_chips_satisfy_each(clock_mhz):
    """And those of one alone are its own. Write recovery and mode register have two clocks of every chip."""
    small = [name for name in CHIPS if CHIPS[name].bytes == 32 * MHZ]
    any_of = Chip.any_of([CHIPS[name] for name in ("as4c32m16sb-7", *small)])
    together = any_of.timing(clock_mhz)
    assert any_of.bytes == 32 * MHZ and Chip.any_of([CHIPS[small[0]]]) == CHIPS[small[0]]
    for name in small:
        chip = CHIPS[name]
        alone = chip.timing(clock_mhz)
        assert alone.wr >= 2 and alone.mrd >= 2
        assert all(getattr(together, figure) >= getattr(alone, figure) for figure in (
            "cas", "rcd", "rp", "ras", "rc", "rfc", "rrd", "wr", "mrd", "power_up"))
        assert together.interval <= alone.interval and any_of.hold_ns <= chip.hold_ns
        assert all(one >= other for one, other in zip(any_of.access_ns, chip.access_ns, strict=True))


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("clock_mhz", [25, 33.3, 62.5, 99.9, 100, 100.1, 125, 133.33, 142])
def test_no_figure_is_too_short(name, clock_mhz):
    chip = CHIPS[name]
    timing = chip.timing(clock_mhz)
    cycle_ns = 1000 / Fraction(str(clock_mhz))
    for figure in ("rcd", "rp", "ras", "rc", "rfc", "rrd", "wr", "mrd"):
        least = getattr(chip, figure)
        clocks = getattr(timing, figure)
        assert clocks * cycle_ns >= Fraction(str(least.ns)) and clocks >= least.clocks
        assert clocks == least.clocks or (clocks - 1) * cycle_ns < Fraction(str(least.ns))
    assert cycle_ns >= Fraction(str(chip.cycle_ns[timing.cas - 2]))
    assert timing.interval * 8192 * cycle_ns <= 64_000_000 and timing.power_up * cycle_ns >= 200_000
    assert timing.row_open >= timing.ras and timing.row_open + timing.rp >= timing.rc
    assert timing.period < timing.interval


def test_exact_multiples_are_not_rounded_up():
    assert Time(21).cycles(Fraction(1000, 7)) == 3 and Time(0, 2).cycles(Fraction(25)) == 2


def test_clock_above_the_grade():
    chip = CHIPS["as4c32m16sb-7"]
    with pytest.raises(ValueError, match="Clock of AS4C32M16SB-7 must be 25..142.9 MHz, not 145"):
        chip.timing(145)
    assert chip.timing(145, rated=False).rcd == 4
    with pytest.raises(ValueError, match="Clock of AS4C32M16SB-7 must be 25..166.7 MHz, not 24"):
        chip.timing(24, rated=False)


@pytest.mark.parametrize(("change", "message"), [
    ({"rcd": 0}, "rcd must be 1 clock or more, not 0"), ({"cas": 4}, "CAS latency must be 2 or 3, not 4"),
    ({"row_bits": 14}, "row_bits must be 0..13, not 14"), ({"column_bits": 13}, "column_bits must be 0..12, not 13"),
    ({"pin_registers": 3}, "pin_registers must be 0..2, not 3"), ({"late": -1}, "late must be 0..1, not -1"),
    ({"interval": 50}, "Refresh interval must leave time for work, not be 50 clocks")])
def test_refused_timings(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CHIPS["as4c32m16sb-7"].timing(142), **change)


@pytest.mark.parametrize(("words", "bits"), [
    (1, 9), (1 << 24, 9), ((1 << 24) + 1, 10), (1 << 25, 10), (40 << 20, 11), (MOST_WORDS, 12)])
def test_a_chip_that_holds_more_has_longer_rows_and_nothing_else(words, bits):
    chip = CHIPS["as4c16m16sa-7"]
    assert chip.holding(words) == replace(chip, column_bits=bits) and chip.holding(words).bytes >= 2 * words
    assert chip.holding(words).timing(140) == replace(chip.timing(140), column_bits=bits)
