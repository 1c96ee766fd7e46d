# amaranth: UnusedElaboratable=no
"""What is estimated against the chip as it is elaborated, and against chips that were routed."""
from collections import Counter
from dataclasses import replace
from itertools import combinations

from amaranth.hdl import Fragment
from amaranth.hdl._ir import Instance
import pytest

from arch.geometry import PRESETS
from arch.units import OPTIONAL, UNITS
from boards import find
from hw.chip import Chip
from hw.tools.bitstream import part_of
from hw.tools.estimate import AVAILABLE, resources


def estimated(board):
    storage = None if board.chips else board.storage_words
    return resources(board.geometry, part_of(board.platform()).die, storage)


# A board with SDRAM and one without, and with every size of engine; the smallest ones, since elaboration takes seconds.
@pytest.mark.parametrize("name, units", [("icepi-zero", ()), ("versa-ecp5", ()), ("colorlight-5a75b", ()), ("ulx3s", ()),
                                         *(("versa-ecp5", (unit,)) for unit in OPTIONAL)])
def test_hard_blocks_are_those_of_the_elaborated_chip(name, units):
    board, cells = find(name), Counter()
    board = replace(board, geometry=board.geometry.with_options(units))

    def count(fragment):
        if isinstance(fragment, Instance):
            cells[fragment.type] += 1
        for inner, *_ in fragment.subfragments:
            count(inner)
    count(Fragment.get(Chip.of(board), board.platform()))
    found = estimated(board)
    assert (found["block_ram"]["used"], found["multipliers"]["used"]) == (cells["DP16KD"], cells["MULT18X18D"])


@pytest.mark.parametrize("die, preset", [(die, preset) for die in AVAILABLE for preset in PRESETS])
def test_larger_engines_take_more(die, preset):
    found = resources(PRESETS[preset], die, None)
    assert found.keys() == AVAILABLE[die].keys() and all(one["used"] > 0 for one in found.values())
    smaller = resources(PRESETS["12f"], die, None)
    assert all(smaller[name]["used"] <= found[name]["used"] for name in found)


@pytest.mark.parametrize("unit", [unit.name for unit in UNITS if unit.optional])
def test_an_optional_unit_takes_more_the_more_lanes_there_are(unit):
    more = []
    for preset in ("12f", "85f"):
        without, found = (resources(one, "85f", None) for one in (PRESETS[preset], PRESETS[preset].with_options([unit])))
        more.append({name: found[name]["used"] - without[name]["used"] for name in found})
    assert all(small <= large for small, large in zip(*(each.values() for each in more), strict=True))
    assert 0 < more[0]["lut4"] < more[1]["lut4"] and 0 < more[0]["ff"] < more[1]["ff"]


@pytest.mark.parametrize("options", [chosen for count in range(len(OPTIONAL) + 1) for chosen in combinations(OPTIONAL, count)],
                         ids=lambda options: "+".join(options) or "none")
def test_an_85f_holds_any_options(options):
    found = resources(PRESETS["85f"].with_options(options), "85f", None)
    assert all(one["used"] <= one["available"] for one in found.values())


def test_an_option_that_is_no_unit_takes_a_little():
    without, found = (resources(one, "85f", None) for one in (PRESETS["85f"], PRESETS["85f"].with_options(["carry"])))
    more = {name: found[name]["used"] - without[name]["used"] for name in found}
    assert 0 < more.pop("lut4") < 100 and 0 < more.pop("ff") < 100 and not any(more.values())
    packing = resources(PRESETS["85f"], "85f", None, packing=True)
    assert {name for name in packing if packing[name] != without[name]} == {"lut4", "ff"}


# Lookup tables and registers of chips as nextpnr counted them (docs/boards.md).
@pytest.mark.parametrize("name, lut4, ff", [
    ("ulx3s", 39_332, 48_872), ("ulx3s-45f", 27_097, 33_309), ("ulx3s-25f", 19_349, 20_796), ("versa-ecp5", 17_578, 19_957)])
def test_cells_are_nearly_those_of_routed_chips(name, lut4, ff):
    found = estimated(find(name))
    assert abs(found["lut4"]["used"] / lut4 - 1) < 0.03 and abs(found["ff"]["used"] / ff - 1) < 0.03
