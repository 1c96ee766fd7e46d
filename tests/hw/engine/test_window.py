from collections import deque
from dataclasses import replace
from functools import partial
import random

from amaranth import ClockDomain, Module
from amaranth.sim import Simulator
import pytest

from arch import pipeline
from arch.geometry import Geometry
from arch.record import ADDRESS
from arch.unit.window import WindowConfig
from hw.engine.window import WindowGenerator
from tests.hw.engine.windows import beats, draw

GEOMETRY = Geometry(input_lanes=4, output_lanes=4, activation_words=2048, weight_words=512, band_pixels=64)


def drawn(rng: random.Random, most: float, carry: bool = False) -> list[WindowConfig]:
    """Commands of at most so many beats each."""
    return [c for c in (draw(rng, carry) for _ in range(30)) if c.passes * c.pixels * c.output_blocks < most]


async def feed(ctx, dut, configs):
    for c in configs:
        ctx.set(dut.config.payload, type(dut.config.payload).shape(dut.config.payload).from_bits(c.pack()))
        ctx.set(dut.config.valid, 1)
        await ctx.tick().until(dut.config.ready)
        ctx.set(dut.config.valid, 0)


async def watch(ctx, dut, configs, rng: random.Random, density: float, note: str):
    """Holds the beats against those of the commands; grant and room come in a share `density` of the cycles, weights and
    parameters as long after the last ones were used up."""
    want, got, seen = [beat for c in configs for beat in beats(c)], 0, {}
    granted = deque([(0, 0)] * pipeline.WINDOW)           # of the cycles between a beat's and now
    cycle = 0
    while got < len(want):
        issue = ctx.get(dut.issue)
        if issue.valid:
            address = ctx.get(dut.address) if issue.row and issue.column else None
            expected = want[got]
            if expected.address is not None:
                expected = expected._replace(address=expected.address % dut.geometry.activation_words)
            assert (address, issue.swap, issue.emit_start, issue.first, issue.last, issue.addr,
                    issue.zero_point) == expected, f"beat {got}, {note}"
            got += 1
            assert granted[0][0] and (granted[1][1] or not issue.last)
            assert cycle - seen.get(issue.addr, -99) >= pipeline.MIN_REVISIT
            seen[issue.addr] = cycle
        else:
            assert not issue.swap and not issue.emit_start
        allowed, room = rng.random() < density, rng.random() < density
        granted.append((allowed, room))
        granted.popleft()
        ctx.set(dut.read_grant, allowed)
        ctx.set(dut.room, room)
        # What is issued in a cycle reserves its place in the next one, if there is room then.
        assert ctx.get(dut.reserve) <= (granted[-2][0] and room)
        for ready, used in ((dut.weights_ready, dut.pass_start), (dut.parameters_ready, dut.block_start)):
            ctx.set(ready, not ctx.get(used) and (ctx.get(ready) or rng.random() < density))
        cycle += 1
        assert cycle < 200 * len(want) + 1000, note
        await ctx.tick()
    for _ in range(20):
        await ctx.tick()
        assert not ctx.get(dut.issue.valid)
    assert not ctx.get(dut.busy)


@pytest.mark.parametrize("carry", [False, True], ids=["plain", "carry"])
@pytest.mark.parametrize(("density", "words"), [(1.0, 1 << ADDRESS), (0.5, 2048), (0.1, 1 << ADDRESS)])
def test_beats_in_order_within_grant_and_room(density, words, carry):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    configs = drawn(rng, 2000 * density + 100, carry)
    dut = WindowGenerator(replace(GEOMETRY, activation_words=words, options=("carry",) * carry))
    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(partial(feed, dut=dut, configs=configs))
    sim.add_testbench(partial(watch, dut=dut, configs=configs, rng=rng, density=density, note=f"seed {seed}"))
    sim.run()


def test_reset_drops_the_command_in_progress():
    """In any cycle of it, and what was worked out ahead for its next pass or output block, too."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    m = Module()
    m.domains.sync = domain = ClockDomain()
    m.submodules.dut = dut = WindowGenerator(GEOMETRY)

    async def bench(ctx):
        for port in (dut.read_grant, dut.room, dut.weights_ready, dut.parameters_ready):
            ctx.set(port, 1)
        for n in range(40):
            dropped, following = drawn(rng, 60), drawn(rng, 60)[:2]
            for c in dropped[:3]:
                ctx.set(dut.config.payload, type(dut.config.payload).shape(dut.config.payload).from_bits(c.pack()))
                ctx.set(dut.config.valid, 1)
                await ctx.tick().repeat(rng.randint(1, 25))
                ctx.set(dut.config.valid, 0)
            ctx.set(domain.rst, 1)
            for _ in range(rng.randint(1, 3)):
                await ctx.tick()
            ctx.set(domain.rst, 0)
            ctx.set(dut.config.valid, 0)
            # The commands behind it, one after the other.
            for c in following:
                await feed(ctx, dut, [c])
                await watch(ctx, dut, [c], rng, 1.0, f"reset {n}, seed {seed}")

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


def test_nothing_starts_without_weights_or_parameters():
    config = replace(draw(random.Random(1), carry=False), kernel_y=1, kernel_x=1, blocks=2, output_blocks=1)
    dut = WindowGenerator(GEOMETRY)
    want = 2 * config.pixels

    async def bench(ctx):
        for port in (dut.read_grant, dut.room, dut.config.valid):
            ctx.set(port, 1)
        ctx.set(dut.config.payload, type(dut.config.payload).shape(dut.config.payload).from_bits(config.pack()))
        issued, starts = 0, []
        for cycle in range(300):
            if cycle == 1:
                ctx.set(dut.config.valid, 0)
            ctx.set(dut.weights_ready, cycle in (50, 100))
            ctx.set(dut.parameters_ready, cycle >= 150 or cycle == 50)
            if cycle == 200:
                ctx.set(dut.weights_ready, 1)
            issued += ctx.get(dut.issue.valid)
            if ctx.get(dut.pass_start):
                starts.append((cycle, ctx.get(dut.block_start)))
            await ctx.tick()
        # A register shows the weights, the next one that the pass may start, pass_start that it does. The last pass wants both
        # at once.
        assert starts == [(53, 0), (203, 1)]
        assert issued == want

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
