"""Networks with depthwise convolutions on engines with the unit: every command writes what golden says."""
from dataclasses import replace

import pytest

from arch.geometry import PRESETS, Geometry
from arch.instruction import Opcode
from arch.unit.depthwise import PAIR_WORDS
from compiler.build import compile_network
from compiler.lowering.lower import lower
from compiler.lowering.needs import filters, needed
from golden.consistency import ProgramError, check_program
from nets.functions import Tanh
from nets.graph import Add, MaxPool, Relu, Window
from nets.int8.network import QConv
from tests.compiler.test_build import check_values, random_input
from tests.compiler.test_tables import quantised
from tests.nets.operators import conv

PLAIN = Geometry(input_lanes=4, output_lanes=4, activation_words=1024, weight_words=1024, band_pixels=64)
GEOMETRY = replace(PLAIN, options=("depthwise", "table"))
AROUND = {"padding": (1, 1, 1, 1)}
HALF = AROUND | {"stride": (2, 2)}


def blocks(*, channels: int = 10):
    """Depthwise convolutions behind a convolution of the image, of single pixels, and a table; of a pool; one behind another; and
    one that is added to its input."""
    def depthwise(name, source, channels=channels, **window):
        return conv(name, source, channels, 1, groups=channels, **window)
    return quantised(
        conv("a", "image", channels, 3, **AROUND), Relu(name="a/relu", inputs=("a",)), depthwise("a/filter", "a/relu", **AROUND),
        conv("b", "a/filter", 2 * channels, channels, kernel=1), Tanh(name="b/tanh", inputs=("b",)),
        depthwise("b/filter", "b/tanh", 2 * channels, **HALF), Relu(name="b/relu", inputs=("b/filter",)),
        MaxPool(name="pool", inputs=("b/relu",), window=Window(kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1))),
        depthwise("c/filter", "pool", 2 * channels, padding=(0, 0, 1, 1)),
        depthwise("d/filter", "c/filter", 2 * channels, **AROUND),
        conv("e", "d/filter", channels, 2 * channels, kernel=1), depthwise("e/filter", "e", **AROUND),
        conv("f", "e", channels, channels, kernel=1), Add(name="sum", inputs=("e/filter", "f")), classes_of=channels * 9 * 7)


@pytest.mark.parametrize("geometry", [GEOMETRY, replace(GEOMETRY, input_lanes=8, activation_words=512),
                                      PRESETS["85f"].with_options(["depthwise", "table"])], ids=["4x4", "8x4", "85f"])
def test_depthwise_convolutions_in_every_place(geometry):
    network = blocks()
    compiled = compile_network(network, geometry)
    check_values(network, compiled, random_input(network))
    commands = [one.body for one in compiled.program.instructions if one.opcode is Opcode.COMPUTE]
    assert {command.depthwise.enable for command in commands} == {0, 1}


def test_what_is_fused():
    """Behind what writes their input, if they alone read it; otherwise behind a copy."""
    stages = lower(blocks(), GEOMETRY).stages
    fused = {(stage.layer, stage.tensor) for stage in stages if stage.work.filtered}
    assert fused == {("a", "a/filter"), ("b", "b/filter"), ("c/filter", "c/filter"), ("d/filter", "d/filter"),
                     ("e/filter", "e/filter")}
    assert not any(stage.work.filtered for stage in lower(blocks(), replace(PLAIN, options=("table",))).stages)


def test_a_program_whose_constants_come_too_late_is_refused():
    program = compile_network(blocks(), GEOMETRY).program
    first = GEOMETRY.option_words("depthwise").start
    at = next(n for n, one in enumerate(program.instructions)
              if one.opcode is Opcode.LOAD_PARAMETERS and one.body.chip >= first + 2 * PAIR_WORDS)
    instructions = list(program.instructions)
    moved = replace(instructions[at], body=replace(instructions[at].body, chip=first))
    instructions[at] = moved
    check_program(program)
    with pytest.raises(ProgramError):
        check_program(replace(program, instructions=tuple(instructions)))


@pytest.mark.parametrize("change, fits", [
    ({}, True), ({"kernel": (5, 5)}, False), ({"stride": (3, 3)}, False), ({"dilation": (2, 2)}, False),
    ({"padding": (2, 2, 2, 2)}, True)])
def test_which_layers_the_unit_computes(change, fits):
    network = quantised(conv("a", "image", 6, 3, kernel=1), conv("d", "a", 6, 1, groups=6), classes_of=6 * 18 * 14)
    layer = network.by_name["d"]
    assert isinstance(layer, QConv)
    changed = replace(layer, window=replace(layer.window, **change))
    assert filters(network, changed, GEOMETRY) == fits
    assert not filters(network, network.by_name["a"], GEOMETRY)
    assert not filters(network, layer, replace(GEOMETRY, band_pixels=64, parameter_words=1024))


def test_large_engines_are_given_it():
    network = blocks()
    assert needed(network, PRESETS["85f"]) == ("depthwise", "table") and needed(network, PRESETS["25f"]) == ("table",)
    given = PRESETS["85f"].with_options(["depthwise"])
    assert (given.fifo_words, given.depthwise_words, given.weight_words) == (512, 2048, 4096)
    both = replace(given, options=("depthwise", "table"), depthwise_words=1024, weight_words=3584)
    assert given.with_options(["table"]) == PRESETS["85f"].with_options(["table"]).with_options(["depthwise"]) == both
    assert given.with_options(["depthwise"]) == given
