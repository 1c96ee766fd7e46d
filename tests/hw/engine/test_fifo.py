# amaranth: UnusedElaboratable=no
"""The output queue: order, values and the cycle of every vector, with a producer that reserves long before it gives."""
from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
import numpy as np
import pytest

from golden.cycles.fifo import offered
from golden.cycles.streams import Readiness, depart
from hw.engine.fifo import OutputFifo
from hw.parts.credits import Credits
from hw.parts.layout import vector_layout
from sim.verilog.native import Design, ints_of_beats

LANES, DEPTH, WAY = 2, 48, 21


class Loop(wiring.Component):
    """A queue behind a pipeline of `WAY` stages that cannot wait: a beat enters when there is room for it."""

    i: In(stream.Signature(8 * LANES))
    o: Out(stream.Signature(vector_layout(LANES)))

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = OutputFifo(lanes=LANES, depth=DEPTH)
        connect(m, flipped(self.o), fifo.o)
        m.d.comb += [self.i.ready.eq(fifo.room), fifo.reserve.eq(self.i.ready & self.i.valid)]
        valid, vector = fifo.reserve, self.i.payload
        for n in range(WAY):
            stage = Signal(name=f"valid{n}"), Signal(8 * LANES, name=f"vector{n}")
            m.d.sync += [stage[0].eq(valid), stage[1].eq(vector)]
            valid, vector = stage
        m.d.comb += [fifo.i.valid.eq(valid), fifo.i.vector.eq(vector)]
        return m


@pytest.fixture(scope="module")
def design() -> Design:
    return Design(Loop())


def patterns(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    allow, ready = rng.choice([0.05, 0.3, 0.7, 1], 2)
    long = rng.random(997) < allow, rng.random(499) < ready
    return np.append(long[0], True), np.append(np.repeat(long[1], rng.choice([1, 30])), True)


@pytest.mark.parametrize("seed", range(24))
def test_every_vector_in_its_cycle(design, seed):
    allow, ready = patterns(seed)
    if seed == 0:
        allow, ready = np.ones(1, bool), np.ones(1, bool)
    values = np.random.default_rng(seed).integers(0, 1 << 8 * LANES, 700).tolist()
    with design.simulate() as sim:
        sim.feed("i", values, allow)
        sim.pattern("o__ready", ready)
        sim.run_until(beats=("o", len(values)), deadline=200_000)
        entered, left = sim.beats("i").cycle, sim.beats("o")
    assert ints_of_beats(left.payload) == values
    assert left.cycle.tolist() == depart(offered(entered + WAY), Readiness(ready)).tolist()
    # Beat i enters as soon as it is offered, its turn, and there is room.
    offer, expected = Readiness(allow), []
    for n in range(len(values)):
        cycle = int(offer.following(expected[-1] + 1 if n else 0))
        expected.append(max(cycle, int(left.cycle[n - DEPTH]) + OutputFifo.BACK if n >= DEPTH else 0))
    assert entered.tolist() == expected


@pytest.mark.parametrize("depth", [0, 513])
def test_refuses_other_depths(depth):
    with pytest.raises(ValueError, match=f"Depth of the output queue must be 1..512 vectors, not {depth}"):
        OutputFifo(lanes=2, depth=depth)


def test_credits_refuse_more_than_the_limit():
    with pytest.raises(ValueError, match="Credits must be 0..4 at first, not 5"):
        Credits(4, 5)


def test_readiness_refuses_never():
    with pytest.raises(ValueError, match="a pattern must be ready in some cycle"):
        Readiness(np.zeros(3, bool))
