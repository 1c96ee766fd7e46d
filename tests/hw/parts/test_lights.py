"""Lights: what blinks and how fast, and how long an event is seen."""
from amaranth.sim import Simulator
import pytest

from hw.family.heartbeat import Heartbeat
from hw.parts.lights import Lights


def run(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("clock_hz, slow", [(25, 32), (50, 64), (100, 128)])
def test_a_heart_beats_faster_once_the_clock_is_steady(clock_hz, slow):
    dut, periods = Heartbeat(clock_hz), []

    async def bench(ctx):
        for steady in (0, 1):
            ctx.set(dut.steady, steady)
            await ctx.tick().repeat(slow)
            edges, before = [], ctx.get(dut.alive)
            for cycle in range(4 * slow):
                await ctx.tick()
                if ctx.get(dut.alive) != before:
                    edges.append(cycle)
                before = ctx.get(dut.alive)
            periods.append({after - one for one, after in zip(edges, edges[2:], strict=False)})
    run(dut, bench)
    assert periods == [{slow}, {slow // 8}]


def test_an_event_is_seen_for_two_to_three_ticks():
    dut = Lights(2, tick_bits=3)

    async def bench(ctx):
        for offset in range(8):
            await ctx.tick().repeat(40 + offset)
            assert ctx.get(dut.on) == 0
            ctx.set(dut.events, 0b10)
            await ctx.tick()
            ctx.set(dut.events, 0)
            seen = 0
            for _ in range(60):
                await ctx.tick()
                assert not ctx.get(dut.on) & 1
                seen += ctx.get(dut.on) >> 1
            assert 16 < seen <= 24, offset
        ctx.set(dut.events, 0b01)                       # one after the other: never dark
        await ctx.tick().repeat(2)
        for _ in range(100):
            await ctx.tick()
            assert ctx.get(dut.on) == 0b01
    run(dut, bench)
