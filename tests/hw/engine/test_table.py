# amaranth: UnusedElaboratable=no
"""The table against golden: every value, and the cycle of every vector; also under cocotb."""
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import OPTION_WORDS, Geometry
from arch.unit.table import TABLES, TableConfig
from golden.cycles.table import passed
from golden.unit.rules import UnitError
from golden.unit.table import Table as Values
from hw.engine.table import WRITES, Table
from sim.benches.run import compile_bench
from sim.verilog.native import Design, ints_of_beats
from tests.hw.engine.unit_stream import UnitStream, patterns

LANES, WORDS = 4, OPTION_WORDS["table"]
GEOMETRY = Geometry(input_lanes=LANES, output_lanes=LANES, activation_words=512, weight_words=512, options=("table",))


@pytest.fixture(scope="module")
def design() -> Design:
    return Design(Table(GEOMETRY))


def tables(rng: np.random.Generator) -> Values:
    """All tables with random entries."""
    unit = Values(GEOMETRY)
    unit.write(np.arange(WORDS), rng.integers(0, 1 << 16, (WORDS, 6)).astype(np.uint16))
    return unit


def stream(counts: list[int], chances: tuple[float, float, float], seed: int, often: float = 0.5) -> UnitStream:
    """Commands and vectors that are drawn, and what golden makes of them."""
    rng = np.random.default_rng(seed)
    unit = tables(rng)
    configs = [TableConfig(enable=int(rng.random() < often), table=int(rng.integers(TABLES)), vectors=count) for count in counts]
    into = [rng.integers(0, 256, (1, LANES, 1, count), np.uint8) for count in counts]
    out = [unit.step(config, q) for config, q in zip(configs, into, strict=True)]
    into, out = (np.concatenate([q[0, :, 0].T for q in parts]) for parts in (into, out))
    return UnitStream(passed, GEOMETRY, configs, into, out, *patterns(rng, chances), dict(enumerate(ints_of_beats(unit.words))),
                      WRITES)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.tuples(*[st.sampled_from([0.05, 0.3, 0.8, 1.0, 1.0])] * 3),
       st.integers(0, 2**32 - 1))
def test_values_and_cycles(design, counts, chances, seed):
    drawn = stream(counts, chances, seed)
    drawn.check(drawn.simulated(design))


@pytest.fixture(scope="module")
def cocotb_program() -> Path:
    return compile_bench(Table(GEOMETRY))


@pytest.mark.parametrize("chances", [(1, 1, 1), (0.5, 0.4, 1), (1, 1, 0.3), (0.6, 0.7, 0.7)],
                         ids=["full rate", "gaps", "back-pressure", "both"])
def test_under_cocotb(cocotb_program, tmp_path, chances):
    drawn = stream([37, 1, 60, 22], chances, seed=7)
    drawn.check(drawn.under_cocotb(cocotb_program, tmp_path))


def test_cocotb_notices_a_wrong_entry(cocotb_program, tmp_path):
    drawn = stream([40], (1, 1, 1), seed=3, often=1)
    drawn.check(drawn.under_cocotb(cocotb_program, tmp_path))
    word, byte = divmod(int(drawn.into[5, 1]), 256 // (WORDS // TABLES))
    drawn.constants[drawn.configs[0].constants[word]] ^= 1 << 8 * byte
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        drawn.check(drawn.under_cocotb(cocotb_program, tmp_path))


def test_every_entry_of_every_table(design):
    unit, every = tables(np.random.default_rng(1)), np.repeat(np.arange(256, dtype=np.uint8)[:, None], LANES, axis=1)
    configs = [TableConfig(enable=1, table=n, vectors=256) for n in range(TABLES)]
    always = np.ones(1, bool)
    expected = np.repeat(unit.words.reshape(-1, 1), LANES, axis=1)
    drawn = UnitStream(passed, GEOMETRY, configs, np.tile(every, (TABLES, 1)), expected, always, always, always,
                       dict(enumerate(ints_of_beats(unit.words))), WRITES)
    drawn.check(drawn.simulated(design))


def test_a_number_of_vectors_that_did_not_come():
    q = np.zeros((2, LANES, 3, 3), np.uint8)
    with pytest.raises(UnitError, match="^vectors of the table must be 18, not 17$"):
        Values(GEOMETRY).step(TableConfig(enable=0, table=0, vectors=17), q)


def test_words_that_are_read():
    assert TableConfig(enable=1, table=3, vectors=1).constants == range(96, 128)
    assert not TableConfig(enable=0, table=3, vectors=1).constants
