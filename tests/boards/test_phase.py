"""The phase of an SDRAM's clock: boards with any delays between the corners take the right words."""
from dataclasses import replace
from pathlib import Path
from random import Random
import re

import pytest

from arch.pll import solve
from arch.sdram import CHIPS
import boards
from boards.phase import FAST, PADS, TRACE_NS, best_phase, phases

CHIP = CHIPS["as4c16m16sa-7"]
CLOCKS = [25, 50, 62.5, 70, 82.8125, 100, 105, 112.5, 125, 133, 140]


def margins(mhz: float, degrees: float, late: int = 1) -> dict[str, float]:
    (found,) = (one.margins for one in phases(solve(25, mhz), CHIP, "6") if (one.degrees, one.late) == (degrees, late))
    return {name: round(value, 2) for name, value in found.items()}


def test_margins_by_hand():
    """140 MHz, half a period: our second edge is at 14.286 ns. A word is there at 3.571 + (0.985 + 2.674) out + 5.4 + 0.3 + 1.14
    + 0.439 in = 14.509. It goes when the next edge of the SDRAM's clock has come and 2.5 ns are over: in the fast corner, with
    0.6 * (0.741 + 1.819 + 0.921) of delays, at 10.714 + 2.5 + 0.3 + 2.089, less 0.155 of hold."""
    assert margins(140, 180) == {"read_setup": -0.22, "read_hold": 1.16, "write_setup": 0.99, "write_hold": 2.3}
    assert (margins(140, 144)["read_setup"], margins(125, 217.5)["read_setup"]) == (0.49, 0.23)


@pytest.mark.parametrize("board", [board for board in boards.BOARDS.values() if board.chips], ids=lambda board: board.name)
def test_every_board_has_a_window(board):
    phase, (first, last) = board.phase, board.window
    assert phase.margin_ns > 0.3 and first < phase.degrees < last
    assert board.pll.phase_degrees == phase.degrees and board.timing.late == phase.late
    for name in board.chips:
        one = board.with_chip(name)
        assert one.phase.margin_ns >= phase.margin_ns and one.timing.clock_mhz == board.timing.clock_mhz


@pytest.mark.parametrize("mhz", CLOCKS)
def test_any_board_takes_its_words(mhz):
    """Boards of delays drawn between the corners: at our edge the word that was asked for is at the register, neither the one
    before nor the next; and what is sent is at the SDRAM at its edge."""
    seed = int(mhz * 10000)
    random, pll, slow, fast = Random(seed), solve(25, mhz), PADS["6"], PADS["8"]
    chip, period = boards.find("ulx3s").sdram, float(1000 / pll.clock_mhz)
    phase = best_phase(pll, chip, "6")
    after, access = period * phase.degrees / 360, chip.access_ns[chip.cas(float(pll.clock_mhz)) - 2]
    for _ in range(300):
        hot = random.choice((0.0, 1.0, random.random()))        # where between the corners the board is

        def delay(kind, hot=hot):
            low, high = (pair if isinstance(pair := getattr(pads, kind), tuple) else (pair, pair) for pads in (fast, slow))
            return FAST * low[0] + hot * (random.uniform(*high) - FAST * low[0])
        clock = delay("clock") + delay("out") + after           # the SDRAM's edge that sees what we sent at 0
        comes, goes = (clock + way + TRACE_NS + delay("in_") for way in (access, period + chip.hold_ns))
        edge = (1 + phase.late) * period
        assert comes + delay("setup") < edge < goes - delay("hold"), f"seed {seed}: read at {edge}, there {comes} to {goes}"
        for register, driver in (("data", "out"), ("turn", "on")):
            sent = delay(register) + delay(driver)
            assert sent + chip.setup_ns < clock, f"seed {seed}: {register} sent at {sent}, taken at {clock}"
        kept = period + delay("data") + delay("out")
        assert clock + chip.kept_ns < kept, f"seed {seed}: goes at {kept}, taken at {clock}"


def test_a_clock_without_a_window_is_refused():
    slow = replace(CHIP, access_ns=(6, 9.0))
    with pytest.raises(ValueError, match="^At 140 MHz no phase of the clock of AS4C16M16SA-7 is safe: .* choose another clock$"):
        best_phase(solve(25, 140), slow, "6")


def test_a_phase_of_the_record_s_own_is_taken():
    board = replace(boards.find("ulx3s"), sdram_phase_degrees=180.0)
    assert (board.pll.phase_degrees, board.timing.late, board.window) == (180, 1, None)
    assert board.phase.margin_ns < 0
    with pytest.raises(ValueError, match="SDRAM of ulx3s-85f must be one of as4c16m16sa-7, .*, not 'x'"):
        board.with_chip("x")


def test_the_page_s_table():
    page = (Path(__file__).parents[2] / "docs/boards.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d.]+) MHz \| ([\d.]+)° \| (2? ?)T \| ([\d.]+)(?: ns)? \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$",
                      page.split("<!-- phases -->")[1].split("\n\n")[0], re.MULTILINE)
    assert len(rows) == 6
    for mhz, degrees, late, *found in rows:
        phase = replace(boards.find("ulx3s"), clock_mhz=float(mhz)).phase
        assert (f"{phase.degrees:.1f}", phase.late) == (f"{float(degrees):.1f}", int(bool(late))), mhz
        assert [f"{value:.2f}" for value in phase.margins.values()] == [f"{float(one):.2f}" for one in found], mhz
