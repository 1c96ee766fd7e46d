"""Dividers of the PLL: never outside the data sheet, never above the wanted clock, never worse than a search by hand."""
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from arch.pll import Pll, solve

inputs = st.integers(100, 4000).map(lambda tenths: tenths / 10)
clocks = st.integers(40, 4000).map(lambda tenths: tenths / 10)


@settings(max_examples=60, deadline=None, print_blob=True)
@given(inputs, clocks, st.integers(0, 3599).map(lambda tenths: tenths / 10))
def test_what_is_solved_is_allowed_and_best(source, clock, phase):
    pll = solve(source, clock, phase)
    given_mhz, wanted, best = Fraction(str(source)), Fraction(str(clock)), 0
    for divider in range(1, int(given_mhz // 10) + 1):      # independent of the solver: outputs first
        for output in range(1, 129):
            # The highest feedback whose clock is not above the wanted one, and whose oscillator is allowed.
            feedback = min(128, wanted * output * divider // given_mhz, 800 * divider // given_mhz)
            vco = given_mhz * feedback / divider
            if feedback >= 1 and vco >= 400:
                best = max(best, vco / output)
    assert wanted * Fraction(95, 100) <= best == pll.clock_mhz <= wanted and 400 <= pll.vco_mhz <= 800 and pll.detector_mhz >= 10
    step = Fraction(360, 8 * pll.output_divider)
    off = abs(pll.phase_degrees - Fraction(str(phase)))
    assert min(off, 360 - off) <= step / 2
    parameters = pll.parameters
    later = (8 * (parameters["CLKOS_CPHASE"] - parameters["CLKOP_CPHASE"]) + parameters["CLKOS_FPHASE"]) * step
    assert later == pll.phase_degrees
    assert 0 <= parameters["CLKOS_CPHASE"] <= 127 and 0 <= parameters["CLKOS_FPHASE"] <= 7
    assert parameters["CLKOP_DIV"] == parameters["CLKOS_DIV"] == pll.output_divider


@pytest.mark.parametrize("source, clock, dividers", [(25, 140, (1, 28, 5)), (12, 140, (1, 35, 3)), (50, 125, (1, 15, 6)),
                                                     (100, 145, (4, 29, 5))])
def test_known_dividers(source, clock, dividers):
    pll = solve(source, clock)
    assert (pll.input_divider, pll.feedback_divider, pll.output_divider) == dividers and pll.clock_mhz == clock


@pytest.mark.parametrize("arguments, message", [
    ((9.9, 100), r"Input of the PLL must be 10\.0\.\.400\.0 MHz, not 9\.9"),
    ((25, 401), r"Wanted clock of the PLL must be 4\.0\.\.400\.0 MHz, not 401\.0"),
    ((25, 100, 360), "Phase must be 0..360 degrees, below 360, not 360"),
])
def test_what_cannot_be_made(arguments, message):
    with pytest.raises(ValueError, match=message):
        solve(*arguments)


@pytest.mark.parametrize("change, message", [
    ({"output_divider": 0}, "output_divider must be 1..128, not 0"),
    ({"phase_steps": 40}, "phase_steps must be 0..39, not 40"),
    ({"feedback_divider": 33}, "Clock of the PLL's oscillator must be 400.0..800.0 MHz, not 825.0"),
    ({"input_divider": 3}, "Clock of the PLL's phase detector must be 10.0..400.0 MHz, not 8.3"),
])
def test_plls_out_of_range(change, message):
    good = {"input_mhz": Fraction(25), "input_divider": 1, "feedback_divider": 28, "output_divider": 5}
    assert Pll(**good).clock_mhz == 140
    with pytest.raises(ValueError, match=message):
        Pll(**(good | change))
