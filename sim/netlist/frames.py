"""A host's whole conversation with a chip at its pins: connect, write, read, checksum, frames, counters, all of storage."""
from collections.abc import Callable
from dataclasses import dataclass, replace
import random

import numpy as np

from arch.geometry import Geometry
from arch.program import Program
from boards import Board
from compiler.build import compile_network
from golden.cycles import machine
from golden.machine import Result, execute
from host.link import Link
from host.runner import Runner
from host.session import Session
from host.tensors import output_of
from nets.model import Model
from nets.preprocess import InputSpec
from nets.quantise import quantise, synthetic_images
from nets.zoo.builder import Builder
from nets.zoo.weights import initialise

__all__ = ["Conversation", "Difference", "Load", "converse", "small_programs"]

_SIDE = 12                      # pixels of the small network's image
_SEED = 20


class Difference(AssertionError):
    """The chip said or did something else than golden."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Load:
    """A program, and what it is run on."""

    program: Program
    images: list[np.ndarray]


def _first() -> tuple[Builder, str, InputSpec]:
    """About 2 KB of weights, coloured images."""
    net = Builder((3, _SIDE, _SIDE))
    x = net.relu("relu1", net.conv("conv1", net.input, 8, 3, padding=1))
    x = net.max_pool("pool1", x, 2, 2)
    x = net.relu("relu2", net.conv("conv2", x, 16, 3))
    return net, net.global_average("average", net.conv("conv3", x, 24, 1)), InputSpec(size=(_SIDE, _SIDE))


def _second() -> tuple[Builder, str, InputSpec]:
    """What the first one leaves out: grey images, whose rows are gathered, strides, pools that overlap, averages of windows."""
    spec = InputSpec(size=(17, 19), channels="L", mean=(0.0,), std=(1.0,))
    net = Builder(spec.shape)
    x = net.relu("relu1", net.conv("conv1", net.input, 6, 3, stride=2))
    x = net.max_pool("pool1", x, 3, 2, ceil_mode=True)
    x = net.relu("relu2", net.conv("conv2", x, 10, 3, padding=1))
    return net, net.conv("conv3", net.avg_pool("pool2", x, 2, 1), 7, 1), spec


def small_programs(geometry: Geometry, words: int, frames: int) -> list[Load]:
    """Two networks of random values, compiled for `words` of storage: `frames` images for the first, two for the second."""
    found = []
    for name, build, count in (("first", _first, frames), ("second", _second, 2)):
        net, x, spec = build()
        images = synthetic_images(spec, count=4 + count, seed=_SEED)
        network = quantise(Model(graph=initialise(net.graph(name, x), _SEED), spec=spec), images)
        found.append(Load(program=compile_network(network, geometry, storage_words=words).program, images=images[4:]))
    return found


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """What was compared: cycles of each frame, distinct values of all outputs, words of storage, frames that were sent again."""

    cycles: list[int]
    levels: int
    words: int
    sent_again: int


def _check(name: str, found, expected) -> None:
    """Raises Difference, with the first place of an array that differs."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        raise Difference(f"{name} must be of shape {expected.shape}, not {found.shape}")
    if wrong := int((found != expected).sum()):
        place = tuple(int(n) for n in np.argwhere(found != expected)[0])
        raise Difference(f"{name}: {wrong} of {expected.size} differ, the first at {place}: {found[place]} instead of "
                         f"{expected[place]}")


def _queues(program: Program, words: int) -> tuple[int, dict[str, int]]:
    """The cycles of a frame, and those of the queues' counters that follow from the times of commands."""
    line = machine.run(program.instructions, program.geometry, machine.storage_of(None, words), address=program.program,
                       start=0, contents=program.storage)
    counts = {}
    for queue, taken in line.taken.items():
        runs = np.zeros(line.end + 2, np.int64)
        np.add.at(runs, taken, 1)
        np.add.at(runs, line.done[queue], -1)
        counts[f"{queue}_busy"] = int((np.cumsum(runs) > 0).sum())
        counts[f"{queue}_stalls"] = int((taken - line.offered[queue]).sum())
    return line.cycles, counts


def converse(link: Link, board: Board, loads: list[Load], *, patience_s: float = 0.01, clock: Callable[[], float],
             status: Callable[[str], None] = lambda text: None) -> Conversation:
    """Talks to a chip as a host does, and compares all that it says with golden. Raises Difference, LinkError."""
    session = Session(link, patience_s=patience_s, clock=clock, numbers=random.Random(_SEED))
    identity = session.connect().identity
    _check("what INFO says", [identity.digest, identity.storage_words, identity.clock_khz],
           [board.geometry.digest, board.storage_words, round(board.pll.clock_mhz * 1000)])
    status("connected")
    storage = np.random.default_rng(_SEED).integers(0, 1 << 16, board.storage_words, np.uint16)
    first = len(loads[0].program.storage)
    session.write(first, storage[first:])
    _check("words read back", session.read(len(storage) - 99, 99), storage[-99:])
    _check("checksum of words", session.verify(first, storage[first:]), True)
    cycles, values, after = [], [], None
    for load in loads:
        after = _frames(session, board, load, storage, after, cycles, values)
        storage = after.storage
        status(f"{load.program.name}: {', '.join(map(str, cycles[-len(load.images):]))} cycles")
    _check("all of storage", session.read(0, len(storage)), storage)
    return Conversation(cycles=cycles, levels=len(np.unique(np.concatenate([v.reshape(-1) for v in values]))),
                        words=len(storage), sent_again=session.sent_again)


def _frames(session: Session, board: Board, load: Load, storage: np.ndarray, after: Result | None, cycles: list[int],
            values: list[np.ndarray]) -> Result:
    """Loads a program and runs its frames, `after` those of another one, whose words the chip's memories still hold; adds their
    cycles and outputs, and returns what the last one leaves."""
    program, running = load.program, load.program
    runner, storage = Runner(session, program), storage.copy()
    runner.load()
    storage[:len(program.storage)] = program.storage
    place = slice(program.output.address, program.output.address + program.output.words)
    for q in load.images:
        what = f"frame {len(cycles)}"
        storage[program.input.address:program.input.address + program.input.words] = 0     # the host's bytes behind odd rows
        frame = runner.run(q)
        result = execute(replace(running, storage=storage), q, after=after)
        expected, counts = _queues(running, board.storage_words)
        _check(f"output of {what}", frame.output, output_of(program, result.storage[place]))
        _check(f"cycles of {what}", frame.cycles, expected)
        found = session.counters()
        _check(f"counters of {what} ({', '.join(counts)})", [found[key] for key in counts], list(counts.values()))
        storage, after, running = result.storage, result, running.next
        _check(f"checksum of storage after {what}", session.verify(0, storage), True)
        cycles.append(frame.cycles)
        values.append(frame.output)
    return after
