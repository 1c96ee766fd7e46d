"""The gather's way to the activation memory's write port, which it may use when nobody else does."""
from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from arch import pipeline
from arch.geometry import Geometry
from hw.gather.gather import Gather
from hw.parts.latch import SLICE_BITS
from hw.parts.queue import Queue

__all__ = ["GatherPort"]


class GatherPort(wiring.Component):
    """The gather, and a queue in which its words wait for cycles with `free`.

    A word is written in the first cycle with `free` after that in which it comes. The gather goes on as long as no more than
    `waiting` words wait, seen one cycle late: what is under way then still fits. `done` shows that a command's
    last word is written in this cycle, or was before. `golden.cycles.gather_port` has the cycles.

    Members:
    - `command`, `pixels`: streams, as `hw.gather.gather.Gather` has them.
    - `free`: In(1). `w_en`, `w_addr`, `w_data`: Out, for cycles with `free`. `done`: Out(1).
    """

    def __init__(self, geometry: Geometry, *, gather: Gather | None = None, waiting: int = pipeline.GATHER_WAITING,
                 places: int = Queue.PLACES):
        self.gather, self.waiting, self.places = gather, waiting, places = gather or Gather(geometry), waiting, places
        members = gather.signature.members
        super().__init__({"command": members["command"], "pixels": members["i"], "free": In(1), "w_en": Out(1),
                          "w_addr": members["w_addr"], "w_data": members["w_data"], "done": Out(1)})
        self.word = data.StructLayout({"write": 1, "last": 1, "addr": ceil_log2(geometry.activation_words),
                                       "data": 8 * geometry.input_lanes})
        # A slot of each cycle that had the grant may still bring a word.
        assert waiting + 1 + gather.LATENCY + 1 <= places

    def elaborate(self, platform):
        m = Module()
        m.submodules.gather = gather = self.gather
        m.submodules.queue = queue = Queue(self.word, places=self.places, slice_bits=SLICE_BITS)
        connect(m, flipped(self.command), gather.command)
        connect(m, flipped(self.pixels), gather.i)

        waiting, arrives, leaves = Signal(range(self.places + 1)), Signal(), Signal()
        with m.If(arrives & ~leaves):
            m.d.sync += waiting.eq(waiting + 1)
        with m.Elif(leaves & ~arrives):
            m.d.sync += waiting.eq(waiting - 1)
        word = queue.o.payload
        m.d.comb += [
            gather.grant.eq(waiting <= self.waiting), arrives.eq(gather.either), leaves.eq(queue.o.valid & self.free),
            queue.w_en.eq(arrives.replicate(len(queue.w_en))), queue.w_data.write.eq(gather.w_en),
            queue.w_data.last.eq(gather.last), queue.w_data.addr.eq(gather.w_addr), queue.w_data.data.eq(gather.w_data),
            queue.o.ready.eq(self.free), self.w_en.eq(leaves & word.write), self.w_addr.eq(word.addr), self.w_data.eq(word.data),
            self.done.eq(leaves & word.last)]
        return m
