"""Adders whose operands are gated or chosen by a bit, inside the carry chain."""
from amaranth import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.primitives.platform import device_of

__all__ = ["ChosenAdd", "GatedAdd", "GatedDifference", "GatedSubtract"]


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
            device_of(platform).gated_add(m, self)
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
            device_of(platform).gated_subtract(m, self)
        return m


class GatedDifference(wiring.Component):
    """``o = (a if gate_a else 0) - (b if gate_b else 0)``, modulo ``2**width``. Combinational, one carry chain.

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
            m.d.comb += self.o.eq(Mux(self.gate_a, self.a, 0) - Mux(self.gate_b, self.b, 0))
        else:
            device_of(platform).gated_difference(m, self)
        return m


class ChosenAdd(wiring.Component):
    """``o = a + (b if choose else c)``, modulo ``2**width``. Combinational, one carry chain.

    Members
    -------
    a, b, c : ``In(width)``
    choose : ``In(1)``
    o : ``Out(width)``
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__({"a": In(width), "b": In(width), "c": In(width), "choose": In(1), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        if platform is None:
            m.d.comb += self.o.eq(self.a + Mux(self.choose, self.b, self.c))
        else:
            device_of(platform).chosen_add(m, self)
        return m
