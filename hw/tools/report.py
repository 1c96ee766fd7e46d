"""The report of a build as one HTML page: figures of `report.json`, the network on the chip in pictures, no network access."""
from collections.abc import Callable, Sequence
from html import escape
import io
from math import log
import re

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

__all__ = ["render"]

RESOURCES = {"lut4": "LUT4", "ff": "flip-flops", "block_ram": "block RAM", "multipliers": "multipliers"}
LANES = ("compute", "gather", "load", "store")
MULTIPLIERS, MEMORY = "#3465a4", "#c17d11"      # what bounds a layer
WIDTH = 6               # inches of a picture: small ones have letters that are large enough for a phone
MAP = 3.2               # height of that of the memory
SHARE = .85             # of it between the axes
LETTER = .6             # width of a letter, of its height

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 60rem; color: #222; background: #fff; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; }
.tile { background: #f2f4f7; border-radius: .5rem; padding: .75rem 1rem; }
.tile b { display: block; font-size: 1.35rem; white-space: nowrap; }
.bar { background: #dde2ea; border-radius: .25rem; height: .6rem; min-width: 3rem; }
.bar i { display: block; background: #3465a4; height: 100%; border-radius: .25rem; }
.scroll { overflow-x: auto; } svg { display: block; width: 100%; min-width: 34rem; max-width: 48rem; height: auto; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .25rem .4rem; text-align: right; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; } tr + tr { border-top: 1px solid #dde2ea; }
.text td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.text th { text-align: left; } .text td:first-child { white-space: nowrap; }
code { background: #f2f4f7; padding: .1rem .3rem; border-radius: .25rem; overflow-wrap: anywhere; }
.missed { color: #a40000; }
"""


def render(report: dict) -> str:
    """The page for the record that `hw.build` writes as `report.json`; every number on it is one of the record's."""
    clock, frames = report["clock_mhz"], report["frames_per_s"]
    title = f"{report['model']} on {report['board']}"
    missed = report.get("clock_met") is False
    tiles = [(f"{frames:.1f}", "frames/s on the chip"), (f"{report['frames_per_s_line']:.3g}", "frames/s with the serial line"),
             (f"{report['latency_ms']:.2f} ms", "latency of a frame"),
             (f"{clock:.1f} MHz", f"clock, {report['clock_wanted_mhz']:g} wanted"), (f"{report['cycles']:,}", "cycles a frame"),
             (f"{report['utilisation']:.1%}", "of the multipliers used")]
    parts = [
        f"<h1>{escape(title)}</h1>", _tiles(tiles),
        "<p class='missed'>The wanted clock was missed.</p>" if missed else "",
        "<h2>Resources</h2>", _resources(report["resources"]),
        "<h2>What bounds each layer</h2>", _picture(_roofline, report, 4),
        "<p>Each point is a layer; those have names for which there is room.</p>",
        "<h2>Cycles and utilisation</h2>", _picture(_layers, report, 1 + .19 * len(report["layers"])), _layer_table(report),
        "<h2>Timeline of a frame</h2>", _picture(_timeline, report, 2.6)]
    if report.get("memory"):
        parts += ["<h2>Activation memory</h2>", _picture(_memory, report, MAP)]
    parts += ["<h2>Critical path</h2>", _path(report.get("critical_path") or {}), "<h2>How it was made</h2>", _made(report)]
    return (f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width, "
            f"initial-scale=1'><title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
            + "\n".join(parts) + "\n</body></html>\n")


def _tiles(tiles: Sequence[tuple[str, str]]) -> str:
    inside = "".join(f"<div class='tile'><b>{escape(value)}</b>{escape(what)}</div>" for value, what in tiles)
    return f"<div class='tiles'>{inside}</div>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "numbers") -> str:
    """Cells are HTML. `kind`: "numbers", or "text", which is broken into lines."""
    lines = ["".join(f"<th>{cell}</th>" for cell in head), *("".join(f"<td>{cell}</td>" for cell in row) for row in rows)]
    return f"<div class='scroll'><table class='{kind}'>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table></div>"


def _resources(resources: dict) -> str:
    rows = []
    for key, name in RESOURCES.items():
        used, available = resources[key]["used"], resources[key]["available"]
        share = used / available if available else 0
        bar = f"<div class='bar'><i style='width:{min(share, 1):.1%}'></i></div>"
        rows.append([name, f"{used:,}", f"{available:,}", f"{share:.1%}", bar])
    return _table(["", "used", "of", "", ""], rows)


def _layer_table(report: dict) -> str:
    rows = [[escape(layer["name"]), f"{layer['cycles']:,}", f"{layer['utilisation']:.1%}", escape(layer["bound"]),
             f"{layer['macs']:,}", f"{layer['bytes']:,}"] for layer in report["layers"]]
    return _table(["layer", "cycles", "utilisation", "bound by", "MACs", "bytes loaded"], rows)


def _path(path: dict) -> str:
    if not path:
        return "<p>None: the design was not routed.</p>"
    return (f"<p>{path['logic_ns']:.2f} ns of logic and {path['routing_ns']:.2f} ns of wires,<br>from "
            f"<code>{escape(path['from'])}</code><br>to <code>{escape(path['to'])}</code></p>")


def _made(report: dict) -> str:
    geometry = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in report["geometry"].items())
    rows = [[escape(name), escape(version)] for name, version in report["tools"].items()]
    return (f"<p><code>{escape(report['command'])}</code></p><p>Engine: {escape(geometry)}.</p>"
            + _table(["tool", "version"], rows, "text"))


def _picture(draw: Callable[[Axes, dict], None], report: dict, height: float) -> str:
    """A drawing as SVG with real text, which a phone can make larger."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "fireline", "font.size": 9, "axes.spines.top": False,
                     "axes.spines.right": False, "text.parse_math": False}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.subplots(), report)
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    svg = content.getvalue()
    svg = svg[svg.index("<svg"):]
    # Several pictures share a page, and ids must be the page's own.
    return "<div class='scroll'>" + re.sub(r"(id=\"|url\(#|href=\"#)", rf"\g<1>{draw.__name__}-", svg) + "</div>"


def _colour(layer: dict) -> str:
    return MEMORY if layer["bound"] == "memory" else MULTIPLIERS


def _roofline(axes: Axes, report: dict) -> None:
    """Operations a second over operations a byte from storage, under the two roofs of the chip."""
    peak = report["peak_gmac_per_s"]
    width = report["storage_gbyte_per_s"]
    # A pool that runs alone multiplies nothing.
    shown = [layer for layer in report["layers"] if layer["macs"] and layer["bytes"] and layer["cycles"]]
    intensity = [layer["macs"] / layer["bytes"] for layer in shown]
    speed = [layer["macs"] / layer["cycles"] * report["clock_mhz"] / 1000 for layer in shown]
    ridge = peak / width
    left, right = min([ridge, *intensity]) / 3, max([ridge, *intensity]) * 3
    axes.plot([left, ridge, right], [left * width, peak, peak], color="#555", linewidth=1.5)
    axes.scatter(intensity, speed, color=[_colour(layer) for layer in shown], zorder=3)
    low, high = min([left * width, *speed]) / 2, peak * 2
    axes.set(xscale="log", yscale="log", xlabel="MACs per byte from storage", ylabel="GMAC/s", xlim=(left, right),
             ylim=(low, high))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(EngFormatter(sep=""))
        axis.set_minor_formatter(NullFormatter())
    # Of layers side by side the one that takes most cycles has its name there.
    taken: list[tuple[float, float, int]] = []
    for layer, x, y in sorted(zip(shown, intensity, speed, strict=True), key=lambda one: -one[0]["cycles"]):
        across = log(x / left) / log(right / left) * WIDTH * SHARE * 72
        size = LETTER * 7 * len(layer["name"])
        for above in (-10, 5, -18, 13):
            if all(other + room < across or across + size < other for other, room, place in taken if place == above):
                taken.append((across, size, above))
                axes.annotate(layer["name"], (x, y), textcoords="offset points", xytext=(3, above), fontsize=7)
                break
    axes.annotate(f"{peak:.1f} GMAC/s", (right, peak), textcoords="offset points", xytext=(0, 24), ha="right",
                  va="bottom")
    axes.annotate(f"storage {width:.2f} GB/s", (left, left * width), textcoords="offset points", xytext=(4, -3), ha="left",
                  va="top")
    axes.grid(which="both", linewidth=.4, alpha=.5)


def _layers(axes: Axes, report: dict) -> None:
    """A bar for each layer's cycles, the part that did useful work filled."""
    layers = report["layers"]
    rows = range(len(layers))
    axes.barh(rows, [layer["cycles"] for layer in layers], color="#dde2ea", height=.75)
    axes.barh(rows, [layer["cycles"] * layer["utilisation"] for layer in layers], color=[_colour(layer) for layer in layers],
              height=.75)
    for row, layer in enumerate(layers):
        axes.annotate(f"{layer['utilisation']:.0%}", (layer["cycles"], row), textcoords="offset points", xytext=(3, 0),
                      va="center", fontsize=7)
    axes.set_yticks(rows, [layer["name"] for layer in layers], fontsize=8)
    axes.set_ylim(len(layers) - .4, -.6)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("cycles; filled: multipliers at work; blue: bound by them, brown: by memory")


def _timeline(axes: Axes, report: dict) -> None:
    """When each queue worked on a command."""
    lanes = [lane for lane in LANES if report["timeline"].get(lane)]
    scale = 1000 * report["clock_mhz"]
    for row, lane in enumerate(lanes):
        spans = report["timeline"][lane]
        axes.broken_barh([(start / scale, (end - start) / scale) for start, end in spans], (row - .38, .76),
                         facecolors=MULTIPLIERS if lane == "compute" else MEMORY, edgecolors="white", linewidth=.2)
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
        name, across = LETTER * 6 / 72 * len(area["name"]), SHARE * WIDTH * width / report["latency_ms"]
        up = SHARE * MAP * area["words"] / report["memory"]["words"]
        if name < across and up > 7 / 72 or name < up and across > 7 / 72:
            axes.annotate(area["name"], (start + width / 2, area["base"] + area["words"] / 2), ha="center", va="center",
                          fontsize=6, rotation=0 if name < across else 90)
    axes.set(xlabel="ms since the start", ylabel="activation words", xlim=(0, report["latency_ms"]),
             ylim=(0, report["memory"]["words"]))
