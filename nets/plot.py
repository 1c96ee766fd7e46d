"""A drawing of where a network spends its multiply-accumulates (MACs) and its parameters."""
import io

from cli import OutputError
from nets.graph import Graph
from nets.int8.network import QNetwork

__all__ = ["DPI", "HEAD_INCHES", "HEIGHT_INCHES", "PLOT_SUFFIXES", "ROW_INCHES", "plot_costs", "plot_suffix", "short_name"]

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
NAME_LENGTH = 44        # longer names lose their beginning, which deep networks repeat
ROW_INCHES, HEAD_INCHES = 0.19, 1.3
HEIGHT_INCHES = 200     # Agg draws at most 2**16 pixels: beyond it rows get thinner
DPI = 120


def plot_costs(graph: Graph | QNetwork, suffix: str) -> bytes:
    """An image of MACs and parameters per layer: horizontal bars, the first layer on top.

    Layers that have neither are left out. `suffix`: one of `PLOT_SUFFIXES`. Raises OutputError.
    """
    # Not above: what draws nothing need not wait for it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    kind = plot_suffix(suffix)
    layers = [layer for layer in graph.layers if layer.parameters or graph.macs(layer)]
    layers = layers or list(graph.layers)
    height = min(HEAD_INCHES + ROW_INCHES * len(layers), HEIGHT_INCHES)
    figure = Figure(figsize=(11, height), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    rows = range(len(layers))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, what, counts, total, colour in (
            (panels[0], "MACs", [graph.macs(layer) for layer in layers], graph.total_macs, "C0"),
            (panels[1], "parameters", [layer.parameters for layer in layers], graph.parameters, "C1")):
        axes.barh(rows, counts, height=0.75, color=colour)
        axes.set_title(f"{what}: {total:,}")
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.grid(axis="x", linewidth=0.5, alpha=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0, max(*counts, 1) * 1.02)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(rows, [short_name(layer.name) for layer in layers], fontsize=8,
                         parse_math=False)
    panels[0].set_ylim(len(layers) - 0.4, -0.6)
    figure.suptitle(short_name(graph.name), parse_math=False)
    content = io.BytesIO()
    figure.savefig(content, format=kind)
    return content.getvalue()


def plot_suffix(suffix: str) -> str:
    """The kind of image that a file's suffix asks for, as `png`. Raises OutputError for others than `PLOT_SUFFIXES`."""
    if suffix.lower() not in PLOT_SUFFIXES:
        raise OutputError(f"plot must end in {', '.join(PLOT_SUFFIXES)}, not {suffix!r}")
    return suffix.lower()[1:]


def short_name(name: str) -> str:
    """A layer's name as a label: no longer than fits, without what cannot be printed."""
    name = "".join(c if c.isprintable() else "?" for c in name)
    return name if len(name) <= NAME_LENGTH else "…" + name[1 - NAME_LENGTH:]
