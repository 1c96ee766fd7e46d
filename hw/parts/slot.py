"""Registers between two streams that are far apart."""
from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Skid", "Slot"]


class _Between(wiring.Component):
    """Takes payloads and gives them, in order.

    Members
    -------
    i, o : ``In/Out(stream.Signature(shape))``
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})


class Slot(_Between):
    """Holds one payload: everything on both sides is a register, and a payload takes two cycles."""

    def elaborate(self, platform):
        m = Module()
        payload = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += [self.i.ready.eq(~self.o.valid), self.o.payload.eq(payload)]
        with m.If(self.i.ready):
            m.d.sync += [payload.eq(self.i.payload), self.o.valid.eq(self.i.valid)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m


class Skid(_Between):
    """Holds two payloads: everything on both sides is a register, and a payload takes one cycle."""

    def elaborate(self, platform):
        m = Module()
        out, spare = (Signal(self.o.payload.shape(), name=name, reset_less=True) for name in ("out", "spare"))
        spared, leaves = Signal(), Signal()
        m.d.comb += [self.i.ready.eq(~spared), self.o.payload.eq(out), leaves.eq(~self.o.valid | self.o.ready)]
        m.d.sync += spared.eq(~leaves & (spared | self.i.valid))
        with m.If(~spared):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(leaves):
            m.d.sync += [out.eq(Mux(spared, spare, self.i.payload)), self.o.valid.eq(spared | self.i.valid)]
        return m
