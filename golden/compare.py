"""What each compute command of a program must write, from golden's tensors: the network's, never the compiler's."""
from collections.abc import Mapping

import numpy as np

from arch.program import Part, Program
from golden import values
from nets.quantised import QConcat, QNetwork

__all__ = ["channel_offset", "expected_vectors", "final_output", "mismatches"]


def channel_offset(network: QNetwork, part: Part) -> int:
    """The channel of the tensor `part.writes` that channel 0 of the convolution `part.layer` becomes: where a pool behind a
    concatenation is written branch by branch, the branches before it come first. Raises ValueError if it never does."""
    if part.writes == part.layer:
        return 0
    before = network.by_name[part.writes].inputs
    if part.layer in before:
        return 0
    if len(before) == 1 and isinstance(concat := network.by_name[before[0]], QConcat) and part.layer in concat.inputs:
        branches = concat.inputs[:concat.inputs.index(part.layer)]
        return sum(network.tensors[name].shape[0] for name in branches)
    raise ValueError(f"{part.writes} must read {part.layer}, or a concatenation of it")


def expected_vectors(network: QNetwork, tensors: Mapping[str, np.ndarray], part: Part) -> np.ndarray:
    """uint8 (channels, pooled rows, columns) that the command writes, without idle channels."""
    first = channel_offset(network, part)
    tensor = tensors[part.writes]
    return tensor[first + part.channels.start:first + part.channels.stop, part.pooled.start:part.pooled.stop]


def mismatches(network: QNetwork, tensors: Mapping[str, np.ndarray], program: Program,
               written: tuple[np.ndarray, ...]) -> list[int]:
    """For each compute command, how many of the elements that it wrote differ from golden; all of them if it wrote another
    number of vectors. `written` as `golden.machine.Result` has it. A command of a global average that is not complete writes
    nothing."""
    counts = []
    commands = [instruction.body for instruction in program.instructions if instruction.queue == "compute"]
    for command, part, vectors in zip(commands, program.parts, written, strict=True):
        wanted = expected_vectors(network, tensors, part)
        if command.average.enable and not command.average.last:
            wanted = wanted[:, :0]
        found = vectors[:len(part.channels)]
        if found.shape != wanted.shape:
            counts.append(max(found.size, wanted.size, 1))
        else:
            counts.append(int((found != wanted).sum()))
    return counts


def final_output(network: QNetwork, program: Program, output: np.ndarray) -> np.ndarray:
    """The network's output tensor from what the program leaves: a softmax behind it is computed here, as the host does."""
    tensor = output.reshape(network.tensors[program.output.name].shape)
    if program.output.name == network.output:
        return tensor
    last = network.by_name[network.output]
    if last.inputs != (program.output.name,):
        raise ValueError(f"output must be {network.output} or what it reads, not {program.output.name}")
    return values.step(network, last, [tensor])
