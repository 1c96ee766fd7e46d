# amaranth: UnusedElaboratable=no
"""Primitives: the behavioural twins do what their docstrings say; sizes and refusals."""
from amaranth.hdl import Fragment
from amaranth.sim import Simulator
import numpy as np
import pytest

from hw.primitives import BlockRam, Copy, Ecp5, Multiplier, device_of
from hw.primitives.block_ram import tile_shape


def simulate(dut, bench):
    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("pipeline", [False, True])
def test_multiplier_is_signed_and_on_time(pipeline):
    dut = Multiplier(pipeline=pipeline)
    ends = [-2**17, -1, 0, 1, 2**17 - 1]
    pairs = [(a, b) for a in ends for b in ends]

    async def bench(ctx):
        for cycle in range(len(pairs) + dut.latency):
            if cycle >= dut.latency:
                a, b = pairs[cycle - dut.latency]
                assert ctx.get(dut.p) == a * b
            if cycle < len(pairs):
                ctx.set(dut.a, pairs[cycle][0])
                ctx.set(dut.b, pairs[cycle][1])
            await ctx.tick()
    assert dut.latency == 2 + pipeline
    simulate(dut, bench)


def test_copy_follows_by_one_cycle():
    dut, bits = Copy(), [1, 0, 1, 1, 0, 0, 1]

    async def bench(ctx):
        for before, bit in zip([0, *bits], bits, strict=False):
            assert ctx.get(dut.q) == before
            ctx.set(dut.d, bit)
            await ctx.tick()
    simulate(dut, bench)


@pytest.mark.parametrize(("depth", "width"), [(512, 32), (16, 36), (700, 20), (2048, 3)])
def test_block_ram_reads_what_was_written(depth, width, seed=21):
    dut, rng = BlockRam(depth=depth, width=width), np.random.default_rng(seed)
    rows, pending = {}, []

    async def bench(ctx):
        for _ in range(400):
            if len(pending) == dut.LATENCY:
                assert ctx.get(dut.r_data) == pending.pop(0), f"seed {seed}"
            w_en, w_addr, r_addr = int(rng.integers(2)), int(rng.integers(min(depth, 40))), int(rng.integers(min(depth, 40)))
            value = int(rng.integers(2**min(width, 62)))
            w_en &= w_addr != r_addr
            pending.append(rows.get(r_addr, 0))
            if w_en:
                rows[w_addr] = value
            ctx.set(dut.w_en, w_en)
            ctx.set(dut.w_addr, w_addr)
            ctx.set(dut.w_data, value)
            ctx.set(dut.r_addr, r_addr)
            await ctx.tick()
    simulate(dut, bench)


@pytest.mark.parametrize(("depth", "width", "tiles"), [
    (512, 36, 1), (512, 37, 2), (513, 18, 1), (1024, 32, 2), (2048, 9, 1), (4096, 256, 64), (8192, 128, 64), (16384, 8, 8)])
def test_block_ram_counts_its_tiles(depth, width, tiles):
    ram = BlockRam(depth=depth, width=width)
    assert ram.block_rams == tiles
    instances = [sub for sub, *_ in Fragment.get(ram, Ecp5()).subfragments]
    assert len(instances) == tiles and {instance.type for instance in instances} == {"DP16KD"}


@pytest.mark.parametrize(("depth", "shape"), [(1, (512, 36)), (512, (512, 36)), (1000, (1024, 18)), (16384, (16384, 1))])
def test_tile_is_the_widest_that_is_deep_enough(depth, shape):
    assert tile_shape(depth) == shape


@pytest.mark.parametrize(("depth", "width", "message"), [
    (0, 8, "Depth of a block RAM must be 1..16384 rows, not 0"),
    (16385, 8, "Depth of a block RAM must be 1..16384 rows, not 16385"),
    (512, 0, "Width of a block RAM must be at least 1 bit, not 0")])
def test_bad_sizes_are_refused(depth, width, message):
    with pytest.raises(ValueError, match=message):
        BlockRam(depth=depth, width=width)


@pytest.mark.parametrize("platform", [object(), "ecp5", None])
def test_a_family_without_a_record_is_refused(platform):
    name = type(platform).__name__
    with pytest.raises(ValueError, match=f"platform must be of a family of ecp5, not {name}: hw/family/device.py says"):
        device_of(platform)
