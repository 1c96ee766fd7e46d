"""What each compute command of a program must write, from golden's tensors: the network's, never the compiler's."""
from collections.abc import Mapping

import numpy as np

from arch import scores
from arch.command import Command
from arch.program import Part, Program
from golden import places, units, values
from nets.int8.network import QNetwork

__all__ = ["expected_vectors", "final_output", "mismatches"]


def expected_vectors(network: QNetwork, tensors: Mapping[str, np.ndarray], command: Command, part: Part) -> np.ndarray:
    """(channels, pooled rows, columns) that the command writes, without idle channels, scores in one column; of a global average
    the mean of the rows that its bands have brought so far, as if the elements of the others were 0."""
    layer, channels = network.by_name[part.writes], slice(part.channels.start, part.channels.stop)
    if not command.average.enable:
        return tensors[part.writes][channels, part.pooled.start:part.pooled.stop]
    so_far = tensors[layer.inputs[0]].copy()
    so_far[:, part.rows.stop:] = 0
    return values.global_avg_pool(so_far, layer, network.tensors[layer.inputs[0]].zero_point)[channels]


def mismatches(network: QNetwork, tensors: Mapping[str, np.ndarray], program: Program,
               written: tuple[np.ndarray, ...]) -> list[int]:
    """For each compute command, how many of the elements that it wrote differ from golden; all of them if it wrote another
    number of vectors. `tensors` of all layers; `written` as `golden.machine.Result` has it. A command of a global average whose
    last band is still to come writes nothing, or the mean so far. Of sums that the next command goes on with no element counts:
    what that one writes takes their place."""
    counts = []
    commands = [instruction.body for instruction in program.instructions if instruction.queue == "compute"]
    for command, part, vectors, unfinished in zip(commands, program.parts, written, places.unfinished(commands), strict=True):
        if unfinished and vectors.shape[1:] == places.written_shape(command)[1:]:
            counts.append(0)
            continue
        wanted = expected_vectors(network, tensors, command, part)
        if not units.rows(program.geometry, command):
            wanted = wanted[:, :0]
        found = vectors[:len(part.channels)]
        if network.tensors[part.writes].bits == 16 and found.shape[2] == 2:
            found = _joined(network, part.writes, found)
        counts.append(int((found != wanted).sum()) if found.shape == wanted.shape else max(found.size, wanted.size, 1))
    return counts


def _joined(network: QNetwork, name: str, pair: np.ndarray) -> np.ndarray:
    """The scores of a tensor, some or all, from their bytes."""
    how = network.score_rule(name)
    return scores.joined(pair, how.zero_point, how.low, how.high)


def final_output(network: QNetwork, program: Program, output: np.ndarray) -> np.ndarray:
    """The network's output tensor from what the program leaves: a softmax behind it is computed here, as the host does."""
    if network.tensors[program.output.name].bits == 16:
        output = _joined(network, program.output.name, output)
    tensor = output.reshape(network.tensors[program.output.name].shape)
    if program.output.name == network.output:
        return tensor
    last = network.by_name[network.output]
    if last.inputs != (program.output.name,):
        raise ValueError(f"output must be {network.output} or what it reads, not {program.output.name}")
    return values.step(network, last, [tensor])
