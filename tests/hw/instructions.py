"""Random programs for the sequencer: any legal words, waits that can be met."""
import numpy as np

from arch.command import Command
from arch.geometry import Geometry
from arch.instruction import (
    BODIES,
    END,
    QUEUES,
    Instruction,
    Opcode,
    Start,
    Waits,
    encode,
    word_ranges,
)
from arch.record import Record

__all__ = ["GEOMETRY", "payload", "program", "program_words"]

GEOMETRY = Geometry(input_lanes=4, output_lanes=4, activation_words=1024, weight_words=512, band_pixels=64, fifo_words=32)
COMMANDS = [opcode for opcode in Opcode if opcode not in (Opcode.START, Opcode.END)]


def body(rng: np.random.Generator, geometry: Geometry, opcode: Opcode) -> Record | Command:
    """A record whose fields are at random places of their ranges, often at an end."""
    ranges = {entry.name: entry for entry in word_ranges(geometry, opcode)}

    def record(kind, prefix=""):
        values = {}
        for entry in kind.fields():
            limits = ranges[prefix + entry.name]
            low, high = (entry.low, entry.high) if entry.bits > 16 else (limits.low, limits.high)
            values[entry.name] = int(rng.choice([low, high, rng.integers(low, high + 1)]))
        return kind(**values)
    if opcode is Opcode.COMPUTE:
        return Command(**{name: record(kind, f"{name}.") for name, kind in Command.records(geometry).items()})
    return record(BODIES[opcode])


def program(rng: np.random.Generator, geometry: Geometry, commands: int, *, opcodes=COMMANDS, waits: float = 0.3
            ) -> list[Instruction]:
    """START, random commands that wait for tokens of earlier ones with the given probability, END."""
    given = dict.fromkeys(QUEUES, 0)
    result = [Instruction(opcode=Opcode.START, body=Start.of(geometry, int(rng.integers(1 << 24)), int(rng.integers(1 << 24))))]
    for _ in range(commands):
        opcode = Opcode(int(rng.choice(opcodes)))
        tokens = {queue: int(rng.integers(max(1, count - 4), count + 1)) for queue, count in given.items()
                  if count and rng.random() < waits}
        result.append(Instruction(opcode=opcode, body=body(rng, geometry, opcode), waits=Waits(**tokens)))
        given[result[-1].queue] += 1
    return [*result, Instruction(opcode=Opcode.END, body=END)]


def program_words(instructions: list[Instruction]) -> list[int]:
    return [word for instruction in instructions for word in encode(instruction)]


def payload(instruction: Instruction) -> int:
    """What its queue offers."""
    bits = instruction.body.pack()
    return bits << 4 | instruction.opcode if instruction.queue == "load" else bits
