"""Bytes in chunks of any length, packed into words."""
from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.parts.delay import delayed
from hw.primitives import Copy

__all__ = ["Packer", "chunk_layout"]

BYTES_PER_COPY = 4          # bytes of the word served by one copy of a control line


def chunk_layout(size: int) -> data.StructLayout:
    """`count` bytes of `bytes`, from number `skip` on; all of them are within. With `flush` the word ends behind them. Without
    `valid` there are none, and no `flush`."""
    return data.StructLayout({"valid": 1, "bytes": data.ArrayLayout(unsigned(8), size), "skip": ceil_log2(size),
                              "count": ceil_log2(size + 1), "flush": 1})


class Packer(wiring.Component):
    """Strings the bytes of chunks together into words of `lanes` bytes; a flushed word has zeros behind them.

    A chunk of cycle t completes at most one word, shown in cycle t + ``LATENCY``. A flush may leave bytes over for a second
    word: it is completed by the next ``release``, before which no other chunk may come. Free running. ``clear`` drops what is
    left of a word, in a cycle without a chunk; it is needed after reset, which does nothing to the word.

    Parameters
    ----------
    size : int
        Bytes of a chunk, a power of two.
    lanes : int
        Bytes of a word, a multiple of `size`.

    Members
    -------
    i : ``In(chunk_layout(size))``
    release, clear : ``In(1)``
    valid : ``Out(1)``
    word : ``Out(8 * lanes)``
    soon : ``Out(1)``
        From a register: there is a word in the next cycle.
    """

    LATENCY = 4

    def __init__(self, size: int, lanes: int):
        if size < 2 or size & size - 1:
            raise ValueError(f"Bytes of a chunk must be a power of two and at least 2, not {size!r}")
        if lanes < size or lanes % size:
            raise ValueError(f"Bytes of a word must be a multiple of {size}, not {lanes!r}")
        self.size, self.lanes = size, lanes
        super().__init__({"i": In(chunk_layout(size)), "release": In(1), "clear": In(1), "valid": Out(1),
                          "word": Out(8 * lanes), "soon": Out(1)})

    def elaborate(self, platform):
        m = Module()
        size, lanes, chunk = self.size, self.lanes, self.i
        position, end, beyond = Signal(range(lanes)), Signal(range(lanes + size + 1)), Signal()
        m.d.comb += [end.eq(position + chunk.count), beyond.eq(end >= lanes)]
        with m.If(self.clear | chunk.flush):
            m.d.sync += position.eq(0)
        with m.Else():
            m.d.sync += position.eq(end if lanes & lanes - 1 == 0 else Mux(beyond, end - lanes, end))

        # Stage 1: where the chunk lies.
        valid, flush, release, clear = (delayed(m, bit, 1, name, reset=True) for bit, name in (
            (chunk.valid, "valid"), (chunk.flush, "flush"), (self.release, "release"), (self.clear, "clear")))
        bytes_, turned_by = Signal.like(chunk.bytes, reset_less=True), Signal(range(size), reset_less=True)
        first, last, full = Signal.like(position, reset_less=True), Signal.like(end, reset_less=True), Signal()
        m.d.sync += [bytes_.eq(chunk.bytes), turned_by.eq(position - chunk.skip), first.eq(position), last.eq(end),
                     full.eq(beyond)]
        left_over = Signal()
        with m.If(valid):
            m.d.sync += left_over.eq(flush & (last > lanes))
        with m.Elif(release | clear):
            m.d.sync += left_over.eq(0)

        # Stage 2: lane n takes byte n - turn (mod size) of the chunk, if it belongs to this word or, behind its end, to the next.
        turn = Signal(range(size), reset_less=True)
        bytes1 = Signal.like(chunk.bytes, reset_less=True)
        here1, there1 = Signal(lanes, reset_less=True), Signal(size, reset_less=True)
        ends1, clear1 = Signal(), Signal(reset_less=True)
        m.d.sync += [
            turn.eq(turned_by), bytes1.eq(bytes_), clear1.eq(clear),
            here1.eq(Cat((n >= first) & (n < last) for n in range(lanes))),
            there1.eq(Cat(n + lanes < last for n in range(size))),
            ends1.eq(full | flush | release & left_over)]

        # Stage 3: turned.
        turned = Signal(8 * size, reset_less=True)
        here, kept = Signal(lanes, reset_less=True), Signal(lanes, reset_less=True)
        ends = Signal()
        rotated = bytes1.as_value()
        for bit in range(len(turn)):
            step = 8 << bit
            rotated = Mux(turn[bit], Cat(rotated[-step:], rotated[:-step]), rotated)
        m.d.sync += [turned.eq(rotated), here.eq(here1), ends.eq(ends1),
                     kept.eq(Mux(ends1, Cat(there1, Const(0, lanes - size)) if lanes > size else there1, here1))]

        # Stage 4: the word, and what is there of the next.
        rest, word = Signal(8 * lanes, reset_less=True), Signal(8 * lanes, reset_less=True)
        m.d.sync += self.valid.eq(ends)
        m.d.comb += [self.soon.eq(ends), self.word.eq(word)]
        for first in range(0, lanes, BYTES_PER_COPY):
            m.submodules[f"drop{first}"] = drop = Copy()
            m.d.comb += drop.d.eq(ends1 | clear1)
            for n in range(first, min(first + BYTES_PER_COPY, lanes)):
                byte, old = turned.word_select(n % size, 8), rest.word_select(n, 8)
                m.d.sync += [word.word_select(n, 8).eq(Mux(here[n], byte, old)),
                             old.eq(Mux(kept[n], byte, Mux(drop.q, 0, old)))]
        return m
