"""Where a frame's cycles and storage traffic went: a layer at a time, from what its commands did and when."""
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from arch import units
from arch.geometry import Geometry
from arch.instruction import QUEUES, Opcode
from arch.program import Program
from golden import places
from nets.int8.network import QConv, QNetwork

__all__ = ["CAUSES", "Course", "LayerAccount", "Requests", "layer_macs", "layers_of", "least_words", "program_beats",
           "served_layers", "traffic"]

# What the array waits for when it does not multiply.
CAUSES = {"load": "memory", "store": "memory", "gather": "image", "compute": "results", "engine": "pipeline"}
BUSY = 0.9              # of a layer's cycles: then its multipliers bound it


class Course(Protocol):
    """A frame, predicted or measured: for each queue the cycles in which its commands began and were through, from the start."""

    taken: Mapping[str, np.ndarray]
    done: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Requests:
    """Requests to storage in order: cycle, first word, number of words, and whether they were written."""

    cycle: np.ndarray
    address: np.ndarray
    words: np.ndarray
    write: np.ndarray


@dataclass
class LayerAccount:
    """A convolution layer of a frame. `cycles`: from the end of the command before to the end of its own, summed; `beats`:
    cycles in which the array multiplies; `idle`: the other cycles by cause."""

    name: str
    writes: str
    macs: int = 0
    commands: int = 0
    cycles: int = 0
    predicted: int | None = None
    beats: int = 0
    mismatches: int = 0
    late: int = 0               # commands that did not end in the predicted cycle
    idle: dict[str, int] = field(default_factory=dict)

    def utilisation(self, geometry: Geometry) -> float:
        """Multiply-accumulates of the layer, of those that its cycles had room for."""
        return self.macs / (geometry.macs * self.cycles) if self.cycles > 0 else 0.0

    @property
    def busy(self) -> float:
        """Cycles in which the array multiplies, of all."""
        return min(self.beats / self.cycles, 1.0) if self.cycles > 0 else 0.0

    @property
    def bound(self) -> str:
        """"multipliers", or what the array waited for most."""
        if self.busy >= BUSY or not self.idle:
            return "multipliers"
        return max(self.idle, key=self.idle.get)


def layer_macs(network: QNetwork, name: str) -> int:
    """Multiply-accumulates of a layer in a frame; 0 where it is no convolution."""
    layer = network.by_name[name]
    if not isinstance(layer, QConv):
        return 0
    _, height, width = network.tensors[name].shape
    return layer.weight.size * height * width


def program_beats(program: Program) -> list[int]:
    """Cycles that each compute command keeps the array busy."""
    return [command.window.pixels * command.window.passes * command.window.output_blocks
            for command in (i.body for i in program.instructions if i.opcode is Opcode.COMPUTE)]


def layers_of(program: Program, network: QNetwork, frame: Course, *, mismatches: list[int] | None = None,
              predicted: Mapping[str, np.ndarray] | None = None) -> list[LayerAccount]:
    """Each layer of a frame in the order in which they begin. `mismatches`: wrong elements of each compute command; `predicted`:
    for each queue the cycles in which its commands were to be through."""
    computes = [i for i in program.instructions if i.opcode is Opcode.COMPUTE]
    beats, done, taken = program_beats(program), frame.done["compute"], frame.taken["compute"]
    visible = units.latency(program.geometry)        # last beat of a command -> its token, about
    accounts: dict[tuple[str, str], LayerAccount] = {}
    before = foretold = 0
    for n, (instruction, part) in enumerate(zip(computes, program.parts, strict=True)):
        key = part.layer, part.writes
        if key not in accounts:             # a copy of a layer's tensor into another one is no work of the layer
            counted = any(layer == part.layer for layer, _ in accounts)
            accounts[key] = LayerAccount(part.layer, part.writes, 0 if counted else layer_macs(network, part.layer))
        account = accounts[key]
        cycles = int(done[n]) - before
        account.commands += 1
        account.cycles += cycles
        account.beats += beats[n]
        if mismatches is not None:
            account.mismatches += mismatches[n]
        if predicted is not None:
            account.predicted = (account.predicted or 0) + int(predicted["compute"][n]) - foretold
            account.late += int(predicted["compute"][n] != done[n])
            foretold = int(predicted["compute"][n])
        idle = max(cycles - beats[n], 0)
        # The array is free `visible` cycles before the token; a command that is taken later than that was held back by tokens.
        held = min(max(int(taken[n]) - max(before - visible, 0), 0), idle)
        given = {queue: int(frame.done[queue][tokens - 1]) for queue in QUEUES
                 if (tokens := getattr(instruction.waits, queue))}
        cause = CAUSES[max(given, key=given.get)] if given and held else CAUSES["engine"]
        for what, count in ((cause, held), (CAUSES["engine"], idle - held)):
            if count:
                account.idle[what] = account.idle.get(what, 0) + count
        before = int(done[n])
    return list(accounts.values())


def served_layers(program: Program) -> dict[str, list[str]]:
    """For each queue the layer that each of its commands is for: a load or a gather for the compute command that waits for it
    first, a store for the one that it waits for."""
    names = [part.layer for part in program.parts]
    last = {queue: 0 for queue in QUEUES}
    layers: dict[str, list[str]] = {queue: [] for queue in QUEUES}
    count = 0
    for instruction in program.instructions:
        queue = instruction.queue
        if queue == "compute":
            for other in ("load", "gather"):
                tokens = getattr(instruction.waits, other)
                layers[other] += [names[count]] * (tokens - len(layers[other]))
            layers[queue].append(names[count])
            count += 1
        elif queue == "store":
            last[queue] = max(last[queue], instruction.waits.compute)
            layers[queue].append(names[max(last[queue], 1) - 1] if names else "")
    for queue in ("load", "gather"):
        total = sum(instruction.queue == queue for instruction in program.instructions)
        layers[queue] += [names[-1] if names else ""] * (total - len(layers[queue]))
    return layers


def least_words(program: Program) -> dict[str, int]:
    """Words of 16 bits that a frame must move at least: every word of weights and parameters, image, program and result once."""
    loaded = np.zeros(program.storage_words, bool)
    for instruction in program.instructions:
        if instruction.opcode in (Opcode.LOAD_WEIGHTS, Opcode.LOAD_CODED, Opcode.LOAD_PARAMETERS):
            for access in places.accesses(program.geometry, instruction):
                if access.memory == places.STORED:
                    loaded[access.words] = True
    return {"weights": int(loaded.sum()), "image": program.input.words, "program": program.program_words,
            "result": program.output.words}


def traffic(program: Program, requests: Requests) -> dict[str, int]:
    """Bytes moved between storage and chip by kind: "program", "weights" (and parameters), "image", "result", and what was
    spilled ("spilled", written, and "filled", read back)."""
    def inside(start: int, words: int) -> np.ndarray:
        return (requests.address >= start) & (requests.address < start + words)
    stored = inside(program.store_base, program.store_words)
    result = inside(program.output.address, program.output.words)
    kinds = {"program": ~requests.write & inside(program.program, program.program_words), "weights": ~requests.write,
             "image": ~requests.write & inside(program.input.address, program.input.words),
             "result": requests.write & result, "spilled": requests.write & ~result, "filled": ~requests.write & stored}
    for kind in ("program", "image", "filled"):
        kinds["weights"] = kinds["weights"] & ~kinds[kind]
    return {kind: int(2 * requests.words[chosen].sum()) for kind, chosen in kinds.items()}
