"""Lowering: what is fused, where concatenated tensors lie, and what is refused."""
import numpy as np
import pytest

from arch.geometry import PRESETS, Geometry
from compiler.lower import identity, lower
from compiler.stages import NetworkError, Origin
from golden import values
from nets.graph import Window
from nets.int8.network import (
    QAdd,
    QConcat,
    QConv,
    QFlatten,
    QGlobalAvgPool,
    QInput,
    QMaxPool,
    QNetwork,
    QSoftmax,
    Requantise,
    TensorType,
)
from nets.preprocess import InputSpec

GEOMETRY = Geometry(input_lanes=8, output_lanes=4, activation_words=1024, weight_words=512, band_pixels=64)
POOL = Window(kernel=(2, 2), stride=(2, 2))


def conv(name, source, shape, **window) -> QConv:
    return QConv(name=name, inputs=(source,), weight=np.ones(shape, np.int8), bias=np.zeros(shape[0], np.int32),
                 window=Window(**{"kernel": shape[2:]} | window), groups=1,
                 requantise=Requantise(multiplier=np.array(1), shift=np.array(1), zero_point=3))


def network(*layers, shape=(8, 8, 8), **shapes) -> QNetwork:
    """Layers behind an input `x`; `shapes` of their tensors."""
    kinds = {"x": shape} | shapes
    return QNetwork(name="net", layers=(QInput(name="x"), *layers), output=layers[-1].name,
                    tensors={name: TensorType(shape=size, scale=1.0, zero_point=3) for name, size in kinds.items()},
                    spec=InputSpec(size=shape[1:]))


@pytest.mark.parametrize("zero_point", [0, 7, 128, 255])
def test_a_copy_is_exact(zero_point):
    q = np.arange(256, dtype=np.uint8).reshape(2, 16, 8)
    np.testing.assert_array_equal(values.conv(q, identity("copy", "x", 2, zero_point), zero_point), q)


def test_pool_behind_a_convolution_is_fused():
    found = lower(network(conv("a", "x", (6, 8, 1, 1)), QMaxPool(name="p", inputs=("a",), window=POOL, ceil_mode=False),
                          a=(6, 8, 8), p=(6, 4, 4)), GEOMETRY)
    assert [(s.layer, s.tensor, s.target.buffer.name) for s in found.stages] == [("a", "p", "p")]


def test_pool_behind_a_concatenation_goes_into_its_branches():
    found = lower(network(conv("a", "x", (6, 8, 1, 1)), conv("b", "x", (5, 8, 1, 1)), QConcat(name="c", inputs=("a", "b")),
                          QMaxPool(name="p", inputs=("c",), window=POOL, ceil_mode=False), conv("d", "p", (4, 11, 1, 1)),
                          a=(6, 8, 8), b=(5, 8, 8), c=(11, 8, 8), p=(11, 4, 4), d=(4, 4, 4)), GEOMETRY)
    assert [(s.layer, s.tensor, s.channel, s.target.buffer.name, s.target.words) for s in found.stages] == [
        ("a", "p", 0, "p", range(1)), ("b", "p", 6, "p", range(1, 2)), ("d", "d", 0, "d", range(1))]
    # Channels between the parts have no weight: b's five begin at a word of their own.
    weight = found.stages[2].work.conv.weight[:, :, 0, 0]
    assert weight.shape == (4, 13) and not weight[:, 6:8].any() and weight[:, :6].all() and weight[:, 8:].all()


def test_output_that_is_not_alone_is_packed():
    found = lower(network(conv("a", "x", (6, 8, 1, 1)), conv("b", "x", (5, 8, 1, 1)), QConcat(name="c", inputs=("a", "b")),
                          a=(6, 8, 8), b=(5, 8, 8), c=(11, 8, 8)), GEOMETRY)
    assert found.stages[-1].target.buffer is found.output and found.output.name == "c, packed"


def test_flattened_map_is_read_by_a_kernel_of_its_size():
    found = lower(network(QFlatten(name="f", inputs=("x",)), conv("a", "f", (4, 128, 1, 1)), QSoftmax(name="s", inputs=("a",),
                          table=np.zeros(256, np.uint16)), shape=(8, 4, 4), f=(128, 1, 1), a=(4, 1, 1), s=(4, 1, 1)), GEOMETRY)
    assert found.stages[0].work.conv.window.kernel == (4, 4) and found.softmax and found.output_name == "a"


def test_global_average_is_fused_only_if_its_input_fits():
    how = Requantise(multiplier=np.array(1), shift=np.array(6), zero_point=0)
    layers = conv("a", "x", (4, 8, 1, 1)), QGlobalAvgPool(name="g", inputs=("a",), requantise=how)
    for side, stages in ((8, 1), (40, 2)):
        net = network(*layers, shape=(8, side, side), a=(4, side, side), g=(4, 1, 1))
        assert len(lower(net, GEOMETRY).stages) == stages


def test_all_problems_are_told_at_once():
    add = QAdd(name="sum", inputs=("a", "b"), multipliers=(1, 1), shift=1, low=0, high=255)
    net = network(conv("a", "x", (4, 8, 12, 1)), conv("b", "x", (4, 8, 1, 1), dilation=(2, 2)), add,
                  conv("d", "sum", (4, 4, 1, 1)), conv("e", "x", (4, 8, 9, 9)), shape=(8, 70, 70), a=(4, 59, 70), b=(4, 70, 70),
                  sum=(4, 59, 70), d=(4, 59, 70), e=(4, 62, 62))
    with pytest.raises(NetworkError) as caught:
        lower(net, GEOMETRY)
    assert list(map(str, caught.value.problems)) == [
        "a: kernel must be at most 11, not (12, 1)",
        "a: output rows must be at most 64 pixels (band_pixels), not 70: 6 are missing",
        "b: dilation must be 1, not (2, 2)", "b: output rows must be at most 64 pixels (band_pixels), not 70: 6 are missing",
        "sum: no unit of the engine computes Add: only the reference does (golden.run)"]


def test_image_of_few_channels_is_gathered():
    net = network(conv("a", "x", (4, 3, 3, 3)), shape=(3, 20, 20), a=(4, 18, 18))
    found = lower(net, PRESETS["85f"])
    assert found.image is net.by_name["a"] and found.stages[0].sources[0].buffer.origin is Origin.GATHER
    assert found.stages[0].work.conv.weight.shape == (4, 27, 1, 1)
