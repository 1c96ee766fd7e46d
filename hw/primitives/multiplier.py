"""Signed 18x18 multiplier with all its registers."""

from amaranth import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.primitives.platform import device_of

__all__ = ["Multiplier"]


class Multiplier(wiring.Component):
    """Signed product ``p = a * b``, one MULT18X18D on an ECP5.

    Latency ``latency`` cycles, one product per cycle, free running.
    Input and output registers are always used; without them the multiplier limits a design to
    about 130 MHz. The pipeline register splits the 3.9 ns inside the multiplier, which nextpnr
    does not time: use it above 200 MHz.

    Parameters
    ----------
    pipeline : bool
        Use the pipeline register too.

    Members
    -------
    a, b : ``In(signed(18))``
    p : ``Out(signed(36))``
    """

    a: In(signed(18))
    b: In(signed(18))
    p: Out(signed(36))

    def __init__(self, *, pipeline: bool = False):
        self.pipeline = bool(pipeline)
        super().__init__()

    @staticmethod
    def latency_of(*, pipeline: bool = False) -> int:
        """Cycles from operands to product."""
        return 3 if pipeline else 2

    @property
    def latency(self) -> int:
        """Cycles from operands to product."""
        return self.latency_of(pipeline=self.pipeline)

    def elaborate(self, platform):
        m = Module()
        if platform is None:
            a = Signal(signed(18), reset_less=True)
            b = Signal(signed(18), reset_less=True)
            m.d.sync += [a.eq(self.a), b.eq(self.b)]
            stage = a * b
            for n in range(self.latency - 1):
                p = Signal(signed(36), name=f"p{n}", reset_less=True)
                m.d.sync += p.eq(stage)
                stage = p
            m.d.comb += self.p.eq(stage)
            return m
        device_of(platform).multiplier(m, self)
        return m
