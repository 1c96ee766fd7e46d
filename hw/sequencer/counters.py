"""What the queues did with their time."""
from functools import reduce
from operator import or_

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hw.parts.delay import delayed

__all__ = ["BITS", "SETTLED", "WHAT", "Counters"]

BITS = 32
# Of a queue, cycles: in which a command ran, in which its head waited for tokens, and for its unit.
WHAT = ("busy", "waiting", "stalls")
SETTLED = 6             # cycles after the last one counted, and one for each counter, after which all counts are whole


class Counters(wiring.Component):
    """Counts the cycles of `many` conditions, which come from registers.

    Counts are words of distributed RAM. Each condition has a few bits of its own as well, which are added to its word in turn:
    so words are late by up to `many` + `SETTLED` cycles. A reset begins from 0, but what shows are the counts before until each
    had its turn.

    Members
    -------
    i : ``In(many)``
    index : ``In(range(many))``
    o : ``Out(32)``
        The count of `index`, a cycle later.
    """

    def __init__(self, many: int):
        self.many = many
        super().__init__({"i": In(many), "index": In(range(many)), "o": Out(BITS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = memory.Memory(shape=BITS, depth=1 << (self.many - 1).bit_length(), init=[])
        write, old, shown = words.write_port(), words.read_port(domain="comb"), words.read_port(domain="comb")
        # The first turn of all finds nothing. Turns are a ring of bits: nothing is decoded.
        turns, fresh, seen = Signal(self.many, init=1), Signal(init=1), Signal(self.many)
        turn = Signal(range(self.many))
        m.d.sync += [seen.eq(self.i), turns.eq(Cat(turns[-1], turns[:-1])), turn.eq(Mux(turns[-1], 0, turn + 1))]
        with m.If(turns[-1]):
            m.d.sync += fresh.eq(0)
        parts = []
        for n in range(self.many):
            part, mine = Signal(self.many.bit_length(), name=f"part{n}"), Signal(self.many.bit_length(), name=f"mine{n}")
            m.d.sync += [part.eq(Mux(turns[n], 0, part) + seen[n]), mine.eq(Mux(turns[n], part, 0))]
            parts.append(mine)
        more, before, total = (Signal(bits, name=name, reset_less=True) for bits, name in (
            (len(parts[0]), "more"), (BITS, "before"), (BITS, "total")))
        place, valid = delayed(m, turn, 3, "place"), delayed(m, Const(1), 3, "valid", reset=True)
        m.d.comb += [old.addr.eq(delayed(m, turn, 1, "look")), write.addr.eq(place), write.en.eq(valid), write.data.eq(total),
                     shown.addr.eq(self.index)]
        m.d.sync += [more.eq(reduce(or_, parts)), before.eq(Mux(delayed(m, fresh, 1, "new"), 0, old.data)),
                     total.eq(before + more), self.o.eq(shown.data)]
        return m
