"""Bytes of a frame to the flash, and what comes back: each once, in order, the last one marked."""
import numpy as np
import pytest

from hw.link.exchange import LinkExchange
from tests.hw.link.link_bench import Frame, run

LATENCY = 3


@pytest.mark.parametrize("share", [0.2, 1])
def test_every_byte_is_answered(share, seed=5):
    dut, rng = LinkExchange(LATENCY), np.random.default_rng(seed)

    async def bench(ctx):
        for count in (1, 2, 7, 30):
            sent, answers = rng.integers(0, 256, (2, count)).tolist()
            frame, seen, back, due = Frame(sent, LATENCY), [], [], None
            ctx.set(dut.count, count)
            await ctx.tick()
            ctx.set(dut.start, 1)
            start = True
            while len(back) < count:
                ctx.set(dut.byte, frame.now() & 0xFF)
                ctx.set(dut.exchange.ready, bool(rng.random() < share))
                ctx.set(dut.o.ready, bool(rng.random() < share))
                ctx.set(dut.exchanged.valid, due == 0)
                if due == 0:
                    ctx.set(dut.exchanged.data, answers[len(seen) - 1])
                due = None if due in (None, 0) else due - 1
                if ctx.get(dut.exchange.valid) and ctx.get(dut.exchange.ready):
                    assert due is None
                    seen.append((frame.now(), ctx.get(dut.exchange.payload.last)))
                    due = int(rng.integers(0, 6))
                if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                    back.append((ctx.get(dut.o.payload.word), ctx.get(dut.o.payload.last)))
                moved = bool(ctx.get(dut.next))
                await ctx.tick()
                frame.tick(start, moved)
                start = False
                ctx.set(dut.start, 0)
            ends = [int(n == count - 1) for n in range(count)]
            assert seen == list(zip(sent, ends, strict=True)) and back == list(zip(answers, ends, strict=True)), f"seed {seed}"
    run(dut, bench)
