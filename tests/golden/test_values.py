"""golden.values against plain loops over Python integers."""
from fractions import Fraction
from itertools import product
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from golden import values
from nets.graph import Window
from nets.int8.network import (
    QLRN,
    QAdd,
    QAvgPool,
    QChannelShuffle,
    QClamp,
    QConcat,
    QConv,
    QGlobalAvgPool,
    QInput,
    QMaxPool,
    QNetwork,
    QSoftmax,
    Requantise,
    TensorType,
    lrn_entries,
)
from nets.preprocess import InputSpec

quick = settings(max_examples=60, deadline=None, derandomize=True)
zero_points = st.sampled_from([0, 1, 128, 255])
NAMED = {"name": "layer", "inputs": ("input",)}


@st.composite
def windows(draw, dilated=True):
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2))) if dilated else (1, 1)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)] * 2
    return Window(kernel=kernel, stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), dilation=dilation,
                  padding=tuple(draw(st.integers(0, min(most, 2))) for most in reach))


@st.composite
def tensors(draw, channels=None):
    shape = (channels or draw(st.integers(1, 6)), draw(st.integers(5, 8)), draw(st.integers(5, 8)))
    kind = draw(st.sampled_from(["zeros", "full", "extremes", "any"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return {"zeros": np.zeros(shape, np.uint8), "full": np.full(shape, 255, np.uint8),
            "extremes": rng.choice([0, 255], shape).astype(np.uint8),
            "any": rng.integers(0, 256, shape).astype(np.uint8)}[kind]


@st.composite
def requantisations(draw, channels):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.sampled_from([1, channels]))
    low = draw(st.integers(0, 255))
    return Requantise(multiplier=rng.integers(0, 256, count), shift=rng.integers(1, 40, count),
                      zero_point=draw(zero_points), low=low, high=draw(st.integers(low, 255)))


def rounded(acc, how, channel):
    multiplier, shift = (int(v[channel if len(v) > 1 else 0]) for v in (how.multiplier, how.shift))
    return min(max(how.zero_point + ((int(acc) * multiplier + (1 << shift - 1)) >> shift), how.low), how.high)


def meets(q, window, y, x):
    """(row, column) of the input, perhaps outside, at each tap of output (y, x)."""
    for i, j in product(range(window.kernel[0]), range(window.kernel[1])):
        yield (i, j, y * window.stride[0] + i * window.dilation[0] - window.padding[0],
               x * window.stride[1] + j * window.dilation[1] - window.padding[1])


def inside(q, row, column):
    return 0 <= row < q.shape[1] and 0 <= column < q.shape[2]


@quick
@given(st.data())
def test_conv_is_the_sum_of_its_products(data):
    groups = data.draw(st.integers(1, 3))
    per_group, out_per_group = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    q = data.draw(tensors(groups * per_group))
    window = data.draw(windows())
    zero_point = data.draw(zero_points)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape = (groups * out_per_group, per_group, *window.kernel)
    weight = data.draw(st.sampled_from([rng.integers(-127, 128, shape), np.full(shape, -127), np.full(shape, 127),
                                        rng.choice([-127, 127], shape)])).astype(np.int8)
    bias = rng.choice([-2**30, -2**20, -1, 0, 1, 2**20, 2**30], shape[0])
    how = data.draw(requantisations(shape[0]))
    layer = QConv(**NAMED, weight=weight, bias=bias.astype(np.int32), window=window, groups=groups, requantise=how)
    acc, got = values.accumulate(q, layer, zero_point), values.conv(q, layer, zero_point)
    assert acc.dtype == np.int32 and got.dtype == np.uint8
    assert got.shape == (shape[0], *window.output_size(*q.shape[1:]))
    for o, y, x in np.ndindex(*got.shape):
        first = o // out_per_group * per_group
        expected = int(bias[o]) + sum(
            int(weight[o, c, i, j]) * (int(q[first + c, row, column]) if inside(q, row, column) else zero_point)
            for c in range(per_group) for i, j, row, column in meets(q, window, y, x))
        assert acc[o, y, x] == expected
        assert got[o, y, x] == rounded(expected, how, o)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("inputs", [518, 519, 4096])        # 518 * 127 * 255 < 2**24 < 519 * 127 * 255
def test_sums_around_the_reach_of_float32_are_exact(inputs, sign):
    rng = np.random.default_rng(1)
    weight = np.full((2, inputs, 1, 1), 127 * sign, np.int8)
    weight[1, ::2] *= -1
    how = Requantise(multiplier=np.array([255]), shift=np.array([22]), zero_point=128)
    layer = QConv(**NAMED, weight=weight, bias=np.array([1, -1], np.int32), window=Window(kernel=(1, 1)), groups=1,
                  requantise=how)
    for q in (np.full((inputs, 3, 3), 255, np.uint8), rng.integers(250, 256, (inputs, 3, 3)).astype(np.uint8)):
        expected = np.einsum("oc,cyx->oyx", weight[:, :, 0, 0].astype(np.int64), q.astype(np.int64)) + [[[1]], [[-1]]]
        np.testing.assert_array_equal(values.accumulate(q, layer, 0), expected)


@quick
@given(st.data())
def test_requantise_at_the_ends_of_int32(data):
    how = data.draw(requantisations(4))
    ends = np.array([-2**31, -2**31 + 1, -1, 0, 1, 2**31 - 1], np.int64)
    got = values.requantise(np.tile(ends, (4, 1)), how)
    assert got.tolist() == [[rounded(acc, how, channel) for acc in ends] for channel in range(4)]


@quick
@given(st.data())
def test_pools_look_at_the_right_positions(data):
    q, ceil_mode, include = data.draw(tensors()), data.draw(st.booleans()), data.draw(st.booleans())
    zero_point = data.draw(zero_points)
    window = data.draw(windows(dilated=False))
    top, left, bottom, right = window.padding
    largest = values.max_pool(q, QMaxPool(**NAMED, window=window, ceil_mode=ceil_mode))
    mean = values.avg_pool(q, QAvgPool(**NAMED, window=window, ceil_mode=ceil_mode, count_include_pad=include), zero_point)
    assert largest.shape == mean.shape == (len(q), *window.output_size(*q.shape[1:], ceil_mode=ceil_mode))
    for c, y, x in np.ndindex(*mean.shape):
        seen = [int(q[c, row, column]) for _, _, row, column in meets(q, window, y, x) if inside(q, row, column)]
        assert largest[c, y, x] == max(seen)
        if include:
            seen += [zero_point for _, _, row, column in meets(q, window, y, x) if not inside(q, row, column)
                     and row < q.shape[1] + bottom and column < q.shape[2] + right]
        assert mean[c, y, x] == math.floor(sum(seen) / len(seen) + 0.5)


@quick
@given(st.data())
def test_dilated_max_pool(data):
    q, window = data.draw(tensors()), data.draw(windows())
    got = values.max_pool(q, QMaxPool(**NAMED, window=window, ceil_mode=False))
    for c, y, x in np.ndindex(*got.shape):
        seen = [int(q[c, row, column]) for _, _, row, column in meets(q, window, y, x) if inside(q, row, column)]
        assert got[c, y, x] == max(seen, default=0)


@quick
@given(st.data())
def test_global_average_requantises_the_sum(data):
    q, zero_point = data.draw(tensors()), data.draw(zero_points)
    how = data.draw(requantisations(len(q)))
    got = values.global_avg_pool(q, QGlobalAvgPool(**NAMED, requantise=how), zero_point)
    assert got.shape == (len(q), 1, 1)
    assert got.ravel().tolist() == [rounded(sum(int(v) - zero_point for v in plane.flat), how, c) for c, plane in enumerate(q)]


@quick
@given(st.data())
def test_add_weighs_both_sides(data):
    a = data.draw(tensors())
    b = data.draw(st.sampled_from([a, 255 - a, np.roll(a, 1)]))
    zeros, zero_point = data.draw(st.tuples(zero_points, zero_points)), data.draw(zero_points)
    how = Requantise(multiplier=np.array([data.draw(st.integers(0, 255))]), shift=np.array([data.draw(st.integers(1, 39))]),
                     zero_point=zero_point, low=3, high=250)
    layer = QAdd(name="sum", inputs=("a", "b"), weights=data.draw(st.tuples(*[st.integers(-127, 127)] * 2)), requantise=how)
    got = values.add(a, b, layer, zeros)
    for place in np.ndindex(*a.shape):
        total = sum(w * (int(q[place]) - z) for w, q, z in zip(layer.weights, (a, b), zeros, strict=True))
        assert got[place] == rounded(total, layer.requantise, 0)


@quick
@given(st.data())
def test_add_is_a_convolution_with_diagonal_weights(data):
    """Of both maps, one behind the other: what accumulation passes compute. Padding does not matter, there is none."""
    a = data.draw(tensors())
    b, zeros = np.roll(a, 1), data.draw(st.tuples(zero_points, zero_points))
    how = Requantise(multiplier=np.array([data.draw(st.integers(0, 255))]), shift=np.array([data.draw(st.integers(1, 39))]),
                     zero_point=data.draw(zero_points))
    weights, eye = data.draw(st.tuples(*[st.integers(-127, 127)] * 2)), np.eye(len(a), dtype=np.int8)
    bias = np.full(len(a), -sum(w * z for w, z in zip(weights, zeros, strict=True)), np.int32)
    twin = QConv(**NAMED, weight=np.concatenate([w * eye for w in weights], 1)[:, :, None, None].astype(np.int8), bias=bias,
                 window=Window(kernel=(1, 1)), groups=1, requantise=how)
    wanted = values.conv(np.concatenate([a, b]), twin, 0)
    layer = QAdd(name="sum", inputs=("a", "b"), weights=weights, requantise=how)
    np.testing.assert_array_equal(values.add(a, b, layer, zeros), wanted)


def round_up(value: Fraction) -> int:
    """The nearest integer, halves up."""
    return math.floor(value + Fraction(1, 2))


@quick
@given(st.data())
def test_lrn_scales_by_its_table(data):
    q, zeros = data.draw(tensors()), data.draw(st.tuples(zero_points, zero_points))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    size = data.draw(st.integers(1, 12))
    entries = lrn_entries(size)
    layer = QLRN(**NAMED, size=size, base=rng.integers(0, 1 << 17, entries).astype(np.int32),
                 drop=rng.integers(0, 1 << 14, entries).astype(np.int32), shift=rng.integers(9, 26, entries).astype(np.uint8))
    got = values.lrn(q, layer, *zeros)
    for c, y, x in np.ndindex(*q.shape):
        first = c - (layer.size - 1) // 2
        total = sum((int(q[k, y, x]) - zeros[0]) ** 2 for k in range(first, first + layer.size) if 0 <= k < len(q))
        octave = max(total.bit_length() - 5, 0)
        entry = 16 * octave + (total >> octave)
        rest = Fraction(total, 1 << octave) - (total >> octave)
        factor = int(layer.base[entry]) - round_up(int(layer.drop[entry]) * Fraction(int(rest * 2 ** 14), 2 ** 14))
        scaled = round_up(Fraction((int(q[c, y, x]) - zeros[0]) * factor, 1 << int(layer.shift[entry])))
        assert got[c, y, x] == min(max(zeros[1] + scaled, 0), 255)


@quick
@given(tensors())
def test_softmax_divides_table_values(q):
    table = np.floor(np.exp(-np.arange(256) / 20) * 65535 + 0.5).astype(np.uint16)
    got = values.softmax(q, QSoftmax(**NAMED, table=table))
    for y, x in np.ndindex(*q.shape[1:]):
        powers = [int(table[max(int(v) for v in q[:, y, x]) - int(v)]) for v in q[:, y, x]]
        assert got[:, y, x].tolist() == [min((512 * e + sum(powers)) // (2 * sum(powers)), 255) for e in powers]


def test_moving_operators():
    q = np.arange(6 * 2 * 3, dtype=np.uint8).reshape(6, 2, 3)
    shuffled = values.channel_shuffle(q, QChannelShuffle(**NAMED, groups=2))
    assert shuffled[:, 0, 0].tolist() == [q[c, 0, 0] for c in (0, 3, 1, 4, 2, 5)]
    assert values.clamp(q, QClamp(**NAMED, low=3, high=9)).ravel().tolist() == [min(max(v, 3), 9) for v in range(36)]
    assert values.flatten(q).shape == (36, 1, 1) and values.flatten(q).ravel().tolist() == list(range(36))
    assert values.concat([q, q[:1]]).shape == (7, 2, 3)


def two_layers():
    kind = TensorType(shape=(3, 4, 4), scale=1.0, zero_point=0)
    return QNetwork(name="two", layers=(QInput(name="input"), QClamp(**NAMED, low=1, high=2),
                                        QConcat(name="both", inputs=("input", "layer"))),
                    tensors={"input": kind, "layer": kind, "both": TensorType(shape=(6, 4, 4), scale=1.0, zero_point=0)},
                    output="both", spec=InputSpec(size=(4, 4)))


def test_run_keeps_what_is_asked_for():
    network, q = two_layers(), np.zeros((3, 4, 4), np.uint8)
    assert set(values.run(network, q)) == {"both"}
    assert set(values.run(network, q, keep=["layer"])) == {"layer", "both"}
    assert set(values.run(network, q, keep=network.by_name)) == {"input", "layer", "both"}


@pytest.mark.parametrize("wrong", [np.zeros((3, 4, 5), np.uint8), np.zeros((3, 4, 4), np.float32)])
def test_run_refuses_another_input(wrong):
    with pytest.raises(ValueError, match=r"input must be uint8 \(3, 4, 4\), not "):
        values.run(two_layers(), wrong)
