"""Whole programs on the RTL: the machine in front of a simulated SDRAM chip, or of storage in block RAM."""
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amaranth import Cat, Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2
import numpy as np

from arch import control
from arch.geometry import Geometry
from arch.instruction import QUEUES
from arch.sdram import Timing
from hw.machine import Machine
from hw.parts.queue import Queue
from hw.sequencer.counters import SETTLED, WHAT
from hw.sequencer.sequencer import error_layout
from hw.storage.arbiter import request_layout
from hw.storage.ram import StorageRam
from hw.storage.sdram import Sdram
from sim.models.sdram import LOAD_WORDS, ChipTiming, SdramChip, SdramDesign, blocks, chip_timing
from sim.verilog.cache import kept
from sim.verilog.export import Boundary, Rtl, convert
from sim.verilog.native import Beats, Design, Simulation
from sim.verilog.verilate import BUILD

__all__ = ["MachineBench", "MachineRun", "MachineTop"]

STATUS = ("running", "finished", "error", "cycles", "counter", "digest")


class MachineTop(wiring.Component):
    """Machine and storage: an SDRAM of `timing`, or `words` of block RAM. The chip is filled through `load`. `begun`: a program
    starts in this cycle; `stopped`: it is over or in error; `idle`: nothing runs any more."""

    def __init__(self, geometry: Geometry, timing: Timing | None, words: int, *, silence: int = control.SILENCE):
        self.timing = timing
        if timing is None:
            self.storage = StorageRam(words)
            bits = self.storage.address_bits
        else:
            self.storage, self.chip, bits = Sdram(timing), SdramChip(timing), timing.address_bits
        self.machine = Machine(geometry, address_bits=bits, storage_words=None if timing else words, silence=silence)
        members = self.machine.signature.members
        chip = {} if timing is None else {"chip_timing": In(ChipTiming), "load": self.chip.signature.members["load"]}
        super().__init__({**chip, "begun": Out(1), "stopped": Out(1), "idle": Out(1), "start": In(1), "clear": In(1),
                          "program": members["program"], "index": members["index"],
                          **{name: members[name] for name in (*STATUS, "host_request", "host_w", "host_r")}})

    def elaborate(self, platform):
        m = Module()
        m.submodules.machine, m.submodules.storage = machine, storage = self.machine, self.storage
        connect(m, machine.request, storage.request)
        m.d.comb += [machine.r.eq(storage.r), machine.take.eq(storage.take), storage.w.eq(machine.w)]
        for name in ("start", "clear", "program", "index"):
            m.d.comb += getattr(machine, name).eq(getattr(self, name))
        for name in (*STATUS, "host_r"):
            m.d.comb += getattr(self, name).eq(getattr(machine, name))
        for name in ("host_request", "host_w"):
            connect(m, flipped(getattr(self, name)), getattr(machine, name))
        m.d.comb += [self.begun.eq(machine.sequencer.start),
                     self.stopped.eq(machine.finished | machine.error.valid), self.idle.eq(~machine.running)]
        if self.timing is not None:
            m.submodules.chip = chip = self.chip
            connect(m, storage.pins, chip.pins)
            connect(m, flipped(self.load), chip.load)
            m.d.comb += chip.timing.eq(self.chip_timing)
        return m

    def probes(self) -> dict[str, Boundary]:
        """Start of the program; requests to storage; words written on the chip; commands taken and completed."""
        machine = self.machine
        engine, writer, sequencer = machine.engine, machine.engine.last, machine.sequencer
        boundaries = {
            "started": Boundary(sequencer.start, sequencer.program),
            "request": Boundary(machine.request.valid, machine.request.payload.as_value(), machine.request.ready),
            "read": Boundary(machine.r.valid, machine.r.data),
            "wrote": Boundary(machine.take, machine.take),
            "written": Boundary(writer.w_en.any(), Cat(writer.w_en, writer.w_addr, writer.w_data)),
            "gathered": Boundary(engine.gather.w_en, engine.gather.w_addr),
            "pixels": Boundary(engine.pixels.valid, engine.pixels.payload[:1], engine.pixels.ready),
            "host_word": Boundary(machine.host_r.valid, machine.host_r.data)}
        for n, name in enumerate(QUEUES):
            o = getattr(sequencer, name)
            boundaries[name] = Boundary(o.valid, o.ready, o.ready)
            boundaries[f"{name}_done"] = Boundary(sequencer.done[n], sequencer.done[n])
        return boundaries


@dataclass(frozen=True, kw_only=True, eq=False)
class MachineRun:
    """What a program did. Cycles count from the end of the simulation's reset.

    `start`: the program's. `taken`, `done`: for each queue, of its commands taken by their units and completed. `end`: cycle in
    which it showed the end, `cycles` as the machine counts them. `beats`: what passed the probes of `MachineTop`. `error`: fields
    of `error_layout`, `counters` of each queue, of each of `hw.sequencer.counters.WHAT`.
    """

    start: int
    end: int
    cycles: int
    finished: bool
    error: Mapping[str, int]
    counters: Mapping[str, Mapping[str, int]]
    taken: Mapping[str, np.ndarray]
    done: Mapping[str, np.ndarray]
    beats: Mapping[str, Beats]


def _fields(layout: data.StructLayout, bits: int) -> dict[str, int]:
    return {name: bits >> field.offset & (1 << field.width) - 1 for name, field in layout}


class MachineBench:
    """A machine and its storage, compiled for simulation."""

    def __init__(self, geometry: Geometry, *, timing: Timing | None = None, words: int = 16384, silence: int = control.SILENCE,
                 build: Path = BUILD, waves: str = ""):
        self.geometry, self.timing = geometry, timing
        self.words = words = words if timing is None else 1 << timing.address_bits
        self.address_bits = ceil_log2(words)

        def make() -> Rtl:
            top = MachineTop(geometry, timing, words, silence=silence)
            return convert(top, probes=top.probes)
        rtl = kept(repr((geometry, timing, words, silence)), make, build)
        self.design = (Design if timing is None else SdramDesign).of(rtl, build=build, waves=waves)

    def simulate(self) -> Simulation:
        """A machine after reset, whose SDRAM is not yet started."""
        sim = self.design.simulate()
        if self.timing is not None:
            sim.set("chip_timing", chip_timing(self.timing))
        return sim

    def write(self, sim: Simulation, address: int, words: np.ndarray) -> None:
        """Puts words (uint16) into storage: into the chip directly, into block RAM through the host's port while nothing runs.

        An address for the chip must be a multiple of `LOAD_WORDS`; words behind the last one up to such a multiple become 0.
        """
        words = np.asarray(words, np.uint16)
        if self.timing is None:
            sim.feed("host_w", words.astype("<u2").view(np.uint8).reshape(-1, 2))
            sim.step(5)                 # some must be there when storage asks for them
            self._ask(sim, True, address, len(words))
            sim.run_until(drained="host_w", deadline=1_000_000)
            sim.step(Queue.PLACES + 10)
            return
        padded = np.zeros(-(-len(words) // LOAD_WORDS) * LOAD_WORDS, np.uint16)
        padded[:len(words)] = words
        sim.feed("load", blocks(address, padded, self.timing))
        sim.run_until(drained="load", deadline=10_000_000)

    def read(self, sim: Simulation, address: int, words: int) -> np.ndarray:
        """Words (uint16) of storage, through the host's port while nothing runs."""
        sim.beats("host_word")
        found, most = [], 1 << 16
        for first in range(0, words, most):
            count = min(most, words - first)
            self._ask(sim, False, address + first, count)
            seen = 0
            while seen < count:
                sim.step(min(count - seen, 1000) + 20)
                found.append(sim.beats("host_word").payload)
                seen += len(found[-1])
        return np.concatenate([np.zeros((0, 2), np.uint8), *found]).copy().view("<u2")[:, 0]

    def _ask(self, sim: Simulation, write: bool, address: int, length: int) -> None:
        layout = request_layout(self.address_bits)
        sim.feed("host_request", [layout.const({"write": write, "address": address, "length": length}).as_bits()])
        sim.run_until(drained="host_request", deadline=1_000_000)

    def ready(self, sim: Simulation) -> None:
        """Runs until storage would take a request."""
        if self.timing is not None and sim.cycle < self.timing.ready:
            sim.step(self.timing.ready - sim.cycle)

    def run(self, sim: Simulation, program: int, *, deadline: int = 20_000_000) -> MachineRun:
        """Runs the program at address `program`. Raises SimulationError when it takes more than `deadline` cycles."""
        self.begin(sim, program)
        sim.run_until(high="stopped", deadline=deadline)
        return self.result(sim)

    def begin(self, sim: Simulation, program: int) -> None:
        """Starts a program; forgets what passed before."""
        for name in self.design.rtl.boundaries:
            sim.beats(name)
        sim.set("program", program)
        sim.set("start", 1)
        sim.step()
        sim.set("start", 0)
        sim.run_until(high="begun", deadline=1_000_000)

    def result(self, sim: Simulation) -> MachineRun:
        """What happened since `begin`; then runs until the machine is free again."""
        end = sim.cycle
        sim.run_until(high="idle", deadline=1_000_000)
        beats = {name: sim.beats(name) for name in self.design.rtl.boundaries}
        sim.step(SETTLED + len(QUEUES) * len(WHAT))
        counters = {name: {} for name in QUEUES}
        for n, (name, what) in enumerate((name, what) for name in QUEUES for what in WHAT):
            sim.set("index", n)
            sim.step()
            counters[name][what] = sim.get("counter")
        return MachineRun(start=int(beats["started"].cycle[-1]), end=end, cycles=sim.get("cycles"),
                          finished=bool(sim.get("finished")), error=_fields(error_layout(), sim.get("error")), counters=counters,
                          taken={name: beats[name].cycle for name in QUEUES},
                          done={name: beats[f"{name}_done"].cycle for name in QUEUES}, beats=beats)
