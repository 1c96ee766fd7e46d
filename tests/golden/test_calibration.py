"""The calibration of an SDRAM's phase: windows, and boards of any delays."""
from dataclasses import replace
from random import Random

import pytest

from arch.memory.calibration import LEAST_WINDOW, Calibration, Turn
from arch.sdram import CHIPS
import boards
from golden.calibration import calibrate, longest
from sim.models.sdram_delays import sampled

# What takes time to find out: clock, turn, and in which clock words are taken.
SDRAM_BOARDS = [(board, board.pll, Turn.of(board.pll), board.timing.late) for board in boards.BOARDS.values() if board.chips]


def test_longest_run():
    random = Random(1)
    for _ in range(500):
        steps = random.randint(3, 20)
        mask = random.choice([random.getrandbits(steps), (1 << steps) - 1, 0])
        ring = [mask >> n & 1 for n in range(steps)]
        widths = [max(n for n in range(steps + 1) if all(ring[(last - k) % steps] for k in range(n))) for last in range(steps)]
        width, last = longest(mask, steps)
        assert width == max(widths) and widths[last] == width, f"{mask:b} of {steps}"


@pytest.mark.parametrize(("mask", "found"), [
    (0b0001_1100, (Calibration.DONE, 3, 3)), (0b1100_0011, (Calibration.DONE, 4, 7)),
    (0b0011_0011, (Calibration.NO_WINDOW, 2, 0)), (0, (Calibration.NO_WINDOW, 0, 0)), (0b0111_1011, (Calibration.DONE, 4, 4))])
def test_choice(mask, found):
    result = calibrate(Turn(steps=8), lambda step, _: bool(mask >> step & 1))
    assert (result.state, result.width, result.chosen) == found and result.mask == mask


def test_a_choice_that_fails_is_no_choice():
    result = calibrate(Turn(steps=8), lambda step, number: step in (2, 3, 4) and number != 12)
    assert (result.state, result.chosen) == (Calibration.NO_WINDOW, 3)


def test_any_board_finds_its_phase():
    """500 boards of delays between the corners, each with a chip of any maker that its clock allows: words are right at the phase
    that was chosen, and a step to either side of it, as far as it may drift while the board runs."""
    for number in range(500):
        random = Random(number)
        board, pll, turn, late = random.choice(SDRAM_BOARDS)
        mhz = float(pll.clock_mhz)
        chip = random.choice([chip for chip in CHIPS.values() if 1000 / chip.cycle_ns[1] >= mhz])
        delays = sampled(random, chip, mhz, board.speed)
        right = [one.right(late) for one in delays.turn(pll, turn.steps)]
        found = calibrate(turn, lambda step, _, right=right: right[step])
        assert found.state is Calibration.DONE and found.width >= LEAST_WINDOW, f"board {number}: {delays}"
        for drift in (-1, 0, 1):
            assert right[(found.chosen + drift) % turn.steps], f"board {number}, drift {drift}: {found}, {delays}"


def test_boards_beyond_the_corners_find_none():
    """A chip that is far slower than its data sheet says is told, not used."""
    board = boards.find("ulx3s")
    turn = Turn.of(board.pll)
    delays = replace(sampled(Random(1), board.sdram, 140, "6"), access=5.4, hold=0.0, slow=6.5)
    right = [one.right(board.timing.late) for one in delays.turn(board.pll, turn.steps)]
    found = calibrate(turn, lambda step, _: right[step])
    assert found.state is Calibration.NO_WINDOW and found.width == 0


def test_the_predicted_phase_is_in_the_window():
    """The phase of `boards.phase`, at which the clock is when the chip is configured: so the SDRAM starts at a good one."""
    for number in range(100):
        random = Random(number)
        board, pll, turn, late = random.choice(SDRAM_BOARDS)
        delays = sampled(random, CHIPS[random.choice(board.chips)], float(pll.clock_mhz), board.speed)
        assert delays.turn(pll, turn.steps)[turn.first].right(late), f"board {number}"
