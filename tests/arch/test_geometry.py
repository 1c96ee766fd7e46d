from dataclasses import asdict, replace
import re

import pytest

from arch.geometry import PRESETS, Geometry

TINY = dict(input_lanes=4, output_lanes=4, activation_words=512, weight_words=512)


@pytest.mark.parametrize("name", PRESETS)
def test_json_and_back(name):
    geometry = PRESETS[name]
    assert Geometry.from_json(geometry.to_json()) == geometry
    assert Geometry.from_json(geometry.to_json()).digest == geometry.digest


def test_digest_tells_every_field_apart():
    base = Geometry(**TINY, fifo_words=64)
    changed = dict(input_lanes=8, output_lanes=2, lut_pairs=1, requantise_multipliers=False, activation_words=1024,
                   weight_words=1024, parameter_words=1024, band_pixels=64, pool_words=1024, fifo_words=32, line_pixels=1024,
                   options=("table",))
    assert changed.keys() | {"depthwise_words", "decoder_lanes"} == asdict(base).keys()
    digests = {base.digest} | {replace(base, **{name: value}).digest for name, value in changed.items()}
    wide = replace(base, options=("depthwise",), depthwise_words=1024)
    fast = replace(base, options=("decoder",), decoder_lanes=4)
    digests |= {one.digest for one in (wide, replace(wide, depthwise_words=512), fast, replace(fast, decoder_lanes=2))}
    assert len(digests) == len(changed) + 5
    assert replace(base, depthwise_words=1024, decoder_lanes=4).digest == base.digest
    assert all(0 <= digest < 1 << 64 for digest in digests)


@pytest.mark.parametrize("name, multipliers", [("85f", 144), ("45f", 72), ("25f", 20), ("12f", 20)])
def test_presets_fit_their_chips_multipliers(name, multipliers):
    assert PRESETS[name].multipliers == multipliers


@pytest.mark.parametrize("change, error, message", [
    (dict(output_lanes=3), ValueError, "output_lanes must be 2..16 and a multiple of 2, not 3"),
    (dict(input_lanes=6), ValueError, "input_lanes must be 4..16 and a multiple of 4, not 6"),
    (dict(input_lanes=12), ValueError, "input_lanes must be output_lanes times a power of two, not 12 for 4 output lanes"),
    (dict(lut_pairs=3), ValueError, "lut_pairs must be 0..2, not 3"),
    (dict(requantise_multipliers=1), TypeError, "requantise_multipliers must be a boolean, not 1"),
    (dict(activation_words=1000), ValueError, "activation_words must be 512..32768 and a multiple of 512, not 1000"),
    (dict(weight_words=32768), ValueError, "weight_words must be 512..16384 and a multiple of 512, not 32768"),
    (dict(parameter_words=0), ValueError, "parameter_words must be 512..8192 and a multiple of 512, not 0"),
    (dict(band_pixels=1024), ValueError, "band_pixels must be 64..512 and a multiple of 64, not 1024"),
    (dict(pool_words=4096), ValueError, "pool_words must be 512..2048 and a multiple of 512, not 4096"),
    (dict(fifo_words=16), ValueError, "fifo_words must be 32..512 and a multiple of 16, not 16"),
    (dict(line_pixels=100), ValueError, "line_pixels must be 512..2048 and a multiple of 512, not 100"),
    (dict(decoder_lanes=3), ValueError, "decoder_lanes must be 2..4 and a multiple of 2, not 3"),
    (dict(input_lanes=6, output_lanes=6, options=("decoder",)), ValueError,
     "input_lanes must be 4, 8 or 16 for the decoder, not 6"),
    (dict(input_lanes=4.0), TypeError, "input_lanes must be an integer, not 4.0"),
    (dict(weight_words=True), TypeError, "weight_words must be an integer, not True"),
])
def test_construction_refuses(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Geometry(**TINY | change)


@pytest.mark.parametrize("text, message", [
    ("{", "geometry must be JSON, not '{'"),
    ("[]", "geometry must be a JSON object, not '[]'"),
    ('{"lanes": 4}', "geometry must hold only activation_words, band_pixels"),
    ('{"input_lanes": 4}', "geometry must hold activation_words, output_lanes, weight_words"),
])
def test_from_json_refuses(text, message):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}"):
        Geometry.from_json(text)


def test_an_engine_that_has_all_that_is_wanted_is_left_as_it_is():
    """Also if its memories are larger than an 85F's."""
    own = replace(PRESETS["85f"], options=("depthwise", "table"), depthwise_words=2048)
    assert own.with_options(["table"]) is own and own.with_options([]) is own
    assert [PRESETS[name].with_options(["decoder"]).decoder_lanes for name in PRESETS] == [4, 2, 2, 2]
    assert own.with_options(["lrn"]).weight_words < own.weight_words
