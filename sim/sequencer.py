"""The sequencer with units that only take time: a bench for programs of any kind."""
from collections.abc import Mapping
from dataclasses import dataclass

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
import numpy as np

from arch import control
from arch.geometry import Geometry
from arch.instruction import QUEUES
from arch.record import STORAGE
from hw.sequencer.sequencer import Sequencer, error_layout, fault_layout, region_layout
from sim.verilog.export import Boundary, SimulationError
from sim.verilog.native import Beats, Design, Simulation

__all__ = ["SequencerBench", "SequencerRun", "SequencerTop"]


class SequencerTop(wiring.Component):
    """Words of the program come from the stream `words` when they were asked for. Each unit takes a command, then for as long
    as the stream `<queue>_time` says (0..255 cycles more) nothing; it gives its token a cycle later. `go` allows requests for
    words; `drain` throws away what is left of words and times."""

    def __init__(self, geometry: Geometry, *, storage_bits: int = STORAGE, silence: int = 20_000):
        self.sequencer = Sequencer(geometry, storage_bits=storage_bits, silence=silence)
        super().__init__({
            "start": In(1), "program": In(storage_bits), "go": In(1), "drain": In(1), "words": In(stream.Signature(16)),
            "fault": In(fault_layout(geometry)),
            **{f"{name}_time": In(stream.Signature(8)) for name in QUEUES}, "region": Out(region_layout(storage_bits)),
            "running": Out(1), "finished": Out(1), "error": Out(error_layout()), "cycles": Out(32)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = sequencer = self.sequencer
        for name in ("start", "program", "fault"):
            m.d.comb += getattr(sequencer, name).eq(getattr(self, name))
        for name in ("region", "running", "finished", "error", "cycles"):
            m.d.comb += getattr(self, name).eq(getattr(sequencer, name))
        wanted = Signal(range(control.BURST + 1))
        asked = sequencer.fetch.valid & sequencer.fetch.ready
        m.d.comb += [sequencer.fetch.ready.eq(self.go), self.words.ready.eq((wanted != 0) | self.drain),
                     sequencer.fetched.valid.eq(self.words.valid & (wanted != 0)),
                     sequencer.fetched.data.eq(self.words.payload)]
        with m.If(asked):
            m.d.sync += wanted.eq(sequencer.fetch.payload.length)
        with m.Elif(sequencer.fetched.valid):
            m.d.sync += wanted.eq(wanted - 1)
        self.finish = {}
        for n, name in enumerate(QUEUES):
            o, time = getattr(sequencer, name), getattr(self, f"{name}_time")
            busy, left = Signal(name=f"{name}_busy"), Signal(8, name=f"{name}_left")
            taken = o.valid & o.ready
            m.d.comb += [o.ready.eq(~busy & time.valid & ~self.drain), time.ready.eq(taken | self.drain),
                         sequencer.done[n].eq(busy & (left == 0))]
            self.finish[name] = sequencer.done[n]
            with m.If(taken):
                m.d.sync += [busy.eq(1), left.eq(time.payload)]
            with m.Elif(busy):
                m.d.sync += [left.eq(left - 1), busy.eq(left != 0)]
        m.d.comb += sequencer.alive.eq(sequencer.fetched.valid)
        return m

    def probes(self) -> dict[str, Boundary]:
        sequencer = self.sequencer
        boundaries = {"fetch": Boundary(sequencer.fetch.valid, sequencer.fetch.payload.as_value(), sequencer.fetch.ready),
                      "fetched": Boundary(sequencer.fetched.valid, sequencer.fetched.data)}
        for n, name in enumerate(QUEUES):
            o = getattr(sequencer, name)
            payload = o.payload if isinstance(o.payload, Signal) else o.payload.as_value()
            boundaries[name] = Boundary(o.valid, payload, o.ready)
            boundaries[f"{name}_offered"] = Boundary(o.valid, payload[:1])
            boundaries[f"{name}_done"] = Boundary(sequencer.done[n], sequencer.done)
        return boundaries


@dataclass(frozen=True, kw_only=True, eq=False)
class SequencerRun:
    """Beats of each boundary of `SequencerTop`, cycle in which it showed the end or an error, and what it showed."""

    beats: Mapping[str, Beats]
    end: int
    finished: bool
    error: Mapping[str, int]
    cycles: int
    region: Mapping[str, int]


class SequencerBench:
    """A compiled `SequencerTop`."""

    def __init__(self, geometry: Geometry, *, storage_bits: int = STORAGE, silence: int = 20_000):
        self.geometry, self.storage_bits = geometry, storage_bits
        top = SequencerTop(geometry, storage_bits=storage_bits, silence=silence)
        self.design = Design(top, probes=top.probes)

    def execute(self, sim: Simulation, words: list[int], times: Mapping[str, list[int]], *, go: np.ndarray, allow: np.ndarray,
                program: int = 0, deadline: int = 1_000_000) -> SequencerRun:
        """Runs the words of a program in a simulation after reset: `go` cycles with room for requests, `allow` those in which
        words come, `times` of the units."""
        padding = 2 * control.PROGRAM_WORDS
        origin = sim.cycle
        sim.pattern("go", np.roll(go, origin % len(go)))
        sim.feed("words", [*words, *[0xFFFF] * padding], np.roll(allow, origin % len(allow)))
        for name in QUEUES:
            sim.feed(f"{name}_time", times[name])
        sim.set("program", program)
        sim.set("start", 1)
        sim.step()
        sim.set("start", 0)
        while sim.get("running"):
            sim.step()
            if sim.cycle > origin + deadline:
                raise SimulationError(f"no end after {deadline} cycles")
        end = sim.cycle - origin
        names = [name for name in self.design.rtl.boundaries if not name.endswith("_time") and name != "words"]
        beats = {name: sim.beats(name) for name in names}
        for one in beats.values():
            one.cycle -= origin
        return SequencerRun(beats=beats, end=end, finished=bool(sim.get("finished")),
                            error=_fields(error_layout(), sim, "error"), cycles=sim.get("cycles"),
                            region=_fields(region_layout(self.storage_bits), sim, "region"))


    def reset(self, sim: Simulation) -> None:
        """Resets the sequencer, and empties the bench's own streams."""
        sim.set("rst", 1)
        sim.step(3)
        sim.set("rst", 0)
        sim.set("drain", 1)
        for name in ("words", *(f"{name}_time" for name in QUEUES)):
            sim.feed(name, [0], np.ones(1, bool))
            sim.run_until(drained=name, deadline=1_000_000)
        sim.set("drain", 0)
        for name in self.design.rtl.boundaries:
            sim.beats(name)


def _fields(layout, sim: Simulation, port: str) -> dict[str, int]:
    """Fields of a port whose type is a structure."""
    bits = sim.get(port)
    return {name: bits >> field.offset & (1 << field.width) - 1 for name, field in layout}
