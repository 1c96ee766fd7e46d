"""Requests for words of an SDRAM, cut at the ends of its rows."""
from amaranth import Module, Mux, ResetSignal, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.sdram import BANKS, SEGMENT, Timing
from hw.primitives import Copy

__all__ = ["LENGTH_BITS", "SdramSegments", "request_layout", "segment_layout"]

LENGTH_BITS = 17


def request_layout(address_bits: int) -> data.StructLayout:
    """`length` words from word `address` on, as storage is asked for them."""
    return data.StructLayout({"write": 1, "address": address_bits, "length": LENGTH_BITS})


def segment_layout(timing: Timing) -> data.StructLayout:
    """`count` words (at least 1) of one row, from `column` on."""
    return data.StructLayout({"write": 1, "bank": range(BANKS), "row": timing.row_bits, "column": timing.column_bits,
                              "count": timing.column_bits + 1})


class SdramSegments(wiring.Component):
    """Splits requests. The first segment is offered ``SEGMENT`` cycles after the request was taken, each further one as long
    after the one before it; the next request can be taken in the cycle after the last segment, or two cycles after a request
    of length 0, which has none. Addresses wrap at the end of the chip. ``i.ready`` and ``o`` are registers.

    Members
    -------
    i : ``In(stream.Signature(request_layout(timing.address_bits)))``
    o : ``Out(stream.Signature(segment_layout(timing)))``
        `count` comes late: it is right in the cycle after the segment was taken.
    """

    def __init__(self, timing: Timing):
        self.timing = timing
        super().__init__({"i": In(stream.Signature(request_layout(timing.address_bits))),
                          "o": Out(stream.Signature(segment_layout(timing)))})

    def elaborate(self, platform):
        m = Module()
        bits, request = self.timing.column_bits, self.i.payload
        segment = Signal(self.o.payload.shape(), reset_less=True)
        line, column = Signal(self.timing.address_bits - bits, reset_less=True), Signal(bits, reset_less=True)
        left, end = Signal(LENGTH_BITS, reset_less=True), Signal(LENGTH_BITS + 1, reset_less=True)
        room = Signal(bits + 1, reset_less=True)
        empty, many, last = Signal(reset_less=True), Signal(reset_less=True), Signal(reset_less=True)

        # One register a state, and `offered`: the first cycle of an offer.
        idle, measure, decide, offer, offered = (
            Signal(name=name, init=name == "idle") for name in ("idle", "measure", "decide", "offer", "offered"))
        assert SEGMENT == 3                     # states from one segment to the next
        taken, over = Signal(), Signal()
        m.d.comb += [self.i.ready.eq(idle), self.o.valid.eq(offer), self.o.payload.eq(segment),
                     taken.eq(idle & self.i.valid), over.eq(offer & self.o.ready)]
        m.submodules.loads = loads = Copy()         # `idle`, for what is wide
        idles = idle & ~self.i.valid | measure & empty | over & last
        m.d.comb += loads.d.eq(idles | ResetSignal())
        m.d.sync += [idle.eq(idles), measure.eq(taken | over & ~last),
                     decide.eq(measure & ~empty), offer.eq(decide | offer & ~self.o.ready), offered.eq(decide)]
        with m.If(loads.q):
            m.d.sync += [segment.write.eq(request.write), column.eq(request.address), line.eq(request.address >> bits),
                         left.eq(request.length), empty.eq(request.length == 0)]
        with m.If(measure):
            m.d.sync += [room.eq((1 << bits) - column), end.eq(left + column), many.eq(left[bits + 1:].any())]
        with m.If(decide):
            m.d.sync += [last.eq(~(many | end[bits + 1] | end[bits] & end[:bits].any())), segment.column.eq(column),
                         segment.bank.eq(line), segment.row.eq(line >> (BANKS - 1).bit_length()), line.eq(line + 1),
                         column.eq(0)]
        with m.If(offered):                     # what remains is looked at in the next cycle, if there is anything
            m.d.sync += [segment.count.eq(Mux(last, left, room)), left.eq(end - (1 << bits))]
        return m
