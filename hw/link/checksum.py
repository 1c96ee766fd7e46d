"""The CRC of words."""
from amaranth import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from hw.link.send import reply_layout
from hw.parts.states import States

__all__ = ["LinkChecksum"]


class LinkChecksum(wiring.Component):
    """Takes a word every third cycle, low byte first, up to the last one.

    Members
    -------
    start : ``In(1)``
        For a cycle, before the first word comes.
    i : ``In(stream.Signature(reply_layout()))``
    done : ``Out(1)``
        For a cycle.
    crc : ``Out(32)``
        From the second cycle after `done` on, until the next `start`.
    """

    def __init__(self):
        super().__init__({"start": In(1), "i": In(stream.Signature(reply_layout())), "done": Out(1), "crc": Out(32)})

    def elaborate(self, platform):
        m = Module()
        # All that the CRC does follows the states, by two cycles.
        byte, folded, ended = Signal(8, reset_less=True), Signal(8, reset_less=True), Signal(reset_less=True)
        fresh, fold = Signal(), Signal()
        crc = CRC32_ISO_HDLC().create()
        m.submodules.crc = ResetInserter(fresh)(crc)
        m.d.comb += [crc.valid.eq(fold), crc.data.eq(folded), self.crc.eq(crc.crc)]
        m.d.sync += [fresh.eq(self.start), fold.eq(0), folded.eq(byte), ended.eq(self.i.payload.last)]
        with States(m, ("IDLE", "LOW", "HIGH", "FOLD")) as states:
            with states.at("IDLE"):
                with m.If(self.start):
                    states.go("LOW")
            with states.at("LOW"):
                m.d.sync += byte.eq(self.i.payload.word[:8])
                with m.If(self.i.valid):
                    states.go("HIGH")
            with states.at("HIGH"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [byte.eq(self.i.payload.word[8:]), fold.eq(1)]
                states.go("FOLD")
            with states.at("FOLD"):
                m.d.sync += fold.eq(1)
                states.go("LOW")
                with m.If(ended):
                    m.d.comb += self.done.eq(1)
                    states.go("IDLE")
        return m
