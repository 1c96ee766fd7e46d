"""What a chip takes before any tool has run: hard blocks exactly, lookup tables from its statements."""
from amaranth.hdl import Elaboratable, Fragment
from amaranth.hdl._ir import Instance

__all__ = ["hard_blocks"]


def hard_blocks(design: Elaboratable, platform) -> dict[str, int]:
    """Number of instances of each vendor cell in an elaborated design, such as `DP16KD` and `MULT18X18D`."""
    counts: dict[str, int] = {}

    def count(fragment: Fragment) -> None:
        if isinstance(fragment, Instance):
            counts[fragment.type] = counts.get(fragment.type, 0) + 1
        for inner, *_ in fragment.subfragments:
            count(inner)
    count(Fragment.get(design, platform))
    return counts
