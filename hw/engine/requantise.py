"""Requantisation: the array's 32-bit sums to bytes, one lane per output channel."""
from amaranth import Cat, Module, Signal, signed, unsigned
from amaranth.hdl import Assert
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from arch.unit.requantise import latency
from hw.engine.requantise_lane import RequantiseLane
from hw.parts.layout import vector_layout
from hw.primitives import Copy

__all__ = ["Requantise", "parameter_layout", "rule_layout", "sum_layout"]


def sum_layout() -> data.StructLayout:
    """A finished sum of one column, as the array emits it."""
    return data.StructLayout({"valid": 1, "acc": signed(32)})


def parameter_layout() -> data.StructLayout:
    """Parameters of the two channels of a column pair; index 0 is the even one. `shift` is 1..39."""
    return data.StructLayout({"valid": 1, "multiplier": data.ArrayLayout(unsigned(8), 2),
                              "shift": data.ArrayLayout(unsigned(6), 2)})


def rule_layout() -> data.StructLayout:
    """What all channels of a command share; fields as `arch.command.RequantiseConfig`."""
    return data.StructLayout({"zero_point": 8, "low": 8, "high": 8, "fraction": 1})


class Requantise(wiring.Component):
    """One lane per output channel behind the array, and its results put back side by side.

    Column pair j emits j cycles after pair 0; so do the lanes, and the delays of the output make it one vector again. ``o``
    follows pair 0's result by ``latency`` cycles. Free running, one vector per cycle, no back-pressure, no resets: what is under
    way drains during one.

    Parameters shift in from pair to pair behind those in use: `lanes` / 2 words, the last pair's first. ``swap`` puts the words
    in use from the next cycle's result of pair 0 on, and with them the rule of that cycle. A swap moves on one pair a cycle and
    takes the shift and the rule along as they are needed. With the rule's `fraction` every second vector from a swap on is what
    sums have beyond whole steps. Nothing may follow too closely:

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
        return latency(self.lanes)

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
        # Whether pair 0's next result makes a fraction.
        fraction = Signal(reset_less=True)
        with m.If(self.swap):
            m.d.sync += fraction.eq(0)
        with m.Elif(self.results[0].valid):
            m.d.sync += fraction.eq(rule.fraction & ~fraction)

        swap, outputs = self.swap, []
        for j in range(pairs):
            m.submodules[f"shift{j}"] = copy = Copy()
            m.d.comb += copy.d.eq(shift)
            if j:                       # equal registers of other pairs would be merged with this one's, and these are far away
                m.submodules[f"swap{j}"] = here = Copy()
                m.d.comb += here.d.eq(swap)
                swap = here.q
                m.submodules[f"fraction{j}"] = here = Copy()
                m.d.comb += here.d.eq(fraction)
                fraction = here.q
            late = fraction
            for n in range(RequantiseLane.LEAD["fraction"]):
                late = register(late, f"fraction{j}_{n}")
            swaps = [swap]
            for n in range(max(RequantiseLane.LEAD.values())):
                swaps.append(register(swaps[n], f"swap{j}_{n}"))
            in_use = {"fraction": late}
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
                for bits in (slice(0, 2), slice(2, 3), slice(3, 6)):
                    with m.If(swaps[RequantiseLane.LEAD[f"right{bits.start}"]]):
                        m.d.sync += now["right"][bits].eq(held[bits])
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
