from collections import deque
from dataclasses import replace
import random

from amaranth.sim import Simulator
import pytest

from arch import pipeline
from arch.geometry import Geometry
from arch.record import ADDRESS
from arch.unit.window import WindowConfig
from hw.engine.window import WindowGenerator

GEOMETRY = Geometry(input_lanes=4, output_lanes=4, activation_words=2048, weight_words=512, band_pixels=64)


def draw(rng: random.Random) -> WindowConfig:
    """A convolution's band anywhere in a ring of rows."""
    kernel_y, kernel_x = rng.choice([(1, 1), (3, 3), (rng.randint(1, 11), rng.randint(1, 5))])
    stride_y, stride_x = rng.randint(1, 4), rng.randint(1, 4)
    rows, columns = rng.choice([(1, 1), (rng.randint(1, 4), rng.randint(1, 6))])
    blocks, output_blocks = rng.randint(1, 3), rng.randint(1, 2)
    pixel_words, width = blocks + rng.randint(0, 1), rng.randint(1, 20)
    ring_rows, row_words = rng.randint(1, 8), pixel_words * width
    base, first_row, left = rng.randint(0, 100), rng.randint(-10, 30), rng.randint(0, 10)
    return WindowConfig(
        start=(base - left * pixel_words) % (1 << ADDRESS), first_row=first_row, first_column=-left,
        row_start=first_row % ring_rows * row_words, row_words=row_words if ring_rows > 1 else 0,
        row_step=stride_y % ring_rows * row_words, ring_words=ring_rows * row_words, pixel_words=pixel_words,
        column_step=stride_x * pixel_words, height=rng.randint(1, 40), width=width, kernel_y=kernel_y, kernel_x=kernel_x,
        stride_y=stride_y, stride_x=stride_x, blocks=blocks, output_blocks=output_blocks, rows=rows, columns=columns,
        zero_point=rng.randint(0, 255))


def beats(c: WindowConfig):
    """(address or None for padding, swap, emit_start, first, last, pixel, zero point) of each beat, in order."""
    base = c.start - c.first_column * c.pixel_words
    ring_rows = c.ring_words // c.row_words if c.row_words else 1
    for _ in range(c.output_blocks):
        for n in range(c.passes):
            ky, kx, block = n // c.blocks // c.kernel_x, n // c.blocks % c.kernel_x, n % c.blocks
            for pixel in range(c.pixels):
                y = c.first_row + pixel // c.columns * c.stride_y + ky
                x = c.first_column + pixel % c.columns * c.stride_x + kx
                inside = 0 <= y < c.height and 0 <= x < c.width
                address = (base + y % ring_rows * c.row_words + x * c.pixel_words + block) % GEOMETRY.activation_words
                last = n == c.passes - 1
                yield (address if inside else None, pixel == 0, pixel == 0 and last, n == 0, last, pixel, c.zero_point)


@pytest.mark.parametrize("density", [1.0, 0.5, 0.1])
def test_beats_in_order_within_grant_and_room(density):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    configs = [c for c in (draw(rng) for _ in range(30)) if c.passes * c.pixels * c.output_blocks < 2000 * density + 100]
    want = [beat for c in configs for beat in beats(c)]
    got, seen = [], {}
    dut = WindowGenerator(GEOMETRY)

    async def feed(ctx):
        for c in configs:
            ctx.set(dut.config.payload, type(dut.config.payload).shape(dut.config.payload).from_bits(c.pack()))
            ctx.set(dut.config.valid, 1)
            await ctx.tick().until(dut.config.ready)
            ctx.set(dut.config.valid, 0)

    async def watch(ctx):
        ctx.set(dut.weights_ready, 1)
        ctx.set(dut.parameters_ready, 1)
        granted = deque([(0, 0)] * pipeline.WINDOW)           # of the cycles between a beat's and now
        cycle = 0
        while len(got) < len(want):
            issue = ctx.get(dut.issue)
            if issue.valid:
                inside = issue.row and issue.column
                got.append((ctx.get(dut.address) if inside else None, issue.swap, issue.emit_start, issue.first, issue.last,
                            issue.addr, issue.zero_point))
                assert got[-1] == want[len(got) - 1], f"beat {len(got) - 1}, seed {seed}"
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
            cycle += 1
            assert cycle < 200 * len(want) + 1000
            await ctx.tick()
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(dut.issue.valid)
        assert not ctx.get(dut.busy)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(feed)
    sim.add_testbench(watch)
    sim.run()


def test_nothing_starts_without_weights_or_parameters():
    config = replace(draw(random.Random(1)), kernel_y=1, kernel_x=1, blocks=2, output_blocks=1)
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
