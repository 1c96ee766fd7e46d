from dataclasses import replace
import re

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import PRESETS, Geometry
from compiler.bands import bands
from compiler.images import parameter_image, weight_image
from compiler.layer import LayerError, plan_layer
from compiler.maps import Map
from nets.graph import Window
from nets.int8.network import QGlobalAvgPool, QMaxPool, Requantise
from tests.hw.engine.layers import conv_of

GEOMETRY = Geometry(input_lanes=8, output_lanes=4, activation_words=1024, weight_words=512, band_pixels=64)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 64), st.integers(1, 3))
def test_bands_cover_all_rows_within_their_size(rows, columns, least):
    cut = bands(rows, columns, 64, least)
    assert [y for band in cut for y in band] == list(range(rows))
    assert all(len(band) * columns <= 64 for band in cut)
    assert len(cut) == -(-rows // min(rows, 64 // columns))
    if 64 // columns >= least:
        assert all(len(band) >= least for band in cut[:-1])


def test_images_in_the_order_of_loads():
    rng = np.random.default_rng(1)
    weight = rng.integers(-127, 128, (6, 11, 3, 2)).astype(np.int8)
    image = weight_image(GEOMETRY, weight)
    assert image.shape == (2, 3, 2, 2, 2, 8, 2)
    for block, ky, kx, part, place, lane, half in np.ndindex(image.shape):
        out, channel = block * 4 + 2 * (1 - place) + half, part * 8 + lane
        expected = weight[out, channel, ky, kx] if out < 6 and channel < 11 else 0
        assert image[block, ky, kx, part, place, lane, half] == expected
    assert parameter_image(GEOMETRY, np.arange(6), 6, 9).tolist() == [[[2, 3], [0, 1]], [[9, 9], [4, 5]]]


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 6), st.integers(0, 2), st.integers(0, 2))
def test_maps_store_and_fetch(channels, height, width, spare, offset):
    place = Map(base=7, channels=channels, height=height, width=width, ring_rows=height, offset=4 * offset,
                pixel_words=-(-(channels + 4 * offset) // 8) + spare)
    rng = np.random.default_rng(channels)
    memory, q = rng.integers(0, 256, (1024, 8), np.uint8), rng.integers(0, 256, (channels, height, width), np.uint8)
    before = memory.copy()
    place.store(GEOMETRY, memory, q)
    np.testing.assert_array_equal(place.fetch(GEOMETRY, memory), q)
    assert np.unique(place.bytes_of(GEOMETRY)).size == q.size
    changed = np.flatnonzero((memory != before).any(1))
    assert not len(changed) or 7 <= changed.min() and changed.max() < 7 + place.words
    # Lanes follow on: channel c is in lane (offset + c) modulo PI.
    assert memory[7 + (4 * offset) // 8, 4 * offset % 8] == q[0, 0, 0]


def plan(geometry=GEOMETRY, channels=8, out=4, size=(9, 9), window=None, pool=None, target=None, source_offset=0, **change):
    conv = conv_of(np.random.default_rng(0), channels, out, window or Window(kernel=(1, 1)))
    conv = replace(conv, **change)
    source = replace(Map.whole(geometry, (channels, *size), 0), offset=source_offset)
    shape = (out, *conv.window.output_size(*size)) if pool is None else (out, 1, 1)
    return plan_layer(geometry, conv, source=source, target=target or Map.whole(geometry, shape, 0), zero_point=0, pool=pool)


def pool_of(window, ceil_mode=False):
    return QMaxPool(name="pool", inputs=("conv",), window=window, ceil_mode=ceil_mode)


AVERAGE = QGlobalAvgPool(name="pool", inputs=("conv",), requantise=Requantise(
    multiplier=np.array([1, 2, 1, 1]), shift=np.array(9), zero_point=0))


@pytest.mark.parametrize("change, message", [
    (dict(groups=2), "groups must be 1, not 2"),
    (dict(window=Window(kernel=(3, 3), dilation=(2, 1))), "dilation must be 1, not (2, 1)"),
    (dict(window=Window(kernel=(12, 1), padding=(5, 0, 5, 0))), "kernel must be at most 11, not (12, 1)"),
    (dict(window=Window(kernel=(5, 5), stride=(5, 1), padding=(0, 0, 1, 0))),
     "stride must be at most 4 where there is padding, not (5, 1)"),
    (dict(window=Window(kernel=(1, 1), padding=(16, 0, 0, 0))), "padding must be at most 15, not (16, 0, 0, 0)"),
    (dict(size=(2, 65)), "output rows must be at most 64 pixels (band_pixels), not 65: 1 are missing"),
    (dict(source_offset=4), "source offset must be a multiple of 8, not 4"),
    (dict(channels=8 * 300, size=(2, 2), pool=pool_of(Window(kernel=(2, 2)))),
     "weights of 4 channels must be at most 512 words (weight_words), not 600: 88 are missing"),
    (dict(target=Map.whole(GEOMETRY, (4, 8, 9), 0)), "target must be (4, 9, 9), not (4, 8, 9)"),
    (dict(target=replace(Map.whole(GEOMETRY, (4, 9, 9), 0), offset=2)), "target offset must be a multiple of 4, not 2"),
    (dict(pool=AVERAGE), "global average must have one multiplier, not 2"),
    (dict(pool=pool_of(Window(kernel=(4, 4), stride=(9, 9)))),
     "pool kernel must be at most 3, not (4, 4); pool stride must be at most 3, not (9, 9)"),
    (dict(pool=pool_of(Window(kernel=(3, 3), stride=(4, 4)), True), size=(3, 3)), "pool stride must be at most 3, not (4, 4)"),
])
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(LayerError, match=f"^{re.escape(message)}$"):
        plan(**change)


def test_weights_that_do_not_fit_go_in_phases_of_half_the_memory():
    phases = plan(channels=64, out=64, window=Window(kernel=(3, 3), padding=(1, 1, 1, 1))).phases
    assert len(phases) == 16        # 144 words a block: one block fits half of 512 words
    for n, phase in enumerate(phases):
        assert phase.weight_base == 144 * n % 512 and len(phase.weights) == 144
        assert {c.load.weights for c in phase.commands} == {phase.weight_base}


@pytest.mark.parametrize("name", PRESETS)
def test_commands_stay_within_the_engine(name):
    geometry = PRESETS[name]
    window = Window(kernel=(3, 3), padding=(1, 1, 1, 1))
    for command in plan(geometry, channels=20, out=40, size=(60, 60), window=window).commands:
        assert command.window.pixels <= geometry.band_pixels
        assert command.pool.output_blocks * command.pool.out_columns <= geometry.pool_words
