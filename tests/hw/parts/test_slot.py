# amaranth: UnusedElaboratable=no
"""Registers between streams: every payload once and in order, at their rates, and nothing combinational between the sides."""
from amaranth.sim import Simulator
import numpy as np
import pytest

from hw.parts.slot import Skid, Slot


@pytest.mark.parametrize(("unit", "cycles"), [(Slot, 2), (Skid, 1)])
@pytest.mark.parametrize("share", [0.3, 0.8, 1])
def test_payloads_pass_in_order(unit, cycles, share):
    dut, rng, count, seen, taken = unit(16), np.random.default_rng(4), 200, [], []

    async def bench(ctx):
        given = 0
        for cycle in range(2000):
            ready = bool(ctx.get(dut.i.ready))
            ctx.set(dut.i.valid, valid := bool(given < count and rng.random() < share))
            ctx.set(dut.i.payload, given)
            ctx.set(dut.o.ready, take := bool(rng.random() < share))
            assert bool(ctx.get(dut.i.ready)) is ready
            if take and ctx.get(dut.o.valid):
                seen.append(ctx.get(dut.o.payload))
                taken.append(cycle)
            await ctx.tick()
            given += ready and valid

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert seen == list(range(count))
    if share == 1:
        assert set(np.diff(taken)) == {cycles}
