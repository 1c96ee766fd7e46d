"""Where a run of a transfer ends, and whether it may be."""
from collections.abc import Sequence
from functools import reduce
from operator import add, or_

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from arch.geometry import Geometry
from arch.instruction import Opcode
from arch.record import ADDRESS, bits_of_storage
from arch.transfer import places
from hw.parts.compare import exceeds

__all__ = ["RunCheck", "chosen"]

_AMOUNT = ADDRESS + 5           # bits of the words of storage that a run has


def chosen(kinds, opcodes: Sequence[Opcode], values):
    """The value for the transfer's opcode, of which `kinds` has one bit each."""
    return reduce(or_, (Mux(kind, values[one], 0) for kind, one in zip(kinds, opcodes, strict=True)))


class RunCheck(wiring.Component):
    """Works all the time: outputs are registers, and right when the inputs have stood still for long enough.

    Parameters
    ----------
    geometry : Geometry
    opcodes : sequence of Opcode
        Transfers that come.
    storage_words : int
        Words of storage.
    region : bool
        Runs must lie between `low` and `high`.

    Members
    -------
    kinds, pixels : ``In(len(opcodes))``, ``In(1)``
        The bit of the transfer's opcode is high; its words are pixels.
    chip, storage, words : ``In``
        Where the run begins, and its words on the chip.
    width, channels : ``In(10)``, ``In(3)``
        Of a row of pixels.
    block : ``In(16)``
        Words of storage of a block that is to be decoded; only where such loads come.
    low, high : ``In``
        Words of storage, `high` excluded.
    amount, odd : ``Out(20)``, ``Out(1)``
        Words of storage that the run has; the last one of a row of pixels is half empty.
    chip_bad, storage_bad : ``Out(1)``
        It leaves the memory on the chip; storage or the region.
    """

    def __init__(self, geometry: Geometry, opcodes: Sequence[Opcode], storage_words: int, *, region: bool):
        self.geometry, self.opcodes, self.storage_words, self.region = geometry, tuple(opcodes), storage_words, region
        self.storage_bits = bits = bits_of_storage(storage_words)
        super().__init__({
            "kinds": In(len(self.opcodes)), "pixels": In(1), "chip": In(ADDRESS + 1), "storage": In(bits + 1),
            "words": In(ADDRESS + 1), "width": In(10), "channels": In(3), "low": In(bits), "high": In(bits + 1),
            **({"block": In(16)} if Opcode.LOAD_CODED in self.opcodes else {}),
            "amount": Out(_AMOUNT), "odd": Out(1), "chip_bad": Out(1), "storage_bad": Out(1)})

    def elaborate(self, platform):
        m = Module()
        geometry = self.geometry
        memory = {Opcode.LOAD_WEIGHTS: geometry.weight_words, Opcode.LOAD_CODED: geometry.weight_words,
                  Opcode.LOAD_PARAMETERS: geometry.parameter_places,
                  Opcode.LOAD_ACTIVATIONS: geometry.activation_words, Opcode.STORE: geometry.activation_words,
                  Opcode.LOAD_PIXELS: (1 << ADDRESS + 2) - 1}
        amount, odd = Signal(_AMOUNT, reset_less=True), Signal(reset_less=True)
        limit, chip_end = Signal(ADDRESS + 2, reset_less=True), Signal(ADDRESS + 2, reset_less=True)
        storage_end, chip_bad = Signal(self.storage_bits + 2, reset_less=True), Signal(reset_less=True)
        size = Signal(12, reset_less=True)                      # bytes of a row of pixels
        width, channels = self.width, self.channels
        m.d.sync += [
            size.eq(Mux(channels[2], width << 2, Mux(channels[1], width << 1, 0) + Mux(channels[0], width, 0))),
            limit.eq(chosen(self.kinds, self.opcodes, memory)), odd.eq(size[0]),
            amount.eq(chosen(self.kinds, self.opcodes, self._amounts(m, size))),
            chip_end.eq(self.chip + self.words), storage_end.eq(self.storage + amount),
            chip_bad.eq(exceeds(m, "chip", chip_end, limit) & ~self.pixels)]
        outside = [exceeds(m, "beyond", storage_end, Const(self.storage_words, len(storage_end)))]
        if self.region:
            low, high, begin = (Signal.like(one, name=name, reset_less=True) for name, one in (
                ("low", self.low), ("high", self.high), ("begin", self.storage)))
            m.d.sync += [low.eq(self.low), high.eq(self.high), begin.eq(self.storage)]
            outside += [exceeds(m, "above", storage_end, high), exceeds(m, "below", low, begin)]
        storage_bad = Signal(len(outside), reset_less=True)
        m.d.sync += storage_bad.eq(Cat(outside))
        m.d.comb += [self.amount.eq(amount), self.odd.eq(odd), self.chip_bad.eq(chip_bad), self.storage_bad.eq(storage_bad.any())]
        return m

    def _amounts(self, m, size):
        """Words of storage for each opcode. Multipliers are for the array; products are made a cycle before one is chosen."""
        amounts = {Opcode.LOAD_PIXELS: (size + 1) >> 1}
        for one in self.opcodes:
            if one is Opcode.LOAD_CODED:
                amounts[one] = self.block
            elif one is not Opcode.LOAD_PIXELS:
                amounts[one] = Signal(_AMOUNT, name=f"product_{one.name.lower()}", reset_less=True)
                factor = places(self.geometry, one)
                m.d.sync += amounts[one].eq(reduce(add, (self.words << n for n in range(factor.bit_length()) if factor >> n & 1)))
        return amounts
