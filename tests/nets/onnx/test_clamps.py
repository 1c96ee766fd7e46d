"""Clamps of integers and normalisations behind quantised weights, as PyTorch exports networks of fake quantisations."""
import numpy as np
import onnx
import pytest

from nets import float_run
from nets.load import load_model
from nets.onnx.importer import import_onnx
from nets.quantise import needs_no_images
from tests.nets.onnx.cases import model, node, save, weights
from tests.nets.onnx.test_quantised import SHAPE, both, network, scales, steps

CONSTANTS = {"xs": np.float32(0.1), "xz": np.uint8(60), "ys": np.float32(0.08), "yz": np.uint8(40), "zs": np.float32(0.075),
             "zz": np.uint8(50), "ws": scales(1, 6), "wz": np.zeros(6, np.int8), "vs": scales(2, 6), "most": np.uint8(127),
             "six": np.float32(6), "none": np.float32(0), **weights(b=(6,), h=(6,), m=(6,), o=(6, 1, 1))}
CONSTANTS |= {"g": np.array([1, -0.5, 0.7, -1.2, 0.4, 0.9], np.float32),
              "t": np.linspace(0.5, 1.5, 6, dtype=np.float32).reshape(1, 6, 1, 1),
              "w": steps(3, (6, 3, 3, 3)) * scales(1, 6)[:, None, None, None],          # PyTorch leaves weights in floats
              "v": steps(4, (6, 1, 3, 3)) * scales(2, 6)[:, None, None, None], "s": np.abs(CONSTANTS["m"]) + np.float32(0.3)}


def fake(name: str, kind: str, most: bool = True) -> list[onnx.NodeProto]:
    """Fake quantisation of a tensor, of 7 bits, to `name`.real."""
    by = f"{kind}s {kind}z"
    clip = [node("Clip", f"{name}.q - most", f"{name}.c")] if most else []
    return [node("QuantizeLinear", f"{name} {by}", f"{name}.q"), *clip,
            node("DequantizeLinear", f"{name}.{'c' if most else 'q'} {by}", f"{name}.real")]


def of_weights(name: str) -> list[onnx.NodeProto]:
    by = f"{name}s wz"
    return [node("QuantizeLinear", f"{name} {by}", f"{name}.q", axis=0),
            node("DequantizeLinear", f"{name}.q {by}", f"{name}.real", axis=0)]


def exported() -> list[onnx.NodeProto]:
    """A convolution, a depthwise one with a batch normalisation in training, a sum, a concatenation, and a mean of all."""
    return [*fake("x", "x", most=False), *of_weights("w"), node("Conv", "x.real w.real b", "c1", strides=[2, 2]),
            node("Relu", "c1", "r"), *fake("r", "y"), *of_weights("v"),
            node("Conv", "r.real v.real", "c2", group=6, pads=[1, 1, 1, 1]),
            node("Div", "c2 t", "d"), node("Add", "d o", "a"), node("BatchNormalization", "a g h m s", "n"), *fake("n", "z"),
            node("Clip", "n.real none six", "k"), *fake("k", "z"), node("Add", "k.real r.real", "e"), *fake("e", "y"),
            node("Concat", "e.real r.real", "f", axis=1), *fake("f", "y"), node("MaxPool", "f.real", "p", kernel_shape=[2, 2]),
            *fake("p", "y"), node("GlobalAveragePool", "p.real", "i"), *fake("i", "y"), node("Flatten", "i.real", "y"),
            *fake("y", "z")]


def test_fake_quantisations_of_pytorch(tmp_path):
    """Nothing but the file's own layers is left, and no images are needed."""
    path = save(tmp_path, model(exported(), CONSTANTS, shape=SHAPE, output="y.real"))
    assert needs_no_images(load_model(path))
    found = network(path)
    assert [layer.op for layer in found.layers[1:]] == "Conv Conv Add Concat MaxPool GlobalAvgPool Flatten".split()
    assert np.array_equal(found.layers[1].weight, steps(3, (6, 3, 3, 3)))
    sign = np.sign(CONSTANTS["g"]).astype(int)
    assert np.array_equal(found.layers[2].weight, steps(4, (6, 1, 3, 3)) * sign[:, None, None, None])
    assert all(layer.requantise.high == 127 for layer in found.layers[1:4])
    results = [both(path, found, steps(seed, (3, 6, 7), 0, 255, "u1")) for seed in range(12)]
    got, wanted = (np.concatenate(arrays) for arrays in zip(*results, strict=True))
    assert np.abs(got - wanted).max() <= 2 and (got == wanted).mean() > 0.6 and np.ptp(wanted) > 20


def test_the_float_network_is_the_files(tmp_path):
    path = save(tmp_path, model(exported(), CONSTANTS, shape=SHAPE, output="y.real"))
    graph, found = import_onnx(path), network(path)
    for seed in range(8):
        q = steps(seed, (3, 6, 7), 0, 255, "u1")
        _, wanted = both(path, found, q)
        got = float_run.run(graph, found.dequantise(found.input.name, q))[graph.output].ravel()
        assert np.abs(got - found.dequantise(found.output, wanted).ravel()).max() <= 0.076      # a step: halves


@pytest.mark.parametrize("low, high, clamps", [(0, 255, 0), (0, 200, 1), (7, 255, 1)])
def test_a_clamp_that_binds_nothing_goes(tmp_path, low, high, clamps):
    bounds = {"low": np.uint8(low), "high": np.uint8(high)}
    nodes = [*fake("x", "x", most=False)[:1], node("Clip", "x.q low high", "a"), node("MaxPool", "a", "d", kernel_shape=[2, 2]),
             node("Clip", "d low high", "c"), node("DequantizeLinear", "c xs xz")]
    path = save(tmp_path, model(nodes, CONSTANTS | bounds, shape=SHAPE))
    found = network(path)
    assert [layer.op for layer in found.layers[1:]] == ["Clamp"] * clamps + ["MaxPool"]
    got, wanted = both(path, found, steps(7, (3, 6, 7), 0, 255, "u1"))
    assert np.array_equal(got, wanted)
