"""Power-up sequence and refreshes of an SDRAM."""
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from arch.sdram import A10, BANKS, Timing
from hw.parts.pause import Pause
from hw.parts.states import States

__all__ = ["ACTIVATE", "ALL_BANKS", "MODE", "PRECHARGE", "REFRESH", "SdramUpkeep", "command_layout"]

# Commands as the levels of (ras_n, cas_n, we_n), bit 0 first.
ACTIVATE, PRECHARGE, REFRESH, MODE = 0b110, 0b010, 0b100, 0b000
ALL_BANKS = 1 << A10            # of a precharge


def command_layout() -> data.StructLayout:
    """A command that takes the place of a column command."""
    return data.StructLayout({"valid": 1, "code": 3, "bank": range(BANKS), "address": 13})


class SdramUpkeep(wiring.Component):
    """Asks for a pause by ``hold``, and gives its commands once all banks may be closed, ``held``; then lets ``hold`` go.

    After reset: power-up wait, precharge, refreshes, mode register (words one by one, `cas` of the timing). Then a refresh
    each `period` clocks, whatever the load. ``starting`` is high until the chip can be used.

    Parameters
    ----------
    timing : Timing
    renews : bool
        Whether there is ``renew``.

    Members
    -------
    renew : ``In(1)``
        While it is high the mode register is set after each refresh.
    hold, holds : ``Out(1, init=1)``, ``Out(1)``
        `holds` is that of the next cycle, for registers of others.
    held : ``In(1)``
    starting : ``Out(1, init=1)``
    command : ``Out(command_layout())``
        Combinational, from registers and ``held``.
    """

    def __init__(self, timing: Timing, *, renews: bool = False):
        self.timing, self.renews = timing, renews
        super().__init__({"hold": Out(1, init=1), "holds": Out(1), "held": In(1), "starting": Out(1, init=1),
                          "command": Out(command_layout()), **({"renew": In(1)} if renews else {})})

    def elaborate(self, platform):
        m = Module()
        timing = self.timing
        m.submodules.pause = pause = Pause(max(timing.rp, timing.rfc, timing.mrd))
        clocks = Signal(range(-1, max(timing.power_up, timing.period)), init=timing.power_up - 2)   # its sign says: over
        over = clocks[-1]
        left = Signal(range(timing.refreshes), init=timing.refreshes - 1)
        stop, release = Signal(init=1), Signal()
        sets = self.starting | self.renew if self.renews else self.starting
        m.d.comb += self.holds.eq(stop & ~release)
        m.d.sync += self.hold.eq(self.holds)                # a register without a choice behind it, for it goes far

        def give(code: int, address, cycles):
            command = self.command
            m.d.comb += [command.valid.eq(1), command.code.eq(code), command.address.eq(address),
                         pause.start.eq(1), pause.cycles.eq(cycles)]

        with m.If(over):
            m.d.sync += clocks.eq(timing.period - 2)
        with m.Elif(~self.starting):
            m.d.sync += clocks.eq(clocks - 1)
        with States(m, ("POWER", "CLOSE", "REFRESH", "MODE", "RELEASE", "IDLE")) as states:
            with states.at("POWER"):
                with m.If(over):
                    states.go("CLOSE")
                with m.Else():
                    m.d.sync += clocks.eq(clocks - 1)
            with states.at("CLOSE"):
                with m.If(self.held):
                    give(PRECHARGE, ALL_BANKS, timing.rp)
                    states.go("REFRESH")
            with states.at("REFRESH"):
                with m.If(pause.ok):
                    # Of the last one's clocks, one goes by until the first row can be opened.
                    give(REFRESH, 0, Mux(sets, timing.rfc, max(timing.rfc - 1, 1)))
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 0):
                        m.d.sync += left.eq(0)
                        states.go("RELEASE")
                        with m.If(sets):
                            states.go("MODE")
            with states.at("MODE"):
                with m.If(pause.ok):
                    # Burst length 1, sequential, CAS latency.
                    give(MODE, Cat(Const(0, 4), Const(timing.cas, 3)), timing.mrd)
                    states.go("RELEASE")
            with states.at("RELEASE"):
                with m.If(pause.ok):
                    m.d.comb += release.eq(1)
                    m.d.sync += [stop.eq(0), self.starting.eq(0)]
                    states.go("IDLE")
            with states.at("IDLE"):
                with m.If(over):
                    m.d.sync += stop.eq(1)
                    states.go("CLOSE")
        return m
