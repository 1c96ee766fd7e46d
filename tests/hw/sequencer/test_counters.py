"""Counters in distributed RAM: whole counts, whatever is counted and whichever is asked for."""
import numpy as np
import pytest

from hw.sequencer.counters import SETTLED, Counters
from sim.verilog.native import Design

MANY = 12


@pytest.fixture(scope="module")
def design() -> Design:
    return Design(Counters(MANY))


def count(sim, rng: np.random.Generator, cycles: int) -> np.ndarray:
    """Lets each condition be true with a probability of its own; how often each was."""
    conditions = rng.random((cycles, MANY)) < rng.permutation([0, 1, *rng.random(MANY - 2)])
    for row in conditions:
        sim.set("i", int(sum(1 << n for n in np.flatnonzero(row))))
        sim.step()
    sim.set("i", 0)
    return conditions.sum(0)


def counts(sim) -> list[int]:
    found = []
    for n in range(MANY):
        sim.set("index", n)
        sim.step()
        found.append(sim.get("o"))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_counts(design, seed):
    rng = np.random.default_rng(seed)
    with design.simulate() as sim:
        for _ in range(3):
            expected = count(sim, rng, int(rng.integers(1, 400)))
            sim.step(MANY + SETTLED - 1)
            assert counts(sim) == expected.tolist(), f"seed {seed}"
            expected += count(sim, rng, int(rng.integers(1, 400)))
            sim.step(MANY + SETTLED - 1)
            assert counts(sim) == expected.tolist(), f"seed {seed}"
            sim.set("rst", 1)
            sim.step(int(rng.integers(1, 5)))
            sim.set("rst", 0)


def test_large_counts(design):
    with design.simulate() as sim:
        sim.set("i", (1 << MANY) - 1)
        sim.step(70_000)
        sim.set("i", 0)
        sim.step(MANY + SETTLED - 1)
        assert counts(sim) == [70_000] * MANY
