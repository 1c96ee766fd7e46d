"""Large pools as several layers: the same values, of shapes that integers compute."""
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.unit.pool import PoolConfig
from arch.unit.window import WindowConfig
from bench.qdq import compare
from golden import values
from nets import float_run
from nets.graph import AvgPool, Conv, Graph, Input, MaxPool, Relu, Window
from nets.int8 import network
from nets.int8.pools import split_pools
from nets.model import Model
from nets.preprocess import InputSpec
from nets.quantise import quantise, synthetic_images

SEEDS = st.integers(0, 2**32 - 1)


def pooled(kind, shape, window: Window, **options) -> Graph:
    return Graph(name="pool", layers=(Input(name="x", shape=shape), kind(name="p", inputs=("x",), window=window, **options)),
                 output="p")


def check(graph: Graph, seed: int, *, exact: bool) -> Graph:
    """Holds the split network against the one that was, and its layers against what integers compute."""
    split = split_pools(graph)
    assert (split.input.name, split.output) == (graph.input.name, graph.output)
    x = np.random.default_rng(seed).normal(size=graph.input.shape).astype(np.float32)
    got, wanted = (float_run.run(one, x)["p"] for one in (split, graph))
    if exact:
        np.testing.assert_array_equal(got, wanted)
    else:
        np.testing.assert_allclose(got, wanted, atol=1e-6 * np.abs(x).max())
    return split


@st.composite
def large_windows(draw, most: int = 16):
    kernel = draw(st.tuples(*[st.integers(1, most)] * 2))
    stride = draw(st.tuples(*[st.integers(1, 9)] * 2))
    padding = tuple(draw(st.integers(0, kernel[n % 2] - 1)) for n in range(4))
    return Window(kernel=kernel, stride=stride, padding=padding)


def fits(window: Window, size: tuple[int, int]) -> bool:
    return all(size[n] + window.padding[n] + window.padding[n + 2] >= window.kernel[n] for n in range(2))


@settings(max_examples=300, deadline=None)
@given(large_windows(), st.tuples(*[st.integers(1, 30)] * 2), st.booleans(), SEEDS)
def test_a_maximum_is_split_exactly(window, size, ceil_mode, seed):
    if not fits(window, size):
        return
    split = check(pooled(MaxPool, (2, *size), window, ceil_mode=ceil_mode), seed, exact=True)
    for layer in split.layers[1:]:
        assert max(layer.window.kernel) <= network.POOL_KERNEL_MAX and max(layer.window.padding) <= network.POOL_PADDING_MAX
        assert max(layer.window.stride) <= network.POOL_STRIDE_MAX or layer.window.kernel == (1, 1)


@settings(max_examples=300, deadline=None)
@given(large_windows(), st.tuples(*[st.integers(1, 30)] * 2), st.booleans(), st.booleans(), SEEDS)
def test_an_average_is_split_or_left(window, size, ceil_mode, include, seed):
    if fits(window, size):
        graph = pooled(AvgPool, (2, *size), window, ceil_mode=ceil_mode, count_include_pad=include)
        split = check(graph, seed, exact=False)
        convs = [layer for layer in split.layers if isinstance(layer, Conv)]
        assert all(max(layer.window.kernel) <= network.CONV_KERNEL_MAX for layer in convs)
        assert all(stride <= network.CONV_STRIDE_MAX or not any(layer.window.padding[axis::2])
                   for layer in convs for axis, stride in enumerate(layer.window.stride))


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.integers(1, 300)] * 2), SEEDS)
def test_means_of_whole_rows_and_columns_are_always_split(size, seed):
    """However many values they have."""
    for kernel in ((size[0], 1), (1, size[1]), size):
        graph = pooled(AvgPool, (1, *size), Window(kernel=kernel), count_include_pad=False)
        assert max(kernel) <= network.POOL_KERNEL_MAX or not any(
            isinstance(layer, AvgPool) for layer in check(graph, seed, exact=False).layers)


@pytest.mark.parametrize("window", [Window(kernel=(5, 5), stride=(3, 3)), Window(kernel=(7, 4), padding=(3, 1, 3, 1)),
                                    Window(kernel=(11, 10), stride=(2, 5)), Window(kernel=(16, 1), stride=(8, 1))])
def test_an_average_is_as_good_in_integers_as_one_that_only_rounds(window):
    """Against an average pool of integers of the input's scale: `split_pools` taken out. On the images that its own scale is
    made for."""
    rng, spec = np.random.default_rng(5), InputSpec(size=(24, 24), crop="none")
    conv = Conv(name="c", inputs=("x",), weight=rng.normal(size=(8, 3, 3, 3)).astype(np.float32), bias=np.zeros(8, np.float32),
                window=Window(kernel=(3, 3), padding=(1, 1, 1, 1)))
    pool = AvgPool(name="p", inputs=("r",), window=window, count_include_pad=True)
    layers = Input(name="x", shape=spec.shape), conv, Relu(name="r", inputs=("c",)), pool
    model = Model(graph=Graph(name="mean", layers=layers, output="p"), spec=spec)
    images = synthetic_images(spec)
    networks = [quantise(model, images)]
    with mock.patch("nets.quantise.split_pools", lambda graph: graph):
        networks.append(quantise(model, images))
    noise = []
    for network_ in networks:
        errors = []
        for pixels in images:
            x = spec.normalise(pixels)
            q = values.run(network_, network_.quantise_input(x))["p"]
            errors.append(network_.dequantise("p", q) - float_run.run(model.graph, x)["p"])
        noise.append(float(np.square(errors).mean()))
    assert isinstance(networks[0].by_name["p"], network.QConv) and noise[0] <= 1.1 * noise[1], noise


def test_split_pools_agree_with_onnx_runtime():
    """The integers of the export, bit for bit, and the float network before it was split."""
    rng, spec = np.random.default_rng(6), InputSpec(size=(24, 24), crop="none")
    layers = (Input(name="x", shape=spec.shape),
              Conv(name="c", inputs=("x",), weight=rng.normal(size=(8, 3, 3, 3)).astype(np.float32),
                   bias=np.zeros(8, np.float32), window=Window(kernel=(3, 3))),
              MaxPool(name="m", inputs=("c",), window=Window(kernel=(5, 4), padding=(2, 1, 2, 2)), ceil_mode=True),
              AvgPool(name="a", inputs=("m",), window=Window(kernel=(5, 5), stride=(2, 2))))
    model = Model(graph=Graph(name="pools", layers=layers, output="a"), spec=spec)
    record = compare(quantise(model, synthetic_images(spec)), [spec.normalise(x) for x in synthetic_images(spec, seed=3)],
                     fused=False, integers=True)
    assert record["end_to_end"]["equal"] == record["layer_by_layer"]["equal"] == 1


def test_names_that_parts_would_have_may_be_taken():
    window, named = Window(kernel=(5, 5)), {"window": Window(kernel=(1, 1)), "inputs": ("p",)}
    graph = Graph(name="names", output="p/1", layers=(
        Input(name="x", shape=(2, 9, 9)), MaxPool(name="p", inputs=("x",), window=window),
        MaxPool(name="p/0", **named), MaxPool(name="p/1", **named)))
    split = split_pools(graph)
    assert len({layer.name for layer in split.layers}) == len(split.layers) == 5 and split.by_name["p/0"] is graph.by_name["p/0"]


def test_limits_are_the_engines():
    assert (network.POOL_KERNEL_MAX, network.POOL_STRIDE_MAX, network.POOL_PADDING_MAX) == tuple(
        PoolConfig.most(name) for name in ("kernel_y", "stride_y", "left"))
    assert (network.CONV_KERNEL_MAX, network.CONV_STRIDE_MAX) == (WindowConfig.most("kernel_y"), WindowConfig.most("stride_y"))
