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
    opcodes,
    word_ranges,
)
from arch.record import STORAGE, Record

__all__ = ["GEOMETRY", "payload", "program", "program_words"]

GEOMETRY = Geometry(input_lanes=4, output_lanes=4, activation_words=1024, weight_words=512, band_pixels=64, fifo_words=32,
                    options=("decoder",))
COMMANDS = [opcode for opcode in opcodes(GEOMETRY) if opcode not in (Opcode.START, Opcode.END)]


def body(rng: np.random.Generator, geometry: Geometry, opcode: Opcode, storage_bits: int = STORAGE) -> Record | Command:
    """A record whose fields are at random places of their ranges, often at an end."""
    ranges = {entry.name: entry for entry in word_ranges(geometry, opcode, storage_bits)}

    def record(kind, prefix=""):
        values = {}
        for entry in (entry.within(storage_bits) for entry in kind.fields()):
            limits = ranges[prefix + entry.name]
            low, high = (entry.low, entry.high) if entry.bits > 16 else (limits.low, limits.high)
            values[entry.name] = int(rng.choice([low, high, rng.integers(low, high + 1)]))
        return kind(**values)
    if opcode is Opcode.COMPUTE:
        return Command(**{name: record(kind, f"{name}.") for name, kind in Command.records(geometry).items()})
    return record(BODIES[opcode])


def program(rng: np.random.Generator, geometry: Geometry, commands: int, *, opcodes=COMMANDS, waits: float = 0.3,
            storage_bits: int = STORAGE) -> list[Instruction]:
    """START, random commands that wait for tokens of earlier ones with the given probability, END."""
    given = dict.fromkeys(QUEUES, 0)
    base, words = (int(rng.integers(1 << storage_bits)) for _ in range(2))
    result = [Instruction(opcode=Opcode.START, body=Start.of(geometry, base, words))]
    for _ in range(commands):
        opcode = Opcode(int(rng.choice(opcodes)))
        tokens = {queue: int(rng.integers(max(1, count - 4), count + 1)) for queue, count in given.items()
                  if count and rng.random() < waits}
        result.append(Instruction(opcode=opcode, body=body(rng, geometry, opcode, storage_bits), waits=Waits(**tokens)))
        given[result[-1].queue] += 1
    return [*result, Instruction(opcode=Opcode.END, body=END)]


def program_words(instructions: list[Instruction]) -> list[int]:
    return [word for instruction in instructions for word in encode(instruction)]


def payload(instruction: Instruction, storage_bits: int = STORAGE) -> int:
    """What its queue offers."""
    body = instruction.body
    bits = body.pack() if isinstance(body, Command) else body.pack(storage_bits)
    return bits << 4 | instruction.opcode if instruction.queue == "load" else bits
