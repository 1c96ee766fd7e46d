"""Replies: a header, and then every word of a table or a stream, once and in order, the last one marked."""
import numpy as np
import pytest

from hw.link.reply import Body, LinkReply
from hw.link.words import LENGTHS, LinkWords
from tests.hw.link.link_bench import run

HEADER = 0x8123
KINDS = list(LENGTHS)


def word_of(table: int, place: int) -> int:
    return table << 8 | place


@pytest.mark.parametrize("share", [0.2, 1])
def test_all_words_of_all_replies(share, seed=8):
    dut, rng = LinkReply(), np.random.default_rng(seed)
    cases = [(Body.TABLE, n, LENGTHS[name]) for n, name in enumerate(KINDS)]
    cases += [(body, 0, count) for body in (Body.READ, Body.EXCHANGE) for count in (1, 2, 9)]

    async def bench(ctx):
        places = [0] * LinkWords.LATENCY                    # the place of each of the last cycles
        for number in rng.permutation(len(cases)):
            body, table, count = cases[number]
            words = [word_of(table, n) for n in range(count)] if body is Body.TABLE else rng.integers(0, 1 << 16, count).tolist()
            stream = dut.exchange if body is Body.EXCHANGE else dut.read
            seen, begun, done, taken, waits = [], 0, False, 0, 8
            ctx.set(dut.header, HEADER)
            ctx.set(dut.body, body)
            ctx.set(dut.table, table)
            await ctx.tick()
            ctx.set(dut.start, 1)
            ready = False
            while not done:
                ready = ready or bool(rng.random() < share)         # stays until something is taken
                ctx.set(dut.o.ready, ready)
                ctx.set(dut.word, word_of(table, places[0]))
                waits -= begun and waits > 0
                offers = body is not Body.TABLE and taken < count and not waits
                ctx.set(stream.valid, offers)
                if offers:
                    ctx.set(stream.payload.word, words[taken])
                    ctx.set(stream.payload.last, taken == count - 1)
                left = ctx.get(dut.o.valid) and ready
                if left:
                    seen.append((ctx.get(dut.o.payload.word), ctx.get(dut.o.payload.last)))
                begun += ctx.get(dut.begun)
                done = bool(ctx.get(dut.done))
                if offers and ctx.get(stream.ready):
                    taken, waits = taken + 1, 0 if share == 1 else int(rng.integers(0, 5))
                places = [*places[1:], ctx.get(dut.place)]
                await ctx.tick()
                ready = ready and not left
                ctx.set(dut.start, 0)
            ctx.set(stream.valid, 0)
            assert seen == [(word, int(n == count)) for n, word in enumerate([HEADER, *words])], f"seed {seed}, {body} {table}"
            assert begun == 1 and (body is Body.TABLE or taken == count)
    run(dut, bench)
