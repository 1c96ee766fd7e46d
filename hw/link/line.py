"""What came over the line since the reset, counted."""
from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from arch.protocol import LINE_COUNTS, LINE_MOST

__all__ = ["LineCounts"]


class LineCounts(wiring.Component):
    """Counts events, each of which comes every other cycle at most, and stops at `most`.

    Parameters
    ----------
    most : int

    Members
    -------
    events : ``In(len(LINE_COUNTS))``
    counts : ``Out(data.ArrayLayout(16, len(LINE_COUNTS)))``
        From the second cycle after an event on. Registers.
    """

    def __init__(self, most: int = LINE_MOST):
        self.most = most
        super().__init__({"events": In(len(LINE_COUNTS)), "counts": Out(data.ArrayLayout(16, len(LINE_COUNTS)))})

    def elaborate(self, platform):
        m = Module()
        for name, event, count in zip(LINE_COUNTS, self.events, self.counts, strict=True):
            come, full = Signal(name=f"{name}_come"), Signal(name=f"{name}_full")
            m.d.sync += [come.eq(event), full.eq(count == self.most)]
            with m.If(come & ~full):
                m.d.sync += count.eq(count + 1)
        return m
