"""Where runs end, and whether they may be: what Python says, for transfers of all kinds at the limits."""
from dataclasses import replace

from amaranth.sim import Simulator
import numpy as np
import pytest

from arch.geometry import Geometry
from arch.instruction import Opcode
from arch.transfer import places
from hw.dma.run_check import RunCheck
from hw.storage.arbiter import loads

GEOMETRY = Geometry(input_lanes=8, output_lanes=4, activation_words=1024, weight_words=512)
DECODER = replace(GEOMETRY, options=("decoder",))
WORDS, SETTLED = 100_000, 8     # of storage; cycles


@pytest.mark.parametrize("geometry, store", [(GEOMETRY, False), (GEOMETRY, True), (DECODER, False)],
                         ids=["loads", "stores", "coded loads"])
def test_is_what_python_says(geometry, store, seed=13):
    opcodes = [Opcode.STORE] if store else loads(geometry)
    dut, rng = RunCheck(geometry, opcodes, WORDS, region=store), np.random.default_rng(seed)
    memory = {Opcode.LOAD_WEIGHTS: GEOMETRY.weight_words, Opcode.LOAD_CODED: GEOMETRY.weight_words,
              Opcode.LOAD_PARAMETERS: GEOMETRY.parameter_words}
    seen = set()

    async def bench(ctx):
        for _ in range(200):
            kind = int(rng.integers(len(opcodes)))
            opcode = opcodes[kind]
            limit = memory.get(opcode, GEOMETRY.activation_words)
            words = int(rng.integers(1, limit + 1))
            chip = max(limit - words + int(rng.integers(-3, 4)), 0)
            width, channels = int(rng.integers(1, 1 << 10)), int(rng.integers(1, 5))
            pixels = opcode is Opcode.LOAD_PIXELS
            amount = (width * channels + 1) // 2 if pixels else words * places(GEOMETRY, opcode)
            if opcode is Opcode.LOAD_CODED:
                amount = int(rng.integers(3, 1 << 16))
                ctx.set(dut.block, amount)
            storage = max(WORDS - amount + int(rng.integers(-3, 4)), 0)
            low = max(storage + int(rng.integers(-2, 2)), 0)
            high = max(storage + amount + int(rng.integers(-1, 3)), 0)
            for name, value in dict(kinds=1 << kind, pixels=pixels, chip=chip, storage=storage, words=words, width=width,
                                    channels=channels, low=low, high=high).items():
                ctx.set(getattr(dut, name), value)
            for _ in range(SETTLED):
                await ctx.tick()
            end = storage + amount
            bad = (not pixels and chip + words > limit, end > WORDS or store and (storage < low or end > high))
            assert ctx.get(dut.amount) == amount and (not pixels or ctx.get(dut.odd) == width * channels % 2), f"seed {seed}"
            assert (ctx.get(dut.chip_bad), ctx.get(dut.storage_bad)) == bad, f"seed {seed}"
            seen.add((opcode, bad))

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert {bad for _, bad in seen} == {(False, False), (False, True), (True, False), (True, True)}
    assert {opcode for opcode, _ in seen} == set(opcodes)
