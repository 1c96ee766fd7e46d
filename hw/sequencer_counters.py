"""What the queues did with their time."""
from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Counters", "counters_layout"]

BITS = 32


def counters_layout() -> data.StructLayout:
    """Cycles of a queue: in which a command ran, in which its head waited for tokens, and for its unit."""
    return data.StructLayout({"busy": BITS, "waiting": BITS, "stalls": BITS})


class Counters(wiring.Component):
    """Counts the cycles of three conditions, which come from registers; each is counted a cycle late.

    Members: `busy`, `waiting`, `stalled` In(1); `o` Out(`counters_layout()`).
    """

    def __init__(self):
        super().__init__({"busy": In(1), "waiting": In(1), "stalled": In(1), "o": Out(counters_layout())})

    def elaborate(self, platform):
        m = Module()
        for name, condition in (("busy", self.busy), ("waiting", self.waiting), ("stalls", self.stalled)):
            seen = Signal(name=f"{name}_seen")
            m.d.sync += seen.eq(condition)
            with m.If(seen):
                m.d.sync += self.o[name].eq(self.o[name] + 1)
        return m
