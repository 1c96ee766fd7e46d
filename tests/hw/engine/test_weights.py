# amaranth: UnusedElaboratable=no
import random

from amaranth.sim import Simulator
import pytest

from arch import pipeline
from arch.geometry import Geometry
from arch.unit.load import LoadConfig
from arch.unit.requantise import RequantiseConfig
from hw.engine.weights import GroupReader, ParameterLoader, WeightLoader

GEOMETRY = Geometry(input_lanes=4, output_lanes=4, activation_words=512, weight_words=512)


@pytest.mark.parametrize("soon, free_after, message", [
    (2, 5, r"^soon must be 0\.\.1 words, not 2$"), (0, 2, "^free_after must be at least 3 cycles, not 2$")])
def test_group_reader_refuses(soon, free_after, message):
    with pytest.raises(ValueError, match=message):
        GroupReader(words=2, soon=soon, free_after=free_after)


def simulate(dut, *benches):
    sim = Simulator(dut)
    sim.add_clock(1e-8)
    for bench in benches:
        sim.add_testbench(bench)
    sim.run()


def fill(rng, count, bits):
    return [rng.getrandbits(bits) for _ in range(count)]


async def write(ctx, dut, prefix, words):
    for address, word in enumerate(words):
        ctx.set(getattr(dut, f"{prefix}_addr"), address)
        data = getattr(dut, f"{prefix}_data")
        ctx.set(data.as_value(), word)
        ctx.set(getattr(dut, f"{prefix}_en"), 1)
        await ctx.tick()
    ctx.set(getattr(dut, f"{prefix}_en"), 0)


class Consumer:
    """Uses groups as the window generator and the registers behind the loader do, and watches the loader's promises."""

    def __init__(self, dut, rng, want, *, start, used, words, free_after, latency):
        self.dut, self.rng, self.want = dut, rng, want
        self.start, self.used, self.words = start, used, words      # ports; what is loaded
        self.free_after, self.latency = free_after, latency

    async def run(self, ctx):
        dut, seen, uses, cycle = self.dut, 0, [-99], 0
        plan = None                 # (start, use) of the group that is ready
        while seen < len(self.want) or plan:
            if ctx.get(dut.load_valid):
                assert self.words(ctx) == self.want[seen], f"word {seen}"
                group, word = divmod(seen, GEOMETRY.pairs)
                if word == 0:
                    assert cycle - self.latency >= uses[group] + self.free_after
                seen += 1
            if plan is None and ctx.get(dut.ready):
                start = cycle + self.rng.randint(1, 5)
                plan = start, start + self.rng.randint(2, 6)
            ctx.set(self.start, plan is not None and cycle == plan[0])
            ctx.set(self.used, plan is not None and cycle == plan[1])
            if plan and plan[0] < cycle:
                assert not ctx.get(dut.ready)
            if plan and plan[1] == cycle:
                uses.append(cycle)
                plan = None
                await ctx.tick()
                cycle += 1
                ctx.set(self.start, 0)
                ctx.set(self.used, 0)
                continue
            await ctx.tick()
            cycle += 1
            assert cycle < 20000, "no end"


async def offer(ctx, stream, words):
    for word in words:
        ctx.set(stream.payload, stream.payload.shape().from_bits(word))
        ctx.set(stream.valid, 1)
        await ctx.tick().until(stream.ready)
        ctx.set(stream.valid, 0)


def test_weights_and_biases_in_order_of_passes():
    """Weights go on and on, round the end of the memory; biases repeat in each pass of a block. Each group waits for its turn."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    pairs, depth = GEOMETRY.pairs, 512
    weights, biases = fill(rng, depth, 64), fill(rng, depth, 64)
    commands = [LoadConfig(weights=rng.choice([0, depth - 5]), parameters=rng.choice([3, depth - 2]),
                           passes=rng.randint(1, 4), output_blocks=rng.randint(1, 3)) for _ in range(5)]
    want = []
    for c in commands:
        for n in range(c.passes * c.output_blocks * pairs):
            block, word = n // (c.passes * pairs), n % pairs
            want.append((weights[(c.weights + n) % depth], biases[(c.parameters + block * pairs + word) % depth]))
    dut = WeightLoader(GEOMETRY)

    async def feed(ctx):
        await write(ctx, dut, "w", weights)
        await write(ctx, dut, "b", biases)
        await offer(ctx, dut.config, [c.pack() for c in commands])

    simulate(dut, feed, Consumer(
        dut, rng, want, start=dut.pass_start, used=dut.swap, free_after=pipeline.weights_free_after(GEOMETRY),
        words=lambda ctx: (ctx.get(dut.weights.as_value()), ctx.get(dut.biases.as_value())), latency=pipeline.WEIGHT_READ).run)


def test_scales_in_order_of_blocks_with_their_command_s_rule():
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    pairs, depth = GEOMETRY.pairs, 512
    scales = fill(rng, depth, 28)
    commands = [(LoadConfig(weights=0, parameters=rng.choice([3, depth - 3]), passes=1, output_blocks=rng.randint(1, 3)),
                 RequantiseConfig(zero_point=rng.randrange(256), low=n, high=255)) for n in range(5)]
    want = [(scales[(load.parameters + n) % depth], rule.pack())
            for load, rule in commands for n in range(load.output_blocks * pairs)]
    dut = ParameterLoader(GEOMETRY)
    rules = []

    def words(ctx):
        rules.append(ctx.get(dut.rule.as_value()))      # of the block before, while its first word is loaded
        if len(rules) % pairs == 1:
            assert len(rules) == 1 or rules[-1] == want[len(rules) - 2][1]
            return ctx.get(dut.scales.as_value()), want[len(rules) - 1][1]
        return ctx.get(dut.scales.as_value()), rules[-1]

    async def feed(ctx):
        await write(ctx, dut, "w", scales)
        await offer(ctx, dut.config, [load.pack() | rule.pack() << load.bits() for load, rule in commands])

    simulate(dut, feed, Consumer(
        dut, rng, want, start=dut.block_start, used=dut.emit_start, free_after=pipeline.parameters_free_after(GEOMETRY),
        words=words, latency=pipeline.PARAMETER_READ).run)
