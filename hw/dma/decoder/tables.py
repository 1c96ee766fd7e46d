"""Entries of a table become what each slot stands for."""
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch import weight_stream as form
from hw.parts.states import States

__all__ = ["CODE_BITS", "REST_BITS", "ROW_BITS", "TableWriter", "slot_layout"]

CODE_BITS = 9           # a symbol's first value times 2, and a bit set as many places up as it has raw bits
REST_BITS = 9           # of a rest below 512; the others are of the one symbol that has more than half of the slots
ROW_BITS = form.ROWS.bit_length() - 1
ORDER = [int(f"{row:0{ROW_BITS}b}"[::-1], 2) for row in range(form.ROWS)]       # of a row, among eight numbers


def slot_layout() -> data.StructLayout:
    """A slot's symbol and rest. The code 0 stands for the symbol with more than half of the slots, with 512 added to the rest."""
    return data.StructLayout({"rest": REST_BITS, "code": CODE_BITS})


class TableWriter(wiring.Component):
    """Writes a table after each reset, a slot a cycle and two more cycles for each symbol.

    Members
    -------
    start, masked : ``In(1)``
        A table begins; it has a part for masks.
    i : ``In(stream.Signature(16))``
        Its entries; none is taken behind the last one.
    idle, complete, wrong : ``Out(1)``
        An entry is waited for; all slots are written; the table is damaged.
    w_en, w_addr, w_data : ``Out``
        Addresses are slots, with the part above them.
    major : ``Out``
        For each part the code of the symbol with more than half of its slots; it outlasts a reset.
    """

    def __init__(self):
        super().__init__({
            "start": In(1), "masked": In(1), "i": In(stream.Signature(16)), "idle": Out(1), "complete": Out(1), "wrong": Out(1),
            "w_en": Out(1), "w_addr": Out(form.STATE_BITS + 1), "w_data": Out(slot_layout()),
            "major": Out(data.ArrayLayout(CODE_BITS, 2))})

    def elaborate(self, platform):
        m = Module()
        part, masked = Signal(), Signal()
        slots, left, raw_bits = Signal(9, reset_less=True), Signal(6, reset_less=True), Signal(2, reset_less=True)
        value, number = Signal(9), Signal(10)            # of the next symbol, of its first slot
        behind, rest = Signal(10, reset_less=True), Signal(10, reset_less=True)
        row, column, last = Signal(ROW_BITS, reset_less=True), Signal(7, reset_less=True), Signal(7, reset_less=True)
        pending = Signal(form.ROWS, reset_less=True)
        code, majors = Signal(CODE_BITS), [Signal(CODE_BITS, name=f"major{n}", reset_less=True) for n in range(2)]
        m.d.comb += [code.eq(Cat(Const(0, 1), value[:8]) | Cat(raw_bits == n for n in range(4))), Cat(self.major).eq(Cat(majors))]
        m.d.sync += [self.w_en.eq(0), self.w_addr.eq(Cat(column[:6], row, part)), self.w_data.rest.eq(rest[:9]),
                     self.w_data.code.eq(Mux(rest[9], 0, code))]
        limit = Mux(part, form.MASKS, form.VALUES)
        symbol_values = Signal(9)
        m.d.comb += symbol_values.eq(1 << raw_bits)
        below_first, below_end = (Cat(order < mark[:3] for order in ORDER) for mark in (number, behind))

        def next_row():
            """Row, column and last column from the rows that are pending."""
            low = pending & ~(pending - 1)
            m.d.sync += [
                pending.eq(pending & (pending - 1)), row.eq(_place(low)), last.eq(behind[3:] + (below_end & low).any() - 1),
                column.eq(number[3:] + (below_first & low).any())]
        with States(m, ("IDLE", "ENTRY", "RUN", "SYMBOL", "ROW", "SLOTS", "NEXT", "WRONG", "ENDED")) as states:
            with states.at("IDLE"):
                m.d.sync += masked.eq(self.masked)
                with m.If(self.start):
                    states.go("ENTRY")
            with states.at("ENTRY"):
                m.d.comb += [self.i.ready.eq(1), self.idle.eq(~self.i.valid)]
                m.d.sync += [slots.eq(self.i.payload[:9]), left.eq(self.i.payload[9:14] + 1), raw_bits.eq(self.i.payload[14:])]
                with m.If(self.i.valid):
                    states.go("RUN")
            with states.at("RUN"):
                ends = Signal(10)
                m.d.comb += ends.eq(value + (left << raw_bits)[:9])
                bent = (value & (symbol_values - 1)).any() | part & raw_bits.any()
                with m.If(bent | (ends > limit)):
                    states.go("WRONG")
                with m.Elif(slots == 0):
                    m.d.sync += value.eq(ends)
                    states.go("NEXT")
                with m.Else():
                    states.go("SYMBOL")
                m.d.sync += behind.eq(number + slots)
            with states.at("SYMBOL"):
                m.d.sync += [rest.eq(slots), pending.eq(_rows(number[3:], behind[3:], below_first, below_end))]
                for n, major in enumerate(majors):
                    with m.If(slots[8] & slots[:8].any() & (part == n)):
                        m.d.sync += major.eq(code)
                states.go("ROW")
                with m.If(behind > form.SLOTS):
                    states.go("WRONG")
            with states.at("ROW"):
                next_row()
                states.go("SLOTS")
            with states.at("SLOTS"):
                m.d.sync += [self.w_en.eq(1), rest.eq(rest + 1), column.eq(column + 1)]
                with m.If(column == last):
                    with m.If(pending.any()):
                        next_row()
                    with m.Else():
                        m.d.sync += [number.eq(behind), behind.eq(behind + slots), left.eq(left - 1),
                                     value.eq(value + symbol_values)]
                        states.go("SYMBOL")
                        with m.If(left == 1):
                            states.go("NEXT")
            with states.at("NEXT"):
                states.go("ENTRY")
                with m.If(value == limit):
                    m.d.sync += [value.eq(0), number.eq(0), part.eq(1)]
                    with m.If(number != form.SLOTS):
                        states.go("WRONG")
                    with m.Elif(part | ~masked):
                        states.go("ENDED")
            with states.at("WRONG"):
                m.d.comb += self.wrong.eq(1)
            with states.at("ENDED"):
                m.d.comb += self.complete.eq(1)
        return m


def _rows(first, end, below_first, below_end):
    """The rows that have numbers between two columns; in these, of rows `below` their place."""
    whole = end > first + 1
    return Mux(whole, (1 << form.ROWS) - 1, Mux(first == end, below_end & ~below_first, below_end | ~below_first))


def _place(bits):
    """The place of the one bit that is set."""
    return Cat(Cat(bits[n] for n in range(len(bits)) if n >> bit & 1).any() for bit in range((len(bits) - 1).bit_length()))
