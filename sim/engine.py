"""The engine under test: runs the plan of a layer on its RTL, and holds every beat against golden's values and cycles."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
import time

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
import numpy as np

from arch import pipeline
from arch.command import Command
from arch.geometry import Geometry
from arch.unit.gather import GatherConfig
from arch.units import boundaries
from compiler.images import table_words
from compiler.layer import LayerPlan, Phase
from golden.cycles.engine import Timeline, timeline
from golden.cycles.gather_port import GatherTimeline
from golden.cycles.streams import Readiness
from golden.places import written_shape
from hw.engine.engine import Engine
from hw.engine.weights import scale_layout
from nets.int8.network import QTable
from sim.cases import Case
from sim.expected import Expected, pack_columns
from sim.verilog.export import Boundary
from sim.verilog.native import Beats, Design, Simulation, beats_of_ints
from sim.verilog.verilate import BUILD

__all__ = ["EVENTS", "CocotbBench", "EngineBench", "EngineTop", "Run", "differences", "gather_mismatches", "images",
           "mismatches", "predicted", "vectors"]

# Commands taken and completed (with the count before); commands, pixels and words of the gather, and its commands completed.
EVENTS = ("command", "done", "gather_command", "pixels", "gathered", "gather_done")
SETTLE = 8                  # cycles from the last word loaded to the first command
DRAIN = 100                 # cycles after the last beat, in which no other may come

MEMORIES = ("activations", "weights", "parameters")
# What loads bring of a parameter, of 16 bits; so much slower than a write a cycle are words for units that have constants.
WORDS_OF_A_PARAMETER = 6


class EngineTop(wiring.Component):
    """The engine, with its memories' write ports as streams of `addr` and `data`, plain ports for the grants and the read port,
    and probes at every stream boundary. Streams are always ready, but that of parameters where units have constants: it is no
    faster than loads are."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.engine = engine = Engine(geometry)
        self.outer = {name: member for name, member in engine.signature.members.items() if name != "memories"}
        memories = engine.memories
        streams = {}
        for name in MEMORIES:
            port = getattr(memories.writes, name)
            streams[name] = In(stream.Signature(data.StructLayout({
                part: len(Value.cast(getattr(port, part))) for part in ("addr", "data")})))
        super().__init__(self.outer | streams | {
            "read_grant": In(1), "write_grant": In(1), "h_addr": In(len(memories.read.addr)),
            "h_data": Out(len(memories.read.data))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = self.engine
        for name, member in self.outer.items():
            port, own = getattr(self, name), getattr(engine, name)
            if member.is_signature:
                connect(m, flipped(port), own)
            else:
                m.d.comb += own.eq(port) if member.flow is In else port.eq(own)
        memories = engine.memories
        for name in MEMORIES:
            given, port = getattr(self, name), getattr(memories.writes, name)
            m.d.comb += [given.ready.eq(1), port.en.eq((given.valid & given.ready).replicate(len(port.en))),
                         port.addr.eq(given.payload.addr), Value.cast(port.data).eq(given.payload.data)]
        if self.geometry.options:
            turn = Signal(range(WORDS_OF_A_PARAMETER))
            m.d.sync += turn.eq(Mux(turn == WORDS_OF_A_PARAMETER - 1, 0, turn + 1))
            m.d.comb += self.parameters.ready.eq(turn == 0)
        m.d.comb += [memories.read_grant.eq(self.read_grant), memories.write_grant.eq(self.write_grant),
                     memories.read.addr.eq(self.h_addr), self.h_data.eq(memories.read.data)]
        return m

    def probes(self) -> Mapping[str, Boundary]:
        """What `sim.verilog.export.convert` makes visible."""
        engine, convolver, writer, gather = self.engine, self.engine.convolver, self.engine.last, self.engine.gather
        array = convolver.array.results[0]
        passing = (Boundary(array.valid, array.acc), Boundary(convolver.o.valid, convolver.o.vector.as_value()),
                   *(Boundary(unit.o.valid, unit.o.payload.as_value(), unit.o.ready)
                     for unit in engine.units.values() if unit is not writer),
                   Boundary(writer.w_en.any(), Cat(writer.w_en, writer.w_addr, writer.w_data)))
        return dict(zip(boundaries(self.geometry), passing, strict=True)) | {
            "done": Boundary(engine.finished, engine.done),
            "gathered": Boundary(gather.w_en, Cat(gather.w_addr, gather.w_data)),
            "gather_done": Boundary(gather.done, engine.gathered),
        }


def images(geometry: Geometry, memory: np.ndarray, phases: tuple[Phase, ...],
           table: QTable | None = None) -> dict[str, np.ndarray]:
    """Beats of the three memory streams that load activation memory (uint8, words x PI), the first table, and what the phases
    need."""
    weights, parameters = [], []
    for phase in phases:
        address = (phase.weight_base + np.arange(len(phase.weights))) % geometry.weight_words
        weights.append(pack_columns((address, (geometry.weight_words - 1).bit_length()),
                                    (phase.weights.reshape(len(address), -1).view(np.uint8), 0)))
        address = (phase.parameter_base + np.arange(len(phase.biases))) % geometry.parameter_words
        columns = [(address, (geometry.parameter_places - 1).bit_length())]
        for values, width in ((phase.biases, 32), (phase.multipliers, 8), (phase.shifts, 6)):
            columns += [(values[:, n], width) for n in range(2)]
        parameters.append(pack_columns(*columns))
    if table is not None:
        entries = table_words(table.table).reshape(-1, WORDS_OF_A_PARAMETER)[:, :4].view(np.uint8)
        address = geometry.option_words("table").start + np.arange(len(entries))
        parameters.append(pack_columns((address, (geometry.parameter_places - 1).bit_length()), (entries, 0),
                                       (np.zeros(len(entries), np.int64), scale_layout().size)))
    words = pack_columns((np.arange(len(memory)), (geometry.activation_words - 1).bit_length()), (memory, 0))
    return {"activations": words, "weights": np.concatenate(weights), "parameters": np.concatenate(parameters)}


def vectors(commands: tuple[Command, ...]) -> int:
    """Vectors that commands write."""
    return sum(math.prod(written_shape(command)) for command in commands)


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What passed each of `arch.units.boundaries` and `EVENTS` in one run, and the activation memory after it.

    Cycles count from the offer of the first command. `offered`: cycle from which on each command was offered; `seconds` of
    processor time for `simulated` cycles.
    """

    beats: dict[str, Beats]
    memory: np.ndarray
    offered: np.ndarray
    simulated: int
    seconds: float


class EngineBench:
    """The engine of a geometry, compiled for simulation; `run` executes the plan of a layer, `execute` in a simulation of yours.

    Methods raise SimulationError when the engine does not finish in `deadline` cycles.
    """

    def __init__(self, geometry: Geometry, build: Path = BUILD):
        self.geometry = geometry
        top = EngineTop(geometry)
        self.design = Design(top, probes=top.probes, build=build)

    def run(self, plan: LayerPlan, memory: np.ndarray, *, read_grant: np.ndarray | None = None,
            write_grant: np.ndarray | None = None, gather: Sequence[GatherConfig] = (), pixels: np.ndarray | None = None,
            follow: bool = False, deadline: int = 20_000_000) -> Run:
        """Executes a plan on activation memory `memory` (uint8, words x PI), or its first words.

        Grants are patterns, one value a cycle, repeated. Weights and parameters of a phase are loaded as soon as the phase that
        had their place is done. Beside the plan the commands `gather` run, with `pixels` uint8 (n, 4); with `follow` they make
        its input, and each of its commands is offered when that of its number is done.
        """
        with self.design.simulate() as sim:
            return self.execute(sim, plan, memory, read_grant=read_grant, write_grant=write_grant, gather=gather, pixels=pixels,
                                follow=follow, deadline=deadline)

    def execute(self, sim: Simulation, plan: LayerPlan, memory: np.ndarray, *, read_grant: np.ndarray | None = None,
                write_grant: np.ndarray | None = None, gather: Sequence[GatherConfig] = (), pixels: np.ndarray | None = None,
                follow: bool = False, deadline: int = 20_000_000) -> Run:
        """As `run`, in a simulation whose engine is idle and whose beats nobody took."""
        self.load(sim, plan, memory, deadline=deadline)
        origin, started = sim.cycle, time.process_time()
        passed = {name: len(sim.beats(name)) for name in (*boundaries(self.geometry), *EVENTS)}
        done, gathered = sim.get("done"), sim.get("gathered")
        for port, values in (("read_grant", read_grant), ("write_grant", write_grant)):
            pattern = np.ones(1, bool) if values is None else values
            sim.pattern(port, np.roll(pattern, origin % len(pattern)))
        if gather:
            sim.feed("gather_command", [command.pack() for command in gather])
            sim.feed("pixels", pixels)
        offered, ends = [], []
        for number, phase in enumerate(plan.phases):
            if number >= plan.side_by_side:
                sim.run_until(beats=("done", passed["done"] + ends[number - plan.side_by_side]), deadline=deadline)
                loads = images(self.geometry, memory[:0], (phase,))
                self._feed(sim, {name: loads[name] for name in ("weights", "parameters")}, deadline)
            for turn, command in enumerate(phase.commands, start=1):
                if follow:      # the words can be read before the command's first beat does
                    sim.run_until(beats=("gather_done", passed["gather_done"] + turn), deadline=deadline)
                offered.append(sim.cycle - origin)
                sim.feed("command", [command.pack()])
            ends.append(len(offered))
        sim.run_until(beats=("written", passed["written"] + vectors(plan.commands)), deadline=deadline)
        # A pool may leave rows and columns unused, which pass after the last write.
        made = sum(c.window.pixels * c.window.output_blocks for c in plan.commands)
        sim.run_until(beats=("fifo", passed["fifo"] + made), deadline=deadline)
        sim.run_until(beats=("gather_done", passed["gather_done"] + len(gather)), deadline=deadline)
        sim.step(DRAIN)
        simulated, seconds = sim.cycle - origin, time.process_time() - started
        assert not sim.get("busy") and sim.get("done") - done == len(plan.commands)
        assert sim.get("gathered") - gathered == len(gather)
        beats = {name: sim.beats(name) for name in passed}
        for one in beats.values():
            one.cycle -= origin
        return Run(beats=beats, memory=self.memory(sim), offered=np.array(offered), simulated=simulated, seconds=seconds)

    def load(self, sim: Simulation, plan: LayerPlan, memory: np.ndarray, *, deadline: int = 20_000_000) -> None:
        """Fills the activation memory, and the others for the phases that fit side by side."""
        self._feed(sim, images(self.geometry, memory, plan.phases[:plan.side_by_side], plan.table), deadline)

    def _feed(self, sim: Simulation, loads: Mapping[str, np.ndarray], deadline: int) -> None:
        for name, beats in loads.items():
            sim.feed(name, beats)
        for name in loads:
            sim.run_until(drained=name, deadline=deadline)
        sim.step(SETTLE)

    def memory(self, sim: Simulation) -> np.ndarray:
        """The activation memory, read through the host's port: from now on a pattern denies the read grant."""
        sim.pattern("read_grant", np.zeros(1, bool))
        latency = pipeline.WINDOW + pipeline.ACTIVATION_READ
        words = []
        for address in range(self.geometry.activation_words + latency):
            sim.set("h_addr", address % self.geometry.activation_words)
            if address >= latency:
                words.append(sim.get("h_data").to_bytes(self.geometry.input_lanes, "little"))
            sim.step()
        return np.frombuffer(bytearray().join(words), np.uint8).reshape(-1, self.geometry.input_lanes)


def predicted(geometry: Geometry, plan: LayerPlan, offered: np.ndarray, *, read_grant: np.ndarray | None = None,
              write_grant: np.ndarray | None = None) -> Timeline:
    """What `golden.cycles` says of a run with these offers and grants."""
    return timeline(geometry, plan.commands, offered, read_grant=Readiness(read_grant), write_grant=Readiness(write_grant))


def mismatches(beats: Mapping[str, Beats], cycles: Timeline, values: Expected) -> dict[str, tuple[int, int, int]]:
    """For each boundary, the number of beats that passed, and of those that differ from golden in value and in cycle.

    Beats that are missing or too many differ in both.
    """
    return {name: _mismatch(beats[name], values.payload(name), when) for name, when in cycles.passed.items()}


def gather_mismatches(beats: Mapping[str, Beats], cycles: GatherTimeline, values: np.ndarray) -> dict[str, tuple[int, int, int]]:
    """As `mismatches`, of what passes the gather: `values` are its words with their addresses."""
    done = cycles.done - pipeline.ACTIVATION_WRITE - pipeline.ACTIVATION_TO_READ
    return {"gathered": _mismatch(beats["gathered"], values, cycles.written)} | {
        name: _mismatch(beats[name], None, when) for name, when in (
            ("gather_command", cycles.taken), ("pixels", cycles.pixels), ("gather_done", done))}


def _mismatch(passed: Beats, payload: np.ndarray | None, when: np.ndarray) -> tuple[int, int, int]:
    """Beats, and how many differ in value, if it is given, and in cycle."""
    def differ(a: np.ndarray, b: np.ndarray) -> int:
        common, most = min(len(a), len(b)), max(len(a), len(b))
        return int((a[:common] != b[:common]).reshape(common, -1).any(axis=1).sum()) + most - common
    return len(passed), 0 if payload is None else differ(passed.payload, payload), differ(passed.cycle, when)


def differences(counts: Mapping[str, tuple[int, int, int]]) -> str:
    """What is wrong, in a line; empty if nothing is."""
    return "; ".join(f"{name}: of {beats} beats {wrong} differ in value, {late} in cycle"
                     for name, (beats, wrong, late) in counts.items() if wrong or late)


class CocotbBench:
    """The engine of a geometry, compiled for cocotb; `run` executes a layer there, Python asleep between beats."""

    def __init__(self, geometry: Geometry, build: Path = BUILD):
        self.geometry = geometry
        top = EngineTop(geometry)
        from sim.benches.run import compile_bench  # here: it needs cocotb, which only the tests bring
        self.program = compile_bench(top, probes=top.probes, build=build)

    def run(self, case: Case, *, read_grant: np.ndarray | None = None, write_grant: np.ndarray | None = None) -> str:
        """Runs a layer against golden's values and cycles; returns the log. Raises SimulationError for any difference,
        ValueError if the layer's weights do not fit the weight memory at once or in two halves."""
        geometry = self.geometry
        plan, target, memory = case.place(geometry)
        if len(plan.phases) > plan.side_by_side:
            raise ValueError(f"phases must be at most {plan.side_by_side}, not {len(plan.phases)}: give a geometry with more "
                             "weight memory")
        line = predicted(geometry, plan, np.zeros(len(plan.commands), np.int64), read_grant=read_grant, write_grant=write_grant)
        values = Expected(geometry, plan, case, target)
        used = int(np.flatnonzero(memory.any(axis=1))[-1]) + 1 if memory.any() else 0
        always = np.ones(1, bool)
        from sim.benches.replay import replay
        return replay(self.program, loads=images(geometry, memory[:used], plan.phases, plan.table),
                      command=beats_of_ints((command.pack() for command in plan.commands), Command.bits(geometry)),
                      expected={name: Beats(when, values.payload(name)) for name, when in line.passed.items()},
                      grants={"read_grant": always if read_grant is None else read_grant,
                              "write_grant": always if write_grant is None else write_grant}, settle=SETTLE)
