"""The report of a build as one HTML page: figures of `report.json`, the network on the chip in pictures, no network access."""
from collections.abc import Callable
import io
from pathlib import Path
import re

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

__all__ = ["BOUNDS", "render"]

RESOURCES = {"lut4": "LUT4", "ff": "flip-flops", "block_ram": "block RAM", "multipliers": "multipliers"}
LANES = ("compute", "gather", "load", "store")
# What bounds a layer, as the record has it, and its colour everywhere on the page.
BOUNDS = {"multipliers": "#3465a4", "memory": "#c17d11", "image": "#4e9a06", "results": "#75507b", "pipeline": "#cc0000"}
WIDTHS = {"wide": 6, "narrow": 3.6}             # inches of a picture, for a screen and for a phone: their letters are as large
MAP = 3.2               # height of that of the memory
SHARE = .85             # of it between the axes
LETTER = .62            # width of a letter, of its height: in browsers' fonts, too
LINE = 1.35             # height of a line, of that of its letters

# Columns of the table of layers.
COLUMNS: dict[str, Callable[[dict], str]] = {
    "layer": lambda layer: layer["name"], "cycles": lambda layer: f"{layer['cycles']:,}",
    "utilisation": lambda layer: f"{layer['utilisation']:.1%}", "bound by": lambda layer: layer["bound"],
    "MACs": lambda layer: f"{layer['macs']:,}", "bytes loaded": lambda layer: f"{layer['bytes']:,}"}

Box = tuple[float, float, float, float]         # left, bottom, right, top


def render(report: dict) -> str:
    """The page for the record that `hw.build` writes as `report.json`; every number on it is one of the record's."""
    stay = report["cycles_again"] != report["cycles"]
    tiles = [(f"{report['frames_per_s']:.1f}", "frames/s on the chip"),
             (f"{report['frames_per_s_line']:.3g}", "frames/s with the serial line"),
             (f"{report['latency_ms']:.2f} ms", "latency of a frame" if not stay else "latency of the first frame"),
             (f"{report['clock_mhz']:.1f} MHz", f"clock, {report['clock_wanted_mhz']:g} wanted"),
             (f"{report['cycles']:,}", "cycles a frame"), (f"{report['utilisation']:.1%}", "of the multipliers used")]
    if report.get("stored_weight_bytes", 0) < report.get("weight_bytes", 0):
        tiles.append((f"{report['stored_weight_bytes'] / report['weight_bytes']:.0%}", "of the weights' bytes stored"))
    drawn = {"What bounds each layer": (_roofline, 4), "Cycles and utilisation": (_layers, 1 + .19 * len(report["layers"])),
             "Timeline of a frame": (_timeline, 2.6)}
    if report.get("memory"):
        drawn["Activation memory"] = _memory, MAP
    pictures = {title: {size: _picture(draw, report, height, size) for size in WIDTHS}
                for title, (draw, height) in drawn.items()}
    present = {layer["bound"] for layer in report["layers"]}
    page = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    return page.get_template("report.html.j2").render(
        report={"critical_path": None, "memory": None, "clock_met": True} | report,
        title=f"{report['model']} on {report['board']}", tiles=tiles,
        pictures=pictures, resources=RESOURCES, columns=COLUMNS, colours=BOUNDS,
        bounds=[name for name in BOUNDS if name in present])


def _picture(draw: Callable[[Axes, dict], None], report: dict, height: float, size: str) -> Markup:
    """A drawing as SVG with real text."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "fireline", "font.size": 9, "axes.spines.top": False,
                     "axes.spines.right": False, "text.parse_math": False}):
        figure = Figure(figsize=(WIDTHS[size], height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.subplots(), report)
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    svg = content.getvalue()
    svg = svg[svg.index("<svg"):]
    # Several pictures share a page, and ids must be the page's own.
    return Markup(re.sub(r"(id=\"|url\(#|href=\"#)", rf"\g<1>{draw.__name__}-{size}-", svg))


def _roofline(axes: Axes, report: dict) -> None:
    """Operations a second over operations a byte from storage, under the two roofs of the chip."""
    peak = report["peak_gmac_per_s"]
    width = report["storage_gbyte_per_s"]
    # A pool that runs alone multiplies nothing.
    shown = [layer for layer in report["layers"] if layer["macs"] and layer["bytes"] and layer["cycles"]]
    shown.sort(key=lambda layer: -layer["cycles"])
    intensity = [layer["macs"] / layer["bytes"] for layer in shown]
    speed = [layer["macs"] / layer["cycles"] * report["clock_mhz"] / 1000 for layer in shown]
    ridge = peak / width
    left, right = min([ridge, *intensity]) / 3, max([ridge, *intensity]) * 3
    axes.plot([left, ridge, right], [left * width, peak, peak], color="#555", linewidth=1.5)
    axes.scatter(intensity, speed, color=[BOUNDS[layer["bound"]] for layer in shown], zorder=3)
    low, high = min([left * width, *speed]) / 2, peak * 4
    axes.set(xscale="log", yscale="log", xlabel="MACs per byte from storage", ylabel="GMAC/s", xlim=(left, right),
             ylim=(low, high))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if axes.figure.get_figwidth() > 4 else (1,)))
        axis.set_major_formatter(EngFormatter(sep=""))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(which="both", linewidth=.4, alpha=.5)
    # Above everything in the order of importance: the roofs, then layers by their cycles.
    axes.figure.draw_without_rendering()
    taken: list[Box] = []
    for text in (f"engine {peak:.1f} GMAC/s", f"storage {width:.2f} GB/s"):
        _label(axes, taken, text, left, high, 9, ((4, -14), (4, -28)))
    for layer, x, y in zip(shown, intensity, speed, strict=True):
        _label(axes, taken, layer["name"], x, y, 7, ((3, -10), (3, 5), (3, -19), (3, 14), (3, -28)))


def _label(axes: Axes, taken: list[Box], text: str, x: float, y: float, size: float,
           places: tuple[tuple[float, float], ...]) -> None:
    """Writes at the first place that is free and within the axes, if there is one: an offset in points, to the right or left."""
    points = 72 / axes.figure.dpi
    at, inside = (axes.transData.transform((x, y)) * points, axes.bbox.extents * points)
    width = LETTER * size * len(text)
    for right, up in (*places, *((-right - width, up) for right, up in places)):
        box = (at[0] + right, at[1] + up, at[0] + right + width, at[1] + up + LINE * size)
        if box[0] >= inside[0] and box[1] >= inside[1] and box[2] <= inside[2] and box[3] <= inside[3] and not any(
                box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in taken):
            taken.append(box)
            axes.annotate(text, (x, y), textcoords="offset points", xytext=(right, up), fontsize=size).set_in_layout(False)
            return


def _layers(axes: Axes, report: dict) -> None:
    """A bar for each layer's cycles, the part that did useful work filled."""
    layers = report["layers"]
    rows = range(len(layers))
    axes.barh(rows, [layer["cycles"] for layer in layers], color="#dde2ea", height=.75)
    axes.barh(rows, [layer["cycles"] * layer["utilisation"] for layer in layers],
              color=[BOUNDS[layer["bound"]] for layer in layers], height=.75)
    for row, layer in enumerate(layers):
        axes.annotate(f"{layer['utilisation']:.0%}", (layer["cycles"], row), textcoords="offset points", xytext=(3, 0),
                      va="center", fontsize=7)
    axes.set_yticks(rows, [layer["name"] for layer in layers], fontsize=8)
    axes.set_ylim(len(layers) - .4, -.6)
    axes.xaxis.set_major_locator(MaxNLocator(6 if axes.figure.get_figwidth() > 4 else 3))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("cycles")


def _timeline(axes: Axes, report: dict) -> None:
    """When each queue worked on a command."""
    lanes = [lane for lane in LANES if report["timeline"].get(lane)]
    scale = 1000 * report["clock_mhz"]
    for row, lane in enumerate(lanes):
        spans = report["timeline"][lane]
        axes.broken_barh([(start / scale, (end - start) / scale) for start, end in spans], (row - .38, .76),
                         facecolors=BOUNDS["multipliers" if lane == "compute" else "memory"], edgecolors="white", linewidth=.2)
    axes.set_yticks(range(len(lanes)), lanes)
    axes.set_ylim(len(lanes) - .4, -.6)
    axes.set(xlabel="ms since the start", xlim=(0, report["latency_ms"]))


def _memory(axes: Axes, report: dict) -> None:
    """Which map lies where in activation memory, over time."""
    scale = 1000 * report["clock_mhz"]
    for n, area in enumerate(report["memory"]["areas"]):
        start, width = area["start"] / scale, (area["end"] - area["start"]) / scale
        axes.broken_barh([(start, width)], (area["base"], area["words"]), facecolors=f"C{n % 10}", alpha=.75,
                         edgecolors="white", linewidth=.4)
        # Its name, where there is room for it in one direction or the other.
        name, inches = LETTER * 6 / 72 * len(area["name"]), axes.figure.get_figwidth()
        across, up = SHARE * inches * width / report["latency_ms"], SHARE * MAP * area["words"] / report["memory"]["words"]
        if name < across and up > 7 / 72 or name < up and across > 7 / 72:
            axes.annotate(area["name"], (start + width / 2, area["base"] + area["words"] / 2), ha="center", va="center",
                          fontsize=6, rotation=0 if name < across else 90)
    axes.set(xlabel="ms since the start", ylabel="activation words", xlim=(0, report["latency_ms"]),
             ylim=(0, report["memory"]["words"]))
