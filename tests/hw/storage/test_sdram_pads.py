# amaranth: UnusedElaboratable=no
"""The registers at the SDRAM's pins: commands and words reach the controller in the clocks that its timing promises."""
from dataclasses import replace
from types import SimpleNamespace

from amaranth import Elaboratable, Module
from amaranth.lib import io
from amaranth.sim import Simulator
import pytest

from arch.sdram import CHIPS
from hw.storage.sdram import Sdram
from hw.storage.sdram_pads import PIN_REGISTERS, add_pads

READ = [0, 1, 0, 1]             # levels of chip select, row, column, write, all active when low
WORD, OTHER = 0xBEEF, 0x2110


class Pads(Elaboratable):
    """A controller and its pads, at ports that a bench reads and drives."""

    def __init__(self, timing):
        self.sdram = Sdram(timing)
        widths = {"clk_en": 1, "cs": 1, "ras": 1, "cas": 1, "we": 1, "ba": 2, "a": 13, "dqm": 2}
        self.port = SimpleNamespace(**{name: io.SimulationPort("o", width, invert=name in ("cs", "ras", "cas", "we"))
                                       for name, width in widths.items()}, dq=io.SimulationPort("io", 16))

    def elaborate(self, platform):
        m = Module()
        m.submodules.sdram = self.sdram
        add_pads(m, self.sdram.pins, self.port, self.sdram.timing)
        return m


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("cas", [2, 3])
def test_word_is_taken_in_its_clock(cas, late):
    """A chip whose word is there for one of our edges alone, the one `cas + late` edges behind that with which the command left
    its pin (`boards.phase`): all its delays together are as long as the phase allows."""
    chip = CHIPS["as4c16m16sa-7"].timing(140, pin_registers=PIN_REGISTERS, late=late)
    timing = replace(chip, cas=cas, power_up=10, refreshes=2)
    dut, found = Pads(timing), []

    async def bench(ctx):
        request, r = dut.sdram.request, dut.sdram.r
        await ctx.tick()                # nothing may be given in the cycle after a reset
        ctx.set(request.payload, {"write": 0, "address": 5, "length": 1})
        ctx.set(request.valid, 1)
        age = None                      # edges since the command left
        for _ in range(timing.ready + 100):
            *_, valid, data, taken = await ctx.tick().sample(r.valid, r.data, request.ready)
            if taken:
                ctx.set(request.valid, 0)
            levels = [ctx.get(getattr(dut.port, name).o) for name in ("cs", "ras", "cas", "we")]
            age = 0 if levels == READ else None if age is None else age + 1
            # From now on until the next edge.
            ctx.set(dut.port.dq.i, WORD if age == cas + late - 1 else OTHER)
            if valid:
                found.append(data)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert found == [WORD]
