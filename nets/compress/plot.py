"""A drawing of accuracy over size."""
from collections.abc import Sequence
from dataclasses import dataclass
import io

from nets.plot import DPI, plot_suffix, short_name

__all__ = ["Point", "plot_accuracy"]

MARGIN = 8              # per cent above and below all points


@dataclass(frozen=True, kw_only=True)
class Point:
    """A network's size, in bytes, and how often it is right, in 0..1, in floats and in integers; `label` stands beside it."""

    size: float
    float: float
    int8: float
    label: str


def plot_accuracy(name: str, before: Point, points: Sequence[Point], chosen: Point, suffix: str) -> bytes:
    """An image of top-1 accuracy over the bytes of the weights: a line each for floats and integers, in order of size, the
    network that it began with, and a ring around the chosen one.

    `suffix`: one of `nets.plot.PLOT_SUFFIXES`. Raises OutputError.
    """
    # Not above: what draws nothing need not wait for it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = plot_suffix(suffix)
    figure = Figure(figsize=(8, 5), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    axes, ordered = figure.subplots(), sorted(points, key=lambda point: point.size)
    sizes = [point.size / 1000 for point in ordered]
    for what, colour, marker in (("float", "C0", "o"), ("int8", "C1", "s")):
        axes.plot(sizes, [100 * getattr(point, what) for point in ordered], color=colour, marker=marker, label=what)
        axes.plot([before.size / 1000], [100 * getattr(before, what)], color=colour, marker=marker, markerfacecolor="none",
                  linestyle="none", label=f"{what}, before")
    axes.plot([chosen.size / 1000] * 2, [100 * chosen.float, 100 * chosen.int8], color="C3", marker="o", markersize=14,
              markerfacecolor="none", linestyle="none", label="chosen")
    for point in (before, *ordered):
        axes.annotate(point.label, (point.size / 1000, 100 * max(point.float, point.int8)), textcoords="offset points",
                      xytext=(0, 10), ha="center", fontsize=8, parse_math=False)
    axes.set_xlabel("weights, kB (order-0 entropy of the int8 values)")
    axes.set_ylabel("top-1, %")
    shares = [100 * share for point in (before, *points) for share in (point.float, point.int8)]
    axes.set_ylim(max(0, min(shares) - MARGIN), min(100 + MARGIN / 2, max(shares) + MARGIN))
    axes.grid(linewidth=0.5, alpha=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    figure.suptitle(f"{short_name(name)}: accuracy over size", parse_math=False)
    content = io.BytesIO()
    figure.savefig(content, format=kind)
    return content.getvalue()
