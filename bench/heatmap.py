"""The router's heat map: where on the chip nets want the same wires."""
from argparse import ArgumentTypeError
from pathlib import Path
import re

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import numpy as np

from hw.ecp5.floorplan import memory_sites, multiplier_sites

__all__ = ["crowded", "draw", "picture", "read_maps"]

BLOCK = 8                   # tiles of a side of the squares that `crowded` names


def picture(text: str) -> Path:
    """A command line's argument: the file of a picture."""
    if not text.endswith(".png"):
        raise ArgumentTypeError(f"must end with .png, not {text!r}")
    return Path(text)


def read_maps(folder: Path, stem: str) -> list[np.ndarray]:
    """For each iteration of the router int (columns, rows): of each tile the nets on wires that more than one net uses.

    As nextpnr's `--router2-heatmap` writes them into `folder` (common/route/router2.cc). Raises OSError, and ValueError if there
    is none.
    """
    name = re.compile(re.escape(stem) + r"_congestion_by_coordinate_(\d+)\.csv")
    found = {int(match[1]): path for path in folder.iterdir() if (match := name.fullmatch(path.name))}
    if not found:
        raise ValueError(f"Folder of heat maps must have some of {stem}, not none")
    lines = [found[n].read_text(encoding="ascii").split() for n in sorted(found)]
    return [np.array([[int(value) for value in line.rstrip(",").split(",")] for line in one]) for one in lines]


def crowded(maps: list[np.ndarray], count: int = 5) -> list[tuple[int, int, float]]:
    """Column and row of the corner of the squares of `BLOCK` tiles that are hottest over all iterations, and their share."""
    total = sum(maps)
    sides = [-(-size // BLOCK) for size in total.shape]
    padded = np.zeros([side * BLOCK for side in sides], int)
    padded[:total.shape[0], :total.shape[1]] = total
    squares = padded.reshape(sides[0], BLOCK, sides[1], BLOCK).sum(axis=(1, 3))
    best = np.argsort(squares, axis=None)[::-1][:count]
    places = np.transpose(np.unravel_index(best, squares.shape))
    return [(int(x) * BLOCK, int(y) * BLOCK, float(squares[x, y] / max(total.sum(), 1))) for x, y in places]


def draw(maps: list[np.ndarray], device: str, title: str, path: Path) -> None:
    """A picture of the first iteration, in which every net takes the way it likes, and of what all others had to settle.

    Rows of multipliers and block RAM are marked at the sides.
    """
    figure = Figure(figsize=(14, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    parts = {"first iteration": maps[0], f"all {len(maps)} iterations": sum(maps)}
    for axes, (name, tiles) in zip(figure.subplots(1, len(parts)), parts.items(), strict=True):
        image = axes.imshow(np.ma.masked_equal(tiles.T, 0), cmap="inferno_r", interpolation="nearest")
        axes.set(title=name, xlabel="column", ylabel="row")
        figure.colorbar(image, ax=axes, label="nets on overused wires", shrink=.8)
        for y in {row[0].y for row in multiplier_sites(device)}:
            axes.axhline(y, color="tab:blue", linewidth=.6, linestyle=":")
        for y in {site.y for site in memory_sites(device)}:
            axes.axhline(y, color="tab:green", linewidth=.6, linestyle=":")
    figure.suptitle(f"{title}: congestion (rows of multipliers blue, of block RAM green)")
    figure.savefig(path)
