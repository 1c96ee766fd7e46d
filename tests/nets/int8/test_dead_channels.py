"""What is taken out of a network changes no value of what it computes, and nothing is left that could go."""
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from golden import values
from nets.graph import Window
from nets.int8.dead_channels import without_dead_channels
from nets.int8.network import (
    QAdd,
    QAvgPool,
    QConcat,
    QConv,
    QFlatten,
    QGlobalAvgPool,
    QInput,
    QMaxPool,
    QNetwork,
    Requantise,
    TensorType,
)
from nets.preprocess import InputSpec
from tests.sim.networks import describe, networks

SIDE = 6
PADDED = Window(kernel=(3, 3), padding=(1, 1, 1, 1))
ZERO = 7                            # zero point of all tensors
HOW = Requantise(multiplier=np.array([200]), shift=np.array([12]), zero_point=ZERO)


def conv(rng, name, source, out, into, window=None, groups=1, dead=(), level=0):
    """A convolution; filters `dead` weigh nothing and have `level` everywhere."""
    window = window or Window(kernel=(1, 1))
    weight = rng.integers(-127, 128, (out, into // groups, *window.kernel)).astype(np.int8)
    bias = (rng.integers(-4000, 4000, out) - ZERO * weight.sum((1, 2, 3), dtype=np.int64)).astype(np.int32)
    for channel in dead:
        weight[channel], bias[channel] = 0, level * 4096 // 200
    return QConv(name=name, inputs=(source,), weight=weight, bias=bias, window=window, groups=groups, requantise=HOW)


def network(*layers, shapes):
    tensors = {name: TensorType(shape=shape, scale=0.1, zero_point=ZERO) for name, shape in shapes.items()}
    return QNetwork(name="some", layers=(QInput(name="x"), *layers), tensors=tensors, output=layers[-1].name,
                    spec=InputSpec(size=(SIDE, SIDE)))


def check(whole, rng):
    """The reduced network, whose values are those of the whole one."""
    reduced = without_dead_channels(whole)
    q = rng.integers(0, 256, whole.tensors["x"].shape, np.uint8)
    np.testing.assert_array_equal(values.run(reduced, q)[whole.output], values.run(whole, q)[whole.output])
    assert without_dead_channels(reduced) is reduced
    return reduced


def maps(*channels):
    return {f"{name}": (count, SIDE, SIDE) for name, count in zip("xabcde", channels, strict=False)}


def test_dead_filters_of_a_separable_network_are_gone():
    rng = np.random.default_rng(0)
    whole = network(conv(rng, "a", "x", 8, 3, PADDED, dead=(1, 4)), conv(rng, "b", "a", 8, 8, PADDED, groups=8, dead=(2,)),
                    conv(rng, "c", "b", 5, 8, dead=(0,)), shapes=maps(3, 8, 8, 5))
    whole = replace(whole, octaves={"b": tuple(range(8))})
    reduced = check(whole, rng)
    assert [reduced.tensors[name].shape[0] for name in "xabc"] == [3, 5, 5, 5]     # the output keeps all of its own
    assert reduced.by_name["b"].groups == 5 and reduced.octaves == {"b": (0, 3, 5, 6, 7)}
    assert reduced.notes == ("some: 6 of 21 filters were taken out, whose channels are constant or read by none",)


@pytest.mark.parametrize("window, left", [(Window(kernel=(3, 3)), 3), (PADDED, 4)])
def test_a_constant_goes_into_biases_unless_padding_differs(window, left):
    rng = np.random.default_rng(1)
    shapes = maps(3, 4, 5) | {"b": (5, *window.output_size(SIDE, SIDE))}
    whole = network(conv(rng, "a", "x", 4, 3, dead=(3,), level=50), conv(rng, "b", "a", 5, 4, window), shapes=shapes)
    assert check(whole, rng).tensors["a"].shape[0] == left


def test_a_channel_that_nobody_weighs_goes():
    rng = np.random.default_rng(2)
    last = conv(rng, "b", "a", 5, 4)
    last.weight[:, 2] = 0
    assert check(network(conv(rng, "a", "x", 4, 3), last, shapes=maps(3, 4, 5)), rng).tensors["a"].shape[0] == 3


def test_sums_concatenations_and_pools_pass_on_what_goes():
    rng = np.random.default_rng(3)
    parts = [conv(rng, "a", "x", 4, 3, dead=(0, 1), level=9), conv(rng, "b", "x", 4, 3, dead=(1, 2), level=-3)]
    whole = network(
        *parts, QAdd(name="c", inputs=("a", "b"), weights=(3, -5), requantise=HOW), QConcat(name="d", inputs=("b", "c")),
        QMaxPool(name="e", inputs=("d",), window=PADDED, ceil_mode=False),
        QAvgPool(name="f", inputs=("e",), window=PADDED, ceil_mode=False, count_include_pad=False),
        QGlobalAvgPool(name="g", inputs=("f",), requantise=replace(HOW, multiplier=np.full(8, 150), shift=np.full(8, 11))),
        QFlatten(name="h", inputs=("g",)), conv(rng, "i", "h", 2, 8),
        shapes=maps(3, 4, 4, 4, 8, 8) | {"f": (8, SIDE, SIDE), "g": (8, 1, 1), "h": (8, 1, 1), "i": (2, 1, 1)})
    reduced = check(whole, rng)
    # Channel 1 of the sum is constant, and so are both of its terms; channel 2 of b is, but not what it is added to.
    assert {name: reduced.tensors[name].shape[0] for name in "abcdefgh"} == dict(zip("abcdefgh", (3, 3, 3, 6, 6, 6, 6, 6),
                                                                                     strict=True))


def test_a_tensor_keeps_a_channel():
    rng = np.random.default_rng(4)
    whole = network(conv(rng, "a", "x", 4, 3, dead=range(4), level=20), conv(rng, "b", "a", 5, 4), shapes=maps(3, 4, 5))
    assert check(whole, rng).tensors["a"].shape[0] == 1


def test_a_network_without_dead_channels_is_itself():
    rng = np.random.default_rng(5)
    whole = network(conv(rng, "a", "x", 4, 3), conv(rng, "b", "a", 5, 4), shapes=maps(3, 4, 5))
    assert without_dead_channels(whole) is whole


@settings(max_examples=60)
@given(networks(units=("carry", "depthwise", "lrn", "table")), st.integers(0, 2**32 - 1))
def test_random_networks_keep_their_values(made, seed):
    whole, q = made
    rng = np.random.default_rng(seed)
    layers = []
    for layer in whole.layers:
        if isinstance(layer, QConv):
            weight, bias = layer.weight.copy(), layer.bias.copy()
            dead = rng.random(len(weight)) < 0.4
            weight[dead], weight[:, rng.random(weight.shape[1]) < 0.2] = 0, 0
            bias[dead] = np.where(rng.random(dead.sum()) < 0.5, 0, bias[dead])
            layer = replace(layer, weight=weight, bias=bias)
        layers.append(layer)
    whole = replace(whole, layers=tuple(layers))
    reduced = without_dead_channels(whole)
    np.testing.assert_array_equal(values.run(reduced, q)[whole.output], values.run(whole, q)[whole.output],
                                  err_msg=describe(whole))
