"""What rounding loses, layer by layer, as a table, as a record and as a drawing."""
from collections.abc import Sequence
from dataclasses import asdict
import io

from rich.table import Table
from rich.text import Text

from nets.int8.losses import BIT_DB, worst
from nets.int8.network import Loss
from nets.plot import DPI, HEAD_INCHES, HEIGHT_INCHES, ROW_INCHES, plot_suffix, short_name

__all__ = ["LISTED", "loss_records", "loss_table", "plot_losses"]

LISTED = 8              # layers that a table shows


def loss_records(losses: Sequence[Loss]) -> list[dict]:
    """For `--json`: of each layer in execution order `layer`, `op`, `snr`, `source` and `lost`, in dB."""
    return [asdict(loss) | {"lost": round(loss.lost, 2)} for loss in losses]


def loss_table(losses: Sequence[Loss]) -> Table:
    """The layers that lose most, and what is left at the end."""
    grid = Table(title="layers that lose most: signal to noise, dB")
    grid.add_column("layer", overflow="fold")
    for column in ("op", "inputs", "output", "lost", "bits"):
        grid.add_column(column, justify="left" if column == "op" else "right", no_wrap=True)
    for loss in worst(losses, LISTED):
        grid.add_row(Text(loss.layer), loss.op, f"{loss.source:.1f}", f"{loss.snr:.1f}", f"{loss.lost:.1f}",
                     f"{loss.lost / BIT_DB:.1f}")
    grid.add_section()
    grid.add_row(Text(losses[-1].layer), "scores", "", f"{losses[-1].snr:.1f}", "", "")
    return grid


def plot_losses(name: str, losses: Sequence[Loss], suffix: str) -> bytes:
    """An image of signal to noise per layer: horizontal bars, the first layer on top, those that lose most in another colour.

    `suffix`: one of `nets.plot.PLOT_SUFFIXES`. Raises OutputError.
    """
    # Not above: what draws nothing need not wait for it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = plot_suffix(suffix)
    figure = Figure(figsize=(8, min(HEAD_INCHES + ROW_INCHES * len(losses), HEIGHT_INCHES)), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    axes, rows, marked = figure.subplots(), range(len(losses)), worst(losses, LISTED)
    for what, colour in (("layers that lose most", "C3"), ("other layers", "C0")):
        chosen = [row for row in rows if (losses[row] in marked) == (colour == "C3")]
        axes.barh(chosen, [losses[row].snr for row in chosen], height=0.75, color=colour, label=what)
    axes.set_yticks(rows, [short_name(loss.layer) for loss in losses], fontsize=8, parse_math=False)
    axes.set_ylim(len(losses) - 0.4, -0.6)
    axes.set_xlabel("signal to noise, dB (6 dB are a bit)")
    axes.grid(axis="x", linewidth=0.5, alpha=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower right", ncols=2, fontsize=8, frameon=False)
    figure.suptitle(f"{short_name(name)}: integers against floats", parse_math=False)
    content = io.BytesIO()
    figure.savefig(content, format=kind)
    return content.getvalue()
