"""A drawing of what the queues did in a frame."""
import io

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter
import numpy as np

from arch.instruction import QUEUES
from arch.program import Program
from cli import OutputError
from golden.account import program_beats, served_layers
from nets.plot import PLOT_SUFFIXES
from sim.frame import Frame

__all__ = ["plot_timeline"]

COLOURS = [*colormaps["tab20"].colors[::2], *colormaps["tab20"].colors[1::2]]
LEGEND = 20             # entries at most: later layers share the last one's
POINTS = 1200           # of the curve of storage traffic


def _group(layer: str) -> str:
    """Layers of a module share a colour: "fire2/expand1x1" and "fire2/squeeze1x1"."""
    return layer.split("/")[0]


def plot_timeline(program: Program, frame: Frame, suffix: str) -> bytes:
    """An image: a lane for each queue with its commands, coloured by the layer that they are for; below, how much of the time the
    array multiplies and storage moves words. `suffix`: one of `PLOT_SUFFIXES`. Raises OutputError."""
    if suffix.lower() not in PLOT_SUFFIXES:
        raise OutputError(f"plot must end in {', '.join(PLOT_SUFFIXES)}, not {suffix!r}")
    layers = served_layers(program)
    groups = list(dict.fromkeys(_group(part.layer) for part in program.parts))
    shown = [*groups[:LEGEND - 1], "later layers"] if len(groups) > LEGEND else groups
    colour = {name: COLOURS[min(n, LEGEND - 1)] for n, name in enumerate(groups)}
    figure = Figure(figsize=(15, 6.5), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    lanes, shares = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for place, queue in enumerate(QUEUES):
        done = frame.done[queue]
        before = np.concatenate([np.zeros(1, np.int64), done[:-1]])
        begin = np.maximum(frame.taken[queue], np.minimum(before, done))
        for name in groups:
            mine = np.array([_group(layer) == name for layer in layers[queue]], bool)
            spans = np.stack([begin[mine], np.maximum(done[mine] - begin[mine], 1)], axis=1)
            if len(spans):
                lanes.broken_barh(spans, (place - 0.4, 0.8), facecolor=colour[name], edgecolor="white", linewidth=0.2)
    counts = [len(frame.done[queue]) for queue in QUEUES]
    lanes.set_yticks(range(len(QUEUES)), [f"{queue}\n{count}" for queue, count in zip(QUEUES, counts, strict=True)])
    lanes.invert_yaxis()
    lanes.set_xlim(0, frame.cycles)
    lanes.set_title(f"{program.name}: {frame.cycles:,} cycles")
    lanes.grid(axis="x", linewidth=0.5, alpha=0.5)
    lanes.legend(handles=[Patch(color=COLOURS[min(n, LEGEND - 1)], label=name) for n, name in enumerate(shown)],
                 loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, title="layer")
    _shares(shares, program, frame)
    picture = io.BytesIO()
    figure.savefig(picture, format=suffix[1:].lower())
    return picture.getvalue()


def _shares(axes, program: Program, frame: Frame) -> None:
    """Curves of how busy array and storage are, over stretches of time."""
    width = max(frame.cycles // POINTS, 200)
    edges = np.arange(0, frame.cycles + width, width)
    done = frame.done["compute"]
    beats = np.array(program_beats(program), np.int64)
    if len(done):
        # A command's beats are the cycles before its end.
        array = _spread(edges, np.maximum(done - beats, 0), done)
        axes.plot(edges[:-1], np.minimum(array / width, 1), label="array", linewidth=0.8, color="C0")
    moved = np.histogram(frame.requests.cycle, edges, weights=frame.requests.words)[0]
    axes.plot(edges[:-1], np.minimum(moved / width, 1), label="storage", linewidth=0.8, color="C1")
    axes.set_ylim(0, 1.05)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("cycles")
    axes.set_ylabel("busy")
    axes.grid(linewidth=0.5, alpha=0.5)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


def _spread(edges: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Cycles of the spans start..stop that fall between each two edges."""
    def before(points: np.ndarray) -> np.ndarray:
        return np.maximum(edges[:, None] - points, 0).sum(axis=1)
    return np.diff(before(start) - before(stop))
