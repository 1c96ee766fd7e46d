"""Frames from bytes: unescaped, checked, and kept as words in block RAM."""
from amaranth import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from arch.protocol import ESCAPE, FLAG, FLIP, FRAME_WORDS
from hw.link.uart import byte_layout
from hw.primitives import BlockRam

__all__ = ["LinkReceiver", "frame_layout"]

_LONGEST = FRAME_WORDS                  # power of two: a half of the block RAM


def frame_layout() -> data.StructLayout:
    """A frame that was received: damaged, or undamaged and of so many words, CRC included (3..FRAME_WORDS)."""
    return data.StructLayout({"damaged": 1, "words": range(FRAME_WORDS + 1)})


class LinkReceiver(wiring.Component):
    """Takes a byte every other cycle; two frames have room, one of which may still come.

    Nothing that is not undamaged is ever offered as such; bytes wait (`i.ready` is low) while both frames wait to be taken.

    Members
    -------
    i : ``In(stream.Signature(byte_layout()))``
    o : ``Out(stream.Signature(frame_layout()))``
        In the order of arrival. Registers.
    word : ``In(range(FRAME_WORDS))``
    data : ``Out(16)``
        Word of the frame that is offered, `BlockRam.LATENCY` cycles after `word`.
    """

    def __init__(self):
        super().__init__({"i": In(stream.Signature(byte_layout())), "o": Out(stream.Signature(frame_layout())),
                          "word": In(range(FRAME_WORDS)), "data": Out(16)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.frames = frames = BlockRam(depth=2 * FRAME_WORDS, width=16)
        frame = self.o.payload
        kept = [Signal(frame_layout(), name=f"frame{n}", reset_less=True) for n in range(2)]
        full, into, out_of = Signal(2), Signal(), Signal()
        m.d.comb += [frames.r_addr.eq(Cat(self.word, out_of)), self.data.eq(frames.r_data),
                     self.o.valid.eq(Mux(out_of, full[1], full[0])), frame.eq(Mux(out_of, kept[1], kept[0]))]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [full.bit_select(out_of, 1).eq(0), out_of.eq(~out_of)]

        # One cycle to take a byte, one to tell what it is, one to use it.
        byte, error, told = Signal(8, reset_less=True), Signal(reset_less=True), Signal()
        is_flag, is_escape, escaped = Signal(reset_less=True), Signal(reset_less=True), Signal()
        received, flag = self.i.payload, Signal()
        m.d.comb += self.i.ready.eq(~told & ~flag & ~Mux(into, full[1], full[0]))
        m.d.sync += [told.eq(self.i.valid & self.i.ready), byte.eq(received.data), error.eq(received.error),
                     is_flag.eq((received.data == FLAG) & ~received.error), is_escape.eq(received.data == ESCAPE)]
        with m.If(told):
            m.d.sync += escaped.eq(~is_flag & is_escape & ~escaped)
        some, plain, use = Signal(), Signal(8, reset_less=True), Signal()       # any but a flag; one that belongs to a word
        wrong, open_ = Signal(reset_less=True), Signal(reset_less=True)         # lost bytes; the end of an escape is missing
        m.d.sync += [flag.eq(told & is_flag), some.eq(told & ~is_flag), use.eq(told & ~is_flag & (escaped | ~is_escape)),
                     plain.eq(Mux(escaped, byte ^ FLIP, byte)), wrong.eq(error), open_.eq(escaped)]

        begun, bad = Signal(), Signal()
        low, count = Signal(8, reset_less=True), Signal(range(2 * FRAME_WORDS + 1))
        crc, whole = CRC32_ISO_HDLC().create(), Signal()
        m.submodules.crc = ResetInserter(flag)(crc)
        m.d.comb += [frames.w_data.eq(Cat(low, plain)), frames.w_addr.eq(Cat(count[1:-1], into)),
                     frames.w_en.eq(use & count[0] & ~count[-1]), crc.valid.eq(use), crc.data.eq(plain)]
        m.d.sync += whole.eq(crc.match_detected)
        with m.If(flag):
            good = whole & ~bad & ~open_ & ~count[0] & (count[1:] >= 3)
            with m.If(begun):
                m.d.sync += [full.bit_select(into, 1).eq(1), into.eq(~into)]
                for n in range(2):
                    with m.If(into == n):
                        m.d.sync += [kept[n].damaged.eq(~good), kept[n].words.eq(count[1:])]
            m.d.sync += [begun.eq(0), bad.eq(0), count.eq(0)]
        with m.If(some):
            m.d.sync += begun.eq(1)
            with m.If(wrong):
                m.d.sync += bad.eq(1)
        with m.If(use):
            m.d.sync += low.eq(plain)
            with m.If(count[-1]):                       # as long as can be already
                m.d.sync += bad.eq(1)
            with m.Else():
                m.d.sync += count.eq(count + 1)
        return m
