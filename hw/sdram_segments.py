"""Requests for words of an SDRAM, cut at the ends of its rows."""
from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.sdram import BANKS, SEGMENT, Timing

__all__ = ["LENGTH_BITS", "SdramSegments", "request_layout", "segment_layout"]

LENGTH_BITS = 17


def request_layout(timing: Timing) -> data.StructLayout:
    """`length` words from word `address` on."""
    return data.StructLayout({"write": 1, "address": timing.address_bits, "length": LENGTH_BITS})


def segment_layout(timing: Timing) -> data.StructLayout:
    """`count` words (at least 1) of one row, from `column` on."""
    return data.StructLayout({"write": 1, "bank": range(BANKS), "row": timing.row_bits, "column": timing.column_bits,
                              "count": timing.column_bits + 1})


class SdramSegments(wiring.Component):
    """Splits requests. The first segment is offered ``SEGMENT`` cycles after the request was taken, each further one as long
    after the one before it; the next request can be taken in the cycle after the last segment, or two cycles after a request
    of length 0, which has none. Addresses wrap at the end of the chip. ``i.ready`` and ``o`` depend on registers only.

    Members
    -------
    i : ``In(stream.Signature(request_layout(timing)))``
    o : ``Out(stream.Signature(segment_layout(timing)))``
    """

    def __init__(self, timing: Timing):
        self.timing = timing
        super().__init__({"i": In(stream.Signature(request_layout(timing))),
                          "o": Out(stream.Signature(segment_layout(timing)))})

    def elaborate(self, platform):
        m = Module()
        columns = self.timing.columns
        segment = Signal(self.o.payload.shape(), reset_less=True)
        line = Signal(self.timing.address_bits - self.timing.column_bits, reset_less=True)
        column = Signal(self.timing.column_bits, reset_less=True)
        left, end = Signal(LENGTH_BITS, reset_less=True), Signal(LENGTH_BITS + 1, reset_less=True)
        room = Signal(range(columns + 1), reset_less=True)
        empty, last = Signal(reset_less=True), Signal(reset_less=True)
        m.d.comb += self.o.payload.eq(segment)
        assert SEGMENT == 3                     # states from one segment to the next
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                request = self.i.payload
                m.d.sync += [segment.write.eq(request.write), column.eq(request.address), line.eq(request.address >> len(column)),
                             left.eq(request.length), empty.eq(request.length == 0)]
                with m.If(self.i.valid):
                    m.next = "MEASURE"
            with m.State("MEASURE"):
                m.d.sync += [room.eq(columns - column), end.eq(left + column)]
                m.next = "DECIDE"
                with m.If(empty):
                    m.next = "IDLE"
            with m.State("DECIDE"):
                fits = end <= columns
                m.d.sync += [last.eq(fits), segment.count.eq(Mux(fits, left, room)), segment.column.eq(column),
                             segment.bank.eq(line), segment.row.eq(line >> (BANKS - 1).bit_length()),
                             left.eq(end - columns), line.eq(line + 1), column.eq(0)]       # what remains, if anything
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "MEASURE"
                    with m.If(last):
                        m.next = "IDLE"
        return m
