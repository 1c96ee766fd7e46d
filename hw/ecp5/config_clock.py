"""The clock of the flash that configures an ECP5 (sysCONFIG usage guide, FPGA-TN-02039): its pin is no ordinary one."""
from amaranth import Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

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
            # Lattice's tools want the second pin driven by a signal.
            m.submodules.driver = Instance("USRMCLK", i_USRMCLKI=self.clk, i_USRMCLKTS=ResetSignal())
        return m
