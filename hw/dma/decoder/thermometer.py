"""Numbers as so many bits set."""
from amaranth import Cat, Const, Value

__all__ = ["lowest_bits"]


def lowest_bits(number: Value, size: int) -> Value:
    """The lowest `number` of `size` bits set: a lookup table for each, and no carry chain as comparisons have."""
    values = range(1 << len(number))
    return Cat(Const(sum(1 << value for value in values if value > bit), len(values)).bit_select(number, 1)
               for bit in range(size))
