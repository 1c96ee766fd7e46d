"""A small design for tests of the runners: a queue with a pause input."""
from amaranth import Assert, Module
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PAYLOAD", "Queue"]

PAYLOAD = data.StructLayout({"tag": 3, "value": 80})    # wider than 64 bits: such ports are arrays in the C++ model


class Queue(wiring.Component):
    """Eight places; latency 2 cycles; nothing leaves while `pause` is high. Tag 7 is an assertion failure."""

    def __init__(self):
        super().__init__({"i": In(stream.Signature(PAYLOAD)), "o": Out(stream.Signature(PAYLOAD)),
                          "pause": In(1), "level": Out(5)})
        self.queue = fifo.SyncFIFOBuffered(width=83, depth=8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = self.queue
        m.d.comb += [
            queue.w_data.eq(self.i.payload), queue.w_en.eq(self.i.valid), self.i.ready.eq(queue.w_rdy),
            self.o.payload.eq(queue.r_data), self.o.valid.eq(queue.r_rdy & ~self.pause),
            queue.r_en.eq(self.o.ready & ~self.pause), self.level.eq(queue.level)]
        m.d.sync += Assert(~self.i.valid | (self.i.payload.tag != 7), "tag 7")
        return m
