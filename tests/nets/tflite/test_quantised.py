"""Quantised TFLite files: their integers are taken as they are, and golden computes what LiteRT's reference kernels do."""
from pathlib import Path

import numpy as np
import pytest

from golden import values
from nets import float_run
from nets.graph import GraphError
from nets.int8.network import QAvgPool, QConv, QNetwork
from nets.load import load_model
from nets.model import ModelError
from nets.preprocess import find_images, load_image
from nets.quantise import needs_no_images, outline, quantise, quantise_with
from nets.tflite.file import read_file
from nets.tflite.importer import import_tflite
from tests.nets.tflite.cases import interpreter, model, op, save

SHAPE = (1, 6, 7, 3)
X, Y, Z = (0.05, -3, 0), (0.04, 10, 0), (0.06, 0, 0)        # scale, zero point, axis
SOFTMAX = (1 / 256, -128, 0)
TABLE = (1 / 128, 0, 0)


def steps(seed: int, shape: tuple[int, ...], low: int = -127, high: int = 127, kind: str = "i1") -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high + 1, shape).astype(kind)


def bias(count: int) -> np.ndarray:
    return steps(9, (count,), -2000, 2000, "i4")


def per_channel(seed: int, count: int) -> list[float]:
    return np.random.default_rng(seed).uniform(0.001, 0.004, count).tolist()


CONV = {"w": steps(1, (6, 3, 3, 3)), "b": bias(6)}
CONV_TYPES = {"w": (per_channel(2, 6), [0] * 6, 0)}
DEPTHWISE = {"d": steps(3, (1, 3, 3, 6)), "e": bias(6)}
DENSE = {"f": steps(4, (5, 126)), "g": bias(5)}

# name, operators, constants, types, options, golden's layers
CASES = [
    ("conv, scales of channels", [op("CONV_2D", "x w b", Padding=0, StrideH=2, FusedActivationFunction=3)], CONV,
     CONV_TYPES | {"y": (0.03, -128, 0)}, {}, "Conv"),
    ("conv, one scale", [op("CONV_2D", "x w b")], CONV, {"w": (0.003, 0, 0)}, {}, "Conv"),
    ("conv, unsigned", [op("CONV_2D", "x w b")], {"w": steps(1, (6, 3, 3, 3), 20, 250, "u1"), "b": CONV["b"]},
     {"x": (0.05, 120, 0), "w": (0.003, 131, 0), "y": (0.04, 130, 0)}, {"dtype": "u1"}, "Conv"),
    ("depthwise", [op("DEPTHWISE_CONV_2D", "x d e", DepthMultiplier=2, FusedActivationFunction=1)], DEPTHWISE,
     {"d": (per_channel(5, 6), [0] * 6, 3)}, {}, "Conv"),
    ("dense of a map", [op("FULLY_CONNECTED", "x f g")], DENSE, {"f": (0.002, 0, 0)}, {}, "Flatten Conv"),
    ("sum", [op("CONV_2D", "x w b", "c", Padding=0), op("ADD", "x c", FusedActivationFunction=1)],
     {"w": steps(1, (3, 3, 3, 3)), "b": bias(3)}, {"w": (0.003, 0, 0), "c": Z}, {}, "Conv Add"),
    ("product with channels", [op("MUL", "x k")], {"k": steps(6, (3,))}, {"k": (0.01, 5, 0)}, {}, "Conv"),
    ("pools", [op("MAX_POOL_2D", "x", "m"), op("AVERAGE_POOL_2D", "m", Padding=1)], {}, {"m": X, "y": X}, {},
     "MaxPool AvgPool"),
    ("a small map's mean is exact", [op("MAX_POOL_2D", "x", "m", StrideH=2, StrideW=3, FilterHeight=2, FilterWidth=3),
                                     op("AVERAGE_POOL_2D", "m", FilterHeight=3, FilterWidth=2)], {}, {"m": X, "y": X}, {},
     "MaxPool AvgPool"),
    ("mean", [op("MEAN", "x a", KeepDims=True)], {"a": [1, 2]}, {"y": (0.02, 4, 0)}, {}, "GlobalAvgPool"),
    ("padding is the zero point", [op("PAD", "x p", "q"), op("CONV_2D", "q w b")], CONV | {"p": [[0, 0], [1, 2], [0, 1], [0, 0]]},
     CONV_TYPES | {"q": X}, {}, "Conv"),
    ("concatenation of unlike tensors", [op("QUANTIZE", "x", "r"), op("CONCATENATION", "r r", Axis=3)], {}, {"r": Y}, {},
     "Conv Concat"),
    ("functions", [op("TANH", "x", "t"), op("LOGISTIC", "t", "u"), op("MAX_POOL_2D", "u")], {},
     {"t": TABLE, "u": SOFTMAX, "y": SOFTMAX}, {}, "Table Table MaxPool"),
    ("hard swish", [op("HARD_SWISH", "x", "h"), op("MAX_POOL_2D", "h")], {}, {"h": Y}, {}, "Table MaxPool"),
    ("relu of its own scale", [op("CONV_2D", "x w b", "c"), op("RELU", "c")], CONV,
     CONV_TYPES | {"c": (0.028, -20, 0), "y": (0.03, -128, 0)}, {}, "Conv"),
    ("softmax", [op("MEAN", "x a", "m"), op("SOFTMAX", "m")], {"a": [1, 2]}, {"m": (0.02, 4, 0), "y": SOFTMAX}, {},
     "GlobalAvgPool"),
]


def network(path: Path) -> QNetwork:
    return quantise(load_model(path), ())


def both(path: Path, found: QNetwork, q: np.ndarray, before_softmax: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Golden's output and that of LiteRT, in steps 0..255, for an input of such steps."""
    judge = interpreter(path, keep=before_softmax)
    source, result = judge.get_input_details()[0], judge.get_output_details()[0]
    offset = 128 if source["dtype"] == np.int8 else 0
    fed = (q.transpose(1, 2, 0) if len(source["shape"]) == 4 else q).astype(np.int64) - offset
    judge.set_tensor(source["index"], fed.reshape(source["shape"]).astype(source["dtype"]))
    judge.invoke()
    number = read_file(path).operators[-1].inputs[0] if before_softmax else result["index"]
    wanted = judge.get_tensor(number)[0].astype(np.int64) + offset
    got = values.run(found, q)[found.output].astype(np.int64)
    return got, (wanted.transpose(2, 0, 1) if wanted.ndim == 3 else wanted).reshape(got.shape)


@pytest.mark.parametrize("ops, constants, types, options, layers", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_operator(tmp_path, ops, constants, types, options, layers):
    """A multiplier of 8 bits may be half a step off at the end of the range, which moves a layer's output by a step at most."""
    path = save(tmp_path, model(ops, constants, types={"x": X, "y": Y} | types, shape=SHAPE, **{"dtype": "i1"} | options))
    assert needs_no_images(load_model(path))
    found = network(path)
    assert [layer.op for layer in found.layers[1:]] == layers.split()
    got, wanted = both(path, found, steps(7, (3, 6, 7), 0, 255, "u1"), ops[-1]["code"] == "SOFTMAX")
    rounds = sum(layer.op in ("Add", "Conv", "GlobalAvgPool", "Table") for layer in found.layers)
    assert np.abs(got - wanted).max() <= rounds and (got == wanted).mean() > 0.85, f"{np.abs(got - wanted).max()}"
    assert np.ptp(wanted) > 20, "the case says nothing"


def test_integers_are_the_files(tmp_path):
    path = save(tmp_path, model([op("CONV_2D", "x w b")], CONV, types={"x": X, "y": Y} | CONV_TYPES, shape=SHAPE, dtype="i1"))
    found = network(path)
    layer: QConv = found.layers[1]
    assert np.array_equal(layer.weight, CONV["w"].transpose(0, 3, 1, 2))
    assert np.array_equal(layer.bias, CONV["b"] - 125 * CONV["w"].reshape(6, -1).sum(1, dtype=np.int64))
    assert [(kind.scale, kind.zero_point) for kind in found.tensors.values()] == [
        (float(np.float32(0.05)), 125), (float(np.float32(0.04)), 138)]
    wanted = np.array(CONV_TYPES["w"][0], np.float32) * np.float32(0.05) / np.float32(0.04)
    assert layer.requantise.multiplier * 2.0 ** -layer.requantise.shift == pytest.approx(wanted, rel=1 / 256)


def test_weights_beyond_a_byte_are_rounded_anew_and_told(tmp_path):
    """With a zero point of 200 they reach down to -200; the channels that do not are kept."""
    weights = steps(1, (6, 3, 3, 3), 150, 255, "u1")
    weights[[1, 4]] = steps(2, (2, 3, 3, 3), 0, 255, "u1")
    types = {"x": (0.05, 120, 0), "w": (0.003, 200, 0), "y": (0.1, 130, 0)}
    path = save(tmp_path, model([op("CONV_2D", "x w b")], CONV | {"w": weights}, types=types, shape=SHAPE, dtype="u1"))
    found = network(path)
    kept = [0, 2, 3, 5]
    assert np.array_equal(found.layers[1].weight[kept], weights[kept].astype(int).transpose(0, 3, 1, 2) - 200)
    assert "net: 2 of 6 channels, in 1 layers, have weights beyond -127..127, and are rounded anew" in found.notes
    got, wanted = both(path, found, steps(7, (3, 6, 7), 0, 255, "u1"))
    assert np.abs(got - wanted)[kept].max() <= 1 and np.abs(got - wanted).max() <= 4


def test_the_float_reference_rounds_as_the_file_does(tmp_path):
    path = save(tmp_path, model([op("CONV_2D", "x w b")], CONV, types={"x": X, "y": Y} | CONV_TYPES, shape=SHAPE, dtype="i1"))
    graph, found = import_tflite(path), network(path)
    q = steps(7, (3, 6, 7), 0, 255, "u1")
    x = found.dequantise(found.input.name, q)
    got = float_run.run(graph, x)[graph.output]
    _, wanted = both(path, found, q)
    assert np.abs(got - found.dequantise(found.output, wanted)).max() < 1e-6


def test_the_outline_is_the_networks(tmp_path):
    """Schedules depend on shapes and on what is computed, which images do not change, nor integers."""
    ops = [op("QUANTIZE", "x", "r"), op("CONCATENATION", "r r", Axis=3)]
    path = save(tmp_path, model(ops, {}, types={"x": X, "y": Y, "r": Y}, shape=(1, 6, 7, 3), dtype="i1"))
    loaded = load_model(path)
    drawn, made = outline(loaded), quantise_with(loaded)
    assert [(layer.op, layer.name) for layer in drawn.layers] == [(layer.op, layer.name) for layer in made.layers]
    assert drawn.tensors == made.tensors


def test_pixels_are_the_inputs_steps(tmp_path):
    types = {"x": (0.5, 3, 0), "y": (0.5, 3, 0)}
    path = save(tmp_path, model([op("MAX_POOL_2D", "x")], types=types, shape=(1, 6, 7, 3), dtype="i1"))
    loaded = load_model(path)
    pixels = steps(7, (3, 6, 7), 0, 255, "u1")
    assert np.array_equal(quantise_with(loaded).quantise_input(loaded.spec.normalise(pixels)), pixels)
    assert loaded.notes[-1].endswith("images are prepared as the input's own steps (RGB): pixels in 0..255 are -65.5..62")


def test_what_is_left_in_floats_is_calibrated(tmp_path):
    """A file may go back to floats: their scales are measured, and with no folder of images, on noise."""
    ops = [op("DEQUANTIZE", "x", "f"), op("CONV_2D", "f w b", "c"), op("QUANTIZE", "c")]
    constants = {"w": np.random.default_rng(1).normal(size=(6, 3, 3, 3)).astype(np.float32), "b": np.zeros(6, np.float32)}
    path = save(tmp_path, model(ops, constants, types={"x": (1 / 255, -128, 0), "y": Y},
                                dtypes={"f": "f4", "c": "f4"}, shape=(1, 6, 7, 3), dtype="i1"))
    loaded = load_model(path)
    assert needs_no_images(loaded)              # what lies between two tensors with scales needs none
    found = quantise_with(loaded)
    got, wanted = both(path, found, steps(7, (3, 6, 7), 0, 255, "u1"))
    assert np.abs(got - wanted).max() <= 2
    data = model(ops[:2], constants, types={"x": (1 / 255, -128, 0)}, dtypes={"f": "f4", "c": "f4"}, output="c",
                 shape=(1, 6, 7, 3), dtype="i1")
    loaded = load_model(save(tmp_path, data, "open.tflite"))
    assert not needs_no_images(loaded)
    with pytest.raises(ValueError, match="images must be at least one, not none"):
        quantise(loaded, ())
    assert "calibrated on 16 synthetic images" in " ".join(quantise_with(loaded).notes)


@pytest.mark.parametrize("types, dtype, message", [
    ({}, "i1", "input 'x' x must have one scale, not 0"),
    ({"x": ([0.1, 0.1], [0, 0], 1)}, "i1", "input 'x' x must have one scale, not 2"),
    ({"x": (0.0, 0, 0)}, "i1", "input 'x' x: scale must be a positive number, not 0.0"),
    ({"x": (0.1, 300, 0)}, "u1", "input 'x' x: zero point must be 0..255, not 300"),
    ({"x": (0.1, 0, 0)}, "i4", "input 'x' x must be of floats or of 8 bits, not INT32")])
def test_inputs_that_are_refused(tmp_path, types, dtype, message):
    path = save(tmp_path, model([op("CONV_2D", "x w b")], CONV, types=types, shape=SHAPE, dtype=dtype))
    with pytest.raises(ModelError) as caught:
        import_tflite(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("types, message", [
    ({"y": ([0.1, 0.1], [0, 0], 1)}, "y (CONV_2D): y must have one scale, not 2"),
    ({"w": ([0.1] * 3, [0] * 3, 1)}, "y (CONV_2D): scales of w must be along axis 0, not 1"),
    ({"w": ([0.1] * 5, [0] * 5, 0)}, "y (CONV_2D): w has 5 scales along axis 0 of (6, 3, 3, 3)"),
    ({"w": (-0.5, 0, 0)}, "y (CONV_2D): scales of w must be at least 0, zero points -128..127, not -0.5 and 0..0"),
    ({"w": (0.5, 200, 0)}, "y (CONV_2D): scales of w must be at least 0, zero points -128..127, not 0.5 and 200..200"),
    ({"w": (3e38, 0, 0)}, "y (CONV_2D): w must be finite, but holds NaN or infinity")])
def test_scales_that_are_refused(tmp_path, types, message):
    path = save(tmp_path, model([op("CONV_2D", "x w b")], CONV, types={"x": X, "y": Y} | CONV_TYPES | types, shape=SHAPE,
                                dtype="i1"))
    with pytest.raises(GraphError) as caught:
        import_tflite(path)
    assert str(caught.value) == f"{path}: {message}"


def test_factors_that_no_multiplier_has_are_refused(tmp_path):
    path = save(tmp_path, model([op("CONV_2D", "x w b")], CONV, types={"x": X, "y": (1e-5, 0, 0), "w": (1.0, 0, 0)}, shape=SHAPE,
                                dtype="i1"))
    with pytest.raises(GraphError, match=r"net: y \(CONV_2D\): a step of the accumulator is 5000 steps of the output, more than"):
        network(path)


# The file's name; of how many inputs; the share of equal elements before the softmax, and the largest difference, in steps.
# The reference kernels round twice, so that a few elements of each layer differ, and IC spreads that: docs/networks.md has the
# figures of more inputs, and those of XNNPACK's kernels.
REFERENCES = [("mlperf_tiny_ic_int8", 4, 0.1, 9), ("mlperf_tiny_kws_int8", 8, 0.3, 4), ("mlperf_tiny_ad_int8", 4, 0.5, 3),
              ("mlperf_tiny_vww_int8", 2, 0.0, 12), ("mobilenet_v1_0.25_128_quant", 2, 0.15, 12)]


@pytest.mark.parametrize("name, count, least, most", REFERENCES, ids=[case[0] for case in REFERENCES])
def test_reference_files(data, name, count, least, most):
    path = data / "models" / "tflite" / f"{name}.tflite"
    loaded = load_model(path)
    found = quantise_with(loaded)
    pictures = find_images(data / "images")[::37]
    equal, right = [], 0
    for seed in range(count):
        if loaded.spec.shape[0] == 3:
            q = found.quantise_input(loaded.spec.normalise(load_image(pictures[seed], loaded.spec)))
        else:
            q = np.clip(np.random.default_rng(seed).normal(found.tensors[found.input.name].zero_point, 30, loaded.spec.shape),
                        0, 255).astype(np.uint8)
        got, wanted = both(path, found, q, name != "mlperf_tiny_ad_int8")
        assert np.abs(got - wanted).max() <= most
        equal.append((got == wanted).mean())
        right += int(got.argmax() == wanted.argmax())
    assert np.mean(equal) >= least and right >= count - 1
    assert isinstance(found.layers[-3], QAvgPool) == (name == "mlperf_tiny_vww_int8")
