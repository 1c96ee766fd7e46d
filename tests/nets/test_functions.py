"""Functions of single values: float reference against ONNX Runtime, tables against the functions, and whole networks."""
from collections.abc import Callable
from dataclasses import replace
import math

import numpy as np
import pytest

from arch.geometry import PRESETS
from compiler.build import compile_network
from golden import values
from nets import functions
from nets.float_run import run
from nets.functions import Elu, Function, HardSigmoid, HardSwish, LeakyRelu, Selu, Sigmoid, Silu, Tanh
from nets.graph import Clip, Conv, Flatten, Graph, GraphError, Input, Linear, MaxPool, Window
from nets.int8.check import check
from nets.int8.file import load, save
from nets.int8.network import QNetwork, QTable, TensorType
from nets.int8.table import function_table, reach
from nets.model import Model
from nets.onnx.importer import import_onnx
from nets.preprocess import InputSpec
from nets.quantise import quantise, synthetic_images
from tests.compiler.test_build import check_values, random_input
from tests.nets.onnx import cases
from tests.nets.onnx.cases import agree, node
from tests.nets.operators import conv

NAMED = {"name": "f", "inputs": ("x",)}
EXACT = {       # each function again, in the numbers of `math`
    Tanh: math.tanh,
    Sigmoid: lambda x: 1 / (1 + math.exp(-x)),
    LeakyRelu: lambda x: x if x >= 0 else 0.01 * x,
    HardSigmoid: lambda x: min(max(0.2 * x + 0.5, 0), 1),
    HardSwish: lambda x: x * min(max(x + 3, 0), 6) / 6,
    Elu: lambda x: x if x >= 0 else math.exp(x) - 1,
    Selu: lambda x: 1.0507009873554805 * (x if x >= 0 else 1.6732632423543772 * (math.exp(x) - 1)),
    Silu: lambda x: x / (1 + math.exp(-x))}


def ranged(low: float, high: float) -> TensorType:
    scale = (high - low) / 255
    return TensorType(shape=(1, 1, 1), scale=scale, zero_point=round(-low / scale))


def model(*functions_: Function, behind: tuple = ()) -> Model:
    """Convolutions with a function behind each, then other layers, then two classes."""
    layers, last, channels = [Input(name="image", shape=(3, 9, 7))], "image", 3
    for n, function in enumerate(functions_):
        layers += [conv(f"c{n}", last, 6, channels, padding=(1, 1, 1, 1)), type(function)(
            **{**vars(function), "name": f"f{n}", "inputs": (f"c{n}",)})]
        last, channels = f"f{n}", 6
    for layer in behind:
        layers.append(layer)
        last = layer.name
    weight = np.random.default_rng(1).normal(0, 0.2, (2, 6 * 9 * 7)).astype(np.float32)
    layers += [Flatten(name="flat", inputs=(last,)),
               Linear(name="y", inputs=("flat",), weight=weight, bias=np.zeros(2, np.float32))]
    return Model(graph=Graph(name="net", layers=tuple(layers), output="y"),
                 spec=InputSpec(size=(9, 7), mean=(0.5,) * 3, std=(0.1,) * 3, crop="none"))


def test_all_functions_are_tested():
    assert set(EXACT) == set(functions.FUNCTIONS)


@pytest.mark.parametrize("low, high", [(-0.3, 0.2), (-1, 1), (-6, 6), (-60, 40), (0, 9), (-9, 0)])
@pytest.mark.parametrize("kind", EXACT, ids=lambda kind: kind.__name__)
def test_tables_are_half_a_step_from_the_function_for_all_inputs(kind, low, high):
    source, exact = ranged(low, high), EXACT[kind]
    x = [source.scale * (q - source.zero_point) for q in range(256)]
    y = np.array([exact(one) for one in x])
    for target in (ranged(min(y.min(), 0), max(y.max(), 0)), ranged(-0.5, 0.5), ranged(-100, 100)):
        steps = np.clip(y / target.scale + target.zero_point, 0, 255)
        table = function_table(kind(**NAMED), source, target)
        assert table.dtype == np.uint8 and table.shape == (256,)
        assert np.abs(table - steps).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("kind", EXACT, ids=lambda kind: kind.__name__)
def test_what_is_out_of_reach_is_not_missed(kind):
    """Together with the clip of the input a table is at most a step away, for all floats of the range."""
    low, high = reach(kind(**NAMED), -50.0, 30.0)
    assert -50 <= low < 0 < high <= 30
    if kind in (Tanh, Sigmoid, HardSigmoid):
        assert high - low < 14
    x = np.linspace(-50, 30, 100_001)
    y, clipped = (kind(**NAMED).of(values_) for values_ in (x, np.clip(x, low, high)))
    assert np.abs(y - clipped).max() <= 0.501 * (max(y.max(), 0) - min(y.min(), 0)) / 255


@pytest.mark.parametrize("nodes, ops", [
    ([node("Tanh", "x")], "Tanh"), ([node("LeakyRelu", "x")], "LeakyRelu"), ([node("LeakyRelu", "x", alpha=0.3)], "LeakyRelu"),
    ([node("Sigmoid", "x")], "Sigmoid"), ([node("HardSigmoid", "x")], "HardSigmoid"), ([node("HardSwish", "x")], "HardSwish"),
    ([node("HardSigmoid", "x", alpha=0.5, beta=0.1)], "HardSigmoid"), ([node("Elu", "x", alpha=0.7)], "Elu"),
    ([node("Elu", "x")], "Elu"), ([node("Selu", "x")], "Selu"), ([node("Selu", "x", alpha=2.0, gamma=0.5)], "Selu"),
    ([node("Sigmoid", "x", "s"), node("Mul", "x s")], "Silu"), ([node("Sigmoid", "x", "s"), node("Mul", "s x")], "Silu"),
    ([node("HardSigmoid", "x", "s", alpha=1 / 6), node("Mul", "s x")], "HardSwish"),
    ([node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Sigmoid", "t", "s"), node("Mul", "s t", "m"),
      node("Transpose", "m", perm=[0, 3, 1, 2])], "Silu")])
def test_operators_of_files(tmp_path, nodes, ops):
    graph = agree(cases.save(tmp_path, cases.model(nodes, opset=14)))
    assert [layer.op for layer in graph.layers[1:]] == ops.split()


@pytest.mark.parametrize("nodes, message", [
    ([node("HardSigmoid", "x", "s"), node("Mul", "s x")], "Mul of two computed tensors is not supported"),
    ([node("Sigmoid", "x", "s"), node("Relu", "x", "r"), node("Mul", "s r")], "Mul of two computed tensors is not supported"),
    ([node("Elu", "x", alpha=math.inf)], "alpha must be finite, not {'alpha': inf}")])
def test_what_is_no_function_of_single_values_is_refused(tmp_path, nodes, message):
    with pytest.raises(GraphError, match=message):
        import_onnx(cases.save(tmp_path, cases.model(nodes, opset=14)))


SLOPES = np.array([0.5, 0.25, -0.5, 2], np.float32)


@pytest.mark.parametrize("nodes, slopes, ops", [
    ([node("PRelu", "x a")], SLOPES.reshape(4, 1, 1), ["Relu", "Affine", "Relu", "Affine", "Add"]),
    ([node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("PRelu", "t a", "p"), node("Transpose", "p", perm=[0, 3, 1, 2])],
     SLOPES, ["Relu", "Affine", "Relu", "Affine", "Add"]),
    ([node("GlobalAveragePool", "x", "m"), node("Flatten", "m", "v"), node("PRelu", "v a")], SLOPES,
     ["GlobalAvgPool", "Flatten", "Relu", "Affine", "Relu", "Affine", "Add"]),
    ([node("PRelu", "x a")], np.full((4, 1, 1), 0.3, np.float32), ["LeakyRelu"]),
    ([node("PRelu", "x a")], np.full(1, 0.3, np.float32), ["LeakyRelu"])])
def test_a_slope_of_each_channel(tmp_path, nodes, slopes, ops):
    """PRelu: as sums of two halves where channels differ, and a function of single values where they do not."""
    graph = agree(cases.save(tmp_path, cases.model(nodes, {"a": slopes})))
    assert [layer.op for layer in graph.layers[1:]] == ops


def test_slopes_along_another_axis_are_refused(tmp_path):
    path = cases.save(tmp_path, cases.model([node("PRelu", "x a")], {"a": np.ones((7, 1), np.float32)}))
    with pytest.raises(GraphError, match=r"y \(PRelu\): constant a must be one value or one for each of the 4 channels"):
        import_onnx(path)


def test_slopes_of_channels_on_the_chip(tmp_path):
    """In integers as near to the float network as 8 bits are, and on an engine without tables."""
    weight = np.random.default_rng(2).normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
    proto = cases.model([node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("PRelu", "c a")],
                        {"w": weight, "a": SLOPES.reshape(4, 1, 1)}, shape=(1, 3, 7, 9))
    spec = InputSpec(size=(7, 9), mean=(0.5,) * 3, std=(0.2,) * 3, crop="none")
    network = quantise(Model(graph=import_onnx(cases.save(tmp_path, proto)), spec=spec), synthetic_images(spec, count=8))
    assert min(loss.snr for loss in network.losses) > 30
    check_values(network, compile_network(network, PRESETS["12f"]), random_input(network))


VARIED = [      # functions with other numbers than the usual
    (LeakyRelu, {"alpha": 0.3}, lambda x: x if x >= 0 else 0.3 * x),
    (Elu, {"alpha": 0.7}, lambda x: x if x >= 0 else 0.7 * (math.exp(x) - 1)),
    (HardSigmoid, {"alpha": 1 / 6, "beta": 0.4}, lambda x: min(max(x / 6 + 0.4, 0), 1)),
    (Selu, {"alpha": 2.0, "gamma": 0.5}, lambda x: 0.5 * (x if x >= 0 else 2 * (math.exp(x) - 1)))]


def steps_off(network: QNetwork, exact: Callable[[float], float]) -> float:
    """How far any entry of the network's tables is from the function of its input, in steps of the output."""
    worst = 0.0
    for layer in network.layers:
        if isinstance(layer, QTable):
            source, target = (network.tensors[name] for name in (layer.inputs[0], layer.name))
            wanted = [exact(source.scale * (q - source.zero_point)) / target.scale + target.zero_point for q in range(256)]
            worst = max(worst, np.abs(layer.table - np.clip(wanted, 0, 255)).max())
    return worst


@pytest.mark.parametrize("kind, numbers, exact", [*((kind, {}, exact) for kind, exact in EXACT.items()), *VARIED])
def test_all_inputs_of_quantised_networks_are_within_a_step_of_the_function(kind, numbers, exact):
    """With the ranges that the quantiser chose, of layers whose values are small, usual and large."""
    for spread in (0.1, 1.0, 20.0):
        net = model(kind(**NAMED, **numbers), kind(**NAMED, **numbers))
        layers = tuple(replace(layer, weight=layer.weight * np.float32(spread)) if isinstance(layer, Conv) else layer
                       for layer in net.graph.layers)
        net = replace(net, graph=replace(net.graph, layers=layers))
        network = quantise(net, synthetic_images(net.spec, count=4))
        assert steps_off(network, exact) <= 1
        for layer in network.layers:
            if isinstance(layer, QTable):
                layer.table[:] = np.where(layer.table < 128, layer.table + 2, layer.table - 2)
        assert steps_off(network, exact) > 1


@pytest.mark.parametrize("kind", EXACT, ids=lambda kind: kind.__name__)
def test_integers_follow_the_floats(kind, tmp_path):
    """A table follows its convolution, and each of its values is at most a step from the function of what it was given."""
    net = model(kind(**NAMED), kind(**NAMED))
    images = synthetic_images(net.spec, count=8)
    network = quantise(net, images)
    check(network)
    assert [layer.op for layer in network.layers] == ["Input", "Conv", "Table", "Conv", "Table", "Flatten", "Conv"]
    save(network, tmp_path / "net.fln")
    x = net.spec.normalise(images[0])
    tensors = values.run(load(tmp_path / "net.fln"), network.quantise_input(x), keep=network.by_name)
    for name in ("f0", "f1"):
        kind_ = network.tensors[name]
        given = network.dequantise(f"c{name[1]}", tensors[f"c{name[1]}"]).astype(np.float64)
        wanted = np.clip(kind(**NAMED).of(given) / kind_.scale + kind_.zero_point, 0, 255)
        assert np.abs(tensors[name] - wanted).max() <= 0.51
    exact, close = run(net.graph, x)["y"], network.dequantise("y", tensors["y"]).ravel()
    assert np.abs(exact - close).max() <= 0.04 * max(np.abs(exact).max(), 1)


def test_a_clip_behind_a_function_is_in_its_table():
    clip = Clip(name="clip", inputs=("f0",), low=-0.5, high=0.25)
    pool = MaxPool(name="pool", inputs=("clip",), window=Window(kernel=(1, 1)))
    net = model(Tanh(**NAMED), behind=(clip, pool))
    network = quantise(net, synthetic_images(net.spec, count=4))
    table, kind = network.by_name["f0"].table, network.tensors["f0"]
    assert [layer.op for layer in network.layers][:4] == ["Input", "Conv", "Table", "MaxPool"]
    values_ = (table.astype(int) - kind.zero_point) * kind.scale
    assert values_.min() == pytest.approx(-0.5, abs=kind.scale) and values_.max() == pytest.approx(0.25, abs=kind.scale)
