"""A counter that knows its last step one cycle ahead."""
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Countdown"]


class Countdown(wiring.Component):
    """Counts `count` steps. ``last`` is high, from a register, before and during the last of them; until the first ``start`` it
    says nothing.

    ``start`` takes ``count`` (at least 1), also in the cycle of a step; the count is that of the steps after this cycle. A step
    with ``again`` starts too: what comes late has only to say that there is a step. Where `early`, ``count`` must be there a
    cycle before: then no comparison lies behind it.

    Members
    -------
    start, step, again : ``In(1)``
    count : ``In(bits)``
    last : ``Out(1)``
    """

    def __init__(self, bits: int, *, early: bool = False):
        self.bits, self.early = bits, early
        super().__init__({"start": In(1), "step": In(1), "again": In(1), "count": In(bits), "last": Out(1)})

    def elaborate(self, platform):
        m = Module()
        left = Signal(self.bits, reset_less=True)
        one, last = Signal(reset_less=True), Signal(reset_less=True)
        m.d.comb += self.last.eq(last)
        m.d["sync" if self.early else "comb"] += one.eq(self.count == 1)
        with m.If(self.start | self.step):
            with m.If(self.start | self.again):
                m.d.sync += [left.eq(self.count), last.eq(one)]
            with m.Else():
                m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
        return m
