# amaranth: UnusedElaboratable=no
"""Packed words of a frame to storage: the golden unpacker's, in the cycles that it says, however storage makes them wait."""
import numpy as np
import pytest

from arch.packing import HEAD, Head
from golden.packing import unpack
from golden.packing_cycles import timeline
from host.packing import pack
from hw.link.unpack import LinkUnpack
from tests.hw.link.link_bench import DEADLINE, Frame, run

LATENCY = 3


def frames(rng: np.random.Generator) -> list[list[int]]:
    """Of pictures of all kinds; then the same with something wrong; and ones of noise throughout."""
    found = []
    for rows, row_words, channels in ((1, 1, 1), (2, 20, 1), (3, 3, 3), (2, 35, 3)):
        words = (np.cumsum(rng.integers(-5, 6, (rows, 2 * row_words)), 1) + 120).astype(np.uint8).view("<u2")
        found += [frame.tolist() for frame in pack(words, int(rng.integers(1 << 23)), channels)]
    found.append(pack(rng.integers(0, 1 << 16, (2, 6), dtype=np.uint16), 5, 3)[0].tolist())
    one, long, three, *_ = found
    found += [long[:-1], long[:-4], [*three, 0xFFFF], [*one[:2], 2, *one[3:]]]
    found += [[*three[:2], three[2] + more, three[3] + less, *three[4:]] for more, less in ((1, 0), (0, 1), (3, 1), (0, 7))]
    for _ in range(6):
        head = Head(address=int(rng.integers(1 << 23)), span=int(rng.integers(1, 40)), skip=int(rng.integers(0, 4)),
                    row_words=int(rng.integers(1, 10)), three=bool(rng.integers(2)))
        found.append([*head.words, *rng.integers(0, 1 << 16, int(rng.integers(1, 12))).tolist()])
    return found


def test_words_and_cycles(seed=3):
    dut, rng = LinkUnpack(24, LATENCY), np.random.default_rng(seed)
    wrongs = []

    async def bench(ctx):
        for number, arguments in enumerate(frames(rng)):
            head, expected, case = Head.of(arguments), unpack(arguments), f"seed {seed}, frame {number}"
            rooms, readies = (rng.random(DEADLINE) < (1 if number % 3 else 0.2) for _ in range(2))
            course = timeline(arguments, LATENCY, rooms.__getitem__, readies.__getitem__)
            frame, given, asked, moves, cycle = Frame(arguments[HEAD - 1:], LATENCY - 1), [], [], [], 0
            for port, value in (("address", head.address), ("span", head.span), ("skip", head.skip),
                                ("words", len(arguments) + 3)):
                ctx.set(getattr(dut, port), value)
            ctx.set(dut.start, 1)
            held = None
            while not ctx.get(dut.done):
                ctx.set(dut.data, frame.now())
                ctx.set(dut.room, bool(rooms[cycle]))
                ctx.set(dut.request.ready, bool(readies[cycle]))
                if ctx.get(dut.give):
                    given.append((cycle, held))
                    assert ctx.get(dut.word) == held, case
                held = ctx.get(dut.word)
                if ctx.get(dut.request.valid) and ctx.get(dut.request.ready):
                    payload = dut.request.payload
                    assert ctx.get(payload.write)
                    asked.append((cycle, ctx.get(payload.address), ctx.get(payload.length)))
                moved = bool(ctx.get(dut.next))
                moves += [cycle] * moved
                await ctx.tick()
                frame.tick(cycle == 0, moved)
                ctx.set(dut.start, 0)
                cycle += 1
            assert [word for _, word in given] == [word for _, row in expected.rows for word in row], case
            assert ctx.get(dut.wrong) == expected.wrong, case
            assert [at for at, _ in given] == course.given and asked == course.asked, case
            assert moves == course.moved and cycle == course.done, case
            wrongs.append(expected.wrong)
            await ctx.tick()
    run(dut, bench)
    assert 0.2 < np.mean(wrongs) < 0.9


def test_words_that_would_come_too_late():
    with pytest.raises(ValueError, match="latency must be 6 or less"):
        LinkUnpack(24, 7)
