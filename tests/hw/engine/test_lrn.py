# amaranth: UnusedElaboratable=no
"""Local response normalisation against golden: every value, and the cycle of every vector; also under cocotb."""
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import OPTION_WORDS, Geometry
from arch.unit.lrn import ENTRIES, FUNCTIONS, MOST_PIXELS, MOST_SIZE, LrnConfig
from golden.cycles.lrn import passed
from golden.unit.lrn import LocalResponse as Values
from golden.unit.rules import UnitError
from hw.engine.lrn import LocalResponse
from sim.benches.run import compile_bench
from sim.verilog.native import Design, ints_of_beats
from tests.hw.engine.unit_stream import UnitStream, patterns

LANES = 4
APART = 2                   # cycles from word to word
GEOMETRY = Geometry(input_lanes=LANES, output_lanes=LANES, activation_words=512, weight_words=512, options=("lrn",))


@pytest.fixture(scope="module")
def design() -> Design:
    return Design(LocalResponse(GEOMETRY))


def functions(rng: np.random.Generator) -> tuple[Values, dict[int, int]]:
    """All functions with random entries whose products are bytes, mostly, and the words that they are made of."""
    unit, stored = Values(GEOMETRY), rng.integers(0, 1 << 16, (OPTION_WORDS["lrn"], 6)).astype(np.uint16)
    stored[:, 2] = stored[:, 2] & ~np.uint16(31) | rng.integers(9, 28, len(stored)).astype(np.uint16)
    unit.write(np.arange(len(stored)), stored)
    return unit, dict(enumerate(ints_of_beats(np.ascontiguousarray(stored[:, :4], "<u2").view(np.uint8))))


def _config(rng: np.random.Generator, blocks: int, pixels: int, often: float) -> LrnConfig:
    return LrnConfig(enable=int(rng.random() < often), function=int(rng.integers(FUNCTIONS)), pixels=pixels, output_blocks=blocks,
                     size=int(rng.integers(1, MOST_SIZE + 1)), zero_point=int(rng.choice([0, 128, rng.integers(256)])),
                     zero_point_out=int(rng.integers(256)))


def vectors(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([q[:, :, 0].transpose(0, 2, 1).reshape(-1, LANES) for q in parts])


def stream(maps: list[tuple[int, int]], chances: tuple[float, float, float], seed: int, often: float = 0.7) -> UnitStream:
    """Commands and vectors that are drawn, and what golden makes of them."""
    rng = np.random.default_rng(seed)
    unit, words = functions(rng)
    configs = [_config(rng, blocks, pixels, often) for blocks, pixels in maps]
    into = [np.where(rng.random(shape) < 0.5, rng.integers(0, 256, shape),
                     np.clip(config.zero_point + rng.integers(-2, 3, shape), 0, 255)).astype(np.uint8)
            for config, shape in ((one, (one.output_blocks, LANES, 1, one.pixels)) for one in configs)]
    out = [unit.step(config, q) for config, q in zip(configs, into, strict=True)]
    return UnitStream(passed, GEOMETRY, configs, vectors(into), vectors(out), *patterns(rng, chances), words, APART)


sides = st.sampled_from([0.05, 0.3, 0.8, 1.0, 1.0])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from([0, 1, 2, 3, 5, 17])), min_size=1, max_size=6),
       st.tuples(sides, sides, sides), st.integers(0, 2**32 - 1))
def test_values_and_cycles(design, maps, chances, seed):
    drawn = stream([*maps, (1, 1)], chances, seed)
    drawn.check(drawn.simulated(design))


def test_as_many_pixels_as_there_are_places(design):
    drawn = stream([(3, MOST_PIXELS), (2, MOST_PIXELS)], (1, 1, 1), seed=5, often=1)
    drawn.check(drawn.simulated(design))


@pytest.fixture(scope="module")
def cocotb_program() -> Path:
    return compile_bench(LocalResponse(GEOMETRY))


@pytest.mark.parametrize("chances", [(1, 1, 1), (0.5, 0.1, 1), (1, 1, 0.05), (0.6, 0.2, 0.3)],
                         ids=["full rate", "gaps", "back-pressure", "both"])
def test_under_cocotb(cocotb_program, tmp_path, chances):
    drawn = stream([(3, 7), (1, 1), (2, 30), (4, 3), (1, 5)], chances, seed=7)
    drawn.check(drawn.under_cocotb(cocotb_program, tmp_path))


def test_cocotb_notices_a_wrong_value(cocotb_program, tmp_path):
    drawn = stream([(3, 7)], (1, 1, 1), seed=7)
    drawn.out[5, 1] ^= 1
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        drawn.check(drawn.under_cocotb(cocotb_program, tmp_path))


@pytest.mark.parametrize("change, message", [
    ({"pixels": 8}, "pixels of the normalisation must be 9, not 8"),
    ({"output_blocks": 3}, "blocks of the normalisation must be 2, not 3")])
def test_vectors_that_did_not_come(change, message):
    record = {"enable": 1, "function": 0, "size": 5, "pixels": 9, "output_blocks": 2, "zero_point": 0, "zero_point_out": 0}
    with pytest.raises(UnitError, match=f"^{message}$"):
        Values(GEOMETRY).step(LrnConfig(**record | change), np.zeros((2, LANES, 3, 3), np.uint8))


def test_words_that_are_read_and_pixels_that_find_no_place():
    record = {"size": 5, "output_blocks": 2, "zero_point": 0, "zero_point_out": 0}
    assert LrnConfig(enable=1, function=1, pixels=1, **record).constants == range(ENTRIES, 2 * ENTRIES)
    assert not LrnConfig(enable=0, function=1, pixels=1, **record).constants
    many = [LrnConfig(enable=enable, function=0, pixels=MOST_PIXELS + 1, **record) for enable in (0, 1)]
    assert [list(Values.problems(one)) for one in many] == [[], ["pixels of a normalisation must be at most 512, not 513"]]
