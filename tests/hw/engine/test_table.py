# amaranth: UnusedElaboratable=no
"""The table against golden: every value, and the cycle of every vector; also under cocotb."""
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import OPTION_WORDS, Geometry
from arch.unit.table import TABLES, TableConfig
from golden.cycles.streams import Readiness
from golden.cycles.table import passed
from golden.unit.rules import UnitError
from golden.unit.table import Table as Values
from hw.engine.table import WRITES, Table
from sim.benches.run import compile_bench, run_bench
from sim.verilog.native import Beats, Design, beats_of_ints

LANES, WORDS = 4, OPTION_WORDS["table"]
SETTLE = 3                  # cycles from the last word that is written to the first command
GEOMETRY = Geometry(input_lanes=LANES, output_lanes=LANES, activation_words=512, weight_words=512, options=("table",))


@pytest.fixture(scope="module")
def design() -> Design:
    return Design(Table(GEOMETRY))


def tables(rng: np.random.Generator) -> Values:
    """All tables with random entries."""
    unit = Values(GEOMETRY)
    unit.write(np.arange(WORDS), rng.integers(0, 1 << 16, (WORDS, 6)).astype(np.uint16))
    return unit


def load(sim, unit: Values) -> None:
    """Writes all tables through the port, a word every `WRITES` cycles."""
    for word, entries in enumerate(unit.words):
        for name, value in (("addr", word), ("data", int.from_bytes(entries.tobytes(), "little")), ("en", 1)):
            sim.set(f"constants__{name}", value)
        sim.step()
        sim.set("constants__en", 0)
        sim.step(WRITES - 1)
    sim.step(SETTLE)


class Stream:
    """Commands and vectors that are drawn, patterns for who offers and takes them, and what golden makes of all."""

    def __init__(self, counts: list[int], chances: tuple[float, float, float], seed: int):
        rng = np.random.default_rng(seed)
        self.unit = tables(rng)
        self.configs = [TableConfig(enable=int(rng.integers(2)), table=int(rng.integers(TABLES)), vectors=count)
                        for count in counts]
        into = [rng.integers(0, 256, (1, LANES, 1, count), np.uint8) for count in counts]
        out = [self.unit.step(config, q) for config, q in zip(self.configs, into, strict=True)]
        self.into, self.out = (np.concatenate([q[0, :, 0].T for q in parts]) for parts in (into, out))
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


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.tuples(*[st.sampled_from([0.05, 0.3, 0.8, 1.0, 1.0])] * 3),
       st.integers(0, 2**32 - 1))
def test_values_and_cycles(design, counts, chances, seed):
    drawn = Stream(counts, chances, seed)
    with design.simulate() as sim:
        load(sim, drawn.unit)
        origin = sim.cycle
        sim.feed("command", [config.pack() for config in drawn.configs], np.roll(drawn.slow, origin))
        sim.feed("i", drawn.into, np.roll(drawn.allow, origin))
        sim.pattern("o__ready", np.roll(drawn.ready, origin))
        sim.run_until(beats=("o", len(drawn.out)), deadline=100_000)
        sim.run_until(drained="command", deadline=100_000)
        sim.step(60)
        seen = {name: sim.beats(name) for name in ("command", "i", "o")}
    for beats in seen.values():
        beats.cycle -= origin
    drawn.check(seen)


@pytest.fixture(scope="module")
def cocotb_program() -> Path:
    return compile_bench(Table(GEOMETRY))


def under_cocotb(program: Path, drawn: Stream, folder: Path) -> dict[str, Beats]:
    """What passes each stream of the bench."""
    case, found = folder / "case.npz", folder / "seen.npz"
    np.savez(case, constants=drawn.unit.words, apart=WRITES, settle=SETTLE, count=len(drawn.out), i=drawn.into, ready=drawn.ready,
             command=beats_of_ints((config.pack() for config in drawn.configs), TableConfig.bits()),
             **{"allow command": drawn.slow, "allow i": drawn.allow})
    run_bench(program, "tests.sim.cocotb_unit", environment={"FIRELINE_CASE": str(case), "FIRELINE_SEEN": str(found)})
    seen = np.load(found)
    return {name: Beats(seen[f"cycle {name}"], seen[f"payload {name}"]) for name in ("command", "i", "o")}


@pytest.mark.parametrize("chances", [(1, 1, 1), (0.5, 0.4, 1), (1, 1, 0.3), (0.6, 0.7, 0.7)],
                         ids=["full rate", "gaps", "back-pressure", "both"])
def test_under_cocotb(cocotb_program, tmp_path, chances):
    drawn = Stream([37, 1, 60, 22], chances, seed=7)
    drawn.check(under_cocotb(cocotb_program, drawn, tmp_path))


def test_cocotb_notices_a_wrong_entry(cocotb_program, tmp_path):
    drawn = Stream([40], (1, 1, 1), seed=3)
    drawn.configs, drawn.out = [TableConfig(enable=1, table=2, vectors=40)], drawn.unit.words[64:96].reshape(-1)[drawn.into]
    drawn.check(under_cocotb(cocotb_program, drawn, tmp_path))
    drawn.unit.words[64:96].reshape(-1)[drawn.into[5, 1]] ^= 1
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        drawn.check(under_cocotb(cocotb_program, drawn, tmp_path))


def test_every_entry_of_every_table(design):
    unit, every = tables(np.random.default_rng(1)), np.repeat(np.arange(256, dtype=np.uint8)[:, None], LANES, axis=1)
    with design.simulate() as sim:
        load(sim, unit)
        sim.feed("command", [TableConfig(enable=1, table=n, vectors=256).pack() for n in range(TABLES)])
        sim.feed("i", np.tile(every, (TABLES, 1)))
        sim.run_until(beats=("o", 256 * TABLES), deadline=10_000)
        np.testing.assert_array_equal(sim.beats("o").payload, np.repeat(unit.words.reshape(-1, 1), LANES, axis=1))


def test_a_number_of_vectors_that_did_not_come():
    q = np.zeros((2, LANES, 3, 3), np.uint8)
    with pytest.raises(UnitError, match="^vectors of the table must be 18, not 17$"):
        Values(GEOMETRY).step(TableConfig(enable=0, table=0, vectors=17), q)


def test_words_that_are_read():
    assert TableConfig(enable=1, table=3, vectors=1).constants == range(96, 128)
    assert not TableConfig(enable=0, table=3, vectors=1).constants
