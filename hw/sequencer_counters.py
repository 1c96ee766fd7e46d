"""What the queues did with their time."""
from amaranth import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BITS", "SETTLED", "WHAT", "Counters"]

BITS = 32
# Of a queue, cycles: in which a command ran, in which its head waited for tokens, and for its unit.
WHAT = ("busy", "waiting", "stalls")
SETTLED = 4             # cycles after the last one counted, and one for each counter, after which all counts are whole


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
        # The first turn of all finds nothing.
        turn, fresh, seen = Signal(range(self.many)), Signal(init=1), Signal(self.many)
        m.d.sync += [seen.eq(self.i), turn.eq(turn + 1)]
        with m.If(turn == self.many - 1):
            m.d.sync += [turn.eq(0), fresh.eq(0)]
        recent = [Signal(self.many.bit_length(), name=f"recent{n}") for n in range(self.many)]
        more = Signal.like(recent[0])
        before, place, valid = Signal(BITS, reset_less=True), Signal.like(turn), Signal()
        for n, part in enumerate(recent):
            m.d.sync += part.eq(Mux(turn == n, 0, part) + seen[n])
            with m.If(turn == n):
                m.d.sync += more.eq(part)
        m.d.comb += [old.addr.eq(turn), write.addr.eq(place), write.en.eq(valid), write.data.eq(before + more),
                     shown.addr.eq(self.index)]
        m.d.sync += [before.eq(Mux(fresh, 0, old.data)), place.eq(turn), valid.eq(1), self.o.eq(shown.data)]
        return m
