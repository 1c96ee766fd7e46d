"""Registers that synthesis must not merge."""

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.primitives.platform import device_of

__all__ = ["Copy", "copied"]


class Copy(wiring.Component):
    """One register that stays apart from registers with the same input.

    Yosys merges equal registers, which turns a control line with one copy for each column back
    into a single net of a thousand sinks: the first thing the router fails on. It leaves
    instances alone. Latency 1 cycle, no reset, starts at `init`.

    Members
    -------
    d : ``In(1)``
    q : ``Out(1)``
    """

    d: In(1)
    q: Out(1)

    def __init__(self, *, init: int = 0):
        self.init = init
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        if platform is None:
            q = Signal(init=self.init, reset_less=True)
            m.d.sync += q.eq(self.d)
            m.d.comb += self.q.eq(q)
        else:
            device_of(platform).copy(m, self)
        return m


def copied(m: Module, value: Value, name: str) -> Value:
    """All bits a cycle later, in registers of their own; adds those to `m`."""
    bits = []
    for n, bit in enumerate(value):
        m.submodules[f"{name}_{n}"] = copy = Copy()
        m.d.comb += copy.d.eq(bit)
        bits.append(copy.q)
    return Cat(bits)
