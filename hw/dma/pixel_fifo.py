"""Pixels that wait for the gather."""
from amaranth import Module, Mux, Signal
from amaranth.hdl import Assert
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from arch.transfer import PIXEL, PIXEL_BACK, PIXELS, ROUTED
from hw.dma.pixel_gearbox import PixelGearbox, entry_layout
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.queue import Queue
from hw.parts.slot import Skid
from hw.primitives import BlockRam

__all__ = ["PixelFifo"]


class PixelFifo(wiring.Component):
    """`pixels` pixels in block RAM, each in a place that was reserved before it was asked for.

    Entry given in cycle t: its first pixel is offered from cycle t + ``LATENCY`` on, a second one after it; one a cycle, however
    long they waited. ``room`` says that ``width`` of the cycle before had room; a pixel taken in cycle t is counted in `room`
    of t + ``BACK``, pixels reserved in cycle t in that of t + 3. ``o.valid`` and ``room`` are registers.

    Parameters
    ----------
    pixels : int
    places : int
        Of the short queue behind the block RAM.

    Members
    -------
    i : ``In(StructLayout({"valid": 1, "entry": entry_layout()}))``
    o : ``Out(stream.Signature(32))``
    width : ``In(10)``
    reserve : ``In(1)``
        `width` pixels, in a cycle with `room` for them.
    room : ``Out(1)``
    """

    LATENCY = PIXEL - ROUTED - 1 - PixelGearbox.LATENCY
    BACK = PIXEL_BACK

    i: In(data.StructLayout({"valid": 1, "entry": entry_layout()}))
    o: Out(stream.Signature(32))
    width: In(10)
    reserve: In(1)
    room: Out(1)

    def __init__(self, *, pixels: int = PIXELS, places: int = Queue.PLACES):
        self.pixels, self.places = pixels, places
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = BlockRam(depth=self.pixels, width=entry_layout().size)
        m.submodules.tail = tail = Queue(entry_layout(), places=self.places)
        m.submodules.stored = stored = Credits(self.pixels)                  # in the RAM
        m.submodules.space = space = Credits(self.places, self.places)     # in the tail, less those on the way there
        m.submodules.skid = skid = Skid(entry_layout())
        connect(m, tail.o, skid.i)
        entry, second = skid.o.payload, Signal()
        taken, returned, left, fetch = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.o.valid.eq(skid.o.valid), self.o.payload.eq(entry.data), self.o.payload[:8].eq(
                Mux(second, entry.data[8:16], entry.data[:8])),
            taken.eq(self.o.valid & self.o.ready), skid.o.ready.eq(self.o.ready & (second | ~entry.pair)),
            fetch.eq(stored.any & space.any), stored.give.eq(self.i.valid), stored.take.eq(fetch),
            space.give.eq(left), space.take.eq(fetch), ram.w_en.eq(self.i.valid), ram.w_data.eq(self.i.entry)]
        m.d.sync += [returned.eq(taken), left.eq(tail.o.valid & tail.o.ready)]     # the way from the gather is long
        with m.If(taken):
            m.d.sync += second.eq(entry.pair & ~second)
        with m.If(self.i.valid):
            m.d.sync += ram.w_addr.eq(ram.w_addr + 1)
        with m.If(fetch):
            m.d.sync += ram.r_addr.eq(ram.r_addr + 1)
        arriving = delayed(m, fetch, BlockRam.LATENCY, "arriving", reset=True)
        m.d.comb += [tail.w_en.eq(arriving), tail.w_data.eq(ram.r_data)]
        assert self.LATENCY == 3 + BlockRam.LATENCY

        free = Signal(range(self.pixels + 1), init=self.pixels)
        less = Signal.like(self.width)
        m.d.sync += [less.eq(Mux(self.reserve, self.width, 0)), free.eq(free + returned - less), self.room.eq(free >= self.width)]
        assert self.BACK == 3
        if platform is None:
            m.d.sync += Assert(~self.reserve | (free >= self.width + less), "reserved without room")
        return m
