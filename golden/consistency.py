"""Whether the parts of a compiled program agree with each other."""
from collections import Counter
from collections.abc import Iterator

import numpy as np

from arch.geometry import Geometry
from arch.instruction import CONTROL, Instruction, InstructionError, Opcode, decode, encode
from arch.program import Part, Program, Tensor
from cli import RequestError
from golden import places, units
from golden.hazards import check_hazards

__all__ = ["ProgramError", "check_program"]

TOKENS = 0xFFFF         # that a queue can count


class ProgramError(RequestError):
    """A program that must not run; the message says why."""


def check_program(program: Program, *, waits: bool = True) -> None:
    """Raises ProgramError unless the program is consistent, stays inside its regions and, with `waits`, waits for all that it
    must; and so that of the frames behind the first one."""
    _check(program, None, waits)
    if program.again:
        _check(program.again, program, waits)


def _check(program: Program, after: Program | None, waits: bool) -> None:
    for problem in _problems(program):
        raise ProgramError(f"{program.name}: {problem}")
    if not waits:
        return
    try:
        hazards = check_hazards(program, after=after)
    except ValueError as error:
        raise ProgramError(f"{program.name}: {error}") from None
    if hazards:
        more = f" (and {len(hazards) - 1} more)" if len(hazards) > 1 else ""
        raise ProgramError(f"{program.name}: {hazards[0]}{more}")


def _problems(program: Program) -> Iterator[str]:
    yield from _framing(program)
    yield from _words(program)
    stored = range(program.store_base, program.store_base + program.store_words)
    text = range(program.program, program.program + program.program_words)
    given = range(program.input.address, program.input.address + program.input.words)
    taken = range(program.output.address, program.output.address + program.output.words)
    for what, part in (("the program", text), ("the input", given)):
        if _meet(part, stored):
            yield f"{what} must lie outside the region that is written, {_show(stored)}, not at {_show(part)}"
    if _meet(text, given):
        yield f"the input must lie outside the program, {_show(text)}, not at {_show(given)}"
    if taken.start < stored.start or taken.stop > stored.stop:
        yield f"the output must lie inside the region that is written, {_show(stored)}, not at {_show(taken)}"
    for tensor in (program.input, program.output):
        yield from _tensor(program.geometry, tensor)
    commands = [instruction.body for instruction in program.instructions if instruction.opcode is Opcode.COMPUTE]
    if len(commands) != len(program.parts):
        yield f"parts must be {len(commands)}, one for each compute command, not {len(program.parts)}"
    for number, (command, part) in enumerate(zip(commands, program.parts, strict=False)):
        yield from _part(program.geometry, number, command, part)


def _framing(program: Program) -> Iterator[str]:
    instructions = program.instructions
    opcodes = [instruction.opcode for instruction in instructions]
    if not opcodes or opcodes[0] is not Opcode.START or opcodes[-1] is not Opcode.END or (
            sum(opcode in (Opcode.START, Opcode.END) for opcode in opcodes) != 2):
        yield "instructions must begin with START, end with END, and hold no other one of them"
        return
    start = instructions[0].body
    if (start.store_base, start.store_words) != (program.store_base, program.store_words):
        yield (f"START must give the region {program.store_base}, {program.store_words} words, "
               f"not {start.store_base}, {start.store_words}")
    for queue, count in Counter(instruction.queue for instruction in instructions).items():
        if queue != CONTROL and count > TOKENS:
            yield f"{queue} commands must be at most {TOKENS}, not {count}"


def _words(program: Program) -> Iterator[str]:
    words = np.array([word for instruction in program.instructions for word in encode(instruction)], np.uint16)
    if len(words) != program.program_words:
        yield f"program_words must be {len(words)}, not {program.program_words}"
    elif not np.array_equal(words, program.storage[program.program:program.program + len(words)]):
        yield f"storage from word {program.program} on must hold the instructions"
    else:
        try:
            found: tuple[Instruction, ...] = tuple(decode(words, program.geometry))
        except InstructionError as error:
            yield f"instructions must be legal: {error}"
        else:
            if found != tuple(program.instructions):
                yield "instructions must survive their words"


def _tensor(geometry: Geometry, tensor: Tensor) -> Iterator[str]:
    channels, height, width = tensor.shape
    if tensor.layout == "pixels":
        if tensor.words % height or tensor.words // height < -(-channels * width // 2):
            yield f"{tensor.name} must have {height} rows of at least {-(-channels * width // 2)} words, not {tensor.words} words"
    elif tensor.layout == "map":
        words = height * width * tensor.pixel_words * geometry.input_lanes // 2
        if tensor.words < words or tensor.pixel_words * geometry.input_lanes < channels:
            yield f"{tensor.name} must have at least {words} words, not {tensor.words}"
    else:
        yield f"layout of {tensor.name} must be pixels or map, not {tensor.layout!r}"


def _part(geometry: Geometry, number: int, command, part: Part) -> Iterator[str]:
    lanes, blocks = geometry.output_lanes, command.window.output_blocks
    if len(part.rows) != command.window.rows:
        yield f"rows of part {number} must be {command.window.rows}, not {len(part.rows)}"
    if not (blocks - 1) * lanes < len(part.channels) <= blocks * lanes:
        yield f"channels of part {number} must be {(blocks - 1) * lanes + 1}..{blocks * lanes}, not {len(part.channels)}"
    written = places.written_shape(command)[1]
    if units.rows(geometry, command) != written:
        yield f"rows written by part {number} must be {units.rows(geometry, command)}, not {written}"
    if len(part.pooled) != written:
        yield f"pooled rows of part {number} must be {written}, not {len(part.pooled)}"
    for problem in units.problems(geometry, command):
        yield f"{problem}, in part {number}"


def _meet(a: range, b: range) -> bool:
    return max(a.start, b.start) < min(a.stop, b.stop)


def _show(words: range) -> str:
    return f"words {words.start}..{words.stop - 1}"
