"""What a chip takes before any tool has run: hard blocks exactly, lookup tables and registers nearly."""
from amaranth.hdl import Elaboratable, Fragment
from amaranth.hdl._ir import Instance

from arch.geometry import Geometry

__all__ = ["AVAILABLE", "hard_blocks", "resources"]

# Of each die, as nextpnr counts them.
AVAILABLE = {"25f": {"lut4": 24288, "ff": 24288, "block_ram": 56, "multipliers": 28},
             "45f": {"lut4": 43848, "ff": 43848, "block_ram": 108, "multipliers": 72},
             "85f": {"lut4": 83640, "ff": 83640, "block_ram": 208, "multipliers": 156}}
CELLS = {"block_ram": "DP16KD", "multipliers": "MULT18X18D"}

# Lookup tables, fitted to routed chips: of a multiplier lane of two columns, of one made of lookup tables beside that, of a
# requantising lane, the same without a multiplier beside that, of an input lane, and of everything else.
LUT4 = {"lane": 123, "lut_lane": 150, "requantise": 531, "lut_requantise": 66, "input": 3, "rest": 14750}
# Registers likewise.
FF = {"lane": 146, "lut_lane": 0, "requantise": 764, "lut_requantise": 0, "input": 273, "rest": 11840}


def _sum(weights: dict[str, float], geometry: Geometry) -> int:
    """Cells of a whole chip, with SDRAM or without, within some percent."""
    lut_lanes = geometry.lut_pairs * geometry.input_lanes
    counts = {"lane": geometry.pairs * geometry.input_lanes, "lut_lane": lut_lanes, "requantise": geometry.output_lanes,
              "lut_requantise": 0 if geometry.requantise_multipliers else geometry.output_lanes, "input": geometry.input_lanes,
              "rest": 1}
    return round(sum(weights[name] * count for name, count in counts.items()))


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


def resources(design: Elaboratable, platform, die: str, geometry: Geometry) -> dict[str, dict[str, int]]:
    """Used and available of each resource for the chip of an engine on a die of `AVAILABLE`."""
    blocks = hard_blocks(design, platform)
    used = {"lut4": _sum(LUT4, geometry), "ff": _sum(FF, geometry), **{name: blocks.get(cell, 0) for name, cell in CELLS.items()}}
    return {name: {"used": used[name], "available": AVAILABLE[die][name]} for name in AVAILABLE[die]}
