"""Shapes, parameters and costs of layers, and every rule that a graph is checked against."""
import re

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from nets.graph import (
    LRN,
    Add,
    Affine,
    AvgPool,
    ChannelShuffle,
    Clip,
    Concat,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Graph,
    GraphError,
    Input,
    Linear,
    MaxPool,
    Problem,
    Relu,
    Softmax,
    Window,
)

IMAGE = (6, 8, 10)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def conv(*, weight=(4, 6, 3, 3), groups=1, bias=None, **window) -> Conv:
    return Conv(name="y", inputs=("x",), weight=zeros(*weight), bias=zeros(bias or weight[0]), groups=groups,
                window=Window(kernel=weight[2:], **window))


def one(layer, shape=IMAGE) -> Graph:
    return Graph(name="net", layers=(Input(name="x", shape=shape), layer), output="y")


def unary(kind, **fields):
    return kind(name="y", inputs=("x",), **fields)


@pytest.mark.parametrize("layer, shape, parameters, macs", [
    (conv(), (4, 6, 8), 4 * 6 * 9 + 4, 4 * 6 * 9 * 48),
    (conv(stride=(2, 3), padding=(1, 0, 2, 1)), (4, 5, 3), 220, 216 * 15),
    (conv(weight=(6, 1, 3, 3), groups=6, dilation=(2, 1)), (6, 4, 8), 60, 54 * 32),
    (unary(MaxPool, window=Window(kernel=(3, 3), stride=(2, 2))), (6, 3, 4), 0, 0),
    (unary(MaxPool, window=Window(kernel=(3, 3), stride=(2, 2)), ceil_mode=True), (6, 4, 5), 0, 0),
    (unary(AvgPool, window=Window(kernel=(2, 2))), (6, 7, 9), 0, 0),
    (unary(GlobalAvgPool), (6, 1, 1), 0, 0),
    (Add(name="y", inputs=("x", "x")), IMAGE, 0, 0),
    (Concat(name="y", inputs=("x", "x", "x")), (18, 8, 10), 0, 0),
    (unary(ChannelShuffle, groups=3), IMAGE, 0, 0),
    (unary(Affine, scale=zeros(6), offset=zeros(6)), IMAGE, 12, 0),
    (unary(Relu), IMAGE, 0, 0), (unary(Clip, low=0.0, high=6.0), IMAGE, 0, 0), (unary(LRN, size=5), IMAGE, 0, 0),
    (unary(Softmax), IMAGE, 0, 0), (unary(Dropout), IMAGE, 0, 0), (unary(Flatten), (480,), 0, 0),
], ids=lambda value: getattr(value, "op", ""))
def test_shapes_parameters_and_macs(layer, shape, parameters, macs):
    graph = one(layer)
    assert (graph.shapes["y"], layer.parameters, graph.macs(layer)) == (shape, parameters, macs)
    assert (graph.parameters, graph.total_macs) == (parameters, macs)


def test_linear():
    layer = unary(Linear, weight=zeros(5, 7), bias=zeros(5))
    graph = one(layer, (7,))
    assert (graph.shapes["y"], graph.parameters, graph.total_macs) == ((5,), 40, 35)


@pytest.mark.parametrize("layer, message", [
    (conv(weight=(4, 5, 3, 3)), r"weight \(4, 5, 3, 3\) in 1 groups does not fit 6 input channels"),
    (conv(weight=(4, 3, 3, 3), groups=0), "groups must divide the 6 input and the 4 output channels, not be 0"),
    (conv(weight=(5, 3, 3, 3), groups=2), "groups must divide the 6 input and the 5 output channels, not be 2"),
    (conv(bias=3), r"bias must have 4 values, not shape \(3,\)"),
    (unary(Conv, weight=zeros(4, 6, 3, 3), bias=zeros(4), window=Window(kernel=(1, 1))), "weight must be out x in x 1 x 1"),
    (conv(weight=(4, 6, 9, 3)), r"kernel \(9, 3\) with dilation \(1, 1\) does not fit 8x10 with padding \(0, 0, 0, 0\)"),
    (unary(MaxPool, window=Window(kernel=(2, 2), padding=(0, 0, 0, 2))), "padding .* must be smaller than the kernel"),
    (unary(MaxPool, window=Window(kernel=(2, 2), padding=(8, 0, 1, 0), dilation=(9, 1))), r"dilation \(9, 1\) must not exceed"),
    (unary(AvgPool, window=Window(kernel=(2, 2), dilation=(2, 1))), "dilation of an average pool must be 1"),
    (Add(name="y", inputs=("x", "z")), r"inputs must have one shape, not \(6, 8, 10\) and \(6, 1, 1\)"),
    (Concat(name="y", inputs=("x", "z")), "inputs must agree in all but channels"),
    (unary(ChannelShuffle, groups=4), "groups must divide the 6 channels, not 4"),
    (unary(ChannelShuffle, groups=0), "groups must divide the 6 channels, not 0"),
    (unary(Affine, scale=zeros(6), offset=zeros(5)), "scale and offset must have 6 values"),
    (unary(Clip, low=1.0, high=0.0), "low must not exceed high, not 1.0 and 0.0"),
    (unary(Clip, low=float("nan"), high=0.0), "low must not exceed high"),
    (unary(Linear, weight=zeros(5, 6), bias=zeros(5)), r"weight \(5, 6\) does not fit input \(6, 8, 10\)"),
    (Linear(name="y", inputs=("f",), weight=zeros(5, 480), bias=zeros(4)), "bias must have 5 values"),
    (Relu(name="y", inputs=("f", "f")), "must have 1 inputs, not 2"),
    (Concat(name="y", inputs=()), "must have some inputs, not 0"),
    (Relu(name="y", inputs=("later",)), "reads later, which no earlier layer produces"),
    (Relu(name="x", inputs=("x",)), "name is used twice"),
    (unary(LRN, size=0), "size must be at least 1, not 0"),
    (MaxPool(name="y", inputs=("f",), window=Window(kernel=(1, 1))), r"input must be channels x height x width, not \(480,\)"),
])
def test_layers_that_do_not_fit(layer, message):
    layers = (Input(name="x", shape=IMAGE), GlobalAvgPool(name="z", inputs=("x",)), Flatten(name="f", inputs=("x",)), layer)
    with pytest.raises(GraphError, match=rf"^net: [xy] \({layer.op}\): .*{message}"):
        Graph(name="net", layers=layers, output=layer.name)


@pytest.mark.parametrize("shape", [(), (0, 2, 2), (3, -1, 2), (3, 2.0, 2)])
def test_input_shapes(shape):
    with pytest.raises(GraphError, match="input shape must be positive integers"):
        Graph(name="net", layers=(Input(name="x", shape=shape),), output="x")


@pytest.mark.parametrize("count", [0, 2])
def test_one_input(count):
    layers = tuple(Input(name=f"x{k}", shape=IMAGE) for k in range(count))
    with pytest.raises(GraphError, match="must have exactly one input layer"):
        Graph(name="net", layers=layers, output="x0")


def test_unknown_output():
    with pytest.raises(GraphError, match=r"net: z \(Graph\): output is produced by no layer"):
        Graph(name="net", layers=(Input(name="x", shape=IMAGE),), output="z")


def test_every_problem_is_told_and_no_consequence():
    layers = (Input(name="x", shape=IMAGE), ChannelShuffle(name="a", inputs=("x",), groups=4), Relu(name="b", inputs=("a",)),
              Clip(name="c", inputs=("x",), low=1, high=0), Add(name="y", inputs=("b", "c")))
    with pytest.raises(GraphError) as caught:
        Graph(name="net", layers=layers, output="y")
    assert caught.value.problems == (Problem("a", "ChannelShuffle", "groups must divide the 6 channels, not 4"),
                                     Problem("c", "Clip", "low must not exceed high, not 1 and 0"))
    assert re.match("net: 2 problems\n  a .*\n  c ", str(caught.value)) and caught.value.source == "net"


@pytest.mark.parametrize("fields, message", [
    ({"kernel": (3,)}, r"kernel must be 2 integers of at least 1, not \(3,\)"),
    ({"kernel": (3, 0)}, "kernel must be"), ({"kernel": (3, 3), "stride": (1, 0)}, "stride must be 2"),
    ({"kernel": (3, 3), "dilation": (1.0, 1)}, "dilation must be 2"),
    ({"kernel": (3, 3), "padding": (0, 0)}, "padding must be 4"),
    ({"kernel": (3, 3), "padding": (0, 0, 0, -1)}, "padding must be 4 integers of at least 0")])
def test_windows(fields, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Window(**fields)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(*(st.integers(1, most) for most in (6, 5, 3, 20)), st.integers(0, 6), st.integers(0, 6), st.booleans())
def test_output_size_counts_windows(kernel, stride, dilation, size, before, after, ceil_mode):
    """By walking: windows start every stride; ceil mode adds one for a rest, and drops one that starts too late."""
    window = Window(kernel=(kernel, 1), stride=(stride, 1), padding=(before, 0, after, 0), dilation=(dilation, 1))
    reach = dilation * (kernel - 1) + 1
    if reach > size + before + after:
        with pytest.raises(ValueError, match="does not fit"):
            window.output_size(size, 1)
        return
    starts, start = 0, 0
    while start + reach <= size + before + after:
        starts, start = starts + 1, start + stride
    if ceil_mode and start - stride + reach < size + before + after:
        starts += 1
    if ceil_mode and (starts - 1) * stride >= size + before:
        starts -= 1
    assert window.output_size(size, 1, ceil_mode=ceil_mode) == (starts, 1)


def test_consumers_and_names():
    graph = Graph(name="net", output="c", layers=(Input(name="x", shape=IMAGE), Relu(name="a", inputs=("x",)),
                                                  Add(name="b", inputs=("a", "a")), Add(name="c", inputs=("a", "b"))))
    assert {name: [layer.name for layer in layers] for name, layers in graph.consumers.items()} == {
        "x": ["a"], "a": ["b", "c"], "b": ["c"], "c": []}
    assert graph.by_name["b"] is graph.layers[2] and graph.input is graph.layers[0]
