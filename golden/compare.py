"""What each compute command of a program must write, from golden's tensors: the network's, never the compiler's."""
from collections.abc import Mapping, Sequence

import numpy as np

from arch.command import Command
from arch.program import Part, Program
from golden import units, values
from nets.int8.network import QNetwork

__all__ = ["expected_vectors", "final_output", "mismatches"]


def expected_vectors(tensors: Mapping[str, np.ndarray], part: Part) -> np.ndarray:
    """uint8 (channels, pooled rows, columns) that the command writes, without idle channels."""
    return tensors[part.writes][part.channels.start:part.channels.stop, part.pooled.start:part.pooled.stop]


def mismatches(tensors: Mapping[str, np.ndarray], program: Program, written: tuple[np.ndarray, ...]) -> list[int]:
    """For each compute command, how many of the elements that it wrote differ from golden; all of them if it wrote another
    number of vectors. `written` as `golden.machine.Result` has it. A command of a global average that is not complete writes
    nothing, or a mean so far that golden has not."""
    counts = []
    commands = [instruction.body for instruction in program.instructions if instruction.queue == "compute"]
    for command, goes_on, part, vectors in zip(commands, _going_on(commands), program.parts, written, strict=True):
        wanted = expected_vectors(tensors, part)
        if not units.rows(program.geometry, command):
            wanted = wanted[:, :0]
        found = vectors[:len(part.channels)]
        if found.shape != wanted.shape:
            counts.append(max(found.size, wanted.size, 1))
        elif goes_on:
            counts.append(0)
        else:
            counts.append(int((found != wanted).sum()))
    return counts


def _going_on(commands: Sequence[Command]) -> list[bool]:
    """Of each command whether the next one of a global average adds to its sums."""
    found, adds = [], False
    for command in reversed(commands):
        found.append(bool(command.average.enable and adds))
        if command.average.enable:
            adds = not command.average.first
    return found[::-1]


def final_output(network: QNetwork, program: Program, output: np.ndarray) -> np.ndarray:
    """The network's output tensor from what the program leaves: a softmax behind it is computed here, as the host does."""
    tensor = output.reshape(network.tensors[program.output.name].shape)
    if program.output.name == network.output:
        return tensor
    last = network.by_name[network.output]
    if last.inputs != (program.output.name,):
        raise ValueError(f"output must be {network.output} or what it reads, not {program.output.name}")
    return values.step(network, last, [tensor])
