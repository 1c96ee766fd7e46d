"""The DMA in front of a storage, with an activation memory that is a formula: for benches, and for damage."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
import numpy as np

from arch import pipeline
from arch.geometry import Geometry
from arch.sdram import Timing
from hw.dma.dma import Dma
from hw.parts.delay import delayed
from hw.parts.queue import Queue
from hw.sequencer.sequencer import fault_layout
from hw.storage.arbiter import request_layout
from hw.storage.pulled_words import PulledWords
from hw.storage.ram import StorageRam
from hw.storage.sdram import Sdram
from sim.models.sdram import ChipTiming, SdramChip
from sim.verilog.export import Boundary
from sim.verilog.native import Simulation

__all__ = ["DmaSystem", "fill", "formula"]


def formula(address, n):
    """Storage word n of the activation word at an address."""
    return address * 40503 + n * 2741 & 0xFFFF


class DmaSystem(wiring.Component):
    """Host access to block RAM before a run is by `hosting`. Commands come to nothing while `drop` is high. `over`: no load is
    offered or under way any more, or there is a fault."""

    def __init__(self, geometry: Geometry, storage: Timing | int):
        self.geometry, self.kind = geometry, storage
        sdram = isinstance(storage, Timing)
        self.storage = Sdram(storage) if sdram else StorageRam(storage)
        bits = storage.address_bits if sdram else self.storage.address_bits
        self.dma = Dma(geometry, address_bits=bits, storage_words=None if sdram else storage)
        own = self.dma.signature.members
        members = {**{name: own[name] for name in ("load", "store", "fetch", "store_base", "store_words")}, "drop": In(1),
                   "pixels": Out(stream.Signature(32)),
                   "clear": In(1), "idle": Out(1), "over": Out(1), "fault": Out(fault_layout(geometry))}
        if sdram:
            self.chip = SdramChip(storage)
            members |= {"timing": In(ChipTiming), "blocks": self.chip.signature.members["load"]}
        else:
            members |= {"hosting": In(1), "host_request": In(stream.Signature(request_layout(bits))),
                        "host_w": In(stream.Signature(16))}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dma, m.submodules.storage = dma, storage = self.dma, self.storage
        connect(m, flipped(self.pixels), dma.pixels)
        for name in ("load", "store", "fetch"):
            outer, inner = getattr(self, name), getattr(dma, name)
            m.d.comb += [inner.valid.eq(outer.valid & ~self.drop), inner.payload.eq(outer.payload),
                         outer.ready.eq(inner.ready | self.drop)]
        m.d.comb += [dma.store_base.eq(self.store_base), dma.store_words.eq(self.store_words), dma.clear.eq(self.clear),
                     self.idle.eq(dma.idle), self.fault.eq(dma.fault), dma.r.eq(storage.r),
                     self.over.eq(dma.fault.valid | dma.idle & ~self.load.valid)]
        if isinstance(self.kind, Timing):
            m.submodules.chip = self.chip
            connect(m, storage.pins, self.chip.pins)
            connect(m, flipped(self.blocks), self.chip.load)
            connect(m, dma.request, storage.request)
            m.d.comb += [dma.take.eq(storage.take), storage.w.eq(dma.w)]
            m.d.comb += self.chip.timing.eq(self.timing)
        else:
            m.submodules.words = words = PulledWords()
            connect(m, flipped(self.host_w), words.i)
            host, own, inner = self.host_request, dma.request, storage.request
            m.d.comb += [
                inner.valid.eq(Mux(self.hosting, host.valid, own.valid)), host.ready.eq(self.hosting & inner.ready),
                inner.payload.eq(Mux(self.hosting, host.payload, own.payload)), own.ready.eq(~self.hosting & inner.ready),
                dma.take.eq(storage.take & ~self.hosting), words.take.eq(storage.take & self.hosting),
                storage.w.eq(Mux(self.hosting, words.word, dma.w))]
        # A read without the grant shows something else.
        way = pipeline.WINDOW + pipeline.ACTIVATION_READ
        address, denied = delayed(m, dma.memories.read.addr, way, "address"), delayed(m, ~dma.memories.read_grant, way, "denied")
        words = [Signal(16, name=f"word{n}") for n in range(self.geometry.input_lanes // 2)]
        m.d.comb += [word.eq(formula(address, n) ^ ~denied.replicate(16)) for n, word in enumerate(words)]
        m.d.comb += dma.memories.read.data.eq(Cat(words))
        return m

    def probes(self) -> dict[str, Boundary]:
        dma, memories = self.dma, self.dma.memories

        def written(name: str) -> Boundary:
            port = getattr(memories.writes, name)
            # Vectors of an activation word may be written one by one; of the others there is one bit.
            parts = (port.en, port.addr, port.data) if name == "activations" else (port.addr, port.data)
            return Boundary(port.en.any(), Cat(parts))
        return {
            "requests": Boundary(dma.request.valid, dma.request.payload, dma.request.ready),
            "take": Boundary(dma.take, dma.take),
            "fetched": Boundary(dma.fetched.valid, dma.fetched.data), "load_done": Boundary(dma.load_done, dma.load_done),
            "store_done": Boundary(dma.store_done, dma.store_done),
            "activation_reads": Boundary(~memories.read_grant, memories.read.addr),
            "denied": Boundary(~memories.write_grant, memories.write_grant),
            **{name: written(name) for name in ("activations", "weights", "parameters")}}


def fill(sim: Simulation, contents: np.ndarray, words: int) -> None:
    """Puts `contents` into a block RAM of so many words, from word 0 on, before anything runs."""
    sim.set("hosting", 1)
    sim.feed("host_w", contents.tolist())
    sim.step(5)
    sim.feed("host_request", [1 | len(contents) << 1 + (words - 1).bit_length()])
    sim.run_until(drained="host_w", deadline=2 * len(contents) + 10)
    sim.step(Queue.PLACES + 5)
    sim.set("hosting", 0)
    sim.step()
