"""Networks that classify nothing: which they are, and that reference, host and command show the same numbers."""
from dataclasses import replace
import json

import numpy as np
import pytest

from arch.geometry import PRESETS
from compiler.build import compile_network
from golden import run as golden_run
from golden import values
from host import tensors
from nets.endings import ArgMax, LogSoftmax, applied
from nets.functions import Sigmoid
from nets.graph import Conv, Flatten, GlobalAvgPool, Graph, Input, Linear, Softmax, Window
from nets.int8.file import save
from nets.int8.network import TensorType
from nets.model import Model
from nets.preprocess import InputSpec
from nets.quantise import outline, quantise, synthetic_images
from nets.scores import classifies, result_of, squared_error, values_of

SPEC = InputSpec(size=(4, 6), channels="L", mean=(0.0,), std=(1.0,))
FEATURES = replace(SPEC, size=(1, 12))


def conv(count: int) -> Conv:
    rng = np.random.default_rng(1)
    return Conv(name="c", inputs=("x",), weight=rng.normal(size=(count, 1, 3, 3)).astype(np.float32),
                bias=np.zeros(count, np.float32), window=Window(kernel=(3, 3), padding=(1, 1, 1, 1)))


def linear(count: int) -> list:
    weight = np.random.default_rng(2).normal(size=(count, 12)).astype(np.float32)
    return [Flatten(name="f", inputs=("x",)), Linear(name="l", inputs=("f",), weight=weight, bias=np.zeros(count, np.float32))]


def model(layers: list, spec: InputSpec = SPEC, labels: tuple[str, ...] = ()) -> Model:
    layers = (Input(name="x", shape=spec.shape), *layers)
    return Model(graph=Graph(name="net", layers=layers, output=layers[-1].name), spec=spec, labels=labels)


@pytest.mark.parametrize(("layers", "spec", "labels", "wanted"), [
    ([conv(2)], SPEC, (), False), ([conv(2)], SPEC, ("cat", "dog"), False),
    ([conv(2), ArgMax(name="a", inputs=("c",))], SPEC, (), False),
    ([conv(2), GlobalAvgPool(name="p", inputs=("c",))], SPEC, (), True),
    (linear(12), FEATURES, (), False), ([*linear(12), Sigmoid(name="s", inputs=("l",))], FEATURES, (), False),
    ([*linear(12), Softmax(name="s", inputs=("l",))], FEATURES, (), True), (linear(12), FEATURES, tuple("abcdefghijkl"), True),
    (linear(11), FEATURES, (), True), (linear(1), FEATURES, (), True)],
    ids=["map", "labelled map", "best of a map", "mean", "as many", "as many behind a sigmoid", "as many behind a softmax",
         "as many with labels", "other number", "one"])
def test_which_networks_classify(layers, spec, labels, wanted):
    assert classifies(outline(model(layers, spec, labels))) is wanted


@pytest.mark.parametrize("made", [
    model([conv(2)]), model([conv(1), Sigmoid(name="s", inputs=("c",))]), model(linear(12), FEATURES)],
                         ids=["map", "map behind a sigmoid", "features"])
def test_reference_host_and_command_show_the_same(tmp_path, made, capsys):
    images = synthetic_images(made.spec)
    network = quantise(made, images)
    source = network.quantise_input(network.spec.normalise(images[3]))
    q = values.run(network, source)[network.output]
    found, program = result_of(network, source, q), compile_network(network, PRESETS["25f"]).program
    shown = tensors.result_of(program, source, q)
    np.testing.assert_array_equal(shown.values, found.values)
    assert shown.record == found.record and found.top5 == () and found.values.dtype == np.float32
    kind = network.tensors[network.output]
    if made.graph.output == "s":
        assert 0 < found.values.min() and found.values.max() < 1
    else:
        wanted = network.dequantise(network.output, q).reshape(found.values.shape)
        np.testing.assert_allclose(found.values, wanted, rtol=1e-6)
    assert found.values.shape == ((12,) if kind.shape[1:] == (1, 1) else kind.shape)
    assert (found.error is None) == (kind.shape[0] == 2)
    save(network, tmp_path / "net.fln")
    images[3].tofile(tmp_path / "x.bin")
    assert golden_run.main(["--model", str(tmp_path / "net.fln"), "--image", str(tmp_path / "x.bin"), "--save-output",
                            str(tmp_path / "y.npy"), "--json", str(tmp_path / "r.json")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), found.values[None])
    record = json.loads((tmp_path / "r.json").read_text())
    assert {what: record[what] for what in ("top5", "output")} == found.record
    assert capsys.readouterr().out.splitlines()[1].startswith(f"output  {'x'.join(map(str, found.values.shape))} numbers, ")


def test_a_wrong_name_is_told_at_once(capsys):
    assert golden_run.main(["--save-output", "y.txt", "--model", "gone.onnx"]) == 2
    assert "y.txt: must end in .npy" in capsys.readouterr().err


def test_the_error_is_that_of_values():
    kind = TensorType(shape=(1, 1, 3), scale=0.5, zero_point=10)
    source = np.array([10, 12, 8], np.uint8).reshape(kind.shape)          # 0, 1, -1
    assert squared_error(np.array([0.0, 3.0, -1.0]), source, kind) == pytest.approx(4 / 3)
    assert squared_error(np.zeros((1, 2, 3)), source, kind) is None


def test_endings_of_maps_are_those_of_channels():
    q = np.random.default_rng(0).integers(0, 256, (3, 2, 4), np.uint8)
    kind = {"scale": 0.1, "zero_point": 128, "offset": 2.0, "shape": q.shape}
    logits = (q.astype(int) - 128) * 0.1 + 2
    powers = np.exp(logits)
    np.testing.assert_allclose(values_of(q, endings=("Softmax",), **kind), powers / powers.sum(0), rtol=1e-5)
    np.testing.assert_allclose(values_of(q, endings=("LogSoftmax",), **kind), np.log(powers / powers.sum(0)), rtol=1e-4)
    np.testing.assert_array_equal(values_of(q, endings=("Softmax", "ArgMax"), **kind), logits.argmax(0)[None])
    np.testing.assert_array_equal(values_of(q, endings=(), **kind | {"shape": (24, 1, 1)}), logits.ravel().astype(np.float32))
    assert np.isfinite(applied(np.array([[[-1e4]], [[1e4]]]), [LogSoftmax.__name__])).all()
