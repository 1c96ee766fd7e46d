"""A few pins around a core of many: shift registers in, a folded word out."""

from collections.abc import Iterable

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.primitives import Copy

__all__ = ["Harness"]


class Harness(wiring.Component):
    """Wraps `core` so that it can be routed alone and timed honestly.

    Every input bit comes from a stage of one long shift register, every output bit ends in a register and is folded with
    three others a cycle until one pin is left. All paths of the harness are one lookup table deep or less, so the core
    limits the clock. The shift register is made of instances: synthesis cannot merge it with the core's own delays.

    Parameters
    ----------
    core : wiring.Component
    """

    i: In(1)
    o: Out(1)

    def __init__(self, core: wiring.Component):
        self.core = core
        super().__init__()

    def _ports(self, flow) -> Iterable[Value]:
        for _, member, port in self.core.signature.flatten(self.core):
            if member.flow == flow:
                yield Value.cast(port)

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = self.core
        previous = self.i
        for n, bit in enumerate(bit for port in self._ports(In) for bit in port):
            m.submodules[f"stage{n}"] = stage = Copy()
            m.d.comb += [stage.d.eq(previous), bit.eq(stage.q)]
            previous = stage.q

        bits = [bit for port in self._ports(Out) for bit in port]
        level = 0
        while len(bits) > 1:
            folded = []
            # The first level only registers: the core's outputs may be late.
            group = 4 if level else 1
            for n in range(0, len(bits), group):
                stage = Signal(name=f"fold{level}_{n}", reset_less=True)
                m.d.sync += stage.eq(Cat(bits[n:n + group]).xor())
                folded.append(stage)
            bits, level = folded, level + 1
        m.d.comb += self.o.eq(bits[0])
        return m
