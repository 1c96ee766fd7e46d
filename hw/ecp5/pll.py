"""The clocks of a chip: the PLL of an ECP5, and the reset that lasts until it has locked."""
from amaranth import ClockDomain, ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.hdl import DomainRenamer
from amaranth.lib import cdc, io

from arch.pll import Pll
from hw.family.device import LATER
from hw.family.heartbeat import Heartbeat

__all__ = ["Clocks"]


class Clocks(Elaboratable):
    """Drives the domains `sync` and `LATER`, which its parent declares, from the platform's clock.

    `sync` is in reset until the PLL has locked, and while the platform's reset button is pressed if it has one. `alive` blinks,
    faster once it has, as `Heartbeat` says: by the platform's clock.

    If it is `stepped`, each falling edge of `step` makes `LATER` an eighth of an oscillator's cycle later (FPGA-TN-02200, dynamic
    phase adjustment: the output is chosen and the direction given all along, a pulse lasts four cycles of the oscillator and 5 ns
    at least, and as long passes until the next one). That output is not the feedback, so the PLL stays locked.
    """

    def __init__(self, pll: Pll, stepped: bool = False):
        self.pll, self.stepped, self.step, self.alive = pll, stepped, Signal(), Signal()

    def elaborate(self, platform):
        m = Module()
        m.submodules.source = source = io.Buffer("i", platform.request(platform.default_clk, dir="-"))
        locked, clock, pressed = Signal(), Signal(), Const(0)
        # CLKOS has number 0; 0 is the direction of a later clock.
        steps = {} if not self.stepped else {
            "p_DPHASE_SOURCE": "ENABLED", "i_PHASESEL0": Const(0), "i_PHASESEL1": Const(0), "i_PHASEDIR": Const(0),
            "i_PHASESTEP": self.step, "i_PHASELOADREG": Const(0)}
        m.submodules.pll = Instance(
            "EHXPLLL", **{f"p_{name}": value for name, value in self.pll.parameters.items()},
            # What Lattice's tools set for any clock.
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            a_FREQUENCY_PIN_CLKI=str(float(self.pll.input_mhz)), a_FREQUENCY_PIN_CLKOP=str(float(self.pll.clock_mhz)),
            a_FREQUENCY_PIN_CLKOS=str(float(self.pll.clock_mhz)),
            i_CLKI=source.i, i_RST=Const(0), i_STDBY=Const(0), o_CLKOP=clock, o_CLKOS=ClockSignal(LATER), o_LOCK=locked,
            **steps)
        m.d.comb += ClockSignal().eq(clock)
        m.domains += (beats := ClockDomain("source", local=True, reset_less=True))
        m.submodules.heartbeat = heartbeat = DomainRenamer("source")(Heartbeat(float(self.pll.input_mhz) * 1e6))
        m.d.comb += [beats.clk.eq(source.i), heartbeat.steady.eq(locked), self.alive.eq(heartbeat.alive)]
        if platform.default_rst is not None:
            m.submodules.button = button = io.Buffer("i", platform.request(platform.default_rst, dir="-"))
            pressed = button.i
        m.submodules.reset = cdc.ResetSynchronizer(~locked | pressed)
        return m
