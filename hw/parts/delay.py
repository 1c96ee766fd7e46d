"""Delay lines."""
from amaranth import Module, Signal, Value

__all__ = ["delayed"]


def delayed(m: Module, value, cycles: int, name: str, *, reset: bool = False):
    """`value` some cycles later, through registers `<name>0`, `<name>1`, ...; with `reset` they are 0 after a reset, as valid
    bits must be, otherwise they keep what they hold. Signed values stay signed."""
    for n in range(cycles):
        stage = Signal(Value.cast(value).shape(), name=f"{name}{n}", reset_less=not reset)
        m.d.sync += stage.eq(value)
        value = stage
    return value
