"""Groups, holes and sums as dense convolutions: the same integers as golden's."""
from dataclasses import replace

import numpy as np
import pytest

from compiler.lowering.diagonal import addition, dense, without_holes
from golden import values
from nets.graph import Window
from nets.int8.network import QAdd, Requantise
from tests.hw.engine.layers import conv_of


@pytest.mark.parametrize("channels, out, groups, lanes, parts", [
    (6, 9, 3, 8, 2), (32, 32, 32, 8, 4), (12, 20, 4, 8, 3), (24, 32, 2, 8, 2), (24, 24, 3, 8, 3), (58, 58, 58, 16, 4),
    (5, 7, 1, 8, 1)])
def test_parts_of_a_grouped_convolution(channels, out, groups, lanes, parts):
    rng = np.random.default_rng(channels * out)
    window = Window(kernel=(3, 3), padding=(1, 1, 1, 1), stride=(2, 1))
    conv = replace(conv_of(rng, channels // groups, out, window), groups=groups)
    q = rng.integers(0, 256, (channels, 7, 6), np.uint8)
    found = list(dense(conv, lanes))
    assert len(found) == parts and [n for part in found for n in part.outputs] == list(range(out))
    assert all(part.outputs.start % lanes == 0 and part.conv.groups == 1 for part in found)
    made = [values.conv(q[part.inputs.start:part.inputs.stop], part.conv, 9) for part in found]
    np.testing.assert_array_equal(np.concatenate(made), values.conv(q, conv, 9))


@pytest.mark.parametrize("dilation", [(1, 1), (2, 2), (1, 3), (4, 1)])
def test_a_kernel_with_holes(dilation):
    rng = np.random.default_rng(5)
    conv = conv_of(rng, 4, 3, Window(kernel=(3, 2), padding=(2, 1, 2, 1), dilation=dilation))
    q = rng.integers(0, 256, (4, 12, 11), np.uint8)
    found = without_holes(conv)
    assert found.window.dilation == (1, 1)
    np.testing.assert_array_equal(values.conv(q, found, 3), values.conv(q, conv, 3))


def test_a_sum_is_a_convolution_of_both_maps_side_by_side():
    rng = np.random.default_rng(6)
    layer = QAdd(name="sum", inputs=("a", "b"), weights=(3, -127), requantise=Requantise(
        multiplier=np.array([200]), shift=np.array([13]), zero_point=30, low=5, high=250))
    a, b = rng.integers(0, 256, (2, 4, 5, 6), np.uint8)
    conv = addition(layer, 4, (17, 200))
    wanted = values.add(a, b, layer, (17, 200))
    for x in range(6):          # a pixel of each map is a column, the taps of one output
        pair = np.stack([a[..., x], b[..., x]], axis=-1)
        np.testing.assert_array_equal(values.conv(pair, conv, 99)[..., 0], wanted[..., x])
