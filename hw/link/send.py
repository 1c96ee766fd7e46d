"""Bytes from words: flags, escapes, CRC."""
from functools import reduce
from operator import or_

from amaranth import Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from arch.protocol import ESCAPE, FLAG, FLIP
from hw.parts.states import States

__all__ = ["LinkSender", "reply_layout"]


def reply_layout() -> data.StructLayout:
    """A word of a frame; `last` before its CRC."""
    return data.StructLayout({"word": 16, "last": 1})


class LinkSender(wiring.Component):
    """Sends frames, a byte every third cycle or so.

    Members
    -------
    i : ``In(stream.Signature(reply_layout()))``
    o : ``Out(stream.Signature(8))``
        Registers.
    idle : ``Out(1)``
        Nothing is being sent.
    """

    def __init__(self):
        super().__init__({"i": In(stream.Signature(reply_layout())), "o": Out(stream.Signature(8)), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        word, last = Signal(16, reset_less=True), Signal(reset_less=True)
        # What is sent next, most urgent first: the other half of an escape, the second byte of a word.
        byte, special, pending = Signal(8, reset_less=True), Signal(reset_less=True), Signal()
        left, none = Signal(4), Signal(reset_less=True)         # bytes of the CRC: bit n, n + 1 of them; a cycle later, if none
        # The CRC changes a cycle after that was decided, and the next of its bytes is chosen while the one before it is sent.
        begin, step, later = Signal(init=1), Signal(), Signal(8, reset_less=True)
        crc = CRC32_ISO_HDLC().create()
        m.submodules.crc = ResetInserter(begin)(crc)
        m.d.comb += [crc.valid.eq(step), crc.data.eq(byte)]
        m.d.sync += [begin.eq(0), step.eq(0), none.eq(~left.any()),
                     later.eq(reduce(or_, (Mux(left[4 - n], crc.crc.word_select(n, 8), 0) for n in (1, 2, 3))))]
        room = Signal()                                 # a cycle late: nothing but the first flag follows a byte so soon
        m.d.sync += room.eq(~self.o.valid)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        def send(value):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(value)]

        with States(m, ("IDLE", "WORD", "CLASSIFY", "BYTE", "ESCAPE", "NEXT", "END")) as states:
            with states.at("IDLE"):
                m.d.comb += self.idle.eq(~self.o.valid)
                m.d.sync += begin.eq(1)
                with m.If(self.i.valid & ~self.o.valid):
                    send(FLAG)
                    states.go("WORD")
            with states.at("WORD"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [word.eq(self.i.payload.word), last.eq(self.i.payload.last), byte.eq(self.i.payload.word[:8]),
                             pending.eq(1), left.eq(0)]
                with m.If(self.i.valid):
                    states.go("CLASSIFY")
            with states.at("CLASSIFY"):
                m.d.sync += special.eq((byte == FLAG) | (byte == ESCAPE))
                m.d.sync += step.eq(~left.any())
                states.go("BYTE")
            with states.at("BYTE"):
                with m.If(room):
                    send(Mux(special, ESCAPE, byte))
                    states.go("NEXT")
                    with m.If(special):
                        states.go("ESCAPE")
            with states.at("ESCAPE"):
                m.d.sync += [special.eq(0), byte.eq(byte ^ FLIP)]
                states.go("BYTE")
            with states.at("NEXT"):
                with m.If(pending):
                    m.d.sync += [pending.eq(0), byte.eq(word[8:])]
                    states.go("CLASSIFY")
                with m.Elif(none & ~last):
                    states.go("WORD")
                with m.Elif(left[0]):
                    states.go("END")
                with m.Else():
                    m.d.sync += [byte.eq(Mux(none, crc.crc[:8], later)), left.eq(Mux(none, 8, left >> 1))]
                    states.go("CLASSIFY")
            with states.at("END"):
                with m.If(room):
                    send(FLAG)
                    states.go("IDLE")
        return m
