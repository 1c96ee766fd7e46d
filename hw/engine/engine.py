"""The convolution engine: commands in, activation memory to activation memory."""
from importlib import import_module
from itertools import pairwise
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch import pipeline
from arch.geometry import Geometry
from arch.unit.gather import GatherConfig
from arch.units import queued
from hw.engine.convolver import Convolver
from hw.engine.dispatch import Dispatch
from hw.engine.fifo import OutputFifo
from hw.engine.memory_ports import MemoryAccess
from hw.gather.port import GatherPort
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.layout import command_layout, record_layout
from hw.parts.reset import own_reset
from hw.primitives import Copy

__all__ = ["Engine", "queued_units"]


BITS_PER_COPY = 36      # of a word written, served by one copy of the selecting lines


def queued_units(geometry: Geometry) -> dict[str, Any]:
    """The component of each unit behind the output queue, by name and in order: `UNIT` of its file."""
    return {unit.name: import_module(f"hw.engine.{unit.name}").UNIT for unit in queued(geometry)[1:]}


class Engine(wiring.Component):
    """Runs `arch.command.Command`s, one after the other, overlapped so that the array does not wait.

    Window generator -> activation memory -> array -> requantiser -> queue -> units of `arch.units` -> the same memory.
    Weights, parameters and activations that a command reads must be in their memories when it is given, and stay until it is
    done; what it writes must not be read before it is done (commands in the queues run ahead of each other's writes).

    The memories have other users too. The activation memory's read port is theirs in cycles without `memories.read_grant`, its
    write port in cycles t for which `memories.write_grant` was low in t - `pipeline.WRITE_GRANT`.

    Reset stops everything and empties all queues; memories keep their contents, apart from a write under way. It must last
    `units.vector(geometry)` cycles: the array and the requantiser have none of their own, what is in them must drain. Nothing
    must be given in the cycle after it: units are reset a cycle later.

    Members:
    - `command`: stream of `command_layout()`, taken when each unit has taken the command `pipeline.COMMANDS` before.
    - `memories`: the ways of others to the memories, `MemoryAccess(geometry)`.
    - `busy`: Out(1), a command is under way. `done`: Out(32), commands completed, modulo 2**32: their last word can be read
      when the count shows.
    - `gather_command`, `pixels`: streams of `GatherConfig` and pixels (first channel in the lowest byte). The gather fills the
      activation memory beside the commands, in cycles in which neither the writer nor the host writes. `gathered`: Out(32),
      its commands completed; as for `done`.
    - `digest`: Out(64), of the geometry.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        super().__init__({
            "command": In(stream.Signature(command_layout(geometry))), "memories": In(MemoryAccess(geometry)),
            "busy": Out(1), "done": Out(32), "digest": Out(64),
            "gather_command": In(stream.Signature(record_layout(GatherConfig))), "pixels": In(stream.Signature(32)),
            "gathered": Out(32)})
        self.dispatch, self.convolver, self.gather = Dispatch(geometry), Convolver(geometry), GatherPort(geometry)
        # What vectors pass as streams: the queue behind the convolver, the units, and at the end the writer.
        self.fifo = OutputFifo(lanes=geometry.output_lanes, depth=geometry.fifo_words)
        self.units = {queued(geometry)[0].name: self.fifo} | {
            name: unit(geometry) for name, unit in queued_units(geometry).items()}
        *_, self.last = self.units.values()

    def elaborate(self, platform):
        m = Module()
        dispatch, convolver, fifo, gather, writer = self.dispatch, self.convolver, self.fifo, self.gather, self.last
        memories = self.memories
        m.submodules.dispatch, m.submodules.convolver = dispatch, convolver       # which have resets for each of their units
        *before, last = self.units
        for name, unit in (*((name, self.units[name]) for name in before), ("gather", gather), (last, writer)):
            own_reset(m, name, unit)

        connect(m, flipped(self.command), dispatch.command)
        connect(m, flipped(self.gather_command), gather.command)
        connect(m, flipped(self.pixels), gather.pixels)
        for name in ("weights", "parameters"):
            connect(m, flipped(getattr(memories.writes, name)), getattr(convolver.writes, name))
        for o, i in ((dispatch.window, convolver.window), (dispatch.load, convolver.load), (dispatch.scale, convolver.scale),
                     *((getattr(dispatch, name), unit.command) for name, unit in self.units.items() if unit is not fifo),
                     *((unit.o, following.i) for unit, following in pairwise(self.units.values()))):
            connect(m, o, i)
        m.d.comb += [
            convolver.read_grant.eq(memories.read_grant), convolver.h_addr.eq(memories.read.addr),
            memories.read.data.eq(convolver.r_data),
            convolver.room.eq(fifo.room), fifo.reserve.eq(convolver.reserve), fifo.i.eq(convolver.o),
            writer.grant.eq(memories.write_grant), self.digest.eq(Const(self.geometry.digest, 64))]
        self._writes(m)
        self._constants(m)
        self._status(m)
        return m

    def _constants(self, m):
        """Optional units take their constants from the writes of parameters."""
        given = self.memories.writes.parameters
        for name in self.geometry.options:
            if words := self.geometry.option_words(name):
                port = self.units[name].constants
                m.d.sync += [port.addr.eq(given.addr - words.start), port.data.eq(given.data.as_value()[:len(port.data)]),
                             port.en.eq(given.en & (given.addr >= words.start) & (given.addr < words.stop))]

    def _writes(self, m):
        """The activation memory's write port: the writer's words first, then the host's, then the gather's."""
        writer, gather, given, writes = self.last, self.gather, self.memories.writes.activations, self.convolver.writes
        own, host = writer.w_en.any(), given.en.any()
        m.d.comb += gather.free.eq(~(own | host))

        def register(value, name):
            stage = Signal(len(value), name=name, reset_less=True)
            m.d.sync += stage.eq(value)
            return stage
        sources = [register(Cat(unit.w_addr, unit.w_data), name) for unit, name in ((gather, "gathered"), (writer, "written"))]
        sources.append(register(Cat(given.addr, given.data), "hosted"))
        chosen = []
        for first in range(0, len(sources[0]), BITS_PER_COPY):
            selects = []
            for name, select in (("own", own), ("host", host)):
                m.submodules[f"{name}{first}"] = copy = Copy()
                m.d.comb += copy.d.eq(select)
                selects.append(copy.q)
            gathered, written, hosted = (source[first:first + BITS_PER_COPY] for source in sources)
            chosen.append(register(Mux(selects[0], written, Mux(selects[1], hosted, gathered)), f"chosen{first}"))
        enable = Signal(len(given.en))
        m.d.sync += enable.eq(writer.w_en | given.en | gather.w_en.replicate(len(enable)))
        m.d.comb += [Cat(writes.activations.addr, writes.activations.data).eq(Cat(chosen)),
                     writes.activations.en.eq(register(enable, "enable"))]

    def _status(self, m):
        m.submodules.outstanding = outstanding = Credits(4 * pipeline.COMMANDS)
        done = Signal(32)
        # A command without a write is done when the one before is: its writes are at most WRITE_GRANT - 1 cycles behind.
        silent = self.last.command.valid & self.last.command.ready & (self.last.command.payload.rows == 0)
        silent = delayed(m, silent, pipeline.WRITE_GRANT, "silent", reset=True)
        # Counted when the last word can be read.
        end = self.finished = delayed(m, self.last.last | silent, pipeline.ACTIVATION_WRITE, "finished", reset=True)
        with m.If(end):
            m.d.sync += done.eq(done + 1)
        m.d.comb += [outstanding.give.eq(self.command.valid & self.command.ready), outstanding.take.eq(end),
                     self.busy.eq(outstanding.any), self.done.eq(done)]
        with m.If(delayed(m, self.gather.done, pipeline.ACTIVATION_WRITE, "gather_finished", reset=True)):
            m.d.sync += self.gathered.eq(self.gathered + 1)
        return m
