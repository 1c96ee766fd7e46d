"""The queue between the requantiser, which cannot wait, and the units that follow, which can."""
from amaranth import Module, Signal
from amaranth.hdl import Assert
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch import pipeline
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.layout import vector_layout
from hw.parts.queue import Queue
from hw.primitives import BlockRam

__all__ = ["OutputFifo"]


class OutputFifo(wiring.Component):
    """Vectors wait here, each in a place reserved when its last beat was issued.

    The window generator issues a beat that makes a vector only in a cycle in which ``room`` is high, and pulses ``reserve``
    in that cycle. The place is free again ``BACK`` cycles after the vector is taken from ``o``: vector i can be reserved that
    long after vector i - `depth` was taken. A vector given in cycle t is offered from cycle t + ``LATENCY`` on; one a
    cycle in and out. ``room`` and ``o.valid`` are registers; nothing combinational leads from ``o.ready`` to an output.
    After reset it is empty.

    Block RAM holds what does not fit a short queue behind it, which hides the RAM's latency.

    Parameters
    ----------
    lanes : int
        Bytes of a vector.
    depth : int
        Vectors, 1..`rows`.
    rows, places : int
        Of the block RAM, and of the queue behind it.

    Members
    -------
    i : ``In(StructLayout({"valid": 1, "vector": vector_layout(lanes)}))``
    o : ``Out(stream.Signature(vector_layout(lanes)))``
    reserve : ``In(1)``
    room : ``Out(1)``
    """

    LATENCY = pipeline.OUTPUT_FIFO
    BACK = pipeline.OUTPUT_FIFO_BACK

    def __init__(self, *, lanes: int, depth: int, rows: int = 512, places: int = Queue.PLACES):
        if not 1 <= depth <= rows:
            raise ValueError(f"Depth of the output queue must be 1..{rows} vectors, not {depth!r}")
        self.lanes, self.depth, self.rows, self.places = lanes, depth, rows, places
        vector = vector_layout(lanes)
        super().__init__({"i": In(data.StructLayout({"valid": 1, "vector": vector})), "o": Out(stream.Signature(vector)),
                          "reserve": In(1), "room": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = BlockRam(depth=self.rows, width=8 * self.lanes)
        m.submodules.tail = tail = Queue(vector_layout(self.lanes), places=self.places)
        m.submodules.free = free = Credits(self.depth, self.depth)       # neither taken nor reserved
        m.submodules.stored = stored = Credits(self.depth)                   # in the RAM
        m.submodules.space = space = Credits(self.places, self.places)     # in the tail, less those on the way there
        connect(m, flipped(self.o), tail.o)

        taken, fetch, returned = Signal(), Signal(), Signal()
        m.d.sync += returned.eq(taken)          # the way from the pool to the window generator and to the RAM is long
        assert self.BACK == 2
        m.d.comb += [taken.eq(tail.o.valid & tail.o.ready), fetch.eq(stored.any & space.any),
                     free.give.eq(returned), free.take.eq(self.reserve), self.room.eq(free.any),
                     stored.give.eq(self.i.valid), stored.take.eq(fetch),
                     space.give.eq(returned), space.take.eq(fetch)]
        m.d.comb += [ram.w_en.eq(self.i.valid), ram.w_data.eq(self.i.vector)]
        with m.If(self.i.valid):
            m.d.sync += ram.w_addr.eq(ram.w_addr + 1)
        with m.If(fetch):
            m.d.sync += ram.r_addr.eq(ram.r_addr + 1)
        arriving = delayed(m, fetch, BlockRam.LATENCY, "arriving", reset=True)
        m.d.comb += [tail.w_en.eq(arriving), tail.w_data.eq(ram.r_data)]
        if platform is None:
            m.d.sync += Assert(~self.reserve | self.room, "reserved without room")
        return m
