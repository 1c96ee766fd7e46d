"""Adders whose operands are gated or chosen by a bit, inside the carry chain."""
from amaranth import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.primitives.platform import device_of

__all__ = ["ChosenAdd", "GatedAdd", "GatedDifference", "GatedSubtract"]


class _Chain(wiring.Component):
    """One carry chain of `width` bits, or its twin: `value` of `OPERANDS` of that width and `GATES` of a bit."""

    OPERANDS: tuple[str, ...]
    GATES: tuple[str, ...]

    def __init__(self, width: int):
        self.width = width
        super().__init__(dict.fromkeys(self.OPERANDS, In(width)) | dict.fromkeys(self.GATES, In(1)) | {"o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        if platform is None:
            m.d.comb += self.o.eq(self.value())
        else:
            self.cells(device_of(platform), m)
        return m


class GatedAdd(_Chain):
    """``o = (a if gate_a else 0) + (b if gate_b else 0)``, modulo ``2**width``. Combinational.

    One carry chain without LUTs for the gates, which Yosys would add: half the size of the usual shift-and-add product.

    Members
    -------
    a, b : ``In(width)``
    gate_a, gate_b : ``In(1)``
    o : ``Out(width)``
    """

    OPERANDS, GATES = ("a", "b"), ("gate_a", "gate_b")

    def value(self):
        return Mux(self.gate_a, self.a, 0) + Mux(self.gate_b, self.b, 0)

    def cells(self, device, m):
        device.gated_add(m, self)


class GatedSubtract(_Chain):
    """``o = a - (b if gate_b else 0)``, modulo ``2**width``. Combinational, one carry chain.

    Members
    -------
    a, b : ``In(width)``
    gate_b : ``In(1)``
    o : ``Out(width)``
    """

    OPERANDS, GATES = ("a", "b"), ("gate_b",)

    def value(self):
        return self.a - Mux(self.gate_b, self.b, 0)

    def cells(self, device, m):
        device.gated_subtract(m, self)


class GatedDifference(_Chain):
    """``o = (a if gate_a else 0) - (b if gate_b else 0)``, modulo ``2**width``. Combinational, one carry chain.

    Members
    -------
    a, b : ``In(width)``
    gate_a, gate_b : ``In(1)``
    o : ``Out(width)``
    """

    OPERANDS, GATES = ("a", "b"), ("gate_a", "gate_b")

    def value(self):
        return Mux(self.gate_a, self.a, 0) - Mux(self.gate_b, self.b, 0)

    def cells(self, device, m):
        device.gated_difference(m, self)


class ChosenAdd(_Chain):
    """``o = a + (b if choose else c)``, modulo ``2**width``. Combinational, one carry chain.

    Members
    -------
    a, b, c : ``In(width)``
    choose : ``In(1)``
    o : ``Out(width)``
    """

    OPERANDS, GATES = ("a", "b", "c"), ("choose",)

    def value(self):
        return self.a + Mux(self.choose, self.b, self.c)

    def cells(self, device, m):
        device.chosen_add(m, self)
