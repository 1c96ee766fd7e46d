"""What a program takes, before anything is built: cycles of the frame and of each layer, traffic, queues and memory over time."""
import numpy as np

from arch.instruction import QUEUES, Opcode, storage_words
from arch.program import Program
from arch.sdram import Timing
from compiler.build import Compiled
from golden.account import Requests, layers_of, served_layers, traffic
from golden.cycles import machine
from golden.cycles.dma import SOURCES
from golden.places import STORED, accesses
from nets.int8.network import QNetwork

__all__ = ["START", "figures"]

START = 1000            # cycles from the end of the storage's start to that of the program: any will do, but for a refresh


class _Predicted:
    """A `golden.account.Course`, counted from the start of the program."""

    def __init__(self, line: machine.MachineTimeline):
        self.taken = {queue: cycles - line.start for queue, cycles in line.taken.items()}
        self.done = {queue: cycles - line.start for queue, cycles in line.done.items()}


def figures(compiled: Compiled, network: QNetwork, timing: Timing | None, words: int) -> dict:
    """Plain values for a storage of `timing`, or of so many words of block RAM.

    `cycles`, `macs` and `utilisation` of the first frame, `cycles_again` of those behind it, `layers`, `storage_bytes` moved by
    kind, `timeline` (for each queue [start, end] of its commands), `memory` (areas of activation memory and when they are in
    use), `input_words` and `output_words` that the host writes and reads, `weight_bytes` of the network, a byte each, and
    `stored_weight_bytes`, all that weight loads read.
    """
    program, geometry = compiled.program, compiled.program.geometry
    start = START + (timing.ready if timing else 0)
    line = machine.run(program.instructions, geometry, machine.storage_of(timing, words), address=program.program,
                       start=start, contents=program.storage)
    course = _Predicted(line)
    accounts = layers_of(program, network, course)
    cycle, source, address, length = line.requests.T
    moved = traffic(program, Requests(cycle=cycle, address=address, words=length, write=source == SOURCES.index("store")))
    loaded, following = _loaded(program), line
    if program.again:
        following = machine.run(program.again.instructions, geometry, machine.storage_of(timing, words),
                                address=program.again.program, start=start, contents=program.storage)
    macs = sum(account.macs for account in accounts)
    return {
        "model": program.name, "cycles": line.cycles, "cycles_again": following.cycles,
        "utilisation": macs / geometry.macs / line.cycles, "macs": macs,
        "layers": [{"name": account.name, "writes": account.writes, "commands": account.commands, "macs": account.macs,
                    "cycles": account.cycles, "bytes": loaded.get(account.name, 0),
                    "utilisation": account.utilisation(geometry), "bound": account.bound} for account in accounts],
        "storage_bytes": moved, "input_words": program.input.words, "output_words": program.output.words,
        "weight_bytes": sum(layer.weight.size for layer in network.layers if hasattr(layer, "weight")),
        "stored_weight_bytes": _stored_weights(program),
        "timeline": {queue: np.stack([course.taken[queue], course.done[queue]], 1).tolist() for queue in QUEUES},
        "memory": {"words": geometry.activation_words, "areas": _areas(compiled, course)}}


def _loaded(program: Program) -> dict[str, int]:
    """Bytes from storage that each layer's commands wait for."""
    counts: dict[str, int] = {}
    loads = (instruction for instruction in program.instructions if instruction.queue == "load")
    for instruction, name in zip(loads, served_layers(program)["load"], strict=True):
        body = instruction.body
        match instruction.opcode:
            case Opcode.LOAD_PIXELS:
                words = body.row_words * body.rows
            case Opcode.LOAD_CODED:
                words = body.words
            case _:
                words = body.words * body.runs * storage_words(program.geometry, instruction.opcode)
        counts[name] = counts.get(name, 0) + 2 * words
    return counts


def _stored_weights(program: Program) -> int:
    """Bytes of storage that loads of weights read, however often."""
    read = np.zeros(program.storage_words, bool)
    for instruction in program.instructions:
        if instruction.opcode in (Opcode.LOAD_WEIGHTS, Opcode.LOAD_CODED):
            for access in accesses(program.geometry, instruction):
                if access.memory == STORED:
                    read[access.words] = True
    return 2 * int(np.count_nonzero(read))


def _areas(compiled: Compiled, course: _Predicted) -> list[dict]:
    """Each group's maps in activation memory, from the group's first command to its last."""
    spans: dict[int, tuple[int, int]] = {}
    for job, taken, done in zip(compiled.jobs.computes, course.taken["compute"], course.done["compute"], strict=True):
        first, last = spans.get(job.group, (int(taken), int(done)))
        spans[job.group] = min(first, int(taken)), max(last, int(done))
    return [{"name": resident.buffer.name, "base": resident.base, "words": resident.size, "start": spans[number][0],
             "end": spans[number][1]}
            for number, group in enumerate(compiled.groups) for resident in group.places if number in spans]
