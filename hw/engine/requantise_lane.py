"""A requantising lane: one 32-bit sum a cycle to a byte."""
from amaranth import C, Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from arch import pipeline
from hw.primitives import Copy, Multiplier
from hw.primitives.gated_add import GatedAdd

__all__ = ["RequantiseLane"]


def _product(m: Module, name: str, acc: Value, factor: Value, rows_per_copy: int) -> Value:
    """acc (any shape) times the 8-bit factor by gated adds, exact, 4 cycles later. Carry chains are hard to place: each has
    operands of its own in front of it, or so many of the four share them."""
    signedness = acc.shape().signed
    late_factor = Signal(8, name=f"{name}_factor", reset_less=True)
    m.d.sync += late_factor.eq(factor)
    factor = late_factor
    rows = []
    for n in range(0, 8, 2):
        width = len(acc) + 2
        m.submodules[f"{name}_row{n}"] = row = GatedAdd(width)
        if n // 2 % rows_per_copy == 0:
            own = []
            for k, bit in enumerate(acc):
                m.submodules[f"{name}_acc{n}_{k}"] = copy = Copy()
                m.d.comb += copy.d.eq(bit)
                own.append(copy.q)
        wide = Cat(own).as_signed() if signedness else Cat(own)
        product = Signal(Shape(width, signedness), name=f"{name}{n}", reset_less=True)
        extended = Signal(Shape(width, signedness), name=f"{name}{n}_extended")
        m.d.comb += [extended.eq(wide), row.a.eq(extended), row.b.eq(extended << 1),
                     row.gate_a.eq(factor[n]), row.gate_b.eq(factor[n + 1])]
        m.d.sync += product.eq(row.o)
        rows.append(product)
    # The low bits of the first term pass, so that the adder is no longer than the second.
    for level, step in enumerate((2, 4)):
        pairs = []
        for n in range(0, len(rows), 2):
            low, high = rows[n], rows[n + 1]
            total = Signal(Shape(len(high) + step, signedness), name=f"{name}_level{level}_{n}", reset_less=True)
            top = low[step:].as_signed() if signedness else low[step:]
            m.d.sync += total.eq(Cat(low[:step], (top + high)[:len(high)]))
            pairs.append(total)
        rows = pairs
    return rows[0]


class RequantiseLane(wiring.Component):
    """One channel: q = clamp(zero_point + ((acc * multiplier + 2**(shift - 1)) >> shift), low, high), exactly; with `fraction`
    (zero_point + (acc * multiplier >> (shift - 8))) modulo 256, of shifts of at least 9.

    With v = acc * multiplier >> (shift - 1) the quotient is (v + 1) >> 1. The product is (acc >> 14) * multiplier from one
    MULT18X18D plus the low 14 bits' share from gated adds (everything from gated adds without `multiplier`). v is shifted out
    by 0, 16 or 32, then 0, 4, 8 or 12, then 0 to 3, saturating to 11 bits on the way: the result is a byte. The multiplier
    stands where there is a site for it; its product has a register for the way back. For a fraction v is shifted by 8 less,
    nothing is rounded, and limits lie so far away that they do not matter: its low bits are right even where v does not fit.

    ``q`` follows ``acc`` by ``LATENCY`` cycles, one value per cycle, free running, no resets. Operands are taken as late as they
    are used, so that a constant that changes with ``acc`` must change ``LEAD[name]`` cycles after it.

    Parameters
    ----------
    multiplier : bool
        Use a hardware multiplier.
    rows_per_copy : int
        How many of the four gated adds of a product share a copy of the sum.

    Members
    -------
    acc : ``In(signed(32))``
    factor : ``In(8)``
    right : ``In(6)``
        Shift less one, 0..38.
    zero_point, low, high : ``In(8)``
        low <= high.
    fraction : ``In(1)``
    q : ``Out(8)``
    """

    LATENCY = pipeline.REQUANTISE_LANE
    # Cycles from acc to the cycle in which a constant is used; `right` by bits: those from 3 on, bit 2, those below.
    LEAD = {"factor": 0, "right3": 4, "fraction": 4, "right2": 5, "right0": 6, "zero_point": 8, "low": 9, "high": 9}

    acc: In(signed(32))
    factor: In(8)
    right: In(6)
    zero_point: In(8)
    low: In(8)
    high: In(8)
    fraction: In(1)
    q: Out(8)

    def __init__(self, *, multiplier: bool = True, rows_per_copy: int = 1):
        self.multiplier, self.rows_per_copy = bool(multiplier), rows_per_copy
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        product = Signal(signed(40), reset_less=True)
        if self.multiplier:
            m.submodules.mult = mult = Multiplier(pipeline=True)
            assert mult.latency == 3
            m.d.comb += [mult.a.eq(self.acc[14:].as_signed()), mult.b.eq(self.factor)]
            low, high = _product(m, "low", self.acc[:14], self.factor, self.rows_per_copy), Signal(signed(26), reset_less=True)
            m.d.sync += [high.eq(mult.p[:26].as_signed()), product.eq(Cat(low[:14], high + low[14:]))]
        else:
            m.d.sync += product.eq(_product(m, "whole", self.acc, self.factor, self.rows_per_copy))

        def shifted(value, over, select, amounts, width, name):
            """value >> amounts[select] in `width` bits, of which the last stays the sign; whether any were lost that differ from
            it, or `over`."""
            out = Signal(signed(width), name=name, reset_less=True)
            sign, top = value[-1], len(value) - 1
            with m.Switch(select):
                for n, amount in enumerate(amounts):
                    with m.Default() if n + 1 == len(amounts) else m.Case(n):
                        m.d.sync += out.eq(Cat((value >> amount)[:width - 1], sign))
            # What shifts 0..n lose and the next one does not, four bits at a time.
            spans = [over]
            for n, amount in enumerate(amounts[:-1]):
                end = min(amounts[n + 1] + width - 1, top)
                for first in range(amount + width - 1, end, 4):
                    span = value[first:min(first + 4, end)]
                    spans.append((select <= n) & (span != sign.replicate(len(span))))
            lost = Signal(len(spans), name=f"{name}_over", reset_less=True)
            m.d.sync += lost.eq(Cat(spans))
            return out, lost.any()
        # The shift comes from beside the next lane's, far from here. 8 less borrows from its upper bits.
        right, eighth = Signal(6, reset_less=True), Signal(reset_less=True)
        less, (bit3, bit4, bit5) = self.fraction, self.right[3:]
        m.d.sync += [right[:3].eq(self.right[:3]), eighth.eq(bit3 ^ less), right[3].eq(eighth), right[4].eq(bit4 ^ less & ~bit3),
                     right[5].eq(bit5 ^ less & ~bit3 & ~bit4)]
        fractions = [self.fraction]             # in the cycles after that of bits 4 and 5
        for n in range(self.LEAD["high"] - self.LEAD["fraction"]):
            fractions.append(Signal(name=f"fraction{n}", reset_less=True))
            m.d.sync += fractions[-1].eq(fractions[-2])
        exact, wraps = fractions[self.LEAD["zero_point"] - self.LEAD["fraction"]], fractions[-1]
        coarse = shifted(product, Const(0, 1), right[4:], (0, 16, 32), 26, "coarse")
        middle = shifted(*coarse, right[2:4], (0, 4, 8, 12), 14, "middle")
        fine, over = shifted(*middle, right[:2], (0, 1, 2, 3), 11, "fine")

        # An overflow has only to know its side.
        rounded = Signal(signed(11), reset_less=True)
        lost, negative = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [rounded.eq((fine + Cat(~exact, self.zero_point, C(0, 1)).as_signed()) >> 1),
                     lost.eq(over), negative.eq(fine[-1])]
        # Signs of differences: a carry chain, and nothing behind it.
        below, above = Signal(signed(12), reset_less=True), Signal(signed(12), reset_less=True)
        underflow, overflow, inside = Signal(reset_less=True), Signal(reset_less=True), Signal(8, reset_less=True)
        low, high = Signal(8, reset_less=True), Signal(8, reset_less=True)
        m.d.sync += [below.eq(rounded - Cat(self.low, C(0, 2), wraps).as_signed()),         # less 1024
                     above.eq(Cat(self.high, C(0, 2), wraps, C(0, 1)).as_signed() - rounded),
                     underflow.eq(lost & negative & ~wraps), overflow.eq(lost & ~negative & ~wraps), inside.eq(rounded),
                     low.eq(self.low), high.eq(self.high)]
        q = Signal(8, reset_less=True)
        m.d.sync += q.eq(Mux(underflow | ~overflow & below[-1], low, Mux(overflow | above[-1], high, inside)))
        m.d.comb += self.q.eq(q)
        return m
