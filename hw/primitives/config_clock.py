"""The clock of the flash that configures the chip: its pin is no ordinary one."""
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.primitives.platform import device_of

__all__ = ["ConfigClock"]


class ConfigClock(wiring.Component):
    """Drives the pin; it floats during a reset.

    Members
    -------
    clk : ``In(1)``
    pin : ``Out(1)``
        What the flash sees; on a chip it leaves on its own, and this is 0.
    """

    clk: In(1)
    pin: Out(1)

    def elaborate(self, platform):
        m = Module()
        if platform is None:
            m.d.comb += self.pin.eq(self.clk)
        else:
            device_of(platform).config_clock(m, self)
        return m
