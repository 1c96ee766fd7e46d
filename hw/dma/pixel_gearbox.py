"""Pixels out of the 16-bit words of their rows."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.dma.fill import pixel_word_layout

__all__ = ["PixelGearbox", "entry_layout"]


def entry_layout() -> data.StructLayout:
    """A pixel, its first channel in the lowest byte, or a `pair` of single bytes; bytes beyond its channels are arbitrary."""
    return data.StructLayout({"data": 32, "pair": 1})


class PixelGearbox(wiring.Component):
    """Words of rows become pixels of 1 to 4 bytes; each row begins anew in the low byte of its first word.

    Latency 1 cycle; a word completes one entry or none.

    Members
    -------
    i : ``In(pixel_word_layout())``
    o : ``Out(StructLayout({"valid": 1, "entry": entry_layout()}))``
    """

    LATENCY = 1

    i: In(pixel_word_layout())
    o: Out(data.StructLayout({"valid": 1, "entry": entry_layout()}))

    def elaborate(self, platform):
        m = Module()
        i, o = self.i, self.o
        # 0: nothing is held, as where a row begins; 1: two bytes; 2: one.
        phase, held = Signal(range(3)), Signal(16, reset_less=True)
        whole = Signal()                # words of pixels of one or two bytes
        m.d.comb += whole.eq(~i.channels[2] & (i.channels[:2] != 3))
        with m.If(i.valid):
            m.d.sync += [held.eq(Mux(phase == 0, i.data, i.data[8:])),
                         phase.eq(Mux(whole | i.last, 0, Mux(i.channels[2], phase == 0, Mux(phase == 2, 0, phase + 1))))]
        entry = Signal(entry_layout(), reset_less=True)
        m.d.comb += o.entry.eq(entry)
        m.d.sync += [o.valid.eq(i.valid & (whole | (phase != 0))), entry.pair.eq((i.channels == 1) & ~(i.last & i.odd)),
                     entry.data.eq(Mux(phase == 0, i.data, Mux(phase == 1, Cat(held, i.data), Cat(held[:8], i.data))))]
        return m
