"""A command queue alone: records as packed, tokens, places, whatever the taker does."""
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
import numpy as np
import pytest

from arch import control
from arch.instruction import QUEUE_OF, QUEUES, Instruction, Opcode, Waits, encode, opcodes
from hw.parts.credits import Credits
from hw.sequencer.command_queue import TOKENS, CommandQueue, instruction_word_layout, queue_layout
from sim.verilog.export import Boundary
from sim.verilog.native import Design, ints_of_beats
from tests.hw.instructions import GEOMETRY, body, payload


class Top(wiring.Component):
    """A queue of each kind, written by a stream that keeps count of its places."""

    def __init__(self):
        self.queues = {name: CommandQueue(GEOMETRY, name) for name in QUEUES}
        members = {"tokens": In(data.ArrayLayout(TOKENS, len(QUEUES))), "halt": In(1)}
        for name in QUEUES:
            members |= {f"{name}_words": In(stream.Signature(instruction_word_layout())),
                        name: Out(stream.Signature(queue_layout(GEOMETRY, name))),
                        f"{name}_waiting": Out(1)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        for name, queue in self.queues.items():
            words, taken = getattr(self, f"{name}_words"), Signal(name=f"{name}_taken")
            m.submodules[name] = queue
            m.submodules[f"{name}_places"] = places = Credits(control.QUEUE_WORDS, control.QUEUE_WORDS)
            connect(m, queue.o, flipped(getattr(self, name)))
            m.d.comb += [
                words.ready.eq(places.any), taken.eq(words.valid & places.any), places.take.eq(taken),
                places.give.eq(queue.leaves), queue.w_en.eq(taken), queue.w_data.eq(words.payload),
                queue.tokens.eq(self.tokens), queue.halt.eq(self.halt), getattr(self, f"{name}_waiting").eq(queue.waiting)]
        return m

    def probes(self) -> dict[str, Boundary]:
        return {f"{name}_offered": Boundary(queue.o.valid, queue.waiting) for name, queue in self.queues.items()}


@pytest.fixture(scope="module")
def design() -> Design:
    top = Top()
    return Design(top, probes=top.probes)


def commands(queue: str, rng: np.random.Generator, count: int, waits: Waits | None = None) -> list[Instruction]:
    known = [opcode for opcode in opcodes(GEOMETRY) if QUEUE_OF[opcode] == queue]
    picked = [Opcode(int(rng.choice(known))) for _ in range(count)]
    return [Instruction(opcode=opcode, body=body(rng, GEOMETRY, opcode), waits=waits or Waits()) for opcode in picked]


def words(instructions: list[Instruction]) -> list[int]:
    """Words as the checker gives them."""
    result = []
    for instruction in instructions:
        encoded = encode(instruction)
        result += [word | (n == 0) << 16 | (n == len(encoded) - 1) << 17 for n, word in enumerate(encoded)]
    return result


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("seed", range(4))
def test_records(design, queue, seed):
    """More commands than the queue has places for, in order, whenever they are taken."""
    rng = np.random.default_rng(seed)
    instructions = commands(queue, rng, 150)
    with design.simulate() as sim:
        ready = np.append(rng.random(97) < [0.02, 0.3, 0.9, 1][seed], True)
        sim.pattern(f"{queue}__ready", ready)
        sim.feed(f"{queue}_words", words(instructions), np.append(rng.random(50) < rng.choice([0.3, 1]), True))
        sim.run_until(beats=(queue, len(instructions)), deadline=200_000)
        assert ints_of_beats(sim.beats(queue).payload) == [payload(instruction) for instruction in instructions], f"seed {seed}"


@pytest.mark.parametrize("queue", QUEUES)
def test_full(design, queue):
    """Words beyond the places in block RAM, the queue behind it and the record have to wait."""
    stream = words(commands(queue, np.random.default_rng(1), 300))
    with design.simulate() as sim:
        sim.set(f"{queue}__ready", 0)
        sim.feed(f"{queue}_words", stream)
        sim.step(len(stream) + 100)
        first = next(n for n, word in enumerate(stream) if word >> 17) + 1
        assert len(stream) - sim.pending(f"{queue}_words") == min(len(stream), first + control.FIFO_PLACES + control.QUEUE_WORDS)


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("other", range(4))
def test_tokens(design, queue, other):
    """Offered `control.TOKEN` cycles after the last token was given, a cycle after the count shows; never before."""
    waits = Waits(**{QUEUES[other]: 40_000})
    instructions = commands(queue, np.random.default_rng(other), 2, waits)
    with design.simulate() as sim:
        sim.feed(f"{queue}_words", words(instructions))
        sim.set("tokens", 39_999 << TOKENS * other)
        sim.step(300)
        assert not sim.get(f"{queue}__valid") and sim.get(f"{queue}_waiting")
        given = sim.cycle - 1                           # the count shows in the cycle after
        sim.set("tokens", 40_000 << TOKENS * other)
        sim.step(200)
        assert sim.beats(f"{queue}_offered").cycle[0] == given + control.TOKEN
        assert ints_of_beats(sim.beats(queue).payload) == [payload(instruction) for instruction in instructions]


@pytest.mark.parametrize("queue", QUEUES)
def test_halt(design, queue):
    """Nothing is offered while halted; what was offered stays."""
    instructions = commands(queue, np.random.default_rng(0), 2)
    with design.simulate() as sim:
        sim.set(f"{queue}__ready", 0)
        sim.set("halt", 1)
        sim.feed(f"{queue}_words", words(instructions))
        sim.step(300)
        assert not sim.get(f"{queue}__valid")
        sim.set("halt", 0)
        sim.step(3)
        sim.set("halt", 1)
        sim.step(10)
        assert sim.get(f"{queue}__valid")
        sim.set(f"{queue}__ready", 1)
        sim.step(300)
        assert len(sim.beats(queue)) == 1
