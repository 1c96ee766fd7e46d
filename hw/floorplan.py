"""Places the array's multipliers on an ECP5: lane by lane, pair beside pair.

nextpnr's placer sees the array as a cloud: it spreads the multipliers over the chip's few rows of
them without regard to the order of lanes and pairs, and everything else follows. With the
multipliers in order, wires between neighbours are short and the rest falls into place.
"""

from collections.abc import Iterable
import json
from pathlib import Path
import re

__all__ = ["SITES", "floorplan", "multiplier_sites", "plan_netlist", "plan_script"]

# Rows of multipliers, and the left end of each block of four in a row, as nextpnr names them.
SITES = {
    "25f": ((13,), (4, 13, 22, 33, 42, 51, 60)),
    "45f": ((22, 46), (4, 13, 22, 31, 42, 51, 60, 69, 78)),
    "85f": ((10, 34, 58), (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)),
}

_MULTIPLIER = re.compile(r"(?:^|\.)pair(\d+)\.lane(\d+)\.mult\.mult$")


def multiplier_sites(device: str) -> list[list[str]]:
    """Names of the multiplier sites of a device, row by row, from left to right."""
    rows, blocks = SITES[device]
    return [[f"X{x + n}/Y{y}/MULT18_{n}" for x in blocks for n in (0, 1, 4, 5)] for y in rows]


def floorplan(cells: Iterable[str], device: str) -> dict[str, str]:
    """Sites for the cells of a netlist that are multipliers of the array, by cell name.

    A row of sites takes as many pairs as fit, interleaved: lane 0 of each, then lane 1 of each,
    so that an activation moves to the next site and a sum moves on by the number of pairs. Rows
    run back and forth, which puts the last pair of a row opposite the first one of the next.
    Empty if the array does not fit.
    """
    array = {}
    for name in cells:
        if match := _MULTIPLIER.search(name):
            array[int(match[1]), int(match[2])] = name
    if not array:
        return {}
    lanes, pairs = 1 + max(lane for _, lane in array), 1 + max(pair for pair, _ in array)
    rows = multiplier_sites(device)
    per_row = min(len(rows[0]) // lanes, -(-pairs // len(rows)))
    if per_row * len(rows) < pairs:
        return {}
    plan = {}
    for (pair, lane), name in array.items():
        row, column = divmod(pair, per_row)
        if row % 2:
            column = per_row - 1 - column
        plan[name] = rows[row][lane * per_row + column]
    return plan


def plan_netlist(netlist: Path, device: str) -> Path:
    """A copy of `netlist` (Yosys' JSON) with the array's multipliers tied to their sites, beside it; itself if it has none."""
    design = json.loads(netlist.read_text(encoding="utf-8"))
    planned = 0
    for module in design["modules"].values():
        cells = {name: cell for name, cell in module.get("cells", {}).items() if cell["type"] == "MULT18X18D"}
        for name, site in floorplan(cells, device).items():
            cells[name]["attributes"]["BEL"] = site
            planned += 1
    if not planned:
        return netlist
    target = netlist.with_name(f"{netlist.stem}-{device}.json")
    target.write_text(json.dumps(design), encoding="utf-8")
    return target


def plan_script(lanes: int, pairs: int, device: str) -> str:
    """The same as commands for Yosys after synthesis (Amaranth's `script_after_synth`); empty if the array does not fit.

    `pairs` are those on multipliers.
    """
    cells = [f"pair{pair}.lane{lane}.mult.mult" for pair in range(pairs) for lane in range(lanes)]
    return "\n".join(f'setattr -set BEL "{site}" c:*{cell}' for cell, site in floorplan(cells, device).items())
