"""Comparisons of wide numbers, in two cycles of little logic each."""
from amaranth import Module, Signal, Value

__all__ = ["differs", "exceeds"]

PART = 4                # bits that are compared in the first cycle


def exceeds(m: Module, name: str, a, b) -> Value:
    """Whether unsigned `a` > `b`, as they were a cycle ago: a tree behind registers `<name>_...` of what their parts say."""
    a, b = Value.cast(a), Value.cast(b)
    parts = []
    for low in range(0, max(len(a), len(b)), PART):
        above, same = (Signal(name=f"{name}_{what}{low}", reset_less=True) for what in ("above", "same"))
        part = slice(low, low + PART)
        m.d.sync += [above.eq(a[part] > b[part]), same.eq(a[part] == b[part])]
        parts.append((above, same))
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        parts = [(above | same & low, same & equal) for (low, equal), (above, same) in pairs] + parts[len(parts) & ~1:]
    return parts[0][0]


def differs(m: Module, name: str, a, b) -> Value:
    """Whether `a` != `b`, as they were a cycle ago; the register `<name>_parts` has a bit for each part."""
    a, b = Value.cast(a), Value.cast(b)
    lows = range(0, max(len(a), len(b)), PART)
    parts = Signal(len(lows), name=f"{name}_parts", reset_less=True)
    m.d.sync += [part.eq(a[low:low + PART] != b[low:low + PART]) for part, low in zip(parts, lows, strict=True)]
    return parts.any()
