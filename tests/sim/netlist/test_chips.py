# amaranth: UnusedElaboratable=no
"""What of a board's netlist is known before it runs: its clock, and which boards can be simulated."""
from fractions import Fraction

import pytest

from arch.instruction import Opcode
from boards import BOARDS
from cli import RequestError
from sim.netlist.chips import SMALL, board_of
from sim.netlist.frames import Difference, _check, small_programs
from sim.netlist.reader import NetlistError
from sim.netlist.simulation import clock_of_pll


@pytest.mark.parametrize("name", [SMALL, *BOARDS])
def test_the_clock_follows_from_the_dividers(name):
    board = board_of(SMALL) if name == SMALL else BOARDS[name]
    # nextpnr writes numbers as bits, texts as they are.
    parameters = {key: f"{value:032b}" if isinstance(value, int) else value for key, value in board.pll.parameters.items()}
    assert clock_of_pll(parameters, board.input_mhz) == board.pll.clock_mhz


def test_other_dividers_are_another_clock():
    parameters = board_of(SMALL).pll.parameters
    assert clock_of_pll(parameters | {"CLKOP_DIV": 25}, Fraction(100)) != board_of(SMALL).pll.clock_mhz
    with pytest.raises(NetlistError, match="400..800 MHz"):
        clock_of_pll(parameters | {"CLKFB_DIV": 80}, Fraction(100))
    with pytest.raises(NetlistError, match="feedback must be one of"):
        clock_of_pll(parameters | {"FEEDBK_PATH": "USERCLOCK"}, Fraction(100))


def test_boards_without_models_are_refused():
    with pytest.raises(RequestError, match="ulx3s-85f has an SDRAM or a flash"):
        board_of("ulx3s")


def test_the_small_networks_are_worth_running():
    """Of about 2 KB of weights each, and no two frames alike; one of them gathers rows of its image."""
    loads = small_programs(board_of(SMALL).geometry, board_of(SMALL).storage_words, 3)
    assert all(1500 < 2 * len(load.program.storage) < 8000 for load in loads)
    images = [image for load in loads for image in load.images]
    assert len(images) == 5 == len({image.tobytes() for image in images})
    assert any(one.opcode is Opcode.GATHER for one in loads[1].program.instructions)


def test_differences_say_where():
    with pytest.raises(Difference, match=r"words: 1 of 3 differ, the first at \(1,\): 5 instead of 2"):
        _check("words", [1, 5, 3], [1, 2, 3])
