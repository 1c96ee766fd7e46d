"""Reads a program from storage, ahead of its use."""
from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch import control
from hw.parts.word_fifo import WordFifo
from hw.storage.arbiter import source_layout, word_layout

__all__ = ["ProgramFetch", "fetch_layout"]


def fetch_layout(storage_bits: int) -> data.StructLayout:
    """`length` words (at least 1) of the program from word `address` of storage on."""
    return source_layout(storage_bits)


class ProgramFetch(wiring.Component):
    """Asks for `control.BURST` words at a time, as soon as there is room for them and the ones before have come.

    So others get their turn between two requests however far the program may run ahead. After ``stop`` nothing is asked for any
    more; words of the last request still come and stay here. Cycles are in `golden.cycles.sequencer`.

    Parameters
    ----------
    storage_bits : int
        Of a word's address in storage.

    Members
    -------
    start : ``In(1)``
        Once after a reset.
    program : ``In(storage_bits)``
        Address of the first word, when it starts.
    stop : ``In(1)``
    fetch : ``Out(stream.Signature(fetch_layout(storage_bits)))``
    fetched : ``In(word_layout())``
    o : ``Out(stream.Signature(16))``
    """

    def __init__(self, storage_bits: int):
        super().__init__({"start": In(1), "program": In(storage_bits), "stop": In(1),
                          "fetch": Out(stream.Signature(fetch_layout(storage_bits))), "fetched": In(word_layout()),
                          "o": Out(stream.Signature(16))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = WordFifo(depth=control.PROGRAM_WORDS, width=16)
        connect(m, flipped(self.o), words.o)
        m.d.comb += [words.w_en.eq(self.fetched.valid), words.w_data.eq(self.fetched.data)]

        burst = control.BURST
        assert burst & burst - 1 == 0 and control.PROGRAM_WORDS % burst == 0
        running, pending, offer = Signal(), Signal(), Signal()
        address = Signal.like(self.program, reset_less=True)
        free = Signal(range(control.PROGRAM_WORDS + 1), init=control.PROGRAM_WORDS)
        due = Signal(range(burst), reset_less=True)                     # words to come, less one
        asked = self.fetch.valid & self.fetch.ready
        room = free >= burst                                            # one LUT: the upper bits
        m.d.comb += [self.fetch.valid.eq(offer), self.fetch.payload.address.eq(address), self.fetch.payload.length.eq(burst)]
        with m.If(asked):
            m.d.sync += [offer.eq(0), pending.eq(1), due.eq(burst - 1), address.eq(address + burst)]
        with m.Elif(running & ~pending & ~offer & room & ~self.stop):
            m.d.sync += offer.eq(1)
        with m.If(self.fetched.valid):
            m.d.sync += [due.eq(due - 1), pending.eq(due != 0)]
        with m.If(self.start):
            m.d.sync += [address.eq(self.program), running.eq(1)]
        with m.If(self.stop):
            m.d.sync += running.eq(0)
        m.d.sync += free.eq(free + words.leaves - Mux(asked, burst, 0))
        return m
