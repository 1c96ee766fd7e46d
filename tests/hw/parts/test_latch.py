"""Taking a record: all of it, in the cycles that it is told, and nothing else."""
from amaranth import Module, Signal
from amaranth.lib import data
from amaranth.sim import Simulator
import numpy as np
import pytest

from hw.parts.latch import taken_when, taken_while_idle


@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.parametrize("bits", [1, 36, 37, 100])
def test_takes_when_told(bits, idle, seed=6):
    m, layout = Module(), data.StructLayout({"value": bits})
    command, enable = Signal(layout), Signal()
    held = (taken_while_idle if idle else taken_when)(m, command, enable)
    rng = np.random.default_rng(seed)

    async def bench(ctx):
        expected, takes = 0, idle                           # an idle unit takes in its first cycle too
        for _ in range(100):
            value = int.from_bytes(rng.bytes(16), "little") % (1 << bits)
            ctx.set(command.value, value)
            ctx.set(enable, following := bool(rng.integers(2)))
            assert ctx.get(held.value) == expected, f"seed {seed}"
            await ctx.tick()
            expected, takes = value if takes else expected, following

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
