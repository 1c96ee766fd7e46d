"""ONNX files of QuantizeLinear and DequantizeLinear: their integers are taken as they are, and golden computes what they say."""
from collections.abc import Sequence
from dataclasses import replace
import logging
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
import pytest

from bench.qdq import session
from golden import values
from nets import float_run
from nets.export_qdq import network_model
from nets.graph import GraphError
from nets.int8.network import QConv, QNetwork
from nets.load import load_model
from nets.model import Model, ModelError
from nets.onnx.importer import import_onnx
from nets.quantise import needs_no_images, outline, quantise, quantise_with, synthetic_images
from tests.nets.onnx.cases import model, node, save, weights
from tests.nets.operators import every_operator

SHAPE = (1, 3, 6, 7)
X, Y, Z = (0.05, np.uint8(125)), (0.04, np.int8(10)), (0.06, np.int8(0))       # scale and zero point
NARROW = (0.021, np.uint8(0))

Constants = dict[str, tuple]        # name: stored, scale, zero point, axis


def steps(seed: int, shape: tuple[int, ...], low: int = -127, high: int = 127, kind: str = "i1") -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high + 1, shape).astype(kind)


def scales(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.001, 0.004, count).astype(np.float32)


def bias(count: int, scale: np.ndarray, source: float = 0.05) -> tuple:
    return steps(9, (count,), -2000, 2000, "i4"), np.float32(source) * scale, np.zeros(np.shape(scale), np.int32), 0


def per_channel(shape: tuple[int, ...], axis: int = 0, seed: int = 1) -> tuple:
    count = shape[axis]
    return steps(seed, shape), scales(seed + 1, count), np.zeros(count, np.int8), axis


def qdq(nodes: Sequence[onnx.NodeProto], kinds: dict[str, tuple], stored: Constants | None = None,
        plain: dict[str, np.ndarray | list[int]] | None = None, **options) -> onnx.ModelProto:
    """The nodes as a quantiser leaves them: behind each tensor of `kinds` a QuantizeLinear and a DequantizeLinear, before each
    constant of `stored` a DequantizeLinear. `x` is the image, `y` the output."""
    constants, made = dict(plain or {}), []

    def pair(name: str, scale: float, zero: np.generic) -> list[onnx.NodeProto]:
        constants.update({f"{name}.scale": np.float32(scale), f"{name}.zero": zero})
        by = f"{name}.scale {name}.zero"
        return [node("QuantizeLinear", f"{name} {by}", f"{name}.q", name=f"{name}/Q"),
                node("DequantizeLinear", f"{name}.q {by}", f"{name}.real", name=f"{name}/DQ")]

    for name, (array, scale, zero, axis) in (stored or {}).items():
        constants.update({f"{name}.q": array, f"{name}.scale": np.asarray(scale, np.float32), f"{name}.zero": zero})
        made.append(node("DequantizeLinear", f"{name}.q {name}.scale {name}.zero", f"{name}.real", name=f"{name}/DQ",
                         **({"axis": axis} if np.ndim(scale) else {})))
    made += pair("x", *kinds["x"]) if "x" in kinds else []
    for one in nodes:
        one.input[:] = [f"{name}.real" if name in kinds or name in (stored or {}) else name for name in one.input]
        made.append(one)
        for name in one.output:
            made += pair(name, *kinds[name]) if name in kinds else []
    return model(made, constants, shape=SHAPE, output="y.real" if "y" in kinds else "y", **options)


WEIGHT = per_channel((6, 3, 3, 3))
CONV = {"w": WEIGHT, "b": bias(6, WEIGHT[1])}
ONE_SCALE = {"w": (steps(1, (6, 3, 3, 3)), np.float32(0.003), np.int8(0), 0), "b": bias(6, np.float32(0.003))}
UNSIGNED = {"w": (steps(1, (6, 3, 3, 3), 3, 255, "u1"), np.float32(0.003), np.uint8(130), 0), "b": bias(6, np.float32(0.003))}
DEPTHWISE = per_channel((6, 1, 3, 3), seed=3)
DENSE = per_channel((5, 126), seed=4)
FLOAT = weights(b=(6,))

# name, nodes, kinds, stored constants, plain constants, golden's layers
CASES = [
    ("conv, scales of channels", [node("Conv", "x w b", pads=[1, 1, 1, 1], strides=[2, 1])], {"x": X, "y": Y}, CONV, {}, "Conv"),
    ("conv, one scale, signed", [node("Conv", "x w b")], {"x": Z, "y": Y},
     ONE_SCALE | {"b": bias(6, np.float32(0.003), 0.06)}, {}, "Conv"),
    ("conv, unsigned", [node("Conv", "x w b")], {"x": X, "y": Y}, UNSIGNED, {}, "Conv"),
    ("a bias of floats", [node("Conv", "x w b")], {"x": X, "y": Y}, {"w": WEIGHT}, FLOAT, "Conv"),
    ("no bias, a clamp", [node("Conv", "x w", "c"), node("Clip", "c low high")], {"x": X, "y": Y}, {"w": WEIGHT},
     {"low": np.float32(-1), "high": np.float32(3)}, "Conv"),
    ("relu as a range", [node("Conv", "x w b", "c"), node("Relu", "c")], {"x": X, "y": NARROW}, CONV, {}, "Conv"),
    ("relu of its own scale", [node("Conv", "x w b", "c"), node("Relu", "c")],
     {"x": X, "c": (0.022, np.int8(-9)), "y": NARROW}, CONV, {},
     "Conv"),
    ("depthwise", [node("Conv", "x d", group=3)], {"x": X, "y": Y}, {"d": DEPTHWISE}, {}, "Conv"),
    ("dense of a map", [node("Flatten", "x", "f"), node("Gemm", "f w b", transB=1)], {"x": X, "y": Y},
     {"w": DENSE, "b": bias(5, DENSE[1])}, {}, "Flatten Conv"),
    ("a product of matrices, scaled", [node("Flatten", "x", "f"), node("Gemm", "f w b", alpha=0.5)], {"x": X, "y": Y},
     {"w": per_channel((126, 5), 1), "b": bias(5, np.float32(0.003))}, {}, "Flatten Conv"),
    ("a product of matrices", [node("Reshape", "x s", "f"), node("MatMul", "f w")], {"x": X, "f": X, "y": Y},
     {"w": per_channel((126, 5), 1)}, {"s": [1, -1]}, "Flatten Conv"),
    ("sum", [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("Add", "x c", "a"), node("Relu", "a")],
     {"x": X, "c": Z, "y": (0.06, np.uint8(3))}, {"w": per_channel((3, 3, 3, 3))}, {}, "Conv Add"),
    ("product with channels", [node("Mul", "x k")], {"x": X, "y": Y},
     {"k": (steps(6, (3, 1, 1)), 0.01, np.int8(5), 0)}, {}, "Conv"),
    ("pools", [node("MaxPool", "x", "m", kernel_shape=[2, 2]), node("AveragePool", "m", kernel_shape=[2, 2], strides=[1, 2])],
     {"x": X, "m": X, "y": X}, {}, {}, "MaxPool AvgPool"),
    ("a mean of its own scale", [node("AveragePool", "x", kernel_shape=[2, 2])], {"x": X, "y": NARROW}, {}, {}, "Conv"),
    ("mean", [node("GlobalAveragePool", "x", "g"), node("Flatten", "g")],
     {"x": X, "g": (0.02, np.uint8(120)), "y": (0.02, np.uint8(120))}, {}, {}, "GlobalAvgPool Flatten"),
    ("padding", [node("Pad", "x p", "q"), node("Conv", "q w b")], {"x": X, "q": X, "y": Y}, CONV,
     {"p": [0, 0, 1, 0, 0, 0, 2, 1]}, "Conv"),
    ("concatenation of unlike tensors", [node("Conv", "x w b", "c", pads=[1, 1, 1, 1]), node("Concat", "x c", axis=1)],
     {"x": X, "c": (0.041, np.uint8(0)), "y": Y}, CONV, {}, "Conv Conv Concat"),
    ("functions", [node("Tanh", "x", "t"), node("Sigmoid", "t", "s"), node("LeakyRelu", "s")],
     {"x": X, "t": (1 / 128, np.int8(0)), "s": (1 / 256, np.int8(-128)), "y": (1 / 256, np.int8(-128))},
     {}, {}, "Table Table Table"),
    ("softmax between", [node("Softmax", "x", "s", axis=1), node("MaxPool", "s", kernel_shape=[2, 2])],
     {"x": X, "s": (1 / 100, np.uint8(5)), "y": (1 / 100, np.uint8(5))}, {}, {}, "Softmax Conv MaxPool"),
    ("moved", [node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Transpose", "t", "u", perm=[0, 3, 1, 2]),
               node("Conv", "u w b")],
     {"x": X, "t": X, "u": X, "y": Y}, CONV, {}, "Conv"),
]


def network(path: Path) -> QNetwork:
    return quantise(load_model(path), ())


def both(path: Path, found: QNetwork, q: np.ndarray, fused: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Golden's output and ONNX Runtime's, in golden's steps; that computes floats between the integers, or it is `fused`."""
    kind = found.tensors[found.output]
    judge = session(path.read_bytes(), fused=fused)
    x = found.dequantise(found.input.name, q)
    wanted = judge.run(None, {judge.get_inputs()[0].name: x[None]})[0][0]
    got = values.run(found, q)[found.output].astype(np.int64)
    return got, (np.rint(wanted / np.float32(kind.scale)).astype(np.int64) + kind.zero_point).reshape(got.shape)


@pytest.mark.parametrize("nodes, kinds, stored, plain, layers", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_operator(tmp_path, nodes, kinds, stored, plain, layers):
    """A multiplier of 8 bits may be half a step off at the end of the range, which moves a layer's output by a step at most, and
    halves, of means above all, go up here."""
    path = save(tmp_path, qdq([onnx.NodeProto.FromString(one.SerializeToString()) for one in nodes], kinds, stored, plain))
    assert needs_no_images(load_model(path))
    found = network(path)
    assert [layer.op for layer in found.layers[1:]] == layers.split()
    got, wanted = both(path, found, steps(7, (3, 6, 7), 0, 255, "u1"))
    rounds = sum(layer.op in ("Add", "AvgPool", "Conv", "GlobalAvgPool", "Softmax", "Table") for layer in found.layers)
    assert np.abs(got - wanted).max() <= rounds and (got == wanted).mean() >= 0.8, f"{np.abs(got - wanted).max()}"
    assert np.ptp(wanted) > 20, "the case says nothing"


def test_integers_are_the_files(tmp_path):
    found = network(save(tmp_path, qdq([node("Conv", "x w b")], {"x": X, "y": Y}, CONV)))
    layer: QConv = found.layers[1]
    assert np.array_equal(layer.weight, WEIGHT[0])
    assert np.array_equal(layer.bias, CONV["b"][0] - 125 * WEIGHT[0].reshape(6, -1).sum(1, dtype=np.int64))
    assert [(kind.scale, kind.zero_point) for kind in found.tensors.values()] == [
        (float(np.float32(0.05)), 125), (float(np.float32(0.04)), 138)]
    wanted = WEIGHT[1] * np.float32(0.05) / np.float32(0.04)
    assert layer.requantise.multiplier * 2.0 ** -layer.requantise.shift == pytest.approx(wanted, rel=1 / 256)


@pytest.mark.parametrize("kind", [X, Z])
def test_files_that_move_integers(tmp_path, kind):
    """ONNX Runtime's quantiser leaves pools and reshapes between the integers themselves."""
    scale, zero = kind
    constants = {"s": np.float32(scale), "z": zero, "low": zero.dtype.type(30), "high": zero.dtype.type(100),
                 "p": [0, 0, 0, 1, 0, 0, 1, 0], "c": [2, 0]}
    nodes = [node("QuantizeLinear", "x s z", "a"), node("MaxPool", "a", "m", kernel_shape=[2, 2]),
             node("Clip", "m low high", "b"),
             node("Pad", "b p", "c1"), node("Gather", "c1 c", "d", axis=1), node("Concat", "d a1", "e", axis=1),
             node("DequantizeLinear", "e s z")]
    nodes.insert(2, node("Pad", "m p", "a1"))
    path = save(tmp_path, model(nodes, constants, shape=SHAPE))
    found = network(path)
    got, wanted = both(path, found, steps(7, (3, 6, 7), 0, 255, "u1"))
    assert np.array_equal(got, wanted) and np.ptp(wanted) > 100


def test_a_sum_may_read_floats_as_well(tmp_path):
    """What only some nodes quantise is measured elsewhere."""
    path = save(tmp_path, qdq([node("Conv", "x w b", "c"), node("Conv", "c v")], {"x": X, "c": Y}, CONV, weights(v=(4, 6, 1, 1))))
    loaded = load_model(path)
    assert not needs_no_images(loaded)
    with pytest.raises(ValueError, match="images must be at least one, not none"):
        quantise(loaded, ())
    found = quantise_with(loaded)
    assert "calibrated on 16 synthetic images" in " ".join(found.notes)
    assert np.array_equal(found.layers[1].weight, WEIGHT[0]) and found.tensors["c"].scale == np.float32(0.04)


def test_the_float_reference_rounds_as_the_file_does(tmp_path):
    path = save(tmp_path, qdq([node("Conv", "x w b")], {"x": X, "y": Y}, CONV))
    graph, found = import_onnx(path), network(path)
    q = steps(7, (3, 6, 7), 0, 255, "u1")
    got = float_run.run(graph, found.dequantise(found.input.name, q))[graph.output]
    _, wanted = both(path, found, q)
    assert np.abs(got - found.dequantise(found.output, wanted)).max() < 1e-6


def test_the_outline_is_the_networks(tmp_path):
    path = save(tmp_path, qdq([node("Conv", "x w b", "c", pads=[1, 1, 1, 1]), node("Concat", "x c", axis=1)],
                              {"x": X, "c": NARROW, "y": Y}, CONV))
    loaded = load_model(path)
    drawn, made = outline(loaded), quantise_with(loaded)
    assert [(layer.op, layer.name) for layer in drawn.layers] == [(layer.op, layer.name) for layer in made.layers]
    assert drawn.tensors == made.tensors


def test_images_are_prepared_as_for_floats(tmp_path):
    """The file takes floats: its first scale says nothing of pixels."""
    loaded = load_model(save(tmp_path, qdq([node("Conv", "x w b")], {"x": X, "y": Y}, CONV)))
    assert "images are prepared as ImageNet's" in loaded.notes[-1]


def refusal(path: Path) -> str:
    with pytest.raises((GraphError, ModelError)) as caught:
        import_onnx(path)
    return str(caught.value).removeprefix(f"{path}: ")


BESIDE = "w/DQ (DequantizeLinear): w.q of shape (6, 3, 3, 3) must have one scale and zero point, or one for each of axis 0, not"

# what is changed in a convolution's constants, the line
WRONG = [
    ({"x.scale": np.float32(0)}, "x/Q (QuantizeLinear): x.scale: scale must be a positive number, not 0.0"),
    ({"x.scale": np.float32(-1)}, "x/Q (QuantizeLinear): x.scale: scale must be a positive number, not -1.0"),
    ({"x.scale": np.float32(np.nan)}, "x/Q (QuantizeLinear): x.scale must be finite, but holds NaN or infinity"),
    ({"x.scale": scales(1, 3)},
     "x/Q (QuantizeLinear): scale x.scale must be one number, not 3: scales of channels are for weights"),
    ({"x.scale": np.int32(1)}, "x/Q (QuantizeLinear): scale x.scale must be floats, not int32"),
    ({"x.zero": np.uint16(7)}, "x/Q (QuantizeLinear): integers must be of 8 bits, not uint16"),
    ({"x.zero": np.float32(7)}, "x/Q (QuantizeLinear): zero point x.zero must be of integers, not float32"),
    ({"w.scale": scales(1, 5)}, f"{BESIDE} (5,)"),
    ({"w.scale": -WEIGHT[1]}, "w/DQ (DequantizeLinear): scale w.scale must not be negative, but is -0.003443"),
    ({"w.scale": WEIGHT[1] * np.float32(np.inf)}, "w/DQ (DequantizeLinear): w.scale must be finite, but holds NaN or infinity"),
    ({"w.zero": np.zeros(6, np.uint8)}, "w/DQ (DequantizeLinear): zero point w.zero must be int8, not uint8"),
    ({"w.zero": np.zeros((2, 3), np.int8)}, f"{BESIDE} (2, 3)"),
    ({"w.q": WEIGHT[0].astype(np.float32)}, "w/DQ (DequantizeLinear): input w.q must be integers, not float32"),
    ({"b.q": np.zeros(5, np.int32), "b.scale": np.float32(1), "b.zero": np.int32(0)},
     "y (Conv): bias must have 6 values, not shape (5,)"),
]


@pytest.mark.parametrize("change, line", WRONG, ids=[f"{next(iter(change))} {k}" for k, (change, _) in enumerate(WRONG)])
def test_constants_that_are_refused(tmp_path, change, line):
    proto = qdq([node("Conv", "x w b")], {"x": X, "y": Y}, CONV)
    for name, array in change.items():
        (old,) = [tensor for tensor in proto.graph.initializer if tensor.name == name]
        old.CopyFrom(onnx.numpy_helper.from_array(np.asarray(array), name))
    lines = refusal(save(tmp_path, proto)).splitlines()
    assert line in [each.strip() for each in lines] and len(lines) <= 3          # a zero point of `x` is read twice


# nodes, constants, the line
REFUSED = [
    ([node("QuantizeLinear", "x s x2", "q"), node("Relu", "x", "x2"), node("DequantizeLinear", "q s")], {},
     "q (QuantizeLinear): zero point x2 must be a constant, not computed from the image"),
    ([node("QuantizeLinear", "x s z", "q"), node("Conv", "q w")], weights(w=(4, 3, 1, 1)),
     "y (Conv): reads integers, which must go through DequantizeLinear first"),
    ([node("DequantizeLinear", "x s z")], {}, "y (DequantizeLinear): input x must be integers, not floats"),
    ([node("QuantizeLinear", "x s z", "q"), node("QuantizeLinear", "q s z", "r"), node("DequantizeLinear", "r s z")], {},
     "r (QuantizeLinear): input q must be floats, not integers"),
    ([node("QuantizeLinear", "x s z", "q"), node("QuantizeLinear", "x s", "r"), node("Concat", "q r", "c", axis=1),
      node("DequantizeLinear", "c s z")], {}, "c (Concat): inputs must all be integers of one scale and zero point"),
    ([node("QuantizeLinear", "x s z", "q"), node("Clip", "q low", "c"), node("DequantizeLinear", "c s z")], {"low": np.int8(3)},
     "c (Clip): input low must be uint8, as the tensor is, not int8"),
    ([node("DynamicQuantizeLinear", "x", "q s1 z1")], {"output": "q"},
     "q (DynamicQuantizeLinear): scales are found anew for each image: quantise statically, or give the float model"),
    ([node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", block_size=2)], {},
     "y (DequantizeLinear): scales of blocks are not supported: quantise per tensor, or weights per channel"),
    ([node("DequantizeLinear", "w s3 z3", "v", axis=7), node("Conv", "x v")],
     {"w": steps(1, (3, 3, 1, 1)), "s3": scales(1, 3), "z3": np.zeros(3, np.int8)},
     "v (DequantizeLinear): axis must be -4..3, not 7"),
    ([node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "r"),
      node("DequantizeLinear", "w s3 z3", "v", axis=1),
      node("Conv", "r v")], {"w": steps(1, (3, 3, 1, 1)), "s3": scales(1, 3), "z3": np.zeros(3, np.int8)},
     "y (Conv): scales of v must be along axis 0, its output channels, not 1"),
    ([node("QuantizeLinear", "x", "q"), node("DequantizeLinear", "q s z")], {},
     "q (QuantizeLinear): must have a tensor, a scale and perhaps a zero point, not 1 inputs"),
]


@pytest.mark.parametrize("nodes, constants, line", REFUSED, ids=[line.partition(":")[0] for *_, line in REFUSED])
def test_nodes_that_are_refused(tmp_path, nodes, constants, line):
    options = {"output": constants["output"]} if "output" in constants else {}
    arrays = {"s": np.float32(0.05), "z": np.uint8(7)} | {name: value for name, value in constants.items() if name != "output"}
    assert refusal(save(tmp_path, model(nodes, arrays, shape=SHAPE, **options))) == line


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    """And what stands behind is checked as if it were right."""
    proto = qdq([node("Conv", "x w b", "c"), node("Softplus", "c", "d"), node("Conv", "d v")], {"x": X, "c": Z, "y": Y},
                CONV | {"v": (steps(1, (2, 7, 1, 1)), np.float32(0.01), np.int8(0), 0)})
    for tensor in proto.graph.initializer:
        if tensor.name == "x.scale":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(-1), "x.scale"))
    assert refusal(save(tmp_path, proto)).splitlines() == [
        "4 problems", "  x/Q (QuantizeLinear): x.scale: scale must be a positive number, not -1.0",
        "  x/DQ (DequantizeLinear): x.scale: scale must be a positive number, not -1.0",
        "  d (Softplus): operator is not supported",
        "  y (Conv): weight (2, 7, 1, 1) in 1 groups does not fit 6 input channels"]


def parts(found: QNetwork) -> list[tuple]:
    """Integers of the layers that have some, with bounds, multipliers of equal arrays, and what their tensors mean."""
    listed = []
    for layer in found.layers:
        kind = found.tensors[layer.name]
        how = getattr(layer, "requantise", None)
        each = [] if how is None else [np.broadcast_to(array, kind.shape[:1]).tolist() for array in (how.multiplier, how.shift)]
        numbers = () if how is None else (*each, how.zero_point, how.low, how.high, how.fraction)
        held = [np.asarray(getattr(layer, what)).tolist() for what in ("weight", "bias", "weights") if hasattr(layer, what)]
        if layer.op != "Flatten":               # scores are flattened in the file
            listed.append((layer.op, kind.scale, kind.zero_point, kind.bits, *numbers, *held))
    return listed


def every_linear_operator() -> Model:
    """Without those that are written as tables."""
    every = every_operator()
    now = {"lrn": "stem/relu", "gate/softmax": "gate"}
    layers = tuple(replace(layer, inputs=tuple(now.get(name, name) for name in layer.inputs))
                   for layer in every.graph.layers if layer.name not in ("lrn", "gate/softmax", "probabilities"))
    return replace(every, graph=replace(every.graph, layers=layers, output="classes"))


def moved_scores() -> Model:
    """Scores that are far from zero: what all share is added in floats."""
    every = every_linear_operator()
    last = every.graph.by_name["classes"]
    layers = (*every.graph.layers[:-1], replace(last, bias=last.bias + np.float32(40)))
    return replace(every, graph=replace(every.graph, layers=layers))


@pytest.mark.parametrize("make", [lambda: load_model("digits"), every_linear_operator, moved_scores])
def test_our_own_export_comes_back(tmp_path, make):
    """Every integer of it."""
    source = make()
    first = quantise(source, synthetic_images(source.spec, count=3))
    path = tmp_path / "net.onnx"
    path.write_bytes(network_model(first).SerializeToString())
    loaded = load_model(path)
    assert needs_no_images(loaded)
    second = quantise(loaded, ())
    assert parts(first) == parts(second) and first.offset == pytest.approx(second.offset)
    assert (make is moved_scores) == bool(first.offset) and first.tensors[first.output].bits == 16
    q = steps(7, first.spec.shape, 0, 255, "u1")
    one, other = (values.run(each, q)[each.output].ravel() for each in (first, second))
    assert np.array_equal(one, other) and np.ptp(one) > 500


class Images(CalibrationDataReader):
    """Noise to calibrate on."""

    def __init__(self):
        self.left = [{"x": np.random.default_rng(seed).uniform(-1, 1, SHAPE).astype(np.float32)} for seed in range(8)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


@pytest.mark.parametrize("kind, form, mean", [(QuantType.QUInt8, QuantFormat.QDQ, "AvgPool"),
                                              (QuantType.QInt8, QuantFormat.QDQ, "AvgPool"),
                                              (QuantType.QUInt8, QuantFormat.QOperator, "Conv")])
def test_what_the_static_quantiser_makes(tmp_path, monkeypatch, kind, form, mean):
    """One layer each, and not far from ONNX Runtime's integer kernels after all of them; in the format QOperator the average pool
    has a scale of its own."""
    nodes = [node("Conv", "x w b", "c", pads=[1, 1, 1, 1], name="c"), node("Relu", "c", "r", name="r"),
             node("Conv", "r v", "d", group=6, pads=[1, 1, 1, 1], name="d"), node("Clip", "d none six", "e", name="e"),
             node("Add", "e r", "f", name="f"), node("Conv", "f u", "g", name="g"), node("Concat", "f g", "h", axis=1, name="h"),
             node("MaxPool", "h", "i", kernel_shape=[2, 2], strides=[2, 2], name="i"),
             node("AveragePool", "i", "k", kernel_shape=[2, 2], name="k"), node("GlobalAveragePool", "k", "l", name="l"),
             node("Flatten", "l", "m", name="m"), node("Gemm", "m t s", transB=1, name="n")]
    constants = weights(w=(6, 3, 3, 3), b=(6,), v=(6, 1, 3, 3), u=(4, 6, 1, 1), t=(8, 10), s=(8,))
    proto = model(nodes, constants | {"none": np.float32(0), "six": np.float32(6)}, shape=SHAPE)
    path = tmp_path / "net.onnx"
    monkeypatch.setattr(logging.root, "disabled", True)             # it advises against what there is
    quantize_static(save(tmp_path, proto, "float.onnx"), path, Images(), quant_format=form, activation_type=kind,
                    weight_type=QuantType.QInt8, per_channel=kind is QuantType.QUInt8)
    assert needs_no_images(load_model(path))
    found = network(path)
    assert [layer.op for layer in found.layers[1:]] == [*"Conv Conv Add Conv Conv Concat MaxPool".split(), mean,
                                                        *"GlobalAvgPool Flatten Conv".split()]
    results = [both(path, found, steps(seed, (3, 6, 7), 0, 255, "u1"), fused=True) for seed in range(12)]
    got, wanted = (np.concatenate(arrays) for arrays in zip(*results, strict=True))
    assert np.abs(got - wanted).max() <= 4 and np.abs(got - wanted).mean() < 1 and np.ptp(wanted) > 100


def test_integers_of_16_bits_are_for_scores(tmp_path):
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "r"), node("Conv", "r w", "c"),
             node("QuantizeLinear", "c s z16", "d"), node("DequantizeLinear", "d s z16", "e"), node("Relu", "e")]
    constants = {"s": np.float32(0.05), "z": np.uint8(3), "z16": np.uint16(256), **weights(w=(4, 3, 1, 1))}
    loaded = load_model(save(tmp_path, model(nodes, constants, shape=SHAPE)))
    with pytest.raises(GraphError, match=r"c \(Conv\): integers of 16 bits are for a classifier's scores alone"):
        quantise(loaded, synthetic_images(loaded.spec))
