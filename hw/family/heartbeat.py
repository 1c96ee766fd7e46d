"""A sign of life that needs no PLL."""
from math import log2

from amaranth import Module, Mux, Signal
from amaranth.lib import cdc, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Heartbeat"]

_SLOW_S, _FASTER = 1.3, 3       # seconds of a slow period, nearly; powers of two by which the fast one is shorter


class Heartbeat(wiring.Component):
    """Blinks slowly, and eight times as fast once `steady`.

    Parameters
    ----------
    clock_hz : float
        Of the domain `sync`, which needs no reset.

    Members
    -------
    steady : ``In(1)``
        From anywhere; synchronised here.
    alive : ``Out(1)``
        A register.
    """

    def __init__(self, clock_hz: float):
        self.bits = max(_FASTER + 1, round(log2(clock_hz * _SLOW_S)))
        super().__init__({"steady": In(1), "alive": Out(1)})

    def elaborate(self, platform):
        m = Module()
        steady, count = Signal(reset_less=True), Signal(self.bits, reset_less=True)
        m.submodules.steady = cdc.FFSynchronizer(self.steady, steady, reset_less=True)
        m.d.sync += [count.eq(count + 1), self.alive.eq(Mux(steady, count[-1 - _FASTER], count[-1]))]
        return m
