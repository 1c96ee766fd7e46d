"""One channel of the depthwise convolution: its columns, and the sum of a window, a column of the kernel a cycle."""
from amaranth import Cat, Module, Mux, Shape, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from arch.unit.depthwise import KERNEL
from hw.primitives.gated_add import ChosenAdd, GatedAdd, GatedDifference

__all__ = ["ACC", "BIAS", "BYTE", "COLUMNS", "LINES", "WINDOW", "DepthwiseLane"]

# Stages, counted from the cycle in which a step is made; `Depthwise` gives each port's value in its stage.
BYTE = 1                    # the byte of a step
LINES = 3                   # the bytes of the two rows above it
WINDOW = 3                  # the window's first column, and the weights that meet it
BIAS = 9                    # the sum of its first column
ACC = 12                    # the sum of all

COLUMNS = 4                 # places for columns


def product(m: Module, name: str, x, weight):
    """x (unsigned, 8 bits) times a signed weight of 8 bits, three cycles later: 16 bits. The weight's bits are the gates, so that
    none of its eight, its sign included, reaches more than eight bits of one adder."""
    terms = []
    for n in range(0, 8, 2):
        kind = GatedAdd if n < 6 else GatedDifference       # the last bit counts -128
        m.submodules[f"{name}_gated{n}"] = add = kind(10)
        term = Signal(10 if n < 6 else signed(10), name=f"{name}_term{n}", reset_less=True)
        m.d.comb += [add.a.eq(x), add.b.eq(x << 1), add.gate_a.eq(weight[n]), add.gate_b.eq(weight[n + 1])]
        m.d.sync += term.eq(add.o)
        terms.append(term)
    for level in (2, 4):
        totals = []
        for n in range(0, len(terms), 2):
            low, high = terms[n], terms[n + 1]
            totals.append(total := Signal(Shape(8 + 2 * level, high.shape().signed), name=f"{name}{level}_{n}",
                                          reset_less=True))
            # The low bits of the first term pass, so that the adder is no longer than the second.
            m.d.sync += total.eq(Cat(low[:level], ((low >> level) + high)[:8 + level]))
        terms = totals
    return terms[0]


class DepthwiseLane(wiring.Component):
    """acc = bias + sum of weight * x over a window.

    With each step a column is put into distributed RAM: the step's byte and those of the two rows above it. In the cycle in which
    a window is complete and the next two its columns meet those of the kernel, the first one first; what lies outside the map is
    `padding`. The lowest row follows the others a cycle later, so that its product need not wait for their sum. Free running, no
    resets.

    Members
    -------
    byte : ``In(8)``
        Stage 1.
    above : ``In(16)``
        Stage 3: bytes of this column one row above, in the low half, and two.
    lines : ``Out(16)``
        Stage 3: what to keep of this column.
    put, place : ``In(1)``, ``In(range(COLUMNS))``
        Stage 3: a step is made, and where its column goes.
    column : ``In(range(COLUMNS))``
        Stages 3 to 5: where the column is that is next.
    turn : ``In(2)``
        Stages 3 to 5: the kernel's column that it meets.
    outside : ``In(3)``
        Stages 3 to 5: in which of the window's rows it lies outside the map, the uppermost one in bit 0; bit 2 a cycle later.
    late_column, late_turn : ``In(range(COLUMNS))``, ``In(2)``
        The same a cycle later, for the lowest row.
    padding : ``In(8)``
        Stages 3 to 6.
    weights : ``In(24)``
        Three of a column of the kernel, the uppermost row's first.
    weights_put, weights_place : ``In(1)``, ``In(2)``
        In any cycle: they are the kernel's from now on; its column.
    bias : ``In(signed(32))``
        Stage 9.
    begin : ``In(1)``
        Stage 9: the sum is that of a window's first column.
    acc : ``Out(signed(32))``
        Stage 12, for a cycle.
    """

    byte: In(8)
    above: In(16)
    lines: Out(16)
    put: In(1)
    place: In(range(COLUMNS))
    column: In(range(COLUMNS))
    turn: In(2)
    outside: In(KERNEL)
    late_column: In(range(COLUMNS))
    late_turn: In(2)
    padding: In(8)
    weights: In(8 * KERNEL)
    weights_put: In(1)
    weights_place: In(2)
    bias: In(signed(32))
    begin: In(1)
    acc: Out(signed(32))

    def elaborate(self, platform):
        m = Module()

        def register(value, name):
            stage = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += stage.eq(value)
            return stage

        byte = register(register(self.byte, "byte2"), "byte3")
        m.d.comb += self.lines.eq(Cat(byte, self.above[:8]))
        products = []
        for row, given in enumerate((self.above[8:], self.above[:8], byte)):
            late = row == KERNEL - 1
            column, turn = (self.late_column, self.late_turn) if late else (self.column, self.turn)
            before = self._places(m, f"row{row}", COLUMNS, self.put, self.place, given, column)
            weight = self._places(m, f"weights{row}", KERNEL, self.weights_put, self.weights_place,
                                  self.weights.word_select(row, 8), turn)
            x = register(Mux(self.outside[row], self.padding, before), f"x{row}")
            weight = register(weight, f"weight{row}")
            products.append(product(m, f"product{row}", x, weight))
        upper, middle, lowest = products
        pair = register(upper + middle, "pair")
        total = register(pair + lowest, "total")
        m.submodules.sum = add = ChosenAdd(len(self.acc))
        acc, wide = Signal(signed(32), reset_less=True), Signal(signed(32))
        m.d.comb += [wide.eq(total), add.a.eq(wide), add.b.eq(self.bias), add.c.eq(acc), add.choose.eq(self.begin),
                     self.acc.eq(acc)]
        m.d.sync += acc.eq(add.o)
        # The newest column is put in stage `LINES` and read in that of the kernel's last one.
        assert LINES < WINDOW + KERNEL - 1 and (BIAS, ACC) == (WINDOW + 1 + 3 + 2, BIAS + KERNEL)
        return m

    @staticmethod
    def _places(m, name, depth, put, place, data, of):
        """Bytes in distributed RAM: the one at `of`."""
        m.submodules[name] = places = memory.Memory(shape=8, depth=depth, init=[])
        write, read = places.write_port(), places.read_port(domain="comb")
        m.d.comb += [write.en.eq(put), write.addr.eq(place), write.data.eq(data), read.addr.eq(of)]
        return read.data
