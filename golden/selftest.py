"""What a board computes to prove a program in its flash: an input that the program brings along, and what must come of it."""
from zlib import crc32

import numpy as np

from arch.program import Program
from arch.sdram import Timing
from arch.slots import SelfTest, Slot
from cli import RequestError
from golden.cycles import machine as cycles
from golden.machine import Machine, Result, execute, put_tensor

__all__ = ["SelfTestError", "slot_of"]

_PATIENCE = 2                   # times the predicted cycles, of which refreshes of the SDRAM move some tens
_SEED = 20161029


class SelfTestError(RequestError):
    """No self-test can be made of a program."""


def slot_of(program: Program, q: np.ndarray, timing: Timing | None, storage_words: int, *, version: int, security: int) -> Slot:
    """The slot, not signed, that boots a program and has it compute input `q` (uint8, of `program.input`'s shape) first, on a
    board with storage of this timing and size. Raises SelfTestError if the output's words depend on what the chip did before."""
    clean = execute(program, q)
    output = slice(program.output.address, program.output.address + program.output.words)
    if not np.array_equal(clean.storage[output], execute(program, q, after=_used(program, clean)).storage[output]):
        raise SelfTestError(f"{program.name}: words of its output depend on what the chip's memories held before")
    predicted = cycles.run(program.instructions, program.geometry, cycles.storage_of(timing, storage_words),
                           address=program.program, start=timing.ready if timing else 0, contents=program.storage).cycles
    words = np.zeros(max(len(program.storage), program.input.address + program.input.words), np.uint16)
    words[:len(program.storage)] = program.storage
    put_tensor(program.geometry, words, program.input, q)
    test = SelfTest(output=output.start, end=output.stop, checksum=crc32(clean.storage[output].astype("<u2")),
                    cycles=_PATIENCE * predicted)
    return Slot.make(words, name=program.name, digest=program.geometry.digest, program=program.program, security=security,
                     version=version, test=test)


def _used(program: Program, result: Result) -> Result:
    """A machine whose memories hold anything."""
    rng, machine = np.random.default_rng(_SEED), Machine(program.geometry, result.storage)
    machine.activations[...] = rng.integers(0, 256, machine.activations.shape)
    machine.weights[...] = rng.integers(-128, 128, machine.weights.shape)
    return Result(result.storage, result.output, (), machine)
