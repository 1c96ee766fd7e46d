"""The checksum of words: zlib's, however slowly they come."""
from zlib import crc32

import numpy as np
import pytest

from hw.link.checksum import LinkChecksum
from tests.hw.link.link_bench import run


@pytest.mark.parametrize("share", [0.2, 1])
def test_is_zlibs(share, seed=17):
    dut, rng = LinkChecksum(), np.random.default_rng(seed)
    counts, cycles = [1, 2, 3, 40, 1, 9], []

    async def bench(ctx):
        for count in counts:
            words = rng.integers(0, 1 << 16, count, dtype=np.uint16)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            taken, done, cycle = 0, False, 0
            while not done:
                valid = taken < count and rng.random() < share
                ctx.set(dut.i.valid, valid)
                ctx.set(dut.i.payload.word, int(words[min(taken, count - 1)]))
                ctx.set(dut.i.payload.last, taken == count - 1)
                while valid:                                # an offered word stays until it is taken
                    cycle, done, valid = cycle + 1, done or ctx.get(dut.done), not ctx.get(dut.i.ready)
                    await ctx.tick()
                    taken += not valid
                ctx.set(dut.i.valid, 0)
                if share < 1 or taken == count:
                    cycle, done = cycle + 1, done or ctx.get(dut.done)
                    await ctx.tick()
            cycles.append(cycle)
            await ctx.tick()
            assert ctx.get(dut.crc) == crc32(words.tobytes()), f"seed {seed}"
    run(dut, bench)
    if share == 1:
        assert cycles == [3 * count for count in counts]
