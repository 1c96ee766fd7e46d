"""Comparisons in parts: what Python says of numbers of any width, a cycle later."""
from amaranth import Module, Signal
from amaranth.sim import Simulator
import numpy as np
import pytest

from hw.parts.compare import differs, exceeds


@pytest.mark.parametrize(("a_bits", "b_bits"), [(1, 1), (4, 4), (5, 9), (17, 15), (32, 32)])
def test_is_what_python_says(a_bits, b_bits, seed=2):
    m, a, b, more, other = Module(), Signal(a_bits), Signal(b_bits), Signal(), Signal()
    m.d.comb += [more.eq(exceeds(m, "more", a, b)), other.eq(differs(m, "other", a, b))]
    rng = np.random.default_rng(seed)

    async def bench(ctx):
        for _ in range(300):
            x = int(rng.integers(1 << a_bits))
            # Often the same but for a bit, so that every part decides at times.
            y = (x ^ int(rng.integers(2)) << int(rng.integers(b_bits)) if rng.random() < 0.7 else int(rng.integers(1 << b_bits)))
            y &= (1 << b_bits) - 1
            ctx.set(a, x)
            ctx.set(b, y)
            await ctx.tick()
            assert (ctx.get(more), ctx.get(other)) == (x > y, x != y), f"seed {seed}: {x}, {y}"

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
