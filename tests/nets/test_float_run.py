"""The float reference against ONNX Runtime on random windows, and on what the importer never makes against formulas."""
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import onnx
import pytest

from nets.float_run import run, walk
from nets.graph import LRN, Add, Affine, AvgPool, ChannelShuffle, Clip, Conv, Graph, Input, Layer, MaxPool, Relu, Softmax, Window
from tests.nets.onnx.cases import model, node, runtime

PROFILE = settings(max_examples=120, deadline=None, derandomize=True)


@st.composite
def windows(draw, *, dilated: bool = True, pool: bool = False) -> tuple[Window, int, int]:
    """A window with a height and width that it fits; in pools no padding reaches the kernel's size."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) if dilated else (1, 1)
    limit = [k - 1 if pool else 4 for k in kernel] * 2
    padding = tuple(draw(st.integers(0, most)) for most in limit)
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    sizes = []
    for axis in range(2):
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        least = max(reach - padding[axis] - padding[axis + 2], dilation[axis] if pool else 1, 1)
        sizes.append(draw(st.integers(least, least + 9)))
    return Window(kernel=kernel, stride=stride, padding=padding, dilation=dilation), *sizes


def attributes(window: Window) -> dict:
    return {"kernel_shape": window.kernel, "strides": window.stride, "pads": window.padding}


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def one(layer: Layer, shape: tuple[int, ...]) -> Graph:
    return Graph(name="test", layers=(Input(name="x", shape=shape), layer), output=layer.name)


def compare(layer: Layer, proto: onnx.ModelProto, x: np.ndarray) -> None:
    got, wanted = run(one(layer, x.shape), x)["y"], runtime(proto.SerializeToString(), x)[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))


@PROFILE
@given(windows(), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 1000))
def test_convolutions(drawn, per_group, groups, outputs, seed):
    window, height, width = drawn
    w = values(groups * outputs, per_group, *window.kernel, seed=seed)
    b = values(groups * outputs, seed=seed + 1)
    x = values(groups * per_group, height, width, seed=seed + 2)
    proto = model([node("Conv", "x w b", group=groups, dilations=window.dilation, **attributes(window))], {"w": w, "b": b},
                  shape=(1, *x.shape))
    compare(Conv(name="y", inputs=("x",), weight=w, bias=b, window=window, groups=groups), proto, x)


@PROFILE
@given(windows(pool=True), st.booleans(), st.integers(0, 1000))
def test_max_pools(drawn, ceil_mode, seed):
    window, height, width = drawn
    x = values(2, height, width, seed=seed)
    proto = model([node("MaxPool", "x", ceil_mode=int(ceil_mode), dilations=window.dilation, **attributes(window))],
                  shape=(1, *x.shape), opset=22)
    compare(MaxPool(name="y", inputs=("x",), window=window, ceil_mode=ceil_mode), proto, x)


@PROFILE
@given(windows(dilated=False, pool=True), st.booleans(), st.booleans(), st.integers(0, 1000))
def test_average_pools(drawn, ceil_mode, include, seed):
    window, height, width = drawn
    x = values(2, height, width, seed=seed)
    layer = AvgPool(name="y", inputs=("x",), window=window, ceil_mode=ceil_mode, count_include_pad=include)
    np.testing.assert_allclose(run(one(layer, x.shape), x)["y"], averages(layer, x), rtol=1e-5, atol=1e-5)
    if not (ceil_mode and include):         # Runtime counted some of these wrongly until version 1.24
        proto = model([node("AveragePool", "x", ceil_mode=int(ceil_mode), count_include_pad=int(include), **attributes(window))],
                      shape=(1, *x.shape), opset=22 if ceil_mode else 13)
        compare(layer, proto, x)


def averages(layer: AvgPool, x: np.ndarray) -> np.ndarray:
    """By the definition, an element at a time."""
    top, left, bottom, right = layer.window.padding
    _, height, width = x.shape
    y = np.zeros((x.shape[0], *layer.window.output_size(height, width, ceil_mode=layer.ceil_mode)))
    for row, column in np.ndindex(*y.shape[1:]):
        count = 0
        for i, j in np.ndindex(*layer.window.kernel):
            a, b = row * layer.window.stride[0] + i - top, column * layer.window.stride[1] + j - left
            inside = 0 <= a < height and 0 <= b < width
            count += inside or layer.count_include_pad and a < height + bottom and b < width + right
            y[:, row, column] += x[:, a, b] if inside else 0
        y[:, row, column] /= count
    return y


@pytest.mark.parametrize("size", range(1, 8))
def test_lrn_of_any_size(size):
    """By the formula of ONNX: Runtime takes odd sizes only."""
    x = values(5, 3, 2)
    wanted = np.empty_like(x)
    for c in range(5):
        squares = sum(x[i].astype(np.float64) ** 2 for i in range(max(0, c - (size - 1) // 2), min(4, c + size // 2) + 1))
        wanted[c] = x[c] / (1.2 + 0.9 / size * squares) ** 0.6
    layer = LRN(name="y", inputs=("x",), size=size, alpha=0.9, beta=0.6, bias=1.2)
    np.testing.assert_allclose(run(one(layer, x.shape), x)["y"], wanted, rtol=1e-5)


def test_channel_shuffle_follows_its_formula():
    x = values(12, 2, 3)
    y = run(one(ChannelShuffle(name="y", inputs=("x",), groups=3), x.shape), x)["y"]
    for group in range(3):
        for k in range(4):
            np.testing.assert_array_equal(y[k * 3 + group], x[group * 4 + k])


def test_softmax_of_large_values():
    y = run(one(Softmax(name="y", inputs=("x",)), (3,)), np.array([1e4, 1e4, -1e4], np.float32))["y"]
    np.testing.assert_allclose(y, [0.5, 0.5, 0])


def test_overflow_is_silent():
    affine = Affine(name="y", inputs=("x",), scale=np.full(1, 3e38, np.float32), offset=np.zeros(1, np.float32))
    assert np.isinf(run(one(affine, (1, 1, 1)), np.full((1, 1, 1), 10, np.float32))["y"]).all()


def test_open_clip():
    x = values(1, 4, 4)
    y = run(one(Clip(name="y", inputs=("x",), low=float("-inf"), high=0.5), x.shape), x)["y"]
    np.testing.assert_array_equal(y, np.minimum(x, np.float32(0.5)))


def chain() -> Graph:
    return Graph(name="chain", output="d", layers=(
        Input(name="x", shape=(2, 3, 3)), Relu(name="a", inputs=("x",)), Relu(name="b", inputs=("a",)),
        Add(name="c", inputs=("a", "b")), Relu(name="d", inputs=("c",)), Relu(name="unread", inputs=("a",))))


def test_run_keeps_what_is_asked():
    x = values(2, 3, 3)
    assert list(run(chain(), x)) == ["d"]
    assert list(run(chain(), x, keep=["x", "c", "unread"])) == ["x", "c", "d", "unread"]
    everything = run(chain(), x, keep=chain().by_name)
    np.testing.assert_array_equal(everything["d"], 2 * np.maximum(x, 0))
    assert [layer.name for layer, _ in walk(chain(), x)] == list(everything)


def test_input_of_other_shape_is_refused():
    with pytest.raises(ValueError, match=r"image must have shape \(2, 3, 3\), not \(1, 2, 3, 3\)"):
        run(chain(), values(1, 2, 3, 3))


def test_integer_input_is_computed_in_float():
    assert run(chain(), np.ones((2, 3, 3), np.uint8))["d"].dtype == np.float32
