# amaranth: UnusedElaboratable=no
"""Rules of synthesised netlists: kept by what we build, and noticed when broken."""
import json

from amaranth.hdl import Instance, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
import pytest

from bench.flow import synthesise
from bench.harness import Harness
from hw.ecp5.floorplan import floorplan, memory_sites, multiplier_sites, plan_netlist
from hw.ecp5.netlist_rules import broken_rules
from hw.engine.mac_array import MacArray
from hw.tools.toolchain import ToolError


def netlist(component, folder):
    return json.loads(synthesise(component, folder).read_text())


def cells_of(design, kind):
    return {name: cell for name, cell in design["modules"]["top"]["cells"].items() if cell["type"] == kind}


@pytest.fixture(scope="module")
def netlist_of_array(tmp_path_factory):
    """A small array in the bench's harness, half of it on lookup tables."""
    return synthesise(Harness(MacArray(lanes=5, columns=4, depth=64, lut_pairs=1)), tmp_path_factory.mktemp("array"))


@pytest.fixture(scope="module")
def array(netlist_of_array):
    return json.loads(netlist_of_array.read_text())


def test_array_keeps_the_rules(array):
    assert broken_rules(array) == []


def test_no_name_is_taken_for_a_bit_of_another(array):
    """Elements of arrays are `x(3)`, for Yosys calls bit 3 of `x` `x[3]` where it gives a netlist to ABC."""
    names = [name for name in array["modules"]["top"]["netnames"] if not name.startswith("$")]
    assert any("(" in name for name in names) and not any("[" in name for name in names)


def test_array_uses_what_it_should(array):
    assert len(cells_of(array, "MULT18X18D")) == 5 and len(cells_of(array, "DP16KD")) == 4


def test_array_registers_have_no_reset(array):
    """Thousands of resets are what congests a chip first."""
    resets = {tuple(cell["connections"]["LSR"]) for cell in cells_of(array, "TRELLIS_FF").values()}
    assert resets == {("0",)}


def test_enables_of_the_array_stay_apart(array):
    """Synthesis must not merge the copies of an enable line: none may have more sinks than one group of lanes needs."""
    sinks = {}
    for cell in cells_of(array, "TRELLIS_FF").values():
        enable = cell["connections"].get("CE", ["1"])[0]
        if enable not in ("0", "1"):
            sinks[enable] = sinks.get(enable, 0) + 1
    assert max(sinks.values()) <= 88


@pytest.mark.parametrize(("cell", "change", "fault"), [
    ("MULT18X18D", {"parameters": {"REG_INPUTB_CLK": "NONE"}}, "multiplier without REG_INPUTB_CLK"),
    ("MULT18X18D", {"parameters": {"REG_OUTPUT_CLK": "NONE"}}, "multiplier without REG_OUTPUT_CLK"),
    ("MULT18X18D", {"connections": {"RST0": []}}, "multiplier with a driven or open RST0"),
    ("MULT18X18D", {"connections": {"CE0": [77]}}, "multiplier with a driven or open CE0"),
    ("DP16KD", {"parameters": {"REGMODE_B": "NOREG"}}, "block RAM without output register on port B"),
    ("DP16KD", {"connections": {"RSTA": [77]}}, "block RAM with reset A driven"),
    ("TRELLIS_FF", {"type": "$_DLATCH_P_"}, "latch ($_DLATCH_P_)"),
    ("LUT4", {"type": "$mul"}, "not mapped ($mul)")])
def test_damage_is_noticed(array, cell, change, fault):
    damaged = json.loads(json.dumps(array))
    name, victim = next(iter(cells_of(damaged, cell).items()))
    for key, value in change.items():
        victim[key] = victim[key] | value if isinstance(value, dict) else value
    assert broken_rules(damaged) == [f"{name}: {fault}"]


class Inferred(wiring.Component):
    """What Yosys makes of plain operators: a multiplier and a memory without their own registers."""

    x: In(18)
    p: Out(36)
    word: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = memory.Memory(shape=32, depth=512, init=range(7, 519))
        read, p = rows.read_port(), Signal(36)
        m.d.comb += [read.addr.eq(self.x), read.en.eq(1), self.word.eq(read.data), self.p.eq(p)]
        m.d.sync += p.eq(self.x * self.x)
        return m


def test_inferred_blocks_are_noticed(tmp_path):
    faults = broken_rules(netlist(Inferred(), tmp_path))
    assert any("multiplier without REG_OUTPUT_CLK" in fault for fault in faults)
    assert any("block RAM without output register" in fault for fault in faults)


class Broken(wiring.Component):
    """Does not synthesise."""

    o: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.nothing = Instance("NO_SUCH_CELL", o_Q=self.o)
        return m


def test_failures_give_the_reason(tmp_path):
    with pytest.raises(ToolError, match=r"yosys failed: ERROR: Module.*NO_SUCH_CELL.*yosys\.log"):
        synthesise(Broken(), tmp_path)


@pytest.mark.parametrize(("device", "multipliers", "memories"), [("25f", 28, 56), ("45f", 72, 108), ("85f", 156, 208)])
def test_sites_are_all_of_the_device(device, multipliers, memories):
    assert len({site.name for row in multiplier_sites(device) for site in row}) == multipliers
    assert len({site.name for site in memory_sites(device)}) == len(memory_sites(device)) == memories


@pytest.mark.parametrize(("device", "lanes", "pairs"), [("85f", 16, 8), ("45f", 16, 4), ("25f", 8, 3), ("25f", 4, 2)])
def test_plan_keeps_neighbours_together(device, lanes, pairs):
    names = {(pair, lane): f"engine.array.pair{pair}.lane{lane}.mult.mult" for pair in range(pairs) for lane in range(lanes)}
    other = "engine.requantise.lane3.mult.mult"
    plan = floorplan([*names.values(), other], device)
    assert set(plan) == {*names.values(), other} and len(set(plan.values())) == lanes * pairs + 1
    where = {site.name: (y, n) for y, row in enumerate(multiplier_sites(device)) for n, site in enumerate(row)}
    at = {key: where[plan[name]] for key, name in names.items()}
    step = -(-pairs // len(multiplier_sites(device)))
    for (pair, lane), (row, place) in at.items():
        if lane:
            assert at[pair, lane - 1] == (row, place - step)
        if pair:
            before_row, before = at[pair - 1, lane]
            # A row with a place to spare leads to one that has none: a step aside.
            assert 1 <= abs(row - before_row) + abs(place - before) <= 2


def test_plan_puts_memories_beside_the_lanes_they_serve():
    names = [f"pair{pair}.lane{lane}.mult.mult" for pair in range(8) for lane in range(16)]
    sums = [f"array.column{column}.psums.tile0" for column in range(16)]
    activations = {low: [f"activations.memory.slice0_{low}.bank0.tile{n}" for n in range(min(9, (128 - low) // 2))]
                   for low in range(0, 128, 18)}
    weights = {low: [f"weights$1.weights$2.slice0_{low}.bank{bank}.tile{n}" for bank, tiles in ((0, 4), (1, 1))
                     for n in range(tiles)]
               for low in range(0, 256, 16)}
    pool, others = [f"pool.lines.tile{n}" for n in range(9)], ["weights$1.biases$3.slice0_0.bank0.tile0"]
    words = [name for slices in (activations, weights) for tiles in slices.values() for name in tiles]
    plan = floorplan([*names, *sums, *pool, *words, *others], "85f")
    assert set(plan) == {*names, *sums, *pool, *words} and len(set(plan.values())) == len(plan)
    assert len(words) == 64 + 80

    def x(name):
        return int(plan[name].split("/")[0][1:])
    for column, name in enumerate(sums):
        assert abs(x(name) - x(f"pair{column // 2}.lane15.mult.mult")) < 20
    for slices, lane_bits in ((activations, 8), (weights, 16)):
        for low, tiles in slices.items():
            # They share address registers.
            assert len({plan[name].split("/")[1] for name in tiles}) == 1 and max(map(x, tiles)) - min(map(x, tiles)) <= 20
            assert all(abs(x(name) - x(f"pair0.lane{low // lane_bits}.mult.mult")) < 30 for name in tiles)
    assert len({plan[name].split("/")[1] for name in [*words, *others] if name in plan}) == 3


@pytest.mark.parametrize(("device", "lanes", "pairs"), [("25f", 16, 2), ("45f", 16, 5)])
def test_no_plan_for_an_array_that_does_not_fit(device, lanes, pairs):
    assert floorplan([f"pair{pair}.lane{lane}.mult.mult" for pair in range(pairs) for lane in range(lanes)], device) == {}


def test_a_planned_netlist_has_every_multiplier_tied_to_its_site(netlist_of_array):
    whole, planned = (json.loads(path.read_text()) for path in (netlist_of_array, plan_netlist(netlist_of_array, "45f")))
    plan = floorplan([*cells_of(whole, "MULT18X18D"), *cells_of(whole, "DP16KD")], "45f")
    tied = {name: cell["attributes"]["BEL"] for kind in ("MULT18X18D", "DP16KD") for name, cell in cells_of(planned, kind).items()
            if "BEL" in cell["attributes"]}
    assert tied == plan and set(cells_of(whole, "MULT18X18D")) <= set(plan)
