"""One lane of a column pair: a multiplier, its weights, its share of the pair's running sums."""

from amaranth import Cat, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.primitives import Multiplier
from hw.primitives.gated_add import GatedAdd

__all__ = ["WEIGHT_BITS", "LutLane", "PackedLane", "pack"]

# Two weights travel as w0, w1 - (w0 < 0) (together the 18-bit factor w1*1024 + w0) and w1[0:6].
WEIGHT_BITS = 22


def pack(w0: Value, w1: Value) -> Value:
    """The bits in which two signed 8-bit weights travel."""
    return Cat(w0.as_unsigned(), (w1 - w0[7])[:8], w1[:6])


class _Lane(wiring.Component):
    """Ports of both kinds: activation, weights on their way to the next pair, enables.

    `swap` comes one cycle before the first `x` that needs the new weights.
    """

    def __init__(self, sums: dict):
        super().__init__({"x": In(8), "shift": In(1), "swap": In(1),
                          "w_in": In(WEIGHT_BITS), "w_out": Out(WEIGHT_BITS), **sums})

    def _shadow(self, m: Module) -> Signal:
        """The next weights, on their way through while the lane works with others."""
        shadow = Signal(WEIGHT_BITS, reset_less=True)
        with m.If(self.shift):
            m.d.sync += shadow.eq(self.w_in)
        m.d.comb += self.w_out.eq(shadow)
        return shadow

    def _accumulate(self, m: Module, name: str, term: Value):
        """The running sum `name` takes the term of this lane."""
        after = getattr(self, name)
        total = Signal(after.shape(), name=f"{name}_sum", reset_less=True)
        m.d.sync += total.eq(getattr(self, f"{name}_in") + term)
        m.d.comb += after.eq(total)


class PackedLane(_Lane):
    """Two products from one multiplier, as three short running sums.

    The multiplier forms P = (w1*1024 + w0) * x. Its low 10 bits are those of w0*x; w0*x has 16
    bits, so only P[10:16] mixes both products. With mid = (P[10:16] - (w1*x mod 64)) mod 64, read
    as signed 6 bits, w0*x = 1024*mid + P[0:10] and w1*x = (P >> 10) - mid, exactly, for w in
    [-127, 127] and x in [0, 255]. Over the lanes of a pair run the sums `high` of P >> 10, `low`
    of P[0:10] (both ``HIGH_LOW`` cycles after x) and `mid` (``LATENCY`` cycles after x).
    Sum of w1*x = high - mid, sum of w0*x = 1024*mid + low.
    """

    HIGH_LOW = Multiplier.latency_of() + 1
    LATENCY = HIGH_LOW + 1

    @staticmethod
    def sums(index: int) -> dict:
        """Ports of the running sums of lane `index`, which adds its term to those of the lanes before."""
        before, grown = ceil_log2(max(index, 1)), ceil_log2(index + 1)
        return {"high_in": In(signed(16 + before)), "high": Out(signed(16 + grown)),
                "low_in": In(10 + before), "low": Out(10 + grown),
                "mid_in": In(signed(6 + before)), "mid": Out(signed(6 + grown))}

    def __init__(self, index: int):
        super().__init__(self.sums(index))

    def elaborate(self, platform):
        m = Module()
        shadow, active = self._shadow(m), Signal(WEIGHT_BITS, reset_less=True)
        with m.If(self.swap):
            m.d.sync += active.eq(shadow)
        w0, top, w1 = active[:8], active[8:16], active[16:]
        m.submodules.mult = mult = Multiplier()
        m.d.comb += [mult.a.eq(Cat(w0, w0[7].replicate(2), top)), mult.b.eq(self.x)]

        # w1*x mod 64 in two stages, as long as the multiplier takes. Only the long adder is worth a carry chain of its own.
        m.submodules.gated = gated = GatedAdd(6)
        m.d.comb += [gated.a.eq(w1), gated.b.eq(w1 << 1), gated.gate_a.eq(self.x[0]), gated.gate_b.eq(self.x[1])]

        def term(n):
            # Not a multiplexer: Yosys would make a synchronous reset of it.
            return (w1 & self.x[n].replicate(6)) << n % 2
        p01, p23, p45 = (Signal(6 - n, name=f"p{n}{n + 1}", reset_less=True) for n in range(0, 6, 2))
        product = Signal(6, reset_less=True)
        m.d.sync += [
            p01.eq(gated.o), p23.eq(term(2) + term(3)), p45.eq(term(4) + term(5)),
            product.eq(p01 + ((p23 + (p45 << 2))[:4] << 2))]

        mid = Signal(signed(6), reset_less=True)
        m.d.sync += mid.eq(mult.p[10:16] - product)
        for name, term in (("high", mult.p[10:26].as_signed()), ("low", mult.p[:10]), ("mid", mid)):
            self._accumulate(m, name, term)
        return m


class LutLane(_Lane):
    """Two products from lookup tables, as two running sums ``LATENCY`` cycles after x.

    About 200 LUT4; for chips with more logic than multipliers.
    """

    LATENCY = PackedLane.LATENCY

    def __init__(self, index: int):
        grown, before = ceil_log2(index + 1), ceil_log2(max(index, 1))
        super().__init__({
            "even_in": In(signed(16 + before)), "even": Out(signed(16 + grown)),
            "odd_in": In(signed(16 + before)), "odd": Out(signed(16 + grown))})

    def elaborate(self, platform):
        m = Module()
        shadow = self._shadow(m)
        w0, w1 = Signal(signed(8), reset_less=True), Signal(signed(8), reset_less=True)
        with m.If(self.swap):
            m.d.sync += [w0.eq(shadow[:8]), w1.eq(shadow[8:16] + shadow[7])]
        for name, w in (("even", w0), ("odd", w1)):
            # A binary tree over the bits of x: pairs, nibbles, product.
            terms = []
            for n in range(0, 8, 2):
                m.submodules[f"{name}_gated{n}"] = add = GatedAdd(10)
                term = Signal(signed(10), name=f"{name}0_{n}", reset_less=True)
                wide = Signal(signed(10), name=f"{name}_wide{n}")
                m.d.comb += [wide.eq(w), add.a.eq(wide), add.b.eq(wide << 1),
                             add.gate_a.eq(self.x[n]), add.gate_b.eq(self.x[n + 1])]
                m.d.sync += term.eq(add.o)
                terms.append(term)
            for level in (2, 4):
                sums = [Signal(signed(8 + 2 * level), name=f"{name}{level}_{n}", reset_less=True)
                        for n in range(len(terms) // 2)]
                m.d.sync += [total.eq(terms[2 * n] + (terms[2 * n + 1] << level)) for n, total in enumerate(sums)]
                terms = sums
            self._accumulate(m, name, terms[0])
        return m
