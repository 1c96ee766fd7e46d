"""One channel of the depthwise convolution: a window of three columns, and its sum, a row of the kernel a cycle."""
from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from arch.unit.depthwise import KERNEL
from hw.primitives.gated_add import GatedAdd

__all__ = ["ACC", "BIAS", "BYTE", "LINES", "WINDOW", "DepthwiseLane"]

# Stages, counted from the cycle in which a step is made; `Depthwise` gives each port's value in its stage.
BYTE = 1                    # the byte of a step
LINES = 3                   # the bytes of the two rows above it
WINDOW = 4                  # the window, and the weights that meet its first row
BIAS = 10                   # the sum of its first row
ACC = 13                    # the sum of all


def product(m: Module, name: str, x, weight):
    """x (unsigned, 8 bits) times a signed weight of 8 bits, three cycles later: 16 bits."""
    terms = []
    for n in range(0, 8, 2):
        m.submodules[f"{name}_gated{n}"] = add = GatedAdd(10)
        term, wide = (Signal(signed(10), name=f"{name}_{kind}{n}", reset_less=kind == "term") for kind in ("term", "wide"))
        m.d.comb += [wide.eq(weight), add.a.eq(wide), add.b.eq(wide << 1), add.gate_a.eq(x[n]), add.gate_b.eq(x[n + 1])]
        m.d.sync += term.eq(add.o)
        terms.append(term)
    for level in (2, 4):
        totals = []
        for n in range(0, len(terms), 2):
            low, high = terms[n], terms[n + 1]
            totals.append(total := Signal(signed(8 + 2 * level), name=f"{name}{level}_{n}", reset_less=True))
            # The low bits of the first term pass, so that the adder is no longer than the second.
            m.d.sync += total.eq(Cat(low[:level], ((low >> level) + high)[:8 + level]))
        terms = totals
    return terms[0]


class DepthwiseLane(wiring.Component):
    """acc = bias + sum of weight * x over a window.

    With each step the window moves on by a column, of the step's byte and those of the two rows above it, or `padding` where the
    map has none. In the cycles in which a window is complete and the next two its rows meet those of the kernel, the uppermost
    first. Free running, no resets.

    Members
    -------
    byte, padding : ``In(8)``
        Stages 1 and 3.
    above : ``In(16)``
        Stage 3: bytes of this column one row above, in the low half, and two.
    lines : ``Out(16)``
        Stage 3: what to keep of this column.
    step : ``In(1)``
        Stage 3: a step is made.
    inside : ``In(3)``
        Stage 3: which of the rows the map has in this column, the present one in bit 0.
    first : ``In(1)``
        Stage 3: it is the first one of a row.
    weights : ``In(72)``
        Stages 4 to 6.
    row : ``In(2)``
        Stages 4 to 6: of the kernel, bit 0 for the second one, bit 1 for the third.
    bias : ``In(signed(32))``
        Stage 10.
    begin : ``In(1)``
        Stage 10: the sum is that of a window's first row.
    acc : ``Out(signed(32))``
        Stage 13, for a cycle.
    """

    byte: In(8)
    padding: In(8)
    above: In(16)
    lines: Out(16)
    step: In(1)
    inside: In(3)
    first: In(1)
    weights: In(8 * KERNEL * KERNEL)
    row: In(2)
    bias: In(signed(32))
    begin: In(1)
    acc: Out(signed(32))

    def elaborate(self, platform):
        m = Module()

        def register(value, name, shape=None):
            stage = Signal(shape or value.shape(), name=name, reset_less=True)
            m.d.sync += stage.eq(value)
            return stage

        byte = register(register(self.byte, "byte2"), "byte3")
        m.d.comb += self.lines.eq(Cat(byte, self.above[:8]))
        # Columns of the window, the last one first, each from the uppermost row on, which the kernel's first row meets.
        given = Cat(Mux(self.inside[row], one, self.padding)
                    for row, one in reversed(list(enumerate((byte, self.above[:8], self.above[8:])))))
        columns = [Signal(8 * KERNEL, name=f"column{n}", reset_less=True) for n in range(KERNEL)]
        with m.If(self.step):
            m.d.sync += columns[0].eq(given)
            for one, before in zip(columns[1:], columns, strict=False):
                m.d.sync += one.eq(Mux(self.first, self.padding.replicate(KERNEL), before))

        products = []
        for n, column in enumerate(reversed(columns)):
            x = register(self._of_row(column), f"x{n}")
            weight = register(self._of_row(Cat(self.weights.word_select(KERNEL * row + n, 8) for row in range(KERNEL))),
                              f"weight{n}")
            products.append(product(m, f"product{n}", x, weight.as_signed()))
        left, middle, right = products
        pair = register(left + middle, "pair")
        total = register(pair + register(right, "right"), "total")
        m.d.sync += self.acc.eq(Mux(self.begin, self.bias, self.acc) + total)
        assert (WINDOW, BIAS, ACC) == (LINES + 1, WINDOW + 1 + 3 + 2, BIAS + KERNEL)
        return m

    def _of_row(self, values):
        """The byte of the kernel's row."""
        upper, middle, lower = (values.word_select(n, 8) for n in range(KERNEL))
        return Mux(self.row[1], lower, Mux(self.row[0], middle, upper))
