"""A timer for minimum distances between events."""
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Pause"]


class Pause(wiring.Component):
    """``ok`` is low, from a register, until ``cycles`` cycles have gone since the last ``start``: after one in cycle t it is
    high again in cycle t + ``cycles`` (at least 1). High after reset.

    Parameters
    ----------
    limit : int
        Largest value of ``cycles``.

    Members
    -------
    start : ``In(1)``
    cycles : ``In(range(limit + 1))``
    ok : ``Out(1, init=1)``
    """

    def __init__(self, limit: int):
        self.limit = limit
        super().__init__({"start": In(1), "cycles": In(range(limit + 1)), "ok": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        left = Signal(range(self.limit + 1), reset_less=True)
        with m.If(self.start):
            m.d.sync += [left.eq(self.cycles - 2), self.ok.eq(self.cycles <= 1)]
        with m.Elif(~self.ok):
            m.d.sync += [left.eq(left - 1), self.ok.eq(left == 0)]
        return m
