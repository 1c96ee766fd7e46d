"""Scales and shifts of channels fold into every neighbour that can take them, and the network computes what it did."""
import sys

import numpy as np
import pytest

from nets.float_run import run
from nets.fold_affine import fold_affines, fold_into_preparation
from nets.graph import (
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
    Input,
    Linear,
    MaxPool,
    Relu,
    Window,
)
from nets.moves import Pad, Select
from nets.preprocess import InputSpec

RNG = np.random.default_rng(5)
POOL = Window(kernel=(2, 2), stride=(2, 2))
PADDED = Window(kernel=(3, 3), padding=(1, 1, 1, 1))


@pytest.fixture(autouse=True)
def _the_same_numbers_in_any_order(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "RNG", np.random.default_rng(5))


def conv(name, source, out=4, into=4, window=PADDED, groups=1):
    return Conv(name=name, inputs=(source,), weight=RNG.normal(size=(out, into // groups, *window.kernel)).astype(np.float32),
                bias=RNG.normal(size=out).astype(np.float32), window=window, groups=groups)


def affine(source, count=4, low=0.5, offset=True):
    return Affine(name="affine", inputs=(source,), scale=RNG.uniform(low, 2, count).astype(np.float32),
                  offset=RNG.normal(size=count).astype(np.float32) * offset)


def check(*layers, folded: bool):
    graph = Graph(name="net", layers=(Input(name="x", shape=(4, 8, 6)), *layers), output=layers[-1].name)
    after = fold_affines(graph)
    assert any(isinstance(layer, Affine) for layer in after.layers) != folded
    x = RNG.normal(size=(4, 8, 6)).astype(np.float32)
    wanted, got = run(graph, x)[graph.output], run(after, x)[after.output]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(wanted).max())))


BETWEEN = {     # layer behind the convolution, whether an affine one with positive scales folds through it, with an offset or not
    "relu": (lambda: Relu(name="m", inputs=("c",)), False, True),
    "clip": (lambda: Clip(name="m", inputs=("c",), low=-1, high=1), False, False),
    "max pool": (lambda: MaxPool(name="m", inputs=("c",), window=POOL), True, True),
    "average": (lambda: AvgPool(name="m", inputs=("c",), window=POOL), True, True),
    "average that counts padding": (lambda: AvgPool(name="m", inputs=("c",), window=PADDED, count_include_pad=True), False, True),
    "global average": (lambda: GlobalAvgPool(name="m", inputs=("c",)), True, True),
    "shuffle": (lambda: ChannelShuffle(name="m", inputs=("c",), groups=2), True, True),
    "dropout": (lambda: Dropout(name="m", inputs=("c",)), True, True),
    "padding": (lambda: Pad(name="m", inputs=("c",), before=(0, 1, 0), after=(0, 0, 2)), False, True),
}


@pytest.mark.parametrize("offset", [True, False])
@pytest.mark.parametrize("between", BETWEEN)
def test_towards_the_image(between, offset):
    layer, with_offset, without = BETWEEN[between]
    check(conv("c", "x"), layer(), affine("m", offset=offset), folded=with_offset if offset else without)


def test_negative_scales_pass_no_maximum():
    check(conv("c", "x"), MaxPool(name="m", inputs=("c",), window=POOL), affine("m", low=-2), folded=False)
    check(conv("c", "x"), AvgPool(name="m", inputs=("c",), window=POOL), affine("m", low=-2), folded=True)


def test_one_scale_for_all_channels_moves_a_clamp():
    same = Affine(name="affine", inputs=("m",), scale=np.full(4, 2, np.float32), offset=np.full(4, -0.5, np.float32))
    check(conv("c", "x"), Clip(name="m", inputs=("c",), low=-1, high=1), same, folded=True)
    check(conv("c", "x"), Relu(name="m", inputs=("c",)), same, folded=True)


def test_joins_take_their_part():
    branches = conv("a", "x"), conv("b", "x")
    check(*branches, Add(name="s", inputs=("a", "b")), affine("s"), folded=True)
    check(*branches, Concat(name="s", inputs=("a", "b")), affine("s", 8), folded=True)
    check(*branches, Concat(name="s", inputs=("a", "b")), affine("s", 8), Add(name="o", inputs=("a", "a")),
          Concat(name="t", inputs=("affine", "o")), folded=False)


@pytest.mark.parametrize("window, offset, folded", [(PADDED, True, False), (PADDED, False, True), (POOL, True, True)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_towards_the_output(window, offset, folded, groups):
    """A ReLU of the image before it, so that nothing towards the image takes it."""
    check(Relu(name="r", inputs=("x",)), affine("r", low=-2, offset=offset), conv("c", "affine", window=window, groups=groups),
          folded=folded)


def test_towards_the_output_through_what_lies_between():
    linear = Linear(name="l", inputs=("f",), weight=RNG.normal(size=(3, 48)).astype(np.float32),
                    bias=RNG.normal(size=3).astype(np.float32))
    check(Relu(name="r", inputs=("x",)), affine("r"), MaxPool(name="m", inputs=("affine",), window=POOL),
          Flatten(name="f", inputs=("m",)), linear, folded=True)
    check(Relu(name="r", inputs=("x",)), affine("r"), Select(name="s", inputs=("affine",), channels=np.array([2, 0])),
          conv("c", "s", into=2, window=POOL), folded=True)
    check(Relu(name="r", inputs=("x",)), affine("r"), conv("c", "affine", window=POOL), conv("d", "affine"), folded=False)


def test_the_preparation_of_images_takes_the_first():
    spec = InputSpec(size=(8, 6), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    layers = Input(name="x", shape=(3, 8, 6)), affine("x", 3, low=-2), conv("c", "affine", into=3)
    graph = Graph(name="net", output="c", layers=layers)
    after, changed = fold_into_preparation(graph, spec)
    assert [layer.op for layer in after.layers] == ["Input", "Conv"]
    pixels = RNG.integers(0, 256, (3, 8, 6), np.uint8)
    np.testing.assert_allclose(run(after, changed.normalise(pixels))["c"], run(graph, spec.normalise(pixels))["c"], rtol=1e-3,
                               atol=1e-3)


def test_selections_of_the_image_that_are_joined_again():
    """As torchvision's GoogLeNet prepares its image: three channels, each scaled and shifted by itself."""
    parts = [layer for k in range(4) for layer in (
        Select(name=f"s{k}", inputs=("x",), channels=np.array([k])),
        Affine(name=f"a{k}", inputs=(f"s{k}",), scale=np.float32([k + 1]), offset=np.float32([k])))]
    layers = (*parts, Concat(name="j", inputs=("a0", "a1", "a2", "a3")), conv("c", "j"))
    graph = Graph(name="net", layers=(Input(name="x", shape=(4, 8, 6)), *layers), output="c")
    after = fold_affines(graph)
    assert [layer.op for layer in after.layers] == ["Input", "Affine", "Conv"]
    x = RNG.normal(size=(4, 8, 6)).astype(np.float32)
    np.testing.assert_allclose(run(after, x)["c"], run(graph, x)["c"], rtol=1e-4, atol=1e-4)
