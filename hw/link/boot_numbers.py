"""Numbers of a slot's header and of a state, of which two are compared at a time."""
from amaranth import Cat, Const, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hw.parts.compare import exceeds

__all__ = ["BootNumbers"]


class BootNumbers(wiring.Component):
    """Sixteen words in distributed RAM, and two registers of 32 bits, which are filled from there, the low word first.

    All inputs act a cycle late.

    Parameters
    ----------
    storage_words : int

    Members
    -------
    write, place, word : ``In(1)``, ``In(4)``, ``In(16)``
        A word to keep; at once.
    at, into_a, into_b : ``In(4)``, ``In(1)``, ``In(1)``
        A word that is kept, and whether a register gets it.
    kept : ``Out(16)``
        The word there.
    zero, count : ``In(1)``
        What becomes of `b`: 0, or one more.
    b : ``Out(32)``
    more, over : ``Out(1)``
        ``a > b``, and ``a > storage_words``, three and two cycles after they changed.
    """

    def __init__(self, storage_words: int):
        self.storage_words = storage_words
        super().__init__({
            "write": In(1), "place": In(4), "word": In(16), "at": In(4), "into_a": In(1), "into_b": In(1), "kept": Out(16),
            "zero": In(1), "count": In(1), "b": Out(32), "more": Out(1), "over": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = memory.Memory(shape=16, depth=16, init=[])
        put, get = words.write_port(), words.read_port(domain="comb")
        a, b, at = Signal(32, reset_less=True), Signal(32, reset_less=True), Signal(4, reset_less=True)
        strobes = {name: Signal(name=f"{name}_now") for name in ("into_a", "into_b", "zero", "count")}
        m.d.sync += [at.eq(self.at), *(strobe.eq(getattr(self, name)) for name, strobe in strobes.items())]
        m.d.comb += [put.en.eq(self.write), put.addr.eq(self.place), put.data.eq(self.word), get.addr.eq(at),
                     self.kept.eq(get.data), self.b.eq(b)]
        with m.If(strobes["into_a"]):
            m.d.sync += a.eq(Cat(a[16:], get.data))
        with m.If(strobes["into_b"]):
            m.d.sync += b.eq(Cat(b[16:], get.data))
        with m.Elif(strobes["count"]):
            m.d.sync += b.eq(b + 1)
        with m.If(strobes["zero"]):
            m.d.sync += b.eq(0)
        # Half a comparison a cycle.
        low, over = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [low.eq(a[:16] > b[:16]), self.more.eq(Cat(low, a[16:]) > Cat(Const(0, 1), b[16:])),
                     over.eq(exceeds(m, "size", a, Const(self.storage_words, 32)))]
        m.d.comb += self.over.eq(over)
        return m
