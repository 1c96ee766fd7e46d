"""What is wrong with a frame: the reference's refusal, for frames of all kinds, lengths, numbers and limits."""
from dataclasses import replace
import random

import pytest

from arch.protocol import Identity, Kind, Refusal
from host.device import Device
from host.protocol import Message, Status, pair
from hw.link.check import HEAD_WORDS, FrameCheck
from sim.link import Mirror
from tests.hw.link.link_bench import run

SIZES = (4000, 4096)            # words of storage; a power of two is compared in another way


class Flat:
    """All packed words make sense to it: the check in front of the unpacker knows of none that does not."""

    rows, wrong = (), False

    def __init__(self, words: list[int]):
        pass


def random_frame(rng: random.Random, size: int, awaited: int) -> Message:
    kind = rng.choice([*Kind, *Kind, 0, 10, 0x80])
    sequence = rng.choice([awaited, awaited, awaited, awaited - 1, awaited + 1]) % 256
    address = pair(rng.choice([0, 1, size - 1, size, size - rng.randrange(600) - 1, 1 << 24, 0xFFFFFFFF]))
    count = rng.choice([0, 1, 2, 504, 505, size, 1 << 24, 1 << 25, 0xFFFFFFFF])
    if kind == Kind.CHECKSUM and count > size:
        count = rng.choice([1, 100])
    arguments = {Kind.INFO: [1, 2], Kind.READ: [*address, count % 65536], Kind.CHECKSUM: [*address, *pair(count)],
                 Kind.START: [*address], Kind.WRITE: [*address, *range(min(count, 505))],
                 Kind.EXCHANGE: [*range(min(count, 505))],
                 Kind.PACKED: [*address, rng.choice([0, 1, 300, size, 0x2001, 0xFFFF]), *range(rng.choice([1, 3, 502, 503]))],
                 Kind.SCAN: pair(rng.choice([0, 1 << 12, 0xFFF000, 1 << 24, 1 << 31, 0x801, 0xFFF000F]))}.get(kind, [])
    if rng.random() < 0.2:
        arguments = arguments[:-1] if rng.random() < 0.5 else [*arguments, 5][:508]
    return Message.of(kind, sequence, arguments)


@pytest.mark.parametrize("size, digest", [(SIZES[0], 1), (SIZES[1], 1), (SIZES[1], 0)])
def test_refusals_are_the_references(size, digest, seed=29):
    identity = Identity(digest=digest, storage_words=size, clock_khz=100_000, name="bench", packing=True)
    dut, rng, twin = FrameCheck(identity, flash=True), random.Random(seed), Device(identity, flash=Mirror(), unpack=Flat)
    twin.status = idle = Status(running=False, finished=False, failed=False)
    twin.run = lambda address: idle
    seen: dict[int, int] = {}

    async def bench(ctx):
        before = None
        for number in range(600):
            message = random_frame(rng, size, ctx.get(dut.awaited)) if before is None or rng.random() < 0.8 else before
            twin.status = status = replace(idle, running=rng.random() < 0.15, no_window=rng.random() < 0.1)
            words = [message.kind | message.sequence << 8, *map(int, message.words)]
            awaited, reply = twin._awaited, twin.answer(message)
            expected = int(reply.words[0]) if reply.kind == 0xFF else 0
            ctx.set(dut.head, sum(word << 16 * n for n, word in enumerate((words + [rng.randrange(65536)] * 8)[:HEAD_WORDS])))
            ctx.set(dut.words, len(words) + 2)
            ctx.set(dut.busy, status.running)
            ctx.set(dut.spoilt, status.no_window)
            for _ in range(dut.LATENCY):
                await ctx.tick()
            case = f"seed {seed}, frame {number}: {message.kind} {words[:6]}, {len(words)} words"
            assert ctx.get(dut.refusal) == expected, case
            await ctx.tick()
            assert ctx.get(dut.refused) == (expected != 0), case
            seen[expected] = seen.get(expected, 0) + 1
            if not expected:
                assert message.kind == Kind.INFO or ctx.get(dut.again) == (message.sequence != awaited), case
                assert [kind for kind in Kind if ctx.get(dut.kind[kind.name.lower()])] == [message.kind], case
                ctx.set(dut.obey, 1)
                await ctx.tick()
                ctx.set(dut.obey, 0)
                before = message
    run(dut, bench)
    assert set(seen) == {0, *Refusal} - {Refusal.DAMAGED, Refusal.CODED} - (set() if digest else {Refusal.MEMORY}), seen
