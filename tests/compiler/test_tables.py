"""Networks with tables: every command writes what golden says, and chips without the unit are refused."""
from dataclasses import replace

import numpy as np
import pytest

from arch.geometry import OPTION_WORDS, PRESETS, Geometry
from arch.instruction import Opcode
from arch.unit.table import TABLE_WORDS, TABLES
from compiler.build import compile_network
from compiler.stages import NetworkError
from nets.functions import Elu, LeakyRelu, Sigmoid, Silu, Tanh
from nets.graph import Add, AvgPool, Concat, Flatten, GlobalAvgPool, Graph, Input, Linear, MaxPool, Relu, Window
from nets.int8.network import QNetwork, QTable
from nets.model import Model
from nets.preprocess import InputSpec
from nets.quantise import quantise, synthetic_images
from tests.compiler.test_build import check_values, random_input
from tests.nets.operators import conv

PLAIN = Geometry(input_lanes=4, output_lanes=4, activation_words=1024, weight_words=1024, band_pixels=64)
GEOMETRY = replace(PLAIN, options=("table",))
HALF = Window(kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1))


def quantised(*layers, classes_of: int) -> QNetwork:
    """The layers behind an image of 3 x 20 x 16, and two classes of so many features behind the last."""
    weight = np.random.default_rng(1).normal(0, 0.2, (2, classes_of)).astype(np.float32)
    layers = (Input(name="image", shape=(3, 20, 16)), *layers, Flatten(name="flat", inputs=(layers[-1].name,)),
              Linear(name="y", inputs=("flat",), weight=weight, bias=np.zeros(2, np.float32)))
    model = Model(graph=Graph(name="net", layers=layers, output="y"),
                  spec=InputSpec(size=(20, 16), mean=(0.5,) * 3, std=(0.2,) * 3, crop="none"))
    return quantise(model, synthetic_images(model.spec, count=4))


def every_place() -> QNetwork:
    """Tables behind convolutions, with and without a pool of each kind, behind a sum, alone behind a concatenation, and ReLU."""
    around = {"padding": (1, 1, 1, 1)}
    return quantised(
        conv("a", "image", 6, 3, **around), Tanh(name="a/tanh", inputs=("a",)),
        MaxPool(name="a/pool", inputs=("a/tanh",), window=HALF),
        conv("b", "a/pool", 6, 6, **around), Silu(name="b/silu", inputs=("b",)),
        AvgPool(name="b/pool", inputs=("b/silu",), window=replace(HALF, stride=(1, 1)), count_include_pad=True),
        conv("c", "b/pool", 6, 6, kernel=1), LeakyRelu(name="c/leaky", inputs=("c",), alpha=0.1),
        Add(name="sum", inputs=("c/leaky", "b/pool")), Elu(name="sum/elu", inputs=("sum",)),
        Concat(name="both", inputs=("sum/elu", "c/leaky")), Sigmoid(name="both/sigmoid", inputs=("both",)),
        conv("d", "both/sigmoid", 5, 12, **around), Relu(name="d/relu", inputs=("d",)),
        conv("e", "d/relu", 8, 5, **around), Tanh(name="e/tanh", inputs=("e",)),
        GlobalAvgPool(name="mean", inputs=("e/tanh",)), classes_of=8)


def many_tables() -> QNetwork:
    """More tables than the unit holds, one behind the other."""
    layers = []
    for n in range(TABLES + 3):
        source, channels = (f"t{n - 1}", 4) if n else ("image", 3)
        layers += [conv(f"c{n}", source, 4, channels, kernel=1), Tanh(name=f"t{n}", inputs=(f"c{n}",))]
    return quantised(*layers, classes_of=4 * 20 * 16)


def table_loads(program) -> list[int]:
    """Words of the table memory to which loads go, in order."""
    return [one.body.chip - GEOMETRY.parameter_words for one in program.instructions
            if one.opcode is Opcode.LOAD_PARAMETERS and one.body.chip >= GEOMETRY.parameter_words]


@pytest.mark.parametrize("geometry", [GEOMETRY, replace(GEOMETRY, input_lanes=8, activation_words=512),
                                      replace(PRESETS["85f"], options=("table",))], ids=["4x4", "8x4", "85f"])
def test_tables_in_every_place(geometry):
    network = every_place()
    assert sum(isinstance(layer, QTable) for layer in network.layers) == 6
    compiled = compile_network(network, geometry)
    check_values(network, compiled, random_input(network))
    commands = [one.body for one in compiled.program.instructions if one.opcode is Opcode.COMPUTE]
    assert {command.table.enable for command in commands} == {0, 1}


def test_a_table_is_in_the_stage_of_its_convolution():
    network = quantised(conv("a", "image", 6, 3), Tanh(name="t", inputs=("a",)), classes_of=6 * 18 * 14)
    program = compile_network(network, GEOMETRY).program
    assert {(part.layer, part.writes) for part in program.parts if part.layer != "y"} == {("a", "t")}
    assert table_loads(program) == [0]


def test_more_tables_than_the_unit_holds():
    network = many_tables()
    compiled = compile_network(network, GEOMETRY)
    check_values(network, compiled, random_input(network))
    loads = table_loads(compiled.program)
    assert len(loads) >= TABLES + 3 and set(loads) == set(range(0, OPTION_WORDS["table"], TABLE_WORDS))


def test_a_chip_without_tables_is_refused_with_the_option():
    network = quantised(conv("a", "image", 6, 3), Tanh(name="t", inputs=("a",)), classes_of=6 * 18 * 14)
    with pytest.raises(NetworkError, match=r'^t \(Table\): the engine has no unit "table": --units table adds it, and hw.build '
                                           r'--units table makes such a chip$'):
        compile_network(network, PLAIN)
