"""What the array makes of a window's words: each beat's word, and networks whose output blocks read their own."""
from dataclasses import replace
from itertools import pairwise
import random

import numpy as np
import pytest

from arch.geometry import Geometry
from arch.record import ADDRESS
from arch.unit.load import LoadConfig
from arch.unit.requantise import RequantiseConfig
from arch.unit.window import WindowConfig
from compiler.maps import Map
from golden import units, values
from nets.graph import Window
from nets.int8.network import QConv, Requantise
from tests.hw.engine.layers import conv_of
from tests.hw.engine.windows import beats, draw

GEOMETRY = Geometry(input_lanes=4, output_lanes=4, activation_words=1 << ADDRESS, weight_words=4096, band_pixels=64)
WIDE = Geometry(input_lanes=8, output_lanes=4, activation_words=2048, weight_words=4096, band_pixels=256)


def memories(geometry: Geometry, weight: np.ndarray, bias: np.ndarray, how: Requantise) -> tuple[np.ndarray, units.Parameters]:
    """Weight and parameter memories for weights int8 (output blocks, PO, passes, PI) and parameters of each channel."""
    blocks, lanes, passes, inputs = weight.shape
    words = weight.reshape(blocks, geometry.pairs, 2, passes, inputs)[:, ::-1].transpose(0, 3, 1, 4, 2).reshape(-1, inputs, 2)
    whole = np.zeros((geometry.weight_words, inputs, 2), np.int8)
    whole[:len(words)] = words
    parameters = units.Parameters(geometry.parameter_words)
    for memory, of in ((parameters.biases, bias), (parameters.multipliers, how.multiplier), (parameters.shifts, how.shift)):
        by_pair = np.broadcast_to(of, blocks * lanes).reshape(blocks, geometry.pairs, 2)
        memory[:blocks * geometry.pairs] = by_pair[:, ::-1].reshape(-1, 2)
    return whole, parameters


def convolve(geometry: Geometry, window: WindowConfig, activations: np.ndarray, weight: np.ndarray, bias: np.ndarray,
             how: Requantise, sums: units.Sums | None = None) -> np.ndarray:
    load = LoadConfig(weights=0, parameters=0, passes=window.passes, output_blocks=window.output_blocks)
    rule = RequantiseConfig(zero_point=how.zero_point, low=how.low, high=how.high)
    return units.convolve(geometry, window, load, rule, activations, *memories(geometry, weight, bias, how),
                          sums or units.Sums(geometry))


def test_each_beat_adds_the_products_of_its_word():
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    activations = numbers.integers(0, 256, (1 << ADDRESS, 4), np.uint8)
    windows = [window for window in (draw(rng) for _ in range(120)) if window.passes * window.output_blocks < 400]
    assert any(window.block_step and window.output_blocks > window.block_repeat for window in windows)
    assert any(window.goes_on for window in windows)
    for window in windows:
        lanes = window.output_blocks * GEOMETRY.output_lanes
        weight = numbers.integers(-127, 128, (window.output_blocks, GEOMETRY.output_lanes, window.passes, 4)).astype(np.int8)
        bias = numbers.integers(-1 << 16, 1 << 16, lanes)
        how = Requantise(multiplier=numbers.integers(1, 256, lanes), shift=numbers.integers(12, 20, lanes), zero_point=128)
        acc, sums = np.tile(bias.reshape(window.output_blocks, -1, 1), window.pixels), units.Sums(GEOMETRY)
        if window.goes_on:
            sums.acc = acc[0] = numbers.integers(-1 << 20, 1 << 20, acc.shape[1:])
        at = -1
        for beat in beats(window):
            at += beat.swap
            word = np.full(4, beat.zero_point) if beat.address is None else activations[beat.address].astype(int)
            acc[at // window.passes, :, beat.pixel] += weight[at // window.passes, :, at % window.passes].astype(int) @ word
        want = values.requantise(acc.reshape(lanes, window.rows, window.columns), how)
        got = convolve(GEOMETRY, window, activations, weight, bias, how, sums)
        np.testing.assert_array_equal(got.reshape(want.shape), want, err_msg=f"{window}, seed {seed}")


def test_sums_go_on_from_those_of_the_command_before():
    """Input blocks one command after the other give what one command gives that reads them all; biases count once."""
    rng = np.random.default_rng(9)
    activations = rng.integers(0, 256, (1 << ADDRESS, 4), np.uint8)
    whole = replace(draw(random.Random(4)), kernel_y=2, kernel_x=3, blocks=7, output_blocks=1, block_step=0, block_repeat=1,
                    goes_on=0)
    weight = rng.integers(-127, 128, (1, 4, 2, 3, 7, 4)).astype(np.int8)
    bias = rng.integers(-1 << 16, 1 << 16, 4)
    how = Requantise(multiplier=rng.integers(1, 256, 4), shift=rng.integers(12, 20, 4), zero_point=128)
    want = convolve(GEOMETRY, whole, activations, weight.reshape(1, 4, -1, 4), bias, how)
    for edges in ([0, 7], [0, 3, 7], [0, 1, 2, 6, 7]):
        sums = units.Sums(GEOMETRY)
        for first, stop in pairwise(edges):
            window = replace(whole, start=(whole.start + first) % (1 << ADDRESS), blocks=stop - first, goes_on=int(first > 0))
            got = convolve(GEOMETRY, window, activations, weight[..., first:stop, :].reshape(1, 4, -1, 4), bias, how, sums)
        np.testing.assert_array_equal(got, want)


def test_sums_go_on_only_from_as_many():
    window = replace(draw(random.Random(4)), output_blocks=1, goes_on=1, rows=2, columns=3)
    sums = units.Sums(GEOMETRY)
    for record, pixels, rule in ((window, 5, "pixels must be those of the command before, 5"),
                                 (replace(window, output_blocks=2), 6, "output blocks must be 1 where sums go on, not 2")):
        sums.acc = np.zeros((4, pixels), np.int64)
        with pytest.raises(units.UnitError, match=rule):
            sums.start(record, np.zeros(4 * record.output_blocks, np.int64))


def own_blocks(geometry: Geometry, conv: QConv, dense: np.ndarray, blocks: int, repeat: int) -> np.ndarray:
    """Weights (output blocks, PO, passes, PI) of a command for `dense` ones (out, in, ky, kx), of which each output block keeps
    those of its own `blocks` input blocks; the rest must be 0."""
    lanes, inputs, (ky, kx) = geometry.output_lanes, geometry.input_lanes, conv.window.kernel
    split = dense.reshape(-1, lanes, dense.shape[1] // inputs, inputs, ky, kx).copy()
    own = [range(n // repeat * blocks, n // repeat * blocks + blocks) for n in range(len(split))]
    kept = np.array([part[:, of] for part, of in zip(split, own, strict=True)])
    for part, of in zip(split, own, strict=True):
        part[:, of] = 0
    assert not split.any()
    return kept.transpose(0, 1, 4, 5, 2, 3).reshape(len(split), lanes, -1, inputs)


@pytest.mark.parametrize(("geometry", "channels", "out", "groups", "blocks", "repeat"), [
    (GEOMETRY, 24, 24, 24, 1, 1), (WIDE, 32, 32, 32, 1, 2), (GEOMETRY, 24, 24, 12, 1, 1), (GEOMETRY, 24, 48, 3, 2, 4),
    (WIDE, 32, 16, 2, 2, 2)], ids=["depthwise", "depthwise of half blocks", "pairs", "wide groups", "narrow groups"])
def test_grouped_convolution_is_one_command(geometry, channels, out, groups, blocks, repeat):
    rng = np.random.default_rng(out)
    window = Window(kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1))
    conv, x = conv_of(rng, channels // groups, out, window), rng.integers(0, 256, (channels, 7, 6), np.uint8)
    conv = replace(conv, groups=groups)
    dense = np.zeros((out, channels, 3, 3), np.int8)
    for channel in range(out):
        first = channel // (out // groups) * (channels // groups)
        dense[channel, first:first + channels // groups] = conv.weight[channel]
    source, memory = Map.whole(geometry, x.shape, 5), np.zeros((geometry.activation_words, geometry.input_lanes), np.uint8)
    source.store(geometry, memory, x)
    record = WindowConfig(
        start=(source.base - source.pixel_words) % (1 << ADDRESS), first_row=-1, first_column=-1,
        row_start=-1 % 7 * source.row_words, row_words=source.row_words, row_step=source.row_words, ring_words=source.words,
        pixel_words=source.pixel_words, column_step=source.pixel_words, height=7, width=6, kernel_y=3, kernel_x=3, stride_y=1,
        stride_x=1, blocks=blocks, output_blocks=out // geometry.output_lanes, block_step=blocks, block_repeat=repeat, rows=7,
        columns=6, zero_point=77)
    got = convolve(geometry, record, memory, own_blocks(geometry, conv, dense, blocks, repeat), conv.bias, conv.requantise)
    np.testing.assert_array_equal(got.reshape(out, 7, 6), values.conv(x, conv, 77))


def test_addition_of_two_maps_is_one_command():
    """Two taps, a map apart, of each output block's own input block; both inputs with weights of their own."""
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 256, (2, 12, 4, 5), np.uint8)
    bias, how = rng.integers(-999, 999, 12), Requantise(multiplier=np.full(12, 200), shift=np.full(12, 15), zero_point=9)
    first, second = (Map.whole(GEOMETRY, a.shape, base) for base in (100, 170))
    memory = np.zeros((GEOMETRY.activation_words, 4), np.uint8)
    first.store(GEOMETRY, memory, a)
    second.store(GEOMETRY, memory, b)
    # The window generator takes each of the maps for one row.
    record = WindowConfig(
        start=100, first_row=0, first_column=0, row_start=0, row_words=70, row_step=0, ring_words=140, pixel_words=3,
        column_step=3, height=2, width=20, kernel_y=2, kernel_x=1, stride_y=1, stride_x=1, blocks=1, output_blocks=3,
        block_step=1, rows=1, columns=20, zero_point=0)
    weight = np.zeros((3, 4, 2, 4), np.int8)
    weight[:, range(4), 0, range(4)], weight[:, range(4), 1, range(4)] = 100, -27
    got = convolve(GEOMETRY, record, memory, weight, bias, how)
    want = values.requantise(100 * a.astype(int) - 27 * b.astype(int) + bias[:, None, None], how)
    np.testing.assert_array_equal(got.reshape(want.shape), want)
