"""Words of a frame to storage: each once, in order, before its room is asked for."""
import numpy as np
import pytest

from hw.link.write import LinkWrite
from hw.parts.queue import Queue
from tests.hw.link.link_bench import Frame, run

LATENCY = 3


@pytest.mark.parametrize("share", [0.2, 1])
def test_words_and_requests(share, seed=3):
    dut, rng = LinkWrite(24, LATENCY), np.random.default_rng(seed)

    async def bench(ctx):
        for count in (1, 2, 15, 16, 17, 33, 50):
            words, address = rng.integers(0, 1 << 16, count).tolist(), int(rng.integers(1 << 24))
            frame, given, requests, done = Frame(words, LATENCY), [], [], False
            ctx.set(dut.address, address)
            ctx.set(dut.count, count)
            await ctx.tick()
            ctx.set(dut.start, 1)
            start = True
            while not done:
                ctx.set(dut.room, bool(rng.random() < share))
                ctx.set(dut.request.ready, bool(rng.random() < share))
                if ctx.get(dut.give):
                    given.append(frame.now())
                if ctx.get(dut.request.valid) and ctx.get(dut.request.ready):
                    payload = dut.request.payload
                    assert ctx.get(payload.write)
                    requests.append((ctx.get(payload.address), ctx.get(payload.length)))
                    assert sum(length for _, length in requests) == len(given)
                done, moved = bool(ctx.get(dut.done)), bool(ctx.get(dut.next))
                assert moved == bool(ctx.get(dut.give))
                await ctx.tick()
                frame.tick(start, moved)
                start = False
                ctx.set(dut.start, 0)
            assert given == words, f"seed {seed}"
            assert requests == [(address + low & 0xFFFFFF, min(Queue.PLACES, count - low))
                                for low in range(0, count, Queue.PLACES)]
    run(dut, bench)
