"""Large pools as several layers: the same values, of shapes that integers compute."""
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.unit.pool import PoolConfig
from arch.unit.window import WindowConfig
from nets import float_run
from nets.graph import AvgPool, Conv, Graph, Input, MaxPool, Window
from nets.int8 import network
from nets.int8.pools import split_pools

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
        check(pooled(AvgPool, (2, *size), window, ceil_mode=ceil_mode, count_include_pad=include), seed, exact=False)


def test_limits_are_the_engines():
    assert (network.POOL_KERNEL_MAX, network.POOL_STRIDE_MAX, network.POOL_PADDING_MAX) == tuple(
        PoolConfig.most(name) for name in ("kernel_y", "stride_y", "left"))
    assert (network.CONV_KERNEL_MAX, network.CONV_STRIDE_MAX) == (WindowConfig.most("kernel_y"), WindowConfig.most("stride_y"))
