"""Words become a string of bits, of which several fields are taken at a time."""
from amaranth import Cat, Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from arch.weight_stream import MOST_BITS
from hw.parts.delay import delayed

__all__ = ["BANKS", "FIELD_BITS", "RING", "BitString", "bits_shape", "fields_layout", "offsets_layout"]

FIELD_BITS = 12         # of a field at most
BANKS = 4               # of words: a window is as many of them, one behind the other
RING = 64               # words, in distributed RAM of 16 rows


def bits_shape(lanes: int) -> range:
    """Bits of all fields together."""
    return range(lanes * FIELD_BITS + 1)


def offsets_layout(lanes: int) -> data.Layout:
    """Bits in front of each field."""
    return data.ArrayLayout(((lanes - 1) * FIELD_BITS).bit_length(), lanes)


def fields_layout(lanes: int) -> data.Layout:
    """Fields that are taken together, each from bit 0 on."""
    return data.ArrayLayout(FIELD_BITS, lanes)


class BitString(wiring.Component):
    """A ring of words; fields are taken at the read position, which moves by all of them together.

    A word put in cycle t can be taken from in t + 1. Where bits are wanted, and as many are there, `take` is high in the same
    cycle; `fields` follow two cycles later, with arbitrary bits behind their own. After a reset
    there are none.

    Parameters
    ----------
    lanes : int
        Fields.
    ring, most_bits : int
        Words of the ring, a power of two, and bits with which no more words are taken; proofs take smaller ones.

    Members
    -------
    word, put : ``In(16)``, ``In(1)``
    room : ``Out(1)``
        From a register, nearly: words may be put.
    wanted, bits, offsets : ``In(1)``, ``In(bits_shape(lanes))``, ``In(offsets_layout(lanes))``
        All hold while `wanted` does.
    take : ``Out(1)``
    fields : ``Out(fields_layout(lanes))``
    few, rest, one : ``Out(1)``
        There are fewer bits than wanted. At the end, of what is left: a whole word or more, a bit that is not 0 in a begun word.
    """

    LATENCY = 2

    def __init__(self, *, lanes: int, ring: int = RING, most_bits: int = MOST_BITS):
        self.lanes, self.ring, self.most_bits = lanes, ring, most_bits
        super().__init__({
            "word": In(16), "put": In(1), "room": Out(1), "wanted": In(1), "bits": In(bits_shape(lanes)),
            "offsets": In(offsets_layout(lanes)), "take": Out(1), "fields": Out(fields_layout(lanes)), "few": Out(1),
            "rest": Out(1), "one": Out(1)})

    def elaborate(self, platform):
        m = Module()
        there, at = Signal(range(self.most_bits + 16)), Signal(range(16 * self.ring))
        write = Signal(range(self.ring))
        m.d.comb += [
            self.room.eq(there < self.most_bits), self.few.eq(there < self.bits), self.take.eq(self.wanted & ~self.few),
            self.rest.eq(there[4:].any())]
        taken = Signal(bits_shape(self.lanes))
        m.d.comb += taken.eq(self.bits & self.take.replicate(len(self.bits)))
        m.d.sync += [there.eq(there + Cat(Signal(4), self.put) - taken), at.eq(at + taken)]
        with m.If(self.put):
            m.d.sync += write.eq(write + 1)
        window = self._window(m, write, at[4:])
        m.d.comb += self.one.eq(at[:4].any() & (window[:16] & (0xffff << at[:4])[:16]).any())
        held = delayed(m, window, 1, "window")
        for n in range(self.lanes):
            begin = Signal(range(15 + n * FIELD_BITS + 1), name=f"begin{n}", reset_less=True)
            m.d.sync += begin.eq(at[:4] + self.offsets[n])
            shifted = held
            for bit in reversed(range(len(begin))):
                needed = FIELD_BITS + (1 << bit) - 1
                wider = Signal(needed, name=f"field{n}_{bit}")
                m.d.comb += wider.eq((shifted >> (1 << bit)) if bit >= 6 else _either(begin[bit], shifted, 1 << bit, needed))
                shifted = wider
            m.d.sync += self.fields[n].eq(shifted)
        return m

    def _window(self, m, write, first) -> Signal:
        """The words from number `first` of the ring on."""
        banks = []
        for n in range(BANKS):
            m.submodules[f"bank{n}"] = bank = memory.Memory(shape=16, depth=self.ring // BANKS, init=[])
            port, read = bank.write_port(), bank.read_port(domain="comb")
            m.d.comb += [port.en.eq(self.put & (write[:2] == n)), port.addr.eq(write[2:]), port.data.eq(self.word),
                         read.addr.eq(first[2:] + (first[:2] > n))]
            banks.append(read.data)
        for bit in range(2):
            turned = [Signal(16, name=f"turned{bit}_{n}") for n in range(BANKS)]
            for n, one in enumerate(turned):
                m.d.comb += one.eq(_either(first[bit], Cat(banks[n], banks[(n + (1 << bit)) % BANKS]), 16, 16))
            banks = turned
        window = Signal(16 * BANKS)
        m.d.comb += window.eq(Cat(banks))
        return window


def _either(choice, value, shift: int, size: int):
    """`size` bits of a value, from bit 0 on or, if chosen, from bit `shift` on."""
    low, high = value[:size], value[shift:shift + size]
    return (low & ~choice.replicate(len(low))) | (high & choice.replicate(len(high)))
