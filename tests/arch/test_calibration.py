"""Numbers of the phase's calibration: words that toggle all lines, addresses that meet all banks, replies that make sense."""
from itertools import pairwise
from random import Random

import pytest

from arch.memory.calibration import BURSTS, PHASE_WORDS, Calibrated, Calibration, Turn, address_bit, settling, words
from arch.sdram import CHIPS
import boards

BITS = range(4, 25)


def test_words_turn_all_lines_over():
    for salt in (0, 7, 255):
        found = [words(salt, burst) for burst in range(BURSTS)]
        for burst in found:
            assert [a ^ b for a, b in zip(burst[::2], burst[1::2], strict=True)] == [0xFFFF] * 8
        assert len({word for burst in found for word in burst}) > 100
    for salt in range(255):                 # what the test before left is wrong, most of it
        for burst in range(BURSTS):
            assert sum(a == b for a, b in zip(words(salt, burst), words(salt + 1, burst), strict=True)) == 0


def test_addresses_turn_all_lines_over():
    at = [sum(address_bit(bit, burst) << bit for bit in BITS) for burst in range(BURSTS)]
    everything = sum(1 << bit for bit in BITS)
    assert [a ^ b for a, b in zip(at[::2], at[1::2], strict=True)] == [everything] * 4 and len(set(at)) == 8
    for column_bits in (8, 9, 10):
        assert len({address >> column_bits & 3 for address in at}) == 4
    for low in BITS[:-3]:                   # neighbours are not always alike, nor always opposite
        for other in range(low + 1, low + 4):
            assert {(address >> low ^ address >> other) & 1 for address in at} == {0, 1}
    assert all(a != b for a, b in pairwise(at))


@pytest.mark.parametrize("name", CHIPS)
def test_a_refresh_fits_before_the_test(name):
    """Wherever it begins: the time between two, and what one takes with the mode register behind it."""
    timing = CHIPS[name].timing(125, pin_registers=2, late=1)
    longest = timing.period + 2 + timing.row_open + timing.wr + timing.rp + timing.rfc + timing.mrd + timing.rcd
    assert settling(timing) > longest


def test_turns_of_the_boards():
    for board in boards.BOARDS.values():
        if board.chips:
            assert Turn.of(board.pll).first == board.phase.steps
    for wrong in ({"steps": 2}, {"steps": 257}, {"steps": 40, "first": 40}):
        with pytest.raises(ValueError, match="teps? of a turn must be"):
            Turn(**wrong)


def test_replies():
    random = Random(1)
    for state in Calibration:
        found = Calibrated(state=state, steps=40, chosen=random.randrange(40), width=5, last=2, mask=random.getrandbits(40))
        reply = found.words()
        assert len(reply) == PHASE_WORDS and max(reply) < 1 << 16 and Calibrated.of(reply) == found
        assert (found.first, found.degrees(10)) == (38, 90)
    assert Calibrated.of([0] * PHASE_WORDS) == Calibrated(state=Calibration.NONE)
    for wrong in ([0] * (PHASE_WORDS - 1), [4] + [0] * 20, [2, 40, 40] + [0] * 18):
        with pytest.raises(ValueError, match="^A phase "):
            Calibrated.of(wrong)
