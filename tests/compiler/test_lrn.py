"""Networks with local response normalisations: every command writes what golden says, and chips without the unit are refused."""
from dataclasses import replace

import pytest

from arch.geometry import OPTION_WORDS, PRESETS
from arch.instruction import Opcode
from arch.unit.lrn import ENTRIES
from compiler.build import compile_network
from compiler.lowering.lower import lower
from compiler.stages import NetworkError
from nets.functions import Tanh
from nets.graph import LRN, AvgPool, Clip, Concat, MaxPool, Relu, Window
from nets.int8.network import QLRN, QNetwork
from tests.compiler.test_build import check_values, random_input
from tests.compiler.test_tables import HALF, PLAIN, quantised
from tests.nets.operators import conv

GEOMETRY = replace(PLAIN, options=("lrn",))
SHARP = {"alpha": 0.5, "beta": 0.75, "bias": 1.0}


def every_place() -> QNetwork:
    """Normalisations of all sizes: behind a convolution with a pool, of fewer channels than a block has, before a pool, behind a
    concatenation, a table, a clamp above zero, and one behind the other."""
    around = {"padding": (1, 1, 1, 1)}
    return quantised(
        conv("a", "image", 10, 3, **around), Relu(name="a/relu", inputs=("a",)),
        MaxPool(name="a/pool", inputs=("a/relu",), window=HALF), LRN(name="a/lrn", inputs=("a/pool",), size=5, **SHARP),
        conv("b", "a/lrn", 7, 10, **around), LRN(name="b/lrn", inputs=("b",), size=3, **SHARP),
        AvgPool(name="b/pool", inputs=("b/lrn",), window=replace(HALF, stride=(1, 1)), count_include_pad=True),
        conv("c", "b/pool", 3, 7, kernel=1), Tanh(name="c/tanh", inputs=("c",)),
        LRN(name="c/lrn", inputs=("c/tanh",), size=4, **SHARP),
        Concat(name="both", inputs=("c/lrn", "b/pool")), LRN(name="both/lrn", inputs=("both",), size=5, **SHARP),
        conv("d", "both/lrn", 6, 10, kernel=1), Clip(name="d/clip", inputs=("d",), low=0.25, high=2.0),
        LRN(name="d/lrn", inputs=("d/clip",), size=2, **SHARP), LRN(name="d/again", inputs=("d/lrn",), size=1, **SHARP),
        classes_of=6 * 10 * 8)


def small(*layers) -> QNetwork:
    return quantised(conv("a", "image", 6, 3), *layers, classes_of=6 * 18 * 14)


def function_loads(program) -> list[int]:
    """Words of the functions to which loads go, in order."""
    first = GEOMETRY.option_words("lrn").start
    return [one.body.chip - first for one in program.instructions
            if one.opcode is Opcode.LOAD_PARAMETERS and one.body.chip >= first]


@pytest.mark.parametrize("geometry", [GEOMETRY, replace(GEOMETRY, input_lanes=8, activation_words=512),
                                      PRESETS["85f"].with_options(["lrn"])], ids=["4x4", "8x4", "85f"])
def test_normalisations_in_every_place(geometry):
    network = every_place()
    assert sum(isinstance(layer, QLRN) for layer in network.layers) == 6
    geometry = geometry.with_options(["table"])
    compiled = compile_network(network, geometry)
    check_values(network, compiled, random_input(network))
    commands = [one.body for one in compiled.program.instructions if one.opcode is Opcode.COMPUTE]
    assert {command.lrn.enable for command in commands} == {0, 1}


def stages(network: QNetwork, geometry=GEOMETRY) -> list[tuple[str, str]]:
    """Which layer each stage computes, and which tensor it writes."""
    return [(stage.layer, stage.tensor) for stage in lower(network, geometry).stages]


def test_a_normalisation_is_in_the_stage_of_its_convolution_and_pool():
    pooled = MaxPool(name="p", inputs=("a",), window=Window(kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1)))
    behind = LRN(name="n", inputs=("p",), size=5)
    assert stages(small(pooled, behind))[:-1] == [("a", "n")]
    assert stages(small(LRN(name="n", inputs=("a",), size=5)))[:-1] == [("a", "n")]


def test_a_normalisation_behind_weights_that_do_not_leave_room_is_in_one_of_its_own():
    little = replace(GEOMETRY, weight_words=512)
    network = quantised(conv("a", "image", 6, 3), conv("b", "a", 50, 6), LRN(name="n", inputs=("b",), size=5),
                        classes_of=50 * 16 * 12)
    assert stages(network)[1:-1] == [("b", "n")] and stages(network, little)[1:-1] == [("b", "b"), ("n", "n")]


def test_functions_take_turns():
    """Three of them, where two find room."""
    names = ["a", "n0", "n1", "n2"]
    network = small(*(LRN(name=b, inputs=(a,), size=3, **SHARP) for a, b in zip(names, names[1:], strict=False)))
    compiled = compile_network(network, GEOMETRY)
    check_values(network, compiled, random_input(network))
    loads = [word for word in function_loads(compiled.program) if word % ENTRIES == 0]
    assert len(loads) >= 3 and set(loads) == set(range(0, OPTION_WORDS["lrn"], ENTRIES))


def test_a_chip_without_normalisations_is_refused_with_the_option():
    with pytest.raises(NetworkError, match=r'^n \(LRN\): the engine has no unit "lrn": --units lrn adds it, and hw.build '
                                           r'--units lrn makes such a chip$'):
        compile_network(small(LRN(name="n", inputs=("a",), size=5)), PLAIN)


def test_larger_windows_are_refused():
    with pytest.raises(NetworkError, match=r"^n \(LRN\): size must be at most 5 channels, not 7$"):
        compile_network(small(LRN(name="n", inputs=("a",), size=7)), GEOMETRY)
