"""Operators on integers, as ONNX Runtime's quantiser writes them: golden computes what they say."""
import numpy as np
import onnx
from onnx import helper
import pytest

from nets.graph import GraphError
from nets.load import load_model
from nets.onnx.importer import import_onnx
from nets.quantise import needs_no_images
from tests.nets.onnx.cases import model, node, save
from tests.nets.onnx.test_quantised import SHAPE, both, network, qdq, scales, steps

MICROSOFT = "com.microsoft"
X, Y, Z = "xs xz", "ys yz", "zs zz"
CONSTANTS = {"xs": np.float32(0.05), "xz": np.uint8(125), "ys": np.float32(0.04), "yz": np.uint8(130), "zs": np.float32(0.021),
             "zz": np.uint8(0), "ts": np.float32(0.011), "ws": scales(1, 6),
             "wz": np.zeros(6, np.int8), "w": steps(2, (6, 3, 3, 3)),
             "b": steps(3, (6,), -2000, 2000, "i4"), "ms": np.float32(0.003), "mz": np.int8(0), "m": steps(4, (126, 5)),
             "ns": scales(5, 5), "nz": np.zeros(5, np.int8), "c": steps(6, (5,), -2000, 2000, "i4"), "shape": [1, -1],
             "k": steps(7, (1, 3, 1, 1), 0, 255, "u1"), "ks": np.float32(0.01), "kz": np.uint8(100)}


def own(op: str, inputs: str, outputs: str = "q", **attributes) -> onnx.NodeProto:
    return node(op, inputs, outputs, domain=MICROSOFT, **attributes)


def integers(*nodes: onnx.NodeProto, kind: str = Y, **changed: np.ndarray) -> onnx.ModelProto:
    """A network of integers from `a`, which is the image, to `q`."""
    constants = CONSTANTS | changed
    read = {name for one in nodes for name in one.input} | set(f"{X} {kind}".split())
    proto = model([node("QuantizeLinear", f"x {X}", "a"), *nodes, node("DequantizeLinear", f"q {kind}")],
                  {name: array for name, array in constants.items() if name in read}, shape=SHAPE)
    proto.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return proto


RESHAPE = node("Reshape", "a shape", "f")

# name, nodes, meaning of the output, golden's layers
CASES = [
    ("conv", [node("QLinearConv", f"a {X} w ws wz {Y} b", "q", pads=[1, 1, 0, 0])], Y, "Conv"),
    ("conv without biases, and a pool", [node("QLinearConv", f"a {X} w ws wz {Y}", "d"),
                                         node("MaxPool", "d", "q", kernel_shape=[2, 2])], Y, "Conv MaxPool"),
    ("product of matrices", [RESHAPE, node("QLinearMatMul", f"f {X} m ms mz {Y}", "q")], Y, "Flatten Conv"),
    ("product of matrices, scales of columns", [RESHAPE, node("QLinearMatMul", f"f {X} m ns nz {Y}", "q")], Y, "Flatten Conv"),
    ("dense", [RESHAPE, own("QGemm", f"f {X} m ns nz c {Y}", alpha=0.5)], Y, "Flatten Conv"),
    ("sum", [own("QLinearAveragePool", f"a {X} {Z}", "p", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
             own("QLinearAdd", f"a {X} p {Z} {Y}")], Y, "Conv Add"),
    ("product with channels", [own("QLinearMul", f"a {X} k ks kz {Y}")], Y, "Conv"),
    ("mean of all", [own("QLinearGlobalAveragePool", f"a {X} ts yz")], "ts yz", "GlobalAvgPool"),
    ("concatenation", [node("QLinearConv", f"a {X} w ws wz {Y} b", "d", pads=[1, 1, 1, 1]),
                       own("QLinearConcat", f"{X} d {Y} a {X}", axis=1)], X, "Conv Concat"),
    ("functions", [own("QLinearSigmoid", f"a {X} ks kz", "d"), own("QLinearLeakyRelu", "d ks kz ks kz", alpha=0.3)], "ks kz",
     "Table Table"),
    ("softmax", [own("QLinearSoftmax", f"a {X} ks kz", "s", axis=1, opset=13), node("MaxPool", "s", "q", kernel_shape=[2, 2])],
     "ks kz", "Softmax Conv MaxPool"),
]


@pytest.mark.parametrize("nodes, kind, layers", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_operator(tmp_path, nodes, kind, layers):
    path = save(tmp_path, integers(*nodes, kind=kind))
    assert needs_no_images(load_model(path))
    found = network(path)
    assert [layer.op for layer in found.layers[1:]] == layers.split()
    got, wanted = both(path, found, steps(7, (3, 6, 7), 0, 255, "u1"), fused=True)
    rounds = sum(layer.op in ("Add", "Conv", "GlobalAvgPool", "Softmax", "Table") for layer in found.layers)
    assert np.abs(got - wanted).max() <= rounds and (got == wanted).mean() >= 0.8, f"{np.abs(got - wanted).max()}"
    assert np.ptp(wanted) > 20, "the case says nothing"


def test_both_formats_are_one_network(tmp_path):
    spelt = qdq([node("Conv", "x w b", pads=[1, 1, 0, 0])], {"x": (0.05, np.uint8(125)), "y": (0.04, np.uint8(130))},
                {"w": (CONSTANTS["w"], CONSTANTS["ws"], CONSTANTS["wz"], 0),
                 "b": (CONSTANTS["b"], np.float32(0.05) * CONSTANTS["ws"], np.zeros(6, np.int32), 0)})
    one = network(save(tmp_path, integers(*CASES[0][1]), "one.onnx")).layers[1]
    other = network(save(tmp_path, spelt, "other.onnx")).layers[1]
    assert np.array_equal(one.weight, CONSTANTS["w"]) and np.array_equal(one.weight, other.weight)
    assert np.array_equal(one.bias, other.bias) and np.array_equal(one.requantise.multiplier, other.requantise.multiplier)
    assert (one.requantise.zero_point, one.name) == (130, "q")


def test_quantisations_of_the_runtimes_own_domain(tmp_path):
    proto = integers(node("MaxPool", "a", "q", kernel_shape=[2, 2]), kind=X)
    for one in proto.graph.node:
        one.domain = MICROSOFT if one.op_type.endswith("Linear") else ""
    path = save(tmp_path, proto)
    got, wanted = both(path, network(path), steps(7, (3, 6, 7), 0, 255, "u1"))
    assert np.array_equal(got, wanted)


INPUTS = "has other inputs than its operator, or its channels last, which is not supported"


@pytest.mark.parametrize("nodes, changed, line", [
    ([node("QLinearConv", f"a {X} w ws wz", "q", name="c")], {}, f"c (QLinearConv): {INPUTS}"),
    ([own("QLinearAveragePool", f"a {X} {Y}", kernel_shape=[2, 2], channels_last=1, name="p")], {},
     f"p (QLinearAveragePool): {INPUTS}"),
    ([own("QLinearConcat", f"{Y} a xs", axis=1)], {}, f"q (QLinearConcat): {INPUTS}"),
    ([node("QLinearConv", f"a {X} w ws wz {Y} b", "q", name="c")], {"ws": np.float32(-1)},
     "c (QLinearConv): scale ws must not be negative, but is -1"),
    ([node("QLinearConv", f"a {X} w ws wz {Y} b", "q", name="c")], {"w": steps(1, (6, 4, 3, 3))},
     "c (QLinearConv): weight (6, 4, 3, 3) in 1 groups does not fit 3 input channels"),
    ([own("QLinearAdd", f"a {X} a {X} ys yw", name="s")], {"yw": np.int16(3)},
     "s (QLinearAdd): integers must be of 8 bits, not int16"),
])
def test_what_is_refused(tmp_path, nodes, changed, line):
    """By the name of the node that the file has."""
    path = save(tmp_path, integers(*nodes, **changed))
    with pytest.raises(GraphError) as caught:
        import_onnx(path)
    assert line in [each.strip() for each in str(caught.value).removeprefix(f"{path}: ").splitlines()]


def test_names_that_are_taken(tmp_path):
    """Tensors between the parts have names that no other has."""
    taken = integers(node("QLinearConv", f"a {X} w ws wz {Y} b", "q"))
    for one in taken.graph.node:
        one.input[:] = ["q/input" if name == "a" else name for name in one.input]
        one.output[:] = ["q/input" if name == "a" else name for name in one.output]
    assert [layer.op for layer in network(save(tmp_path, taken)).layers] == ["Input", "Conv"]
