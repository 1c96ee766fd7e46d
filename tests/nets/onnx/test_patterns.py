"""Nodes that are together a normalisation, as both exporters of PyTorch write `LocalResponseNorm`; others stay what they are."""
import numpy as np
from onnx import helper
import pytest

from nets.graph import LRN, GraphError
from nets.onnx.importer import import_onnx
from tests.nets.onnx.cases import agree, model, node, save

ALPHA, BIAS, BETA = (np.float32(value) for value in (0.4, 1.5, 0.75))


def new_exporter(size=5, pads=None, shape=(1, 1, 4, 7, -1), power=BETA, **pool):
    """Nodes and constants: the mean is squeezed."""
    side = (size - 1) // 2
    nodes = [node("Relu", "x", "r"), node("Mul", "r r", "m"), node("Reshape", "m s", "v"), node("Pad", "v p", "w"),
             node("AveragePool", "w", "a", **{"kernel_shape": [size, 1, 1]} | pool), node("Squeeze", "a one", "q"),
             node("Mul", "q alpha", "t"), node("Add", "t bias", "u"), node("Pow", "u beta", "e"), node("Div", "r e", name="norm")]
    constants = {"s": list(shape), "p": pads or [0, 0, side, 0, 0, 0, 0, side, 0, 0], "one": [1], "alpha": ALPHA, "bias": BIAS,
                 "beta": power}
    return nodes, constants


def old_exporter(size=5):
    """The padding is computed, and whether the mean is squeezed is chosen."""
    (relu, square, view, _, pool, _, *rest), constants = new_exporter(size)
    branches = [helper.make_graph([node(op, f"a {axes}".strip(), "b", name=f"{op} in a branch")], op, [], [
        helper.make_tensor_value_info("b", 1, None)]) for op, axes in (("Squeeze", "one"), ("Identity", ""))]
    padding = [node("ConstantOfShape", "four", "zeros", value=helper.make_tensor("zero", 7, [1], [0])),
               node("Concat", "sides zeros", "ten", axis=0), node("Reshape", "ten pairs", "by_axis"),
               node("Slice", "by_axis last end zero last", "back"), node("Transpose", "back", "turned", perm=[1, 0]),
               node("Reshape", "turned flat", "p")]
    choice = [node("Shape", "a", "shape"), node("Gather", "shape one", "count"), node("Equal", "count one", "alone"),
              helper.make_node("If", ["alone"], ["chosen"], then_branch=branches[0], else_branch=branches[1]),
              node("Reshape", "chosen whole", "q")]
    del constants["p"]
    constants |= {"four": [4], "sides": [0, 0, 0, 0, (size - 1) // 2, (size - 1) // 2], "pairs": [-1, 2], "last": [-1],
                  "end": [-2**63 + 1], "zero": [0], "flat": [-1], "whole": [1, 4, 7, 9]}
    return [relu, square, view, *padding, node("Pad", "v p", "w"), pool, *choice, *rest], constants


def old_exporter_without_shapes(size=5, axes=(0, 1, 2), of="r"):
    """Behind a choice, as another normalisation ends with one, the older exporter knows no shapes any more."""
    nodes, constants = old_exporter(size)
    lengths = []
    for number, axis in enumerate(axes):
        lengths += [node("Shape", of, f"shape{number}"), node("Gather", f"shape{number} axis{axis}", f"length{number}"),
                    node("Unsqueeze", f"length{number} zero", f"part{number}")]
        constants[f"axis{axis}"] = np.array(axis)
    del constants["s"]
    constants["rest"] = [-1]
    nodes[2:2] = [*lengths, node("Concat", "part0 one part1 part2 rest", "s", axis=0)]
    return nodes, constants


@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize("exporter", [new_exporter, old_exporter, old_exporter_without_shapes])
def test_a_normalisation_is_joined(tmp_path, exporter, size):
    graph = agree(save(tmp_path, model(*exporter(size))))
    *_, last = graph.layers
    assert [layer.op for layer in graph.layers] == ["Input", "Relu", "LRN"] and last.name == "norm"
    assert (last.size, last.alpha, last.beta, last.bias) == (size, ALPHA, BETA, BIAS) and isinstance(last, LRN)


@pytest.mark.parametrize("wrong", [
    {"size": 4}, {"pads": [0, 0, 1, 0, 0, 0, 0, 3, 0, 0]}, {"strides": [2, 1, 1]}, {"power": np.full(9, 0.5, np.float32)},
    {"kernel_shape": [5, 1, 3]}, {"shape": (1, 4, 1, 7, -1)}], ids=str)
def test_what_is_none_is_refused_node_by_node(tmp_path, wrong):
    with pytest.raises(GraphError, match=r"Mul of two computed tensors|Pow"):
        import_onnx(save(tmp_path, model(*new_exporter(**wrong))))


@pytest.mark.parametrize("wrong", [{"axes": (0, 2, 1)}, {"of": "x"}, {"of": "m"}], ids=str)
def test_a_shape_of_other_lengths_is_refused(tmp_path, wrong):
    with pytest.raises(GraphError, match="Mul of two computed tensors"):
        import_onnx(save(tmp_path, model(*old_exporter_without_shapes(**wrong))))


def test_squares_of_part_of_the_channels_are_refused(tmp_path):
    with pytest.raises(GraphError, match=r"norm \(LRN\): squares must be summed over all 4 channels, not 2"):
        import_onnx(save(tmp_path, model(*new_exporter(shape=(1, 1, 2, 14, -1)))))


def test_a_division_in_a_cycle_or_without_inputs_is_told(tmp_path):
    nodes, constants = new_exporter()
    nodes[8] = node("Pow", "e beta", "e")
    with pytest.raises(GraphError, match="cycle"):
        import_onnx(save(tmp_path, model(nodes, constants)))
