"""Registers that synthesis must not merge."""

from amaranth import ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Copy"]


class Copy(wiring.Component):
    """One register that stays apart from registers with the same input.

    Yosys merges equal registers, which turns a control line with one copy for each column back
    into a single net of a thousand sinks: the first thing the router fails on. It leaves
    instances alone. Latency 1 cycle, no reset, starts at `init`.

    Members
    -------
    d : ``In(1)``
    q : ``Out(1)``
    """

    d: In(1)
    q: Out(1)

    def __init__(self, *, init: int = 0):
        self.init = init
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        if platform is None:
            q = Signal(init=self.init, reset_less=True)
            m.d.sync += q.eq(self.d)
            m.d.comb += self.q.eq(q)
        else:
            m.submodules.ff = Instance(
                "TRELLIS_FF", p_GSR="DISABLED", p_CEMUX="1", p_CLKMUX="CLK", p_LSRMUX="LSR",
                p_REGSET="SET" if self.init else "RESET", p_SRMODE="LSR_OVER_CE",
                i_CLK=ClockSignal(), i_LSR=Const(0), i_CE=Const(1), i_DI=self.d, o_Q=self.q)
        return m
