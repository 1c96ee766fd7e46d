"""Counts of what comes over the line: every event once, and no further than to the end."""
from amaranth.sim import Simulator
import pytest

from arch.protocol import LINE_COUNTS
from hw.link.line import LineCounts


@pytest.mark.parametrize("most", [5, 0xFFFF])
def test_events_are_counted_up_to_the_most(most):
    dut = LineCounts(most)

    async def bench(ctx):
        wanted = [0] * len(LINE_COUNTS)
        for step in range(120):
            events = (0b1111, 0b0101, 0b1010, 0b0001, 0b1000)[step % 5]
            ctx.set(dut.events, events)
            await ctx.tick()
            ctx.set(dut.events, 0)
            await ctx.tick()
            wanted = [count + (events >> n & 1) for n, count in enumerate(wanted)]
            assert [ctx.get(count) for count in dut.counts] == [min(count, most) for count in wanted]
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
