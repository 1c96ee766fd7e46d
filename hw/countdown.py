"""A counter that knows its last step one cycle ahead."""
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Countdown"]


class Countdown(wiring.Component):
    """Counts `count` steps. ``last`` is high, from a register, before and during the last of them.

    ``start`` takes ``count`` (at least 1), also in the cycle of a step; the count is that of the steps after this cycle.

    Members
    -------
    start, step : ``In(1)``
    count : ``In(bits)``
    last : ``Out(1)``
    """

    def __init__(self, bits: int):
        self.bits = bits
        super().__init__({"start": In(1), "step": In(1), "count": In(bits), "last": Out(1)})

    def elaborate(self, platform):
        m = Module()
        left = Signal(self.bits, reset_less=True)
        with m.If(self.start):
            m.d.sync += [left.eq(self.count), self.last.eq(self.count == 1)]
        with m.Elif(self.step):
            m.d.sync += [left.eq(left - 1), self.last.eq(left == 2)]
        return m
