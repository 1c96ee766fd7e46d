"""Groups, copies, holes and sums as convolutions of the words that each output block needs: the same integers as golden's."""
from dataclasses import replace

import numpy as np
import pytest

from arch.geometry import PRESETS, Geometry
from compiler import costs
from compiler.convolution import EVERYTHING, Own
from compiler.lowering.sparse import addition, identity, spread, squared, without_holes
from golden import values
from nets.graph import Window
from nets.int8.network import QAdd, QConv, Requantise
from tests.hw.engine.layers import conv_of

SQUARE = PRESETS["85f"]
FLAT = PRESETS["25f"]


def grouped(channels: int, out: int, groups: int) -> QConv:
    window = Window(kernel=(3, 3), padding=(1, 1, 1, 1), stride=(2, 1))
    return replace(conv_of(np.random.default_rng(channels * out), channels // groups, out, window), groups=groups)


def check(conv: QConv, channels: np.ndarray, geometry: Geometry):
    """Computes block by block from the words that each reads, and no others, what golden computes."""
    lanes, blocks = geometry.input_lanes, geometry.output_lanes
    q = np.random.default_rng(1).integers(0, 256, (-(-(int(channels.max()) + 1) // lanes) * lanes, 7, 6), np.uint8)
    made = []
    for part in spread(conv, channels, geometry):
        assert part.conv.groups == 1 and part.outputs.start % lanes == 0
        words = part.conv.weight.shape[1] // lanes
        for block in range(-(-len(part.outputs) // blocks)):
            first = part.source.start + block // part.own.repeat * part.own.step
            assert part.source.start <= first and first + words <= part.source.stop
            these = slice(block * blocks, (block + 1) * blocks)
            how = part.conv.requantise
            alone = replace(part.conv, weight=part.conv.weight[these], bias=part.conv.bias[these], requantise=replace(
                how, multiplier=how.multiplier[these], shift=how.shift[these]))
            made.append(values.conv(q[first * lanes:(first + words) * lanes], alone, 9))
    np.testing.assert_array_equal(np.concatenate(made), values.conv(q[channels], conv, 9))


@pytest.mark.parametrize("channels, out, groups, geometry, words, own, parts", [
    (32, 32, 32, SQUARE, 1, Own(1, 1), 1), (58, 58, 58, SQUARE, 1, Own(1, 1), 1), (32, 32, 32, FLAT, 1, Own(1, 2), 1),
    (128, 128, 32, SQUARE, 1, Own(1, 1), 1), (64, 128, 2, SQUARE, 2, Own(2, 4), 1), (32, 64, 32, SQUARE, 1, Own(1, 2), 1),
    (64, 32, 32, SQUARE, 2, Own(2, 1), 1), (60, 240, 3, SQUARE, 2, Own(1, 5), 1), (5, 7, 1, FLAT, 1, EVERYTHING, 1),
    (12, 20, 4, FLAT, 2, EVERYTHING, 1), (240, 60, 3, SQUARE, 10, None, 2), (16, 16, 16, SQUARE, 1, EVERYTHING, 1)])
def test_each_block_reads_what_it_needs(channels, out, groups, geometry, words, own, parts):
    conv = grouped(channels, out, groups)
    found = spread(conv, np.arange(channels), geometry)
    assert len(found) == parts
    if own is not None:
        assert found[0].own == own and found[0].conv.weight.shape[1] == words * geometry.input_lanes
    check(conv, np.arange(channels), geometry)


@pytest.mark.parametrize("geometry", [SQUARE, FLAT])
@pytest.mark.parametrize("seed", range(12))
def test_channels_may_lie_anywhere(seed, geometry):
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 2, 3, 5, 12, 24, 40]))
    channels, out = (groups * int(rng.integers(1, 1 + 80 // groups)) for _ in range(2))
    start, gap = rng.integers(0, 40), rng.integers(0, 20)
    places = start + np.arange(channels) + gap * (np.arange(channels) >= channels // 2)
    check(grouped(channels, out, groups), rng.permutation(places) if seed % 3 == 0 else places, geometry)


@pytest.mark.parametrize("channels, out, groups", [(240, 60, 3), (60, 240, 3), (24, 216, 3), (112, 34, 2), (400, 104, 8)])
def test_few_convolutions_read_about_as_much_as_one_for_each_word(channels, out, groups):
    conv = grouped(channels, out, groups)
    few, parts = (spread(conv, np.arange(channels), SQUARE, apart=apart) for apart in (False, True))
    assert len(parts) == -(-out // 16) > len(few)
    assert [few[0].outputs.start, *(part.outputs.stop for part in few)] == [*(part.outputs.start for part in few), out]
    read, fewest = (sum(part.reads(SQUARE) for part in found) for found in (few, parts))
    assert fewest <= read <= costs.SPREAD_READS * fewest
    check(conv, np.arange(channels), SQUARE)


def test_a_copy_reads_a_word_for_each_it_writes():
    conv = identity("copy", "x", 100, 7)
    (found,) = spread(conv, 16 + np.arange(100), SQUARE)
    assert (found.own, found.source, found.conv.weight.shape) == (Own(1, 1), range(1, 8), (100, 16, 1, 1))
    check(conv, 16 + np.arange(100), SQUARE)


@pytest.mark.parametrize("dilation", [(1, 1), (2, 2), (1, 3), (4, 1)])
def test_a_kernel_with_holes(dilation):
    rng = np.random.default_rng(5)
    conv = conv_of(rng, 4, 3, Window(kernel=(3, 2), padding=(2, 1, 2, 1), dilation=dilation))
    q = rng.integers(0, 256, (4, 12, 11), np.uint8)
    found = without_holes(conv)
    assert found.window.dilation == (1, 1)
    np.testing.assert_array_equal(values.conv(q, found, 3), values.conv(q, conv, 3))


def test_a_sum_is_a_depthwise_convolution_with_a_row_for_each_map():
    rng = np.random.default_rng(6)
    layer = QAdd(name="sum", inputs=("a", "b"), weights=(3, -127), requantise=Requantise(
        multiplier=np.array([200]), shift=np.array([13]), zero_point=30, low=5, high=250))
    a, b = rng.integers(0, 256, (2, 4, 5, 6), np.uint8)
    conv = replace(addition(layer, 4, (17, 200)), window=Window(kernel=(2, 1)))
    wanted = values.add(a, b, layer, (17, 200))
    for y in range(5):
        pair = np.stack([a[:, y], b[:, y]], axis=1)
        np.testing.assert_array_equal(values.conv(pair, conv, 99)[:, 0], wanted[:, y])


@pytest.mark.parametrize("kernel, padding", [((10, 4), (4, 1, 5, 1)), ((1, 3), (0, 2, 0, 0)), ((3, 3), (1, 1, 0, 0))])
def test_a_square_kernel_computes_what_a_rectangle_does(kernel, padding):
    conv = conv_of(np.random.default_rng(3), 2, 5, Window(kernel=kernel, padding=padding, stride=(2, 2)))
    q = np.random.default_rng(4).integers(0, 256, (2, 19, 10), np.uint8)
    made = squared(conv)
    assert made.window.kernel == (max(kernel),) * 2 and (made is conv) == (kernel == (3, 3))
    np.testing.assert_array_equal(values.conv(q, made, 9), values.conv(q, conv, 9))
