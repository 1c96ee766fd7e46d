"""Adders whose operands are gated by a bit, inside the carry chain (ECP5 family data sheet, FPGA-DS-02012, slice modes)."""
from amaranth import Const, Instance, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["GatedAdd", "GatedSubtract"]


def _init(function) -> int:
    """Truth table of a LUT4 from a function of its four inputs."""
    return sum(function(n & 1, n >> 1 & 1, n >> 2 & 1, n >> 3 & 1) << n for n in range(16))


def _chain(m: Module, pins: list[tuple], o: Value, init: int, carry: int):
    """CCU2C cells computing the sum bits `o`; `pins` are the inputs (A, B, C, D) of each bit.

    The cell's carry is A0 and B0's LUT2, which shares the low 4 bits of `init`, where the LUT4 is 0, else the carry before.
    """
    for n in range(0, len(o), 2):
        link = Signal(name=f"carry{n + 2}")
        inputs = {}
        for half in range(2):
            # The spare half of an odd chain adds zeros.
            values = pins[n + half] if n + half < len(o) else (Const(0),) * 4
            inputs |= {f"i_{pin}{half}": value for pin, value in zip("ABCD", values, strict=True)}
        spare = Signal(name=f"spare{n}")
        m.submodules[f"bits{n}"] = Instance(
            "CCU2C", **inputs, i_CIN=carry, o_S0=o[n], o_S1=o[n + 1] if n + 1 < len(o) else spare, o_COUT=link,
            p_INIT0=Const(init, 16), p_INIT1=Const(init, 16), p_INJECT1_0="NO", p_INJECT1_1="NO")
        carry = link


class GatedAdd(wiring.Component):
    """``o = (a if gate_a else 0) + (b if gate_b else 0)``, modulo ``2**width``. Combinational.

    One carry chain without LUTs for the gates, which Yosys would add: half the size of the usual shift-and-add product.

    Members
    -------
    a, b : ``In(width)``
    gate_a, gate_b : ``In(1)``
    o : ``Out(width)``
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__({"a": In(width), "b": In(width), "gate_a": In(1), "gate_b": In(1), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        if platform is None:
            m.d.comb += self.o.eq(Mux(self.gate_a, self.a, 0) + Mux(self.gate_b, self.b, 0))
        else:
            _chain(m, [(self.a[n], self.gate_a, self.b[n], self.gate_b) for n in range(self.width)], self.o,
                   _init(lambda a, b, c, d: (a & b) ^ (c & d)), Const(0, 1))
        return m


class GatedSubtract(wiring.Component):
    """``o = a - (b if gate_b else 0)``, modulo ``2**width``. Combinational, one carry chain.

    Members
    -------
    a, b : ``In(width)``
    gate_b : ``In(1)``
    o : ``Out(width)``
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__({"a": In(width), "b": In(width), "gate_b": In(1), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        if platform is None:
            m.d.comb += self.o.eq(self.a - Mux(self.gate_b, self.b, 0))
        else:
            # D = 1 keeps the LUT4's half apart from the LUT2, which is A.
            _chain(m, [(self.a[n], self.b[n], self.gate_b, Const(1)) for n in range(self.width)], self.o,
                   _init(lambda a, b, c, d: a ^ 1 ^ (b & c) if d else a), Const(1, 1))
        return m
