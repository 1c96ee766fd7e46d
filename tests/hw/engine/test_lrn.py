# amaranth: UnusedElaboratable=no
"""Local response normalisation against golden: every value, and the cycle of every vector; also under cocotb."""
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import OPTION_WORDS, Geometry
from arch.unit.lrn import ENTRIES, FUNCTIONS, MOST_PIXELS, MOST_SIZE, LrnConfig
from golden.cycles.lrn import passed
from golden.cycles.streams import Readiness
from golden.unit.lrn import LocalResponse as Values
from golden.unit.rules import UnitError
from hw.engine.lrn import LocalResponse
from sim.benches.run import compile_bench, run_bench
from sim.verilog.native import Beats, Design, beats_of_ints

LANES = 4
APART, SETTLE = 2, 3        # cycles from word to word, and from the last word that is written to the first command
GEOMETRY = Geometry(input_lanes=LANES, output_lanes=LANES, activation_words=512, weight_words=512, options=("lrn",))


@pytest.fixture(scope="module")
def design() -> Design:
    return Design(LocalResponse(GEOMETRY))


def functions(rng: np.random.Generator) -> tuple[Values, np.ndarray]:
    """All functions with random entries whose products are bytes, mostly, and the words that they are made of, uint8 (n, 8)."""
    unit, stored = Values(GEOMETRY), rng.integers(0, 1 << 16, (OPTION_WORDS["lrn"], 6)).astype(np.uint16)
    stored[:, 2] = stored[:, 2] & ~np.uint16(31) | rng.integers(9, 28, len(stored)).astype(np.uint16)
    unit.write(np.arange(len(stored)), stored)
    return unit, np.ascontiguousarray(stored[:, :4], "<u2").view(np.uint8)


def load(sim, words: np.ndarray) -> None:
    """Writes all functions through the port."""
    for word, entry in enumerate(words):
        for name, value in (("addr", word), ("data", int.from_bytes(entry.tobytes(), "little")), ("en", 1)):
            sim.set(f"constants__{name}", value)
        sim.step(APART)
    sim.set("constants__en", 0)
    sim.step(SETTLE)


def _config(rng: np.random.Generator, blocks: int, pixels: int) -> LrnConfig:
    return LrnConfig(enable=int(rng.random() < 0.7), function=int(rng.integers(FUNCTIONS)), pixels=pixels, output_blocks=blocks,
                     size=int(rng.integers(1, MOST_SIZE + 1)), zero_point=int(rng.choice([0, 128, rng.integers(256)])),
                     zero_point_out=int(rng.integers(256)))


class Stream:
    """Commands and vectors that are drawn, patterns for who offers and takes them, and what golden makes of all."""

    def __init__(self, maps: list[tuple[int, int]], chances: tuple[float, float, float], seed: int):
        rng = np.random.default_rng(seed)
        self.unit, self.words = functions(rng)
        self.configs = [_config(rng, blocks, pixels) for blocks, pixels in maps]
        into = [np.where(rng.random(shape) < 0.5, rng.integers(0, 256, shape),
                         np.clip(config.zero_point + rng.integers(-2, 3, shape), 0, 255)).astype(np.uint8)
                for config, shape in ((one, (one.output_blocks, LANES, 1, one.pixels)) for one in self.configs)]
        out = [self.unit.step(config, q) for config, q in zip(self.configs, into, strict=True)]
        self.into, self.out = (np.concatenate([q[:, :, 0].transpose(0, 2, 1).reshape(-1, LANES) for q in parts])
                               for parts in (into, out))
        self.slow, self.allow, self.ready = (np.append(rng.random(211) < chance, True) for chance in chances)

    def check(self, seen: Mapping[str, Beats]) -> None:
        """What passed each stream, in cycles from the first offer."""
        np.testing.assert_array_equal(seen["o"].payload, self.out)

        def offers(pattern, cycles):
            return Readiness(pattern).following(np.concatenate(([0], cycles[:-1] + 1)))
        expected = passed(GEOMETRY, self.configs, offers(self.slow, seen["command"].cycle), offers(self.allow, seen["i"].cycle),
                          Readiness(self.ready))
        for name, cycles in zip(("command", "i", "o"), expected, strict=True):
            assert seen[name].cycle.tolist() == cycles.tolist(), name


def run(design: Design, drawn: Stream) -> dict[str, Beats]:
    """What passes each stream of the RTL."""
    with design.simulate() as sim:
        load(sim, drawn.words)
        origin = sim.cycle
        sim.feed("command", [config.pack() for config in drawn.configs], np.roll(drawn.slow, origin))
        sim.feed("i", drawn.into, np.roll(drawn.allow, origin))
        sim.pattern("o__ready", np.roll(drawn.ready, origin))
        sim.run_until(beats=("o", len(drawn.out)), deadline=500_000)
        sim.run_until(drained="command", deadline=500_000)
        sim.step(100)
        seen = {name: sim.beats(name) for name in ("command", "i", "o")}
    for beats in seen.values():
        beats.cycle -= origin
    return seen


sides = st.sampled_from([0.05, 0.3, 0.8, 1.0, 1.0])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from([0, 1, 2, 3, 5, 17])), min_size=1, max_size=6),
       st.tuples(sides, sides, sides), st.integers(0, 2**32 - 1))
def test_values_and_cycles(design, maps, chances, seed):
    drawn = Stream([*maps, (1, 1)], chances, seed)
    drawn.check(run(design, drawn))


def test_as_many_pixels_as_there_are_places(design):
    drawn = Stream([(3, MOST_PIXELS), (2, MOST_PIXELS)], (1, 1, 1), seed=5)
    drawn.configs = [LrnConfig(**{**vars(one), "enable": 1}) for one in drawn.configs]
    parts = np.split(drawn.into, [3 * MOST_PIXELS])
    out = [drawn.unit.step(config, q.reshape(-1, 1, MOST_PIXELS, LANES).transpose(0, 3, 1, 2))
           for config, q in zip(drawn.configs, parts, strict=True)]
    drawn.out = np.concatenate([q[:, :, 0].transpose(0, 2, 1).reshape(-1, LANES) for q in out])
    drawn.check(run(design, drawn))


@pytest.fixture(scope="module")
def cocotb_program() -> Path:
    return compile_bench(LocalResponse(GEOMETRY))


def under_cocotb(program: Path, drawn: Stream, folder: Path) -> dict[str, Beats]:
    """What passes each stream of the bench."""
    case, found = folder / "case.npz", folder / "seen.npz"
    np.savez(case, constants=drawn.words, apart=APART, settle=SETTLE, count=len(drawn.out), i=drawn.into, ready=drawn.ready,
             command=beats_of_ints((config.pack() for config in drawn.configs), LrnConfig.bits()),
             **{"allow command": drawn.slow, "allow i": drawn.allow})
    run_bench(program, "tests.sim.cocotb_unit", environment={"FIRELINE_CASE": str(case), "FIRELINE_SEEN": str(found)})
    seen = np.load(found)
    return {name: Beats(seen[f"cycle {name}"], seen[f"payload {name}"]) for name in ("command", "i", "o")}


@pytest.mark.parametrize("chances", [(1, 1, 1), (0.5, 0.1, 1), (1, 1, 0.05), (0.6, 0.2, 0.3)],
                         ids=["full rate", "gaps", "back-pressure", "both"])
def test_under_cocotb(cocotb_program, tmp_path, chances):
    drawn = Stream([(3, 7), (1, 1), (2, 30), (4, 3), (1, 5)], chances, seed=7)
    drawn.check(under_cocotb(cocotb_program, drawn, tmp_path))


def test_cocotb_notices_a_wrong_value(cocotb_program, tmp_path):
    drawn = Stream([(3, 7)], (1, 1, 1), seed=7)
    drawn.out[5, 1] ^= 1
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        drawn.check(under_cocotb(cocotb_program, drawn, tmp_path))


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
