"""One channel of the pool: maximum or sum of a window, and the mean."""
from amaranth import Cat, Const, Module, Mux, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.primitives.gated_add import GatedAdd, GatedSubtract

__all__ = ["MEAN", "PoolLane", "RESULT_BITS"]

RESULT_BITS = 10            # of a horizontal result: the sum of 3 bytes

# Stages, counted from the cycle in which a step is made; `Pool` gives each port's value in its stage.
BYTE = 1                    # the byte of a step, and the two before it in the row
OLDER = 5                   # the horizontal result, and those of the two rows before
MEAN = 9                    # the window's maximum or sum


class PoolLane(wiring.Component):
    """Combines a byte with the two before it, and the result with those of the two rows above; then divides.

    Maximum or sum: with d = b - a for a maximum and d = b for a sum, a + (d if d counts) is either, where d counts if b takes
    part and, for a maximum, is not negative. Each of the four combinations takes two stages, an adder each.

    Mean of ``count`` values: floor((sum + count // 2) / count), halves rounded up, exactly. Every count is a product of two
    numbers up to 3, so that with the remaining power of two shifted out and a factor of 1, 3 or 9 the divisor is always 9, and
    floor(z / 9) = (65 * (7 * z + 4)) >> 12 for all z <= 2303. A maximum is a mean of one value.

    Free running, no resets; ``o`` is the result of the byte of ``STAGES`` cycles before.

    Members
    -------
    byte : ``In(8)``
        Stage 0.
    step : ``In(1)``
        Stage 1: a step was made.
    present : ``In(1)``
        Stage 2: the step is real. The byte of a virtual step counts as 0; bit 0 of `maximum` is 0 then.
    maximum : ``In(4)``
        Combination n takes the maximum; bit n in stage 1 + 2 n.
    take_sum, take_maximum : ``In(4)``
        Operand b of combination n takes part in a sum, in a maximum; bit n in stage 2 + 2 n.
    older1, older2 : ``In(10)``
        Stage 5: results of this column one and two rows above.
    result : ``Out(10)``
        Stage 5: result of this row.
    offset : ``In(12)``
        Stage 9: added to the sum.
    halve : ``In(2)``
        Stage 10: one bit for a shift by one, the other for a shift by two.
    triple, ninefold : ``In(1)``
        Stage 11.
    o : ``Out(8)``
        Stage 14.
    """

    STAGES = 14

    byte: In(8)
    step: In(1)
    present: In(1)
    maximum: In(4)
    take_sum: In(4)
    take_maximum: In(4)
    older1: In(RESULT_BITS)
    older2: In(RESULT_BITS)
    result: Out(RESULT_BITS)
    offset: In(12)
    halve: In(2)
    triple: In(1)
    ninefold: In(1)
    o: Out(8)

    def elaborate(self, platform):
        m = Module()

        def register(value, name, shape=None):
            stage = Signal(shape or value.shape(), name=name, reset_less=True)
            m.d.sync += stage.eq(value)
            return stage

        def combine(n, a, b):
            """Maximum or sum of a and b (if it takes part), two cycles later, one bit wider than the wider one."""
            width = max(len(a), len(b)) + 1
            m.submodules[f"difference{n}"] = subtract = GatedSubtract(width)
            m.d.comb += [subtract.a.eq(b), subtract.b.eq(a), subtract.gate_b.eq(self.maximum[n])]
            difference, kept = register(subtract.o, f"difference{n}"), register(a, f"kept{n}")
            m.submodules[f"sum{n}"] = add = GatedAdd(width)
            m.d.comb += [add.a.eq(kept), add.gate_a.eq(self.present if n == 0 else 1), add.b.eq(difference),
                         add.gate_b.eq(self.take_sum[n] | self.take_maximum[n] & ~difference[-1])]
            return register(add.o, f"combined{n}")

        byte = register(self.byte, "byte1")
        before1, before2 = (Signal(8, name=f"before{n}", reset_less=True) for n in (1, 2))
        with m.If(self.step):
            m.d.sync += [before1.eq(byte), before2.eq(before1)]
        pair = combine(0, byte, before1)
        result = combine(1, pair, register(register(before2, "before2_late"), "before2_later"))
        m.d.comb += self.result.eq(result)
        older2 = register(register(self.older2, "older2_late"), "older2_later")
        total = combine(3, combine(2, result[:RESULT_BITS], self.older1), older2)[:12]

        total = register((total + self.offset)[:12], "offset_total")
        value = register(Mux(self.halve[1], (total >> 2)[:8], Mux(self.halve[0], (total >> 1)[:10], total)), "halved", Shape(12))
        other = (value << 1)[:12] & self.triple.replicate(12) | (value << 3)[:12] & self.ninefold.replicate(12)
        ninths = register((value + other)[:12], "ninths")
        sevenfold = register((Cat(Const(0b100, 3), ninths) - ninths)[:14], "sevenfold")
        m.d.comb += self.o.eq(register(((sevenfold >> 6) + sevenfold)[6:14], "mean"))
        return m
