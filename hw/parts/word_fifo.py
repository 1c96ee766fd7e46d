"""A queue of words in block RAM."""
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch import control
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.queue import Queue
from hw.primitives import BlockRam

__all__ = ["WordFifo"]


class WordFifo(wiring.Component):
    """`depth` words of `width` bits, and `places` more in a short queue; who writes keeps count of the places.

    A word written in cycle t is offered from cycle t + `control.FIFO` on, one a cycle in and out: `Queue` behind the RAM hides
    its latency. ``leaves`` pulses when a place in the RAM becomes free, of which there are `depth`. Only registers lead to
    ``o.valid`` and ``leaves``. After reset it is empty.

    Members
    -------
    w_en : ``In(1)``
    w_data : ``In(width)``
    o : ``Out(stream.Signature(width))``
    leaves : ``Out(1)``
    """

    def __init__(self, *, depth: int, width: int, places: int = Queue.PLACES):
        self.depth, self.width, self.places = depth, width, places
        super().__init__({"w_en": In(1), "w_data": In(width), "o": Out(stream.Signature(width)), "leaves": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = BlockRam(depth=self.depth, width=self.width)
        m.submodules.tail = tail = Queue(self.width, places=self.places)
        m.submodules.stored = stored = Credits(self.depth)
        m.submodules.space = space = Credits(self.places, self.places)
        connect(m, flipped(self.o), tail.o)
        m.d.comb += [
            self.leaves.eq(stored.any & space.any), stored.give.eq(self.w_en), stored.take.eq(self.leaves),
            space.take.eq(self.leaves), space.give.eq(self.o.valid & self.o.ready),
            ram.w_en.eq(self.w_en), ram.w_data.eq(self.w_data), tail.w_data.eq(ram.r_data),
            tail.w_en.eq(delayed(m, self.leaves, BlockRam.LATENCY, "arriving", reset=True))]
        with m.If(self.w_en):
            m.d.sync += ram.w_addr.eq(ram.w_addr + 1)
        with m.If(self.leaves):
            m.d.sync += ram.r_addr.eq(ram.r_addr + 1)
        assert control.FIFO == 1 + BlockRam.LATENCY + 1 and control.FIFO_PLACES == Queue.PLACES
        return m
