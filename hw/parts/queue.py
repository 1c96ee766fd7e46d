"""A short queue in distributed RAM."""
from amaranth import Module, Shape, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.parts.credits import Credits

__all__ = ["Queue"]


class Queue(wiring.Component):
    """`places` payloads in distributed RAM, without back-pressure: who writes keeps count of the places.

    A payload written in cycle t is offered from cycle t + 1 on; one a cycle. ``o.valid`` is a register, ``o.payload`` is read
    at a registered address and stable until taken; nothing combinational leads from ``o.ready`` to another output. After reset
    it is empty. Writing to a full queue is an assertion failure in simulation.

    Parameters
    ----------
    shape : ShapeLike
    places : int
        A power of two.
    slice_bits : int or None
        Bits of a payload served by one copy of the addresses and one bit of `w_en`; all, without.

    Members
    -------
    w_en : ``In(slices)``
        All bits alike; one bit, without `slice_bits`.
    w_data : ``In(shape)``
    o : ``Out(stream.Signature(shape))``
    """

    PLACES = 16

    def __init__(self, shape, *, places: int = PLACES, slice_bits: int | None = None):
        self.shape, self.places, self.held, bits = shape, places, Credits(places), max(Shape.cast(shape).width, 1)
        self.slices = [slice(low, low + (slice_bits or bits)) for low in range(0, bits, slice_bits or bits)]
        super().__init__({"w_en": In(len(self.slices)), "w_data": In(shape), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.held = held = self.held
        taken = Signal()
        m.d.comb += [self.o.valid.eq(held.any), taken.eq(self.o.valid & self.o.ready), held.give.eq(self.w_en[0]),
                     held.take.eq(taken)]
        given, offered = Value.cast(self.w_data), Value.cast(self.o.payload)
        for span, put in zip(self.slices, self.w_en, strict=True):
            m.submodules[f"places{span.start}"] = places = memory.Memory(shape=len(given[span]), depth=self.places, init=[])
            write, read = places.write_port(), places.read_port(domain="comb")
            m.d.comb += [write.en.eq(put), write.data.eq(given[span]), offered[span].eq(read.data)]
            with m.If(put):
                m.d.sync += write.addr.eq(write.addr + 1)
            with m.If(taken):
                m.d.sync += read.addr.eq(read.addr + 1)
        return m
