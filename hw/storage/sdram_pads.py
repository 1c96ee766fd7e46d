"""The registers between an SDRAM's controller and the pins of a chip."""
from amaranth import Module, Signal
from amaranth.lib import io

from arch.sdram import Timing
from hw.parts.delay import delayed
from hw.primitives import Copy

__all__ = ["PIN_REGISTERS", "add_pads"]

PIN_REGISTERS = 2               # of what is sent: one beside the pin, one on the way there


def add_pads(m: Module, pins, port, timing: Timing) -> None:
    """Adds all between a controller's `pins` (`hw.storage.sdram.SdramPins`) and a platform's `port` to `m`; not the clock.

    Every pin is behind registers: they lie along a whole edge of the chip. A word's first register takes it; behind that there
    are `PIN_REGISTERS` more, so that those that are taken `timing.cas` + `timing.late` of our clocks after their command left its
    pin come when the controller expects them (`arch.sdram.Timing.read`).
    """
    # Ports of pins that are active when low are inverted, as are our names for them.
    outputs = {"clk_en": pins.cke, "cs": ~pins.cs_n, "ras": ~pins.ras_n, "cas": ~pins.cas_n, "we": ~pins.we_n, "ba": pins.ba,
               "a": pins.a, "dqm": pins.dqm}
    for name, value in outputs.items():
        m.submodules[f"sdram_{name}"] = buffer = io.FFBuffer("o", getattr(port, name))
        m.d.sync += (stage := Signal(len(value), name=f"sdram_{name}_stage", reset_less=True)).eq(value)
        m.d.comb += buffer.o.eq(stage)
    # Each data pin has an enable of its own, inverted where there is a lookup table, not at the pin.
    for n in range(len(port.dq)):
        m.submodules[f"sdram_dq{n}"], m.submodules[f"sdram_off{n}"] = dq, off = io.FFBuffer("io", port.dq[n]), Copy()
        m.d.sync += (out := Signal(name=f"sdram_dq{n}_out", reset_less=True)).eq(pins.dq_o[n])
        m.d.comb += [dq.o.eq(out), pins.dq_i[n].eq(delayed(m, dq.i, PIN_REGISTERS, f"sdram_dq{n}_in")), off.d.eq(~pins.dq_oe),
                     dq.oe.eq(~off.q)]
    assert timing.pin_registers == PIN_REGISTERS
