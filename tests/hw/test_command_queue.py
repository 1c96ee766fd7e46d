"""A command queue alone: records as packed, tokens, places, whatever the taker does."""
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
import numpy as np
import pytest

from arch import control
from arch.instruction import QUEUE_OF, QUEUES, Instruction, Opcode, Waits, encode
from hw.command_queue import TOKENS, CommandQueue, queue_layout, word_layout
from hw.tokens import Tokens
from sim.native import Design, ints_of_beats
from sim.rtl import Boundary
from tests.hw.instructions import GEOMETRY, body, payload


class Top(wiring.Component):
    """The queue, written by a stream that keeps count of its places."""

    def __init__(self, queue: str):
        self.queue = CommandQueue(queue)
        super().__init__({"words": In(stream.Signature(word_layout())), "o": Out(stream.Signature(queue_layout(queue))),
                          "tokens": In(data.ArrayLayout(TOKENS, len(QUEUES))), "halt": In(1), "waiting": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = self.queue
        m.submodules.places = places = Tokens(control.QUEUE_WORDS, control.QUEUE_WORDS)
        taken = Signal()
        connect(m, queue.o, flipped(self.o))
        m.d.comb += [self.words.ready.eq(places.any), taken.eq(self.words.valid & places.any), places.take.eq(taken),
                     places.give.eq(queue.leaves), queue.w_en.eq(taken), queue.w_data.eq(self.words.payload),
                     queue.tokens.eq(self.tokens), queue.halt.eq(self.halt), self.waiting.eq(queue.waiting)]
        return m

    def probes(self) -> dict[str, Boundary]:
        return {"offered": Boundary(self.queue.o.valid, self.queue.waiting)}


@pytest.fixture(scope="module", params=QUEUES)
def design(request) -> tuple[str, Design]:
    top = Top(request.param)
    return request.param, Design(top, probes=top.probes)


def commands(queue: str, rng: np.random.Generator, count: int, waits: Waits | None = None) -> list[Instruction]:
    opcodes = [opcode for opcode in Opcode if QUEUE_OF[opcode] == queue]
    picked = [Opcode(int(rng.choice(opcodes))) for _ in range(count)]
    return [Instruction(opcode=opcode, body=body(rng, GEOMETRY, opcode), waits=waits or Waits()) for opcode in picked]


def words(instructions: list[Instruction]) -> list[int]:
    """Words as the checker gives them."""
    result = []
    for instruction in instructions:
        encoded = encode(instruction)
        result += [word | (n == 0) << 16 | (n == len(encoded) - 1) << 17 for n, word in enumerate(encoded)]
    return result


@pytest.mark.parametrize("seed", range(4))
def test_records(design, seed):
    """More commands than the queue has places for, in order, whenever they are taken."""
    queue, design = design
    rng = np.random.default_rng(seed)
    instructions = commands(queue, rng, 150)
    with design.simulate() as sim:
        ready = np.append(rng.random(97) < [0.02, 0.3, 0.9, 1][seed], True)
        sim.pattern("o__ready", ready)
        sim.feed("words", words(instructions), np.append(rng.random(50) < rng.choice([0.3, 1]), True))
        sim.run_until(beats=("o", len(instructions)), deadline=200_000)
        assert ints_of_beats(sim.beats("o").payload) == [payload(instruction) for instruction in instructions], f"seed {seed}"


def test_full(design):
    """Words beyond the places in block RAM, the queue behind it and the record have to wait."""
    queue, design = design
    stream = words(commands(queue, np.random.default_rng(1), 300))
    with design.simulate() as sim:
        sim.set("o__ready", 0)
        sim.feed("words", stream)
        sim.step(len(stream) + 100)
        first = next(n for n, word in enumerate(stream) if word >> 17) + 1
        assert len(stream) - sim.pending("words") == min(len(stream), first + control.FIFO_PLACES + control.QUEUE_WORDS)


@pytest.mark.parametrize("other", range(4))
def test_tokens(design, other):
    """Offered `control.TOKEN` cycles after the last token was given, a cycle after the count shows; never before."""
    queue, design = design
    waits = Waits(**{QUEUES[other]: 40_000})
    instructions = commands(queue, np.random.default_rng(other), 2, waits)
    with design.simulate() as sim:
        sim.feed("words", words(instructions))
        sim.set("tokens", 39_999 << TOKENS * other)
        sim.step(300)
        assert not sim.get("o__valid") and sim.get("waiting")
        given = sim.cycle - 1                           # the count shows in the cycle after
        sim.set("tokens", 40_000 << TOKENS * other)
        sim.step(200)
        assert sim.beats("offered").cycle[0] == given + control.TOKEN
        assert ints_of_beats(sim.beats("o").payload) == [payload(instruction) for instruction in instructions]


def test_halt(design):
    """Nothing is offered while halted; what was offered stays."""
    queue, design = design
    instructions = commands(queue, np.random.default_rng(0), 2)
    with design.simulate() as sim:
        sim.set("o__ready", 0)
        sim.set("halt", 1)
        sim.feed("words", words(instructions))
        sim.step(300)
        assert not sim.get("o__valid")
        sim.set("halt", 0)
        sim.step(3)
        sim.set("halt", 1)
        sim.step(10)
        assert sim.get("o__valid")
        sim.set("o__ready", 1)
        sim.step(300)
        assert len(sim.beats("o")) == 1
