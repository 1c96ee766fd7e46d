"""Places the hard blocks of an engine on an ECP5: multipliers lane by lane, memories beside the lanes they serve.

nextpnr's placer sees the array as a cloud: it spreads multipliers and block RAMs over the chip's few rows of them without
regard to the order of lanes and pairs, and everything else follows. With the hard blocks in order, wires between neighbours
are short and the rest falls into place.
"""

from collections.abc import Iterable
import json
from pathlib import Path
import re
from typing import NamedTuple

__all__ = ["Site", "floorplan", "memory_sites", "multiplier_sites", "plan_netlist"]


class Site(NamedTuple):
    """A place for a hard block, in nextpnr's coordinates and under its name."""

    x: int
    y: int
    name: str


# Left ends of the blocks of four multipliers or block RAMs in a row; rows of multipliers in the order in which column pairs
# fill them, so that the first pairs are where most block RAM is; rows of block RAM.
_DEVICES = {
    "25f": ((4, 13, 22, 33, 42, 51, 60), (13,), (25, 37)),
    "45f": ((4, 13, 22, 31, 42, 51, 60, 69, 78), (46, 22), (10, 34, 58)),
    "85f": ((4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114), (58, 34, 10), (22, 46, 70, 82)),
}

_MULTIPLIER = re.compile(r"(?:^|\.)pair(\d+)\.lane(\d+)\.mult\.mult$")
_REQUANTISE = re.compile(r"(?:^|\.)requantise\.lane(\d+)\.mult\.mult$")
_POOL_LINES = re.compile(r"(?:^|\.)pool\.lines\.tile\d+$")
_PARTIAL_SUMS = re.compile(r"(?:^|\.)column(\d+)\.psums\.tile\d+$")
# A word of an activation or weight memory: slice of the word, bank of the depth, tile of the slice.
_WORDS = re.compile(r"(?:^|\.)(?:activations\.memory|(weights(?:\$\d+)?))\.slice0_(\d+)\.bank(\d+)\.tile(\d+)$")
_SLICE_BITS = 18


def multiplier_sites(device: str) -> list[list[Site]]:
    """Multiplier sites of a device, row by row, from left to right."""
    blocks, rows, _ = _DEVICES[device]
    return [[Site(x + n, y, f"X{x + n}/Y{y}/MULT18_{n}") for x in blocks for n in (0, 1, 4, 5)] for y in rows]


def memory_sites(device: str) -> list[Site]:
    """Block RAM sites of a device."""
    blocks, _, rows = _DEVICES[device]
    return [Site(x + 2 * n, y, f"X{x + 2 * n}/Y{y}/EBR{n}") for y in rows for x in blocks for n in range(4)]


def floorplan(cells: Iterable[str], device: str) -> dict[str, str]:
    """Sites for the hard blocks of an engine among the cells of a netlist, by cell name.

    A row of multiplier sites takes as many column pairs as fit, interleaved: lane 0 of each, then lane 1 of each, so that an
    activation moves to the next site and a sum moves on by the number of pairs. Rows run back and forth, which puts the last
    pair of a row opposite the first one of the next. Rows in the middle take fewer pairs if not all are needed: what is left
    of them is near the others. Partial sums and the requantiser's multipliers stand at the end of their pair's row, the pool's
    lines near the last pair's; activations and weights beside the first pair's lanes, where they enter. Empty if the array does
    not fit.
    """
    cells = list(cells)
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
    at = {}
    for pair, (row, column) in enumerate(_places(pairs, per_row, len(rows))):
        for lane in range(lanes):
            at[pair, lane] = rows[row][lane * per_row + (per_row - 1 - column if row % 2 else column)]
    plan = {array[key]: at[key].name for key in array}
    free = {row: len(rows[row]) - sum(site.y == rows[row][0].y for site in at.values()) for row in range(len(rows))}
    requantise = []
    for name in cells:
        if match := _REQUANTISE.search(name):
            wish = at[min(int(match[1]) // 2, pairs - 1), lanes - 1]
            requantise.append((free[[row[0].y for row in rows].index(wish.y)], int(match[1]), name, wish))
    # Those of crowded rows first: the others have more to choose from.
    plan |= _nearest([(name, wish) for *_, name, wish in sorted(requantise)],
                     [site for row in rows for site in row if site not in at.values()])
    return plan | _memories(cells, device, at, lanes)


def _places(pairs: int, per_row: int, rows: int) -> list[tuple[int, int]]:
    """Row and number in it for each pair: outer rows are full first."""
    used = -(-pairs // per_row)
    counts = [per_row] * used + [0] * (rows - used)
    counts[used // 2 if used > 2 else used - 1] -= per_row * used - pairs
    return [(row, n) for row, count in enumerate(counts) for n in range(count)]


def _nearest(wishes: list[tuple[str, Site]], free: list[Site]) -> dict[str, str]:
    """The free site nearest to its wish for each name, first come, first served."""
    plan, free = {}, list(free)
    for name, wish in wishes:
        best = min(free, key=lambda site: abs(site.x - wish.x) + abs(site.y - wish.y))
        free.remove(best)
        plan[name] = best.name
    return plan


def _memories(cells: list[str], device: str, at: dict[tuple[int, int], Site], lanes: int) -> dict[str, str]:
    wishes, last = [], max(pair for pair, _ in at)
    slices: dict[tuple[int, str], list[tuple[int, int, str]]] = {}
    for name in cells:
        if _POOL_LINES.search(name):
            wishes.append((last, name, at[last, lanes - 1]))
        elif match := _PARTIAL_SUMS.search(name):
            # Pairs on lookup tables follow the last one on multipliers.
            pair = min(int(match[1]) // 2, last)
            wishes.append((pair, name, at[pair, lanes - 1]))
        elif match := _WORDS.search(name):
            lane = (int(match[2]) + _SLICE_BITS // 2) // (16 if match[1] else 8)
            slices.setdefault((lane, f"{match[1]} {match[2]}"), []).append((int(match[3]), int(match[4]), name))
    plan = _nearest([(name, wish) for _, name, wish in sorted(wishes)], memory_sites(device))
    taken = set(plan.values())
    free = [site for site in memory_sites(device) if site.name not in taken]
    return plan | _slices([[name for *_, name in sorted(tiles)] for _, tiles in sorted(slices.items())], free, at[0, 0].y)


def _slices(slices: list[list[str]], free: list[Site], y: int) -> dict[str, str]:
    """Sites for slices of words, in the order of their lanes: each in one row where that is possible, since its block RAMs share
    address registers. The rows nearest to `y` that have enough sites are filled together from the left."""
    rows: list[list[Site]] = []
    for row in sorted({site.y for site in free}, key=lambda row: (abs(row - y), row)):
        if sum(map(len, rows)) < sum(map(len, slices)):
            rows.append([site for site in free if site.y == row])
    plan: dict[str, str] = {}
    for names in slices:
        fit = [row for row in rows if len(row) >= len(names)]
        sites = min(fit, key=lambda row: row[0].x) if fit else [row.pop(0) for row in rows for _ in range(len(row))]
        plan |= {name: site.name for name, site in zip(names, sites, strict=False)}
        del sites[:len(names)]
        if not fit:
            rows = [sites]
    return plan


def plan_netlist(netlist: Path, device: str) -> Path:
    """A copy of `netlist` (Yosys' JSON) with its hard blocks tied to their sites, beside it; itself if it has no array."""
    design = json.loads(netlist.read_text(encoding="utf-8"))
    planned = 0
    for module in design["modules"].values():
        cells = {name: cell for name, cell in module.get("cells", {}).items() if cell["type"] in ("MULT18X18D", "DP16KD")}
        for name, site in floorplan(cells, device).items():
            cells[name]["attributes"]["BEL"] = site
            planned += 1
    if not planned:
        return netlist
    target = netlist.with_name(f"{netlist.stem}-{device}.json")
    target.write_text(json.dumps(design), encoding="utf-8")
    return target
