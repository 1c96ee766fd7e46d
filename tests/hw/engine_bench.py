"""Runs layers on the engine's RTL and tells what came out when."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from amaranth import Cat, Module, Shape
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, connect, flipped
import numpy as np

from arch import pipeline
from arch.command import GatherConfig
from arch.geometry import Geometry
from compiler.layer import LayerPlan, Phase
from hw.engine import Engine
from sim.native import Beats, Design, Simulation
from sim.rtl import Boundary

__all__ = ["EngineBench", "Run"]

# Write ports of the memories: what enables them, and what makes up a beat of the stream that stands for them.
PORTS = {"activations": ("a_en", ("a_addr", "a_data")), "weights": ("w_en", ("w_addr", "w_data")),
         "parameters": ("p_en", ("p_addr", "biases", "scales"))}


class Top(wiring.Component):
    """The engine, with its memories' write ports as streams that are always ready."""

    def __init__(self, geometry: Geometry):
        self.engine = engine = Engine(geometry)
        own = engine.signature.members
        inner = {name for enable, parts in PORTS.values() for name in (enable, *parts)}
        self.outer = {name: own[name] for name in own if name not in inner}
        streams = {name: data.StructLayout({part: Shape.cast(own[part].shape).width for part in parts})
                   for name, (_, parts) in PORTS.items()}
        super().__init__(self.outer | {name: In(stream.Signature(layout)) for name, layout in streams.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = self.engine
        for name, member in self.outer.items():
            port, own = getattr(self, name), getattr(engine, name)
            if member.is_signature:
                connect(m, flipped(port), own)
            else:
                m.d.comb += own.eq(port) if member.flow is In else port.eq(own)
        for name, (enable, parts) in PORTS.items():
            port, en = getattr(self, name), getattr(engine, enable)
            m.d.comb += [port.ready.eq(1), en.eq(port.valid.replicate(len(en)))]
            m.d.comb += [Cat(getattr(engine, part)).eq(port.payload[part]) for part in parts]
        return m


def _pack(*columns: tuple[np.ndarray, int]) -> np.ndarray:
    """Rows of unsigned values with their widths in bits, first in the lowest bits, as beats: uint8 (n, bytes).

    A column is (values, bits) with int64 values, or uint8 (n, bytes) with bits = 8 * bytes.
    """
    planes = []
    for values, bits in columns:
        values = np.asarray(values)
        if values.ndim == 1:
            planes.append((values[:, None].astype(np.int64) >> np.arange(bits) & 1).astype(np.uint8))
        else:
            planes.append(np.unpackbits(values, axis=1, bitorder="little"))
    return np.packbits(np.concatenate(planes, axis=1), axis=1, bitorder="little")


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What passed the boundaries of one run (cycles from the offer of the first command), and the activation memory after it."""

    beats: dict[str, Beats]
    memory: np.ndarray
    offered: np.ndarray         # cycle from which on each command was offered


class EngineBench:
    """The engine of a geometry, compiled for simulation; `run` executes the plan of a layer."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        top = Top(geometry)
        self.engine = top.engine
        self.design = Design(top, probes=self._probes)

    def _probes(self) -> Mapping[str, Boundary]:
        engine, convolver, writer = self.engine, self.engine.convolver, self.engine.writer
        return {
            "array": Boundary(convolver.array.results[0].valid, convolver.array.results[0].acc),
            "requantised": Boundary(convolver.o.valid, convolver.o.vector.as_value()),
            "fifo": Boundary(engine.fifo.o.valid, engine.fifo.o.payload.as_value(), engine.fifo.o.ready),
            "pooled": Boundary(engine.pool.o.valid, engine.pool.o.payload.as_value(), engine.pool.o.ready),
            "averaged": Boundary(engine.average.o.valid, engine.average.o.payload.as_value(), engine.average.o.ready),
            "done": Boundary(engine.finished, engine.done),
            "gathered": Boundary(engine.gather.w_en, Cat(engine.gather.w_addr, engine.gather.w_data)),
            "gather_done": Boundary(engine.gather.done, engine.gathered),
            "written": Boundary(writer.w_en.any(), Cat(writer.w_en, writer.w_addr, writer.w_data)),
        }

    def _boundaries(self) -> list[str]:
        return ["command", "gather_command", "pixels", *self._probes()]

    def run(self, plan: LayerPlan, memory: np.ndarray, *, read_grant: np.ndarray | None = None,
            write_grant: np.ndarray | None = None, gather: Sequence[GatherConfig] = (), pixels: np.ndarray | None = None,
            deadline: int = 5_000_000) -> Run:
        """Executes a plan on activation memory `memory` (uint8, words x PI). Grants are patterns, one value a cycle, repeated.

        Weights and parameters of a phase are loaded while the phase before it runs. Beside the plan the commands `gather` run,
        with `pixels` uint8 (n, 4).
        """
        with self.design.simulate() as sim:
            return self.execute(sim, plan, memory, read_grant, write_grant, gather, pixels, deadline)

    def execute(self, sim: Simulation, plan: LayerPlan, memory: np.ndarray, read_grant: np.ndarray | None = None,
                write_grant: np.ndarray | None = None, gather: Sequence[GatherConfig] = (), pixels: np.ndarray | None = None,
                deadline: int = 5_000_000) -> Run:
        """As `run`, in a simulation whose engine is idle."""
        self.load(sim, plan, memory)
        origin, before = sim.cycle, sim.get("done")
        writes = len([sim.beats(name) for name in self._boundaries()][-1])      # what an earlier run left
        for port, values in (("read_grant", read_grant), ("write_grant", write_grant)):
            if values is None:
                sim.set(port, 1)
            else:
                sim.pattern(port, np.roll(values, origin % len(values)))
        if gather:
            sim.feed("gather_command", [command.pack() for command in gather])
            sim.feed("pixels", pixels)
        offered, ends = [], []
        for number, phase in enumerate(plan.phases):
            if number >= 2:
                sim.run_until(beats=("written", ends[number - 2]), deadline=deadline)
                self._load(sim, phase)
                sim.run_until(drained="weights", deadline=deadline)
                sim.run_until(drained="parameters", deadline=deadline)
                sim.step(8)
            offered += [sim.cycle - origin] * len(phase.commands)
            sim.feed("command", [command.pack() for command in phase.commands])
            writes += sum(c.writer.rows * c.writer.columns * c.writer.output_blocks for c in phase.commands)
            ends.append(writes)
        sim.run_until(beats=("written", writes), deadline=deadline)
        sim.run_until(beats=("gather_done", len(gather)), deadline=deadline)
        sim.step(100)
        assert sim.get("gathered") == len(gather)
        assert not sim.get("busy") and sim.get("done") - before == len(plan.commands)
        beats = {name: sim.beats(name) for name in self._boundaries()}
        for passed in beats.values():
            passed.cycle -= origin
        return Run(beats=beats, memory=self.memory(sim), offered=np.array(offered))

    def load(self, sim: Simulation, plan: LayerPlan, memory: np.ndarray):
        """Fills the activation memory, and the others for the first two phases."""
        bits = (self.geometry.activation_words - 1).bit_length()
        sim.feed("activations", _pack((np.arange(len(memory)), bits), (memory, 0)))
        for phase in plan.phases[:2]:
            self._load(sim, phase)
        for name in PORTS:
            sim.run_until(drained=name, deadline=len(memory) + 100_000)
        sim.step(8)

    def _load(self, sim: Simulation, phase: Phase):
        geometry = self.geometry
        address = (phase.weight_base + np.arange(len(phase.weights))) % geometry.weight_words
        sim.feed("weights", _pack((address, (geometry.weight_words - 1).bit_length()),
                                  (phase.weights.reshape(len(address), -1).view(np.uint8), 0)))
        address = (phase.parameter_base + np.arange(len(phase.biases))) % geometry.parameter_words
        columns = [(address, (geometry.parameter_words - 1).bit_length())]
        for values, width in ((phase.biases, 32), (phase.multipliers, 8), (phase.shifts, 6)):
            columns += [(values[:, n], width) for n in range(2)]
        sim.feed("parameters", _pack(*columns))

    def memory(self, sim: Simulation, *, pattern: bool = True) -> np.ndarray:
        """The activation memory, read through the host's port; afterwards there is no read grant, for good with `pattern`."""
        geometry = self.geometry
        if pattern:
            sim.pattern("read_grant", np.zeros(1, bool))
        else:
            sim.set("read_grant", 0)
        latency = pipeline.WINDOW + pipeline.ACTIVATION_READ
        words = []
        for address in range(geometry.activation_words + latency):
            sim.set("h_addr", address % geometry.activation_words)
            if address >= latency:
                words.append(sim.get("h_data").to_bytes(geometry.input_lanes, "little"))
            sim.step()
        return np.frombuffer(bytearray().join(words), np.uint8).reshape(-1, geometry.input_lanes)
