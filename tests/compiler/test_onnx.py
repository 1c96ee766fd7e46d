"""From an ONNX file to a program: each command and the output are as golden's, and what cannot run is a line each."""
from pathlib import Path

import numpy as np
import onnx
import pytest

from arch.geometry import Geometry
from cli import RequestError
from compiler.build import compile_network
from compiler.stages import NetworkError
from golden import compare, values
from golden.consistency import check_program
from golden.machine import execute
from nets.int8.network import QNetwork
from nets.load import load_model
from nets.quantise import quantise, synthetic_images
from tests.nets.onnx.cases import model, node, save, weights

SMALL = Geometry(input_lanes=8, output_lanes=4, activation_words=1024, weight_words=1024, band_pixels=64)
PADS = {"pads": [1, 1, 1, 1]}
STEM = node("Conv", "x stem", "a", **PADS)      # 8 channels of 12x10, called `a`
CONSTANTS = weights(stem=(8, 3, 3, 3), w=(8, 8, 3, 3), v=(5, 8, 1, 1), four=(6, 4, 3, 3), k=(8, 1, 1), dense=(192, 7))
SHUFFLE = [node("Reshape", "a five", "s"), node("Transpose", "s", "t", perm=[0, 2, 1, 3, 4]), node("Reshape", "t back")]


def network_of(folder: Path, nodes: list[onnx.NodeProto], constants: dict) -> QNetwork:
    """The file's network, quantised; of a file that names the stem's output, with the stem before it."""
    reads = {name for one in nodes for name in one.input}
    file = model([STEM, *nodes] if "a" in reads else nodes, CONSTANTS | constants, shape=(1, 3, 12, 10), opset=17)
    loaded = load_model(save(folder, file))
    return quantise(loaded, synthetic_images(loaded.spec, count=2))


def check_runs(network: QNetwork, geometry: Geometry = SMALL) -> None:
    """Seeded pixels through the program: every vector of every command, and the output, against golden."""
    program = compile_network(network, geometry).program
    check_program(program)
    q = np.random.default_rng(1).integers(0, 256, network.tensors[network.input.name].shape, np.uint8)
    tensors = values.run(network, q, keep=network.by_name)
    result = execute(program, q)
    assert not any(compare.mismatches(network, tensors, program, result.written))
    np.testing.assert_array_equal(compare.final_output(network, program, result.output), tensors[network.output])


RUN = {
    # Additions and shuffles of unusual things.
    "a map added to itself": ([node("Conv", "a w", "c"), node("Add", "c c")], {}),
    "a map added to itself thrice": ([node("Sum", "a a a")], {}),
    "the image added": ([node("Conv", "x w3", "c", **PADS), node("Add", "c x")], weights(w3=(3, 3, 3, 3))),
    "the image added to itself": ([node("Add", "x x")], {}),
    "the image and what it clamps": ([node("Relu", "x", "r"), node("Add", "r x")], {}),
    "shuffle at the end": (SHUFFLE, {"five": [1, 2, 4, 12, 10], "back": [1, 8, 12, 10]}),
    "two shuffles at the end": (
        [*SHUFFLE[:2], node("Reshape", "t back", "m"), node("Reshape", "m other", "n"),
         node("Transpose", "n", "o", perm=[0, 2, 1, 3, 4]), node("Reshape", "o back")],
        {"five": [1, 2, 4, 12, 10], "other": [1, 4, 2, 12, 10], "back": [1, 8, 12, 10]}),
    # What moves channels.
    "Slice": ([node("Slice", "a from to axis", "s"), node("Conv", "s four")], {"from": [2], "to": [6], "axis": [1]}),
    "Slice backwards": ([node("Slice", "a from to axis by")], {"from": [-1], "to": [-9], "axis": [1], "by": [-3]}),
    "Split": ([node("Split", "a", "b c", axis=1), node("Conv", "c four", "d"), node("Concat", "d b", axis=1)],
              weights(four=(6, 4, 1, 1))),
    "Split in unequal parts that are added": (
        [node("Split", "a parts", "b c d", axis=1), node("Add", "b d", "e"), node("Concat", "e c", axis=1)],
        {"parts": [3, 2, 3]}),
    "Gather": ([node("Gather", "a places", "g", axis=1), node("Conv", "g four")], {"places": [7, 0, 3, 2]}),
    "Gather of the image's channels": ([node("Gather", "x places", axis=1)], {"places": [2, 1, 0]}),
    "Gather of a channel twice": ([node("Gather", "a places", "g", axis=1), node("Relu", "g", "r"), node("Conv", "r four")],
                                  {"places": [7, 7, 3, 2]}),
    "Gather of the image's channel thrice": ([node("Gather", "x places", axis=1)], {"places": [1, 1, 1]}),
    "Pad of channels": ([node("Pad", "a more", "p"), node("Conv", "p ten")], {"more": [0, 1, 0, 0, 0, 1, 0, 0]}
                        | weights(ten=(4, 10, 1, 1))),
    "Pad of channels of a shortcut": (
        [node("Conv", "a wide", "b", strides=[2, 2], **PADS), node("AveragePool", "a", "c", kernel_shape=[1, 1], strides=[2, 2]),
         node("Pad", "c more", "d"), node("Add", "b d")], {"more": [0, 4, 0, 0, 0, 4, 0, 0]} | weights(wide=(16, 8, 3, 3))),
    # Arithmetic with constants.
    "Mul and Add of a number": ([node("Relu", "a", "r"), node("Mul", "r half", "m"), node("Add", "m half")],
                                {"half": np.float32(0.5)}),
    "Mul and Add of channels": (
        [node("Relu", "a", "r"), node("Mul", "r k", "m"), node("Add", "m k", "n"), node("Relu", "n")], {}),
    "mean of a stack": (
        [node("Conv", "a w", "c", **PADS), node("Unsqueeze", "a last", "d"), node("Unsqueeze", "c last", "e"),
         node("Concat", "d e", "s", axis=-1), node("ReduceMean", "s", axes=[-1], keepdims=0)], {"last": [4]}),
    "sum that is scaled": ([node("Conv", "a w", "c", **PADS), node("Add", "a c", "s"), node("Mul", "s half")],
                           {"half": np.float32(0.5)}),
    # Pools and means.
    "average of the whole map": ([node("AveragePool", "a", "p", kernel_shape=[12, 10]), node("Conv", "p v")], {}),
    "ReduceMean of height and width": ([node("ReduceMean", "a", "p", axes=[2, 3], keepdims=1), node("Conv", "p v")], {}),
    "ReduceMean without them": ([node("ReduceMean", "a", "p", axes=[2, 3], keepdims=0), node("Gemm", "p g")], weights(g=(8, 5))),
    "flatten of 12x2": ([node("MaxPool", "a", "m", kernel_shape=[1, 5], strides=[1, 5]), node("Flatten", "m", "f"),
                         node("Gemm", "f dense")], {}),
    "maximum of 4x4": ([node("MaxPool", "a", kernel_shape=[4, 4], strides=[3, 1])], {}),
    "maximum of 7x5": ([node("MaxPool", "a", kernel_shape=[7, 5], strides=[5, 2], pads=[3, 2, 3, 2])], {}),
    "average of 4x6": ([node("AveragePool", "a", kernel_shape=[4, 6], strides=[4, 1])], {}),
    "average of 5x5 that counts its padding": (
        [node("AveragePool", "a", kernel_shape=[5, 5], strides=[2, 3], pads=[2, 2, 2, 2], count_include_pad=1)], {}),
    "average of 3x3 that does not": ([node("AveragePool", "a", kernel_shape=[3, 3], strides=[2, 2], **PADS)], {}),
}


@pytest.mark.parametrize("name", RUN)
def test_runs_as_golden(name, tmp_path):
    check_runs(network_of(tmp_path, *RUN[name]))


@pytest.mark.parametrize("nodes, constants, message", [
    ([node("Conv", "a v", "b"), node("Add", "a b")], {},
     r"y \(Add\): inputs must have one shape, not \(8, 12, 10\) and \(5, 12, 10\)"),
    ([node("Conv", "a w", "b"), node("Add", "a b")], {},
     r"y \(Add\): inputs must have one shape, not \(8, 12, 10\) and \(8, 10, 8\)"),
    ([node("GlobalAveragePool", "a", "b"), node("Add", "a b")], {}, r"y \(Add\): inputs must have one shape"),
    ([node("Conv", "a g", group=3)], weights(g=(9, 2, 3, 3)),
     r"y \(Conv\): groups must divide the 8 input and the 9 output channels, not be 3"),
    ([node("Conv", "a g", group=4)], weights(g=(6, 2, 3, 3)),
     r"y \(Conv\): groups must divide the 8 input and the 6 output channels, not be 4"),
    ([node("Conv", "a g", group=0)], weights(g=(6, 2, 3, 3)), r"y \(Conv\): groups must divide .*, not be 0"),
    ([node("Conv", "a g", group=2)], weights(g=(6, 2, 3, 3)),
     r"y \(Conv\): weight \(6, 2, 3, 3\) in 2 groups does not fit 8 input"),
    (SHUFFLE, {"five": [1, 3, 2, 12, 10], "back": [1, 6, 12, 10]}, r"s \(Reshape\): cannot reshape \(1, 8, 12, 10\)"),
    ([node("Reshape", "x five", "s"), node("Transpose", "s", "t", perm=[0, 2, 1, 3, 4]), node("Reshape", "t back")],
     {"five": [1, 3, 1, 12, 10], "back": [1, 3, 12, 10]}, r"x \(Input\): nothing to compute on integers"),
])
def test_refused_in_a_line(tmp_path, nodes, constants, message):
    with pytest.raises(RequestError, match=message) as caught:
        network_of(tmp_path, nodes, constants)
    assert len(str(caught.value).splitlines()) == 1


def problems_of(network: QNetwork, **how) -> list[str]:
    with pytest.raises(NetworkError) as caught:
        compile_network(network, SMALL, **how)
    return [str(problem) for problem in caught.value.problems]


BORDER = "divide by one number everywhere, not by fewer values at the border: count its padding"


def test_an_average_of_fewer_values_at_the_border_is_a_line(tmp_path):
    pool = node("AveragePool", "a", kernel_shape=[5, 5], pads=[2, 2, 2, 2])
    (problem,) = problems_of(network_of(tmp_path, [pool], {}))
    assert problem.startswith("y (AveragePool): an average pool of more than 3x3 must ") and BORDER in problem


def test_all_that_stands_against_a_network_is_told_at_once(tmp_path):
    """Layers behind a refused one, of other kinds too, and storage; none that could run is blamed."""
    nodes = [node("AveragePool", "a", "p", kernel_shape=[5, 5], pads=[2, 2, 2, 2]), node("LRN", "p", "l", size=5),
             node("Conv", "l g", "c", group=2, **PADS), node("MaxPool", "c", "m", kernel_shape=[3, 3], dilations=[2, 2]),
             node("Conv", "m w", "d"), node("LRN", "d", "e", size=3), node("Add", "e d")]
    found = problems_of(network_of(tmp_path, nodes, weights(g=(8, 4, 3, 3))), storage_words=512)
    assert [problem.split(":")[0] for problem in found] == [
        "p (AveragePool)", "l (LRN)", "m (MaxPool)", "e (LRN)", "net (network)"]
    assert BORDER in found[0] and "storage must have at least" in found[-1] and "are missing" in found[-1]
    assert all(len(problem.splitlines()) == 1 for problem in found)


def test_groups_behind_a_refused_layer_are_looked_at(tmp_path):
    """As AlexNet's behind its LRN: they can run, and a kernel there that is too large for the engine is told."""
    nodes = [node("LRN", "a", "l", size=5), node("Conv", "l g", "c", group=2, pads=[2] * 4), node("LRN", "c", "n", size=5),
             node("Pad", "n room", "r"), node("Conv", "r large", group=2)]
    constants = {"room": [0, 0, 0, 0, 0, 0, 2, 2]} | weights(g=(8, 4, 5, 5), large=(4, 4, 12, 3))
    found = problems_of(network_of(tmp_path, nodes, constants))
    assert [problem.split(":")[0] for problem in found] == ["l (LRN)", "n (LRN)", "y (Conv)"]
    assert "kernel must be at most 11" in found[-1]
