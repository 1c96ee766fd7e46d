"""Requantisation: the array's 32-bit sums to bytes, one lane per output channel."""
from amaranth import C, Cat, Const, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.hdl import Assert
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from arch import pipeline
from hw.ecp5 import Copy, Multiplier
from hw.ecp5.gated_add import GatedAdd

__all__ = ["Requantise", "RequantiseLane", "parameter_layout", "rule_layout", "sum_layout", "vector_layout"]


def vector_layout(lanes: int) -> data.ArrayLayout:
    """A vector of bytes, one per output channel."""
    return data.ArrayLayout(unsigned(8), lanes)


def sum_layout() -> data.StructLayout:
    """A finished sum of one column, as the array emits it."""
    return data.StructLayout({"valid": 1, "acc": signed(32)})


def parameter_layout() -> data.StructLayout:
    """Parameters of the two channels of a column pair; index 0 is the even one. `shift` is 1..39."""
    return data.StructLayout({"valid": 1, "multiplier": data.ArrayLayout(unsigned(8), 2),
                              "shift": data.ArrayLayout(unsigned(6), 2)})


def rule_layout() -> data.StructLayout:
    """What all channels of a command share; fields as `arch.command.RequantiseConfig`."""
    return data.StructLayout({"zero_point": 8, "low": 8, "high": 8})


def _product(m: Module, name: str, acc: Value, factor: Value) -> Value:
    """acc (any shape) times the 8-bit factor by gated adds, exact, 4 cycles later. Carry chains are hard to place: each has
    operands of its own in front of it."""
    signedness = acc.shape().signed
    late_factor = Signal(8, name=f"{name}_factor", reset_less=True)
    m.d.sync += late_factor.eq(factor)
    factor = late_factor
    rows = []
    for n in range(0, 8, 2):
        width = len(acc) + 2
        m.submodules[f"{name}_row{n}"] = row = GatedAdd(width)
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
    """One channel: q = clamp(zero_point + ((acc * multiplier + 2**(shift - 1)) >> shift), low, high), exactly.

    With v = acc * multiplier >> (shift - 1) the quotient is (v + 1) >> 1. The product is (acc >> 14) * multiplier from one
    MULT18X18D plus the low 14 bits' share from gated adds (everything from gated adds without `multiplier`). v is shifted out
    by 0, 16 or 32, then 0, 4, 8 or 12, then 0 to 3, saturating to 11 bits on the way: the result is a byte. The multiplier
    stands where there is a site for it; its product has a register for the way back.

    ``q`` follows ``acc`` by ``LATENCY`` cycles, one value per cycle, free running, no resets. Operands are taken as late as they
    are used, so that a constant that changes with ``acc`` must change ``LEAD[name]`` cycles after it.

    Parameters
    ----------
    multiplier : bool
        Use a hardware multiplier.

    Members
    -------
    acc : ``In(signed(32))``
    factor : ``In(8)``
    right : ``In(6)``
        Shift less one, 0..38.
    zero_point, low, high : ``In(8)``
        low <= high.
    q : ``Out(8)``
    """

    LATENCY = pipeline.REQUANTISE_LANE
    # Cycles from acc to the cycle in which a constant is used; `right` by pairs of bits, highest first.
    LEAD = {"factor": 0, "right4": 4, "right2": 5, "right0": 6, "zero_point": 8, "low": 9, "high": 9}

    acc: In(signed(32))
    factor: In(8)
    right: In(6)
    zero_point: In(8)
    low: In(8)
    high: In(8)
    q: Out(8)

    def __init__(self, *, multiplier: bool = True):
        self.multiplier = bool(multiplier)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        product = Signal(signed(40), reset_less=True)
        if self.multiplier:
            m.submodules.mult = mult = Multiplier(pipeline=True)
            assert mult.latency == 3
            m.d.comb += [mult.a.eq(self.acc[14:].as_signed()), mult.b.eq(self.factor)]
            low, high = _product(m, "low", self.acc[:14], self.factor), Signal(signed(26), reset_less=True)
            m.d.sync += [high.eq(mult.p[:26].as_signed()), product.eq(Cat(low[:14], high + low[14:]))]
        else:
            m.d.sync += product.eq(_product(m, "whole", self.acc, self.factor))

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
        # The shift comes from beside the next lane's, far from here.
        right = Signal(6, reset_less=True)
        m.d.sync += right.eq(self.right)
        coarse = shifted(product, Const(0, 1), right[4:], (0, 16, 32), 26, "coarse")
        middle = shifted(*coarse, right[2:4], (0, 4, 8, 12), 14, "middle")
        fine, over = shifted(*middle, right[:2], (0, 1, 2, 3), 11, "fine")

        # An overflow has only to know its side.
        rounded = Signal(signed(11), reset_less=True)
        lost, negative = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [rounded.eq((fine + Cat(C(1, 1), self.zero_point, C(0, 1)).as_signed()) >> 1),
                     lost.eq(over), negative.eq(fine[-1])]
        # Signs of differences: a carry chain, and nothing behind it.
        below, above = Signal(signed(12), reset_less=True), Signal(signed(12), reset_less=True)
        underflow, overflow, inside = Signal(reset_less=True), Signal(reset_less=True), Signal(8, reset_less=True)
        low, high = Signal(8, reset_less=True), Signal(8, reset_less=True)
        m.d.sync += [below.eq(rounded - self.low), above.eq(self.high - rounded), underflow.eq(lost & negative),
                     overflow.eq(lost & ~negative), inside.eq(rounded), low.eq(self.low), high.eq(self.high)]
        q = Signal(8, reset_less=True)
        m.d.sync += q.eq(Mux(underflow | ~overflow & below[-1], low, Mux(overflow | above[-1], high, inside)))
        m.d.comb += self.q.eq(q)
        return m


class Requantise(wiring.Component):
    """One lane per output channel behind the array, and its results put back side by side.

    Column pair j emits j cycles after pair 0; so do the lanes, and the delays of the output make it one vector again. ``o``
    follows pair 0's result by ``latency`` cycles. Free running, one vector per cycle, no back-pressure, no resets: what is under
    way drains during one.

    Parameters shift in from pair to pair behind those in use: `lanes` / 2 words, the last pair's first. ``swap`` puts the words
    in use from the next cycle's result of pair 0 on, and with them the rule of that cycle. A swap moves on one pair a cycle and
    takes the shift and the rule along as they are needed, so nothing may follow too closely:

    - The last word must be given at least ``SWAP_AFTER_LOAD`` cycles before the swap,
    - the next first word at least ``load_after_swap`` cycles after it,
    - the next swap at least ``swap_after_swap`` cycles after it.

    Violations are assertion failures in simulation.

    Parameters
    ----------
    lanes : int
        Output channels, even, at least 2.
    multiplier : bool
        One hardware multiplier per lane.

    Members
    -------
    results : ``In(ArrayLayout(sum_layout(), lanes))``
    load : ``In(parameter_layout())``
    swap : ``In(1)``
    rule : ``In(rule_layout())``
    o : ``Out(StructLayout({"valid": 1, "vector": vector_layout(lanes)}))``
    """

    SWAP_AFTER_LOAD = 3

    def __init__(self, *, lanes: int, multiplier: bool = True):
        if lanes < 2 or lanes % 2:
            raise ValueError(f"Lanes of a requantiser must be even and at least 2, not {lanes!r}")
        self.lanes, self.multiplier = lanes, multiplier
        super().__init__({"results": In(data.ArrayLayout(sum_layout(), lanes)), "load": In(parameter_layout()),
                          "swap": In(1), "rule": In(rule_layout()),
                          "o": Out(data.StructLayout({"valid": 1, "vector": vector_layout(lanes)}))})

    @property
    def latency(self) -> int:
        """Cycles from pair 0's result to the vector."""
        return pipeline.requantise(self.lanes)

    @property
    def load_after_swap(self) -> int:
        """Least cycles from a swap to the first word of the next load."""
        return max(self.lanes // 2 - 2, 0)

    @property
    def swap_after_swap(self) -> int:
        """Least cycles from a swap to the next."""
        return self.lanes // 2 + RequantiseLane.LEAD["low"]

    def elaborate(self, platform):
        m = Module()
        pairs = self.lanes // 2

        def register(value, name):
            stage = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += stage.eq(value)
            return stage

        factor = [register(register(self.load.multiplier[n], f"factor{n}"), f"factor{n}_in") for n in range(2)]
        right = [register(register((self.load.shift[n] - 1)[:6], f"right{n}"), f"right{n}_in") for n in range(2)]
        shift = register(self.load.valid, "shift")
        rule = Signal(rule_layout(), reset_less=True)
        with m.If(self.swap):
            m.d.sync += rule.eq(self.rule)

        swap, outputs = self.swap, []
        for j in range(pairs):
            m.submodules[f"shift{j}"] = copy = Copy()
            m.d.comb += copy.d.eq(shift)
            if j:                       # equal registers of other pairs would be merged with this one's, and these are far away
                m.submodules[f"swap{j}"] = here = Copy()
                m.d.comb += here.d.eq(swap)
                swap = here.q
            swaps = [swap]
            for n in range(max(RequantiseLane.LEAD.values())):
                swaps.append(register(swaps[n], f"swap{j}_{n}"))
            in_use = {}
            for name in ("zero_point", "low", "high"):
                in_use[name] = Signal(8, name=f"{name}{j}", reset_less=True)
                with m.If(swaps[RequantiseLane.LEAD[name]]):
                    m.d.sync += in_use[name].eq(rule[name])
            for n in range(2):
                m.submodules[f"lane{2 * j + n}"] = lane = RequantiseLane(multiplier=self.multiplier)
                next_factor = Signal(8, name=f"next_factor{2 * j + n}", reset_less=True)
                next_right = Signal(6, name=f"next_right{2 * j + n}", reset_less=True)
                with m.If(copy.q):
                    m.d.sync += [next_factor.eq(factor[n]), next_right.eq(right[n])]
                factor[n], right[n] = next_factor, next_right
                held = Signal(6, name=f"right_held{2 * j + n}", reset_less=True)
                now = {"factor": Signal(8, name=f"factor_{2 * j + n}", reset_less=True),
                       "right": Signal(6, name=f"right_{2 * j + n}", reset_less=True)}
                with m.If(swaps[0]):
                    m.d.sync += [now["factor"].eq(next_factor), held.eq(next_right)]
                for bit in (0, 2, 4):
                    with m.If(swaps[RequantiseLane.LEAD[f"right{bit}"]]):
                        m.d.sync += now["right"][bit:bit + 2].eq(held[bit:bit + 2])
                m.d.comb += [getattr(lane, name).eq(value) for name, value in (in_use | now).items()]
                m.d.comb += lane.acc.eq(self.results[2 * j + n].acc)
                q = lane.q
                for k in range(pairs - 1 - j):
                    q = register(q, f"q{2 * j + n}_{k}")
                outputs.append(q)

        valid = self.results[self.lanes - 1].valid
        for n in range(RequantiseLane.LATENCY):
            valid = register(valid, f"valid{n}")
        m.d.comb += [self.o.valid.eq(valid), Cat(self.o.vector).eq(Cat(*outputs))]
        if platform is None:
            self._check_rules(m)
        return m

    def _check_rules(self, m: Module):
        """Assert the rules of the class docstring, in simulation only."""
        for name, event, other, gap in (("swap_after_load", self.load.valid, self.swap, self.SWAP_AFTER_LOAD),
                                        ("load_after_swap", self.swap, self.load.valid, self.load_after_swap),
                                        ("swap_after_swap", self.swap, self.swap, self.swap_after_swap)):
            left = Signal(range(gap + 1), name=name)
            with m.If(event):
                m.d.sync += left.eq(gap - 1)
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)
            m.d.sync += Assert(~(other & (left != 0)), f"requantise: {name} too short")
