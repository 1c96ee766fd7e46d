"""Taking a command: a record has too many bits for one enabling line."""
from amaranth import Module, ResetSignal, Signal

from hw.primitives import Copy

__all__ = ["SLICE_BITS", "taken_when", "taken_while_idle"]

SLICE_BITS = 36         # of a record, served by one copy of the line


def taken_when(m: Module, command, enable, *, init: int = 0) -> Signal:
    """A register that takes `command` in each cycle after one with `enable`, by copies of that which are its own."""
    held = Signal(command.shape(), name="config", reset_less=True)
    to, given = held.as_value(), command.as_value()
    for low in range(0, len(to), SLICE_BITS):
        m.submodules[f"take{low}"] = copy = Copy(init=init)
        m.d.comb += copy.d.eq(enable)
        with m.If(copy.q):
            m.d.sync += to[low:low + SLICE_BITS].eq(given[low:low + SLICE_BITS])
    return held


def taken_while_idle(m: Module, command, idles) -> Signal:
    """The same for a unit that is idle in each cycle after one with `idles`, and after a reset: what is offered meanwhile, and
    nobody looks at it before it is a command."""
    return taken_when(m, command, idles | ResetSignal(), init=1)
