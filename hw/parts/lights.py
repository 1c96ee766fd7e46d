"""Events so long that a person sees them."""
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Lights"]

_TICK_BITS = 22                 # cycles of a tick: 30 ms at 140 MHz


class Lights(wiring.Component):
    """Keeps each of some lights on for two to three ticks after an event.

    Parameters
    ----------
    count, tick_bits : int

    Members
    -------
    events, on : ``In(count)``, ``Out(count)``
    """

    def __init__(self, count: int, tick_bits: int = _TICK_BITS):
        self.count, self.tick_bits = count, tick_bits
        super().__init__({"events": In(count), "on": Out(count)})

    def elaborate(self, platform):
        m = Module()
        divider, tick = Signal(self.tick_bits, reset_less=True), Signal()
        m.d.sync += Cat(divider, tick).eq(divider + 1)
        for event, on in zip(self.events, self.on, strict=True):
            left = Signal(2)
            m.d.sync += on.eq(left != 0)
            with m.If(event):
                m.d.sync += left.eq(3)
            with m.Elif(tick & (left != 0)):
                m.d.sync += left.eq(left - 1)
        return m
