"""Pictures of surveys of networks."""
from collections.abc import Sequence
import io
import math

from bench.survey.published import DESIGN_SPACE, TOP1
from nets.plot import DPI, plot_suffix

__all__ = ["design_space", "survey"]

MADE = ("megabytes", "weights, MB of float32", 1), ("cycles", "million cycles", 1e-6), ("frames_per_s", "frames/s on an 85F", 1)
AREA = 20               # square points of a circle for a million parameters


def _figure(width: float, height: float):
    # Not above: what draws nothing need not wait for it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def _bytes(figure, suffix: str) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=plot_suffix(suffix))
    return content.getvalue()


def survey(rows: Sequence[dict], suffix: str) -> bytes:
    """Published top-1 over multiply-accumulates, the area of a circle for the parameters, its colour for frames/s, white for what
    does not fit; `rows` have `network`, `macs`, `parameters` and `frames_per_s`. Networks without a published accuracy are left
    out. Raises OutputError for a suffix that is none of a picture."""
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    known = [row for row in rows if row["network"] in TOP1]
    shown, others = ([row for row in known if bool(row["frames_per_s"]) is fits] for fits in (True, False))
    figure = _figure(11, 7.5)
    axes = figure.subplots()
    if others:
        axes.scatter(*_places(others), s=_areas(others), color="white", edgecolors="black", linewidths=0.6, zorder=0)
    if shown:
        speeds = [row["frames_per_s"] for row in shown]
        points = axes.scatter(*_places(shown), s=_areas(shown), c=speeds, alpha=0.8, edgecolors="black", linewidths=0.6,
                              norm=LogNorm(min(speeds), max(max(speeds), 1.01 * min(speeds))), cmap="viridis")
        scale = figure.colorbar(points, label="frames/s on an 85F")
        axes.set_xscale("log")
        for axis in (axes.xaxis, scale.ax.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(ScalarFormatter())
            axis.set_minor_formatter(NullFormatter())
        for millions in (1, 10, 60):
            axes.scatter([], [], s=AREA * millions, color="none", edgecolors="black", label=f"{millions} million parameters")
        if others:
            axes.scatter([], [], s=AREA * 10, color="white", edgecolors="black", label="white: does not fit")
        axes.legend(loc="upper left", labelspacing=1.8, borderpad=1.4, handletextpad=1.8)
    axes.margins(0.12, 0.1)
    axes.set_xlabel("million multiply-accumulates")
    axes.set_ylabel("published top-1 on ImageNet, %")
    axes.grid(linewidth=0.5, alpha=0.5)
    axes.set_axisbelow(True)
    _label(axes, [(row["network"], row["macs"] / 1e6, TOP1[row["network"]][0], row["parameters"] / 1e6) for row in known])
    return _bytes(figure, suffix)


def _places(rows: Sequence[dict]) -> tuple[list[float], list[float]]:
    return [row["macs"] / 1e6 for row in rows], [TOP1[row["network"]][0] for row in rows]


def _areas(rows: Sequence[dict]) -> list[float]:
    return [AREA * row["parameters"] / 1e6 for row in rows]


def _label(axes, circles: Sequence[tuple[str, float, float, float]]) -> None:
    """Writes names beside circles, (name, x, y, millions of parameters), where no other circle or name is, if there is such a
    place."""
    from matplotlib.transforms import Bbox

    axes.figure.draw_without_rendering()        # only then is known what lies where
    taken = []
    for _, x, y, millions in circles:
        (across, down), radius = axes.transData.transform((x, y)), _radius(millions) * DPI / 72
        taken.append(Bbox.from_extents(across - radius, down - radius, across + radius, down + radius))
    for name, x, y, millions in circles:
        gap = _radius(millions) + 2
        text = axes.annotate(name, (x, y), (gap, 0), textcoords="offset points", fontsize=8, parse_math=False)
        for offset, sideways, upright in (((gap, 0), "left", "center"), ((0, gap), "center", "bottom"),
                                          ((0, -gap), "center", "top"), ((-gap, 0), "right", "center")):
            text.xyann = offset
            text.set(horizontalalignment=sideways, verticalalignment=upright)
            place = text.get_window_extent()
            if not place.count_overlaps(taken) and axes.bbox.contains(place.x1, place.y1):
                break
        taken.append(place)


def _radius(millions: float) -> float:
    """Of a circle for so many parameters, in points."""
    return math.sqrt(AREA * millions / math.pi)


def design_space(series: dict[str, Sequence[dict]], suffix: str) -> bytes:
    """SqueezeNet's model size, cycles and frames/s, each over the squeeze ratio and over the share of 3x3 filters, and the
    paper's accuracies. `series` by what varies, `sr` and `pct3x3`, with points that have that, `megabytes`, `cycles`,
    `frames_per_s`. Raises OutputError as `survey`."""
    figure = _figure(11, 11)
    panels = figure.subplots(4, 2, sharex="col", sharey="row")
    titles = {"sr": "squeeze ratio (half of the filters 3x3)", "pct3x3": "share of 3x3 filters (squeeze ratio 0.5)"}
    for column, (what, points) in zip(panels.T, series.items(), strict=True):
        points = [point for point in points if point["cycles"]]
        x = [point[what] for point in points]
        for axes, (name, label, scale) in zip(column[:3], MADE, strict=True):
            axes.plot(x, [point[name] * scale for point in points], "o-", markersize=4)
            axes.set_ylabel(label)
            axes.set_ylim(0)
        published = sorted((point for point in DESIGN_SPACE if (point.pct3x3 if what == "sr" else point.sr) == 0.5),
                           key=lambda point: getattr(point, what))
        column[3].plot([getattr(point, what) for point in published], [point.top5 for point in published], "s--", color="C3")
        column[3].set_ylabel("top-5, % (the paper's)")
        column[3].set_xlabel(titles[what])
    for axes in panels.flat:
        axes.grid(linewidth=0.5, alpha=0.5)
        axes.set_axisbelow(True)
        axes.label_outer()
    return _bytes(figure, suffix)
