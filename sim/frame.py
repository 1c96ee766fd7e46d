"""A program's frames on the RTL of the whole machine: values of every vector, cycles of every command, traffic of every kind."""
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
import time

import numpy as np

from arch.control import Fault
from arch.geometry import Geometry
from arch.instruction import QUEUES, Opcode
from arch.program import Program
from arch.sdram import Timing
from golden.account import Requests
from golden.cycles import machine
from golden.machine import get_tensor, put_tensor
from golden.places import written_places
from hw.storage.arbiter import request_layout
from sim.machine import MachineBench
from sim.models.sdram import LOAD_WORDS
from sim.verilog.export import SimulationError
from sim.verilog.native import Beats, Simulation
from sim.verilog.verilate import BUILD
from sim.verilog.waves import Window

__all__ = ["Frame", "FrameBench", "MachineFault", "Prediction", "predict", "written_vectors"]

Status = Callable[[int], None]
CHUNK = 20_000          # cycles between two reports of progress


class MachineFault(SimulationError):
    """The machine stopped with an error; the message says which command and why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One run of `program`. Cycles count from its start.

    `taken`, `done`: for each queue the cycles in which its commands began and were through. `written`: for each compute command
    the vectors it wrote, uint8 (channels, rows, columns), as in `golden.machine.Result`. `wrong_places`: vectors that went to
    another place than the command says. `start`: cycle of the start, from the end of reset. `simulated` cycles took `seconds` of
    processor time.
    """

    program: Program
    output: np.ndarray
    written: tuple[np.ndarray, ...]
    wrong_places: int
    start: int
    cycles: int
    taken: Mapping[str, np.ndarray]
    done: Mapping[str, np.ndarray]
    requests: Requests
    counters: Mapping[str, Mapping[str, int]]
    simulated: int
    seconds: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What `golden.cycles` says of a frame: as in `Frame`."""

    cycles: int
    taken: Mapping[str, np.ndarray]
    done: Mapping[str, np.ndarray]

    def late(self, frame: Frame) -> dict[str, int]:
        """For each queue how many of its commands began or ended in another cycle than predicted, or are missing."""
        result = {}
        for queue in QUEUES:
            counts = [len(frame.taken[queue]), len(frame.done[queue]), len(self.taken[queue]), len(self.done[queue])]
            if len(set(counts)) > 1:
                result[queue] = max(counts)
            else:
                result[queue] = int(((frame.taken[queue] != self.taken[queue]) | (frame.done[queue] != self.done[queue])).sum())
        return result


def predict(program: Program, *, timing: Timing | None, words: int, start: int) -> Prediction:
    """The first frame after reset, whose program starts in cycle `start`. Raises ValueError for a program that waits for ever."""
    line = machine.run(program.instructions, program.geometry, machine.storage_of(timing, words), address=program.program,
                       start=start, contents=program.storage)
    return Prediction(cycles=line.cycles, taken={queue: cycles - start for queue, cycles in line.taken.items()},
                      done={queue: cycles - start for queue, cycles in line.done.items()})


def written_vectors(program: Program, beats: Beats) -> tuple[tuple[np.ndarray, ...], int]:
    """Vectors of each compute command from the beats of the writer's port, and how many of them are missing, too many or in
    another place than their command says."""
    geometry = program.geometry
    groups, bits = geometry.blocks_per_word, (geometry.activation_words - 1).bit_length()
    planes = np.unpackbits(beats.payload, axis=1, bitorder="little")
    enable = planes[:, :groups]
    word = planes[:, groups:groups + bits].astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))
    data = planes[:, groups + bits:groups + bits + 8 * geometry.input_lanes]
    data = np.packbits(data, axis=1, bitorder="little").reshape(-1, groups, geometry.output_lanes)
    at, wrong, result = 0, 0, []
    for instruction in program.instructions:
        if instruction.opcode is not Opcode.COMPUTE:
            continue
        wanted, group = written_places(geometry, instruction.body)
        part = slice(at, at + wanted.size)
        at += wanted.size
        found = np.zeros((wanted.size, geometry.output_lanes), np.uint8)
        count = len(word[part])
        lane = np.repeat(group, wanted[0].size)[:count]
        found[:count] = data[part][np.arange(count), lane]
        right = (word[part] == wanted.reshape(-1)[:count]) & (enable[part] == (lane[:, None] == np.arange(groups))).all(axis=1)
        wrong += wanted.size - int(right.sum())
        found = found.reshape(*wanted.shape, geometry.output_lanes).transpose(0, 3, 1, 2)
        result.append(found.reshape(len(wanted) * geometry.output_lanes, *wanted.shape[1:]))
    return tuple(result), wrong + max(0, len(word) - at)


class FrameBench:
    """A machine of a geometry, compiled for simulation, with an SDRAM of `timing` or `words` of block RAM; runs one program.

    `program`: what the next frame runs, `Program.next` of the one before.
    """

    def __init__(self, geometry: Geometry, *, timing: Timing | None, words: int, waves: str = "", build: Path = BUILD):
        self.bench = MachineBench(geometry, timing=timing, words=words, build=build, waves=waves)
        self.sim: Simulation | None = None
        self.program: Program | None = None
        self._storage = np.zeros(0, np.uint16)

    def __enter__(self) -> "FrameBench":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the simulation."""
        if self.sim is not None:
            self.sim.close()
        self.sim = None

    def load(self, program: Program) -> None:
        """A machine after reset with the program in its storage."""
        self.close()
        self.program, self.sim = program, self.bench.simulate()
        self._storage = np.zeros(program.storage_words, np.uint16)
        self._storage[:len(program.storage)] = program.storage
        self.bench.ready(self.sim)
        self.bench.write(self.sim, 0, self._storage)

    def begin(self, q: np.ndarray) -> None:
        """Puts the input (uint8) into storage and starts the program."""
        tensor = self.program.input
        put_tensor(self.program.geometry, self._storage, tensor, q)
        first = tensor.address // LOAD_WORDS * LOAD_WORDS
        stop = -(-(tensor.address + tensor.words) // LOAD_WORDS) * LOAD_WORDS
        self.bench.write(self.sim, first, self._storage[first:stop])
        self.bench.begin(self.sim, self.program.program)

    def run(self, q: np.ndarray, *, status: Status | None = None, deadline: int = 100_000_000) -> Frame:
        """One frame. `status` is called with the cycles done so far, now and then.

        Raises MachineFault when the machine stops with an error, SimulationError when it does not stop in `deadline` cycles.
        """
        self.begin(q)
        return self.finish(status=status, deadline=deadline)

    def finish(self, *, status: Status | None = None, deadline: int = 100_000_000) -> Frame:
        """The rest of a frame that was begun."""
        sim, first, started = self.sim, self.sim.cycle, time.process_time()
        while not sim.advance(min(CHUNK, deadline), high="stopped"):
            if status:
                status(sim.cycle - first)
            if sim.cycle - first >= deadline:
                raise SimulationError(f"no end after {deadline} cycles")
        simulated, seconds = sim.cycle - first, time.process_time() - started
        run = self.bench.result(sim)
        if run.error["valid"]:
            raise MachineFault(self._fault(run.error))
        program, self.program = self.program, self.program.next
        written, wrong = written_vectors(program, run.beats["written"])
        return Frame(program=program, output=self._output(), written=written, wrong_places=wrong, start=run.start,
                     cycles=run.cycles,
                     taken={name: cycles - run.start for name, cycles in run.taken.items()},
                     done={name: cycles - run.start for name, cycles in run.done.items()},
                     requests=self._requests(run.beats["request"], run.start), counters=run.counters,
                     simulated=simulated, seconds=seconds)

    def write_waves(self, program: Program, q: np.ndarray, window: Window) -> None:
        """Runs a program and writes a window of it, counted from its start; the bench must have been made for its kind
        (`waves`). Raises OSError if it cannot be written, SimulationError if the program is over before."""
        self.load(program)
        self.begin(q)
        self.sim.run_until(beats=("started", 1), deadline=1_000_000)       # the machine resets its parts first
        start = int(self.sim.beats("started").cycle[-1])
        ahead = start + window.first - self.sim.cycle
        if ahead > 0 and self.sim.advance(ahead, high="stopped"):
            raise SimulationError(f"the program must run for {window.first} cycles, not {self.sim.cycle - start}")
        with self.sim.waves(window.path):
            self.sim.step(window.cycles)

    def _output(self) -> np.ndarray:
        tensor = self.program.output
        storage = np.zeros(tensor.address + tensor.words, np.uint16)
        storage[tensor.address:] = self.bench.read(self.sim, tensor.address, tensor.words)
        return get_tensor(self.program.geometry, storage, tensor)

    def _requests(self, beats: Beats, start: int) -> Requests:
        whole = np.zeros((len(beats), 8), np.uint8)
        whole[:, :beats.payload.shape[1]] = beats.payload
        words = whole.view("<u8")[:, 0]
        fields = {name: (words >> np.uint64(field.offset) & np.uint64((1 << field.width) - 1)).astype(np.int64)
                  for name, field in request_layout(self.bench.address_bits)}
        return Requests(cycle=beats.cycle - start, address=fields["address"], words=fields["length"],
                        write=fields["write"].astype(bool))

    def _fault(self, error: Mapping[str, int]) -> str:
        queue = QUEUES[error["queue"]] if error["queue"] < len(QUEUES) else "program"
        return (f"the machine stopped: {Fault(error['code']).name.lower().replace('_', ' ')}, {queue} command {error['index']}, "
                f"word {error['word']}")
