"""SqueezeNet's design space as the paper plots it (figure 3 of arXiv:1602.07360), with what a board makes of it. Resumable.

    python -m bench.metaparameters --page docs/metaparameters.md --plot docs/metaparameters.png

Model size, cycles and frames/s of version 1.0 over the squeeze ratio, with half of the filters 3x3, and over the share of 3x3
filters, with a squeeze ratio of 0.5; beside them the accuracies that the paper's text gives. Each network is compiled in a
process of its own, and what has been found out is kept in --build until our sources change.
"""
import argparse
from pathlib import Path
import sys

from rich.progress import BarColumn, MofNCompleteColumn
from rich.table import Table

from bench.survey.charts import design_space
from bench.survey.measure import MAIN, measure
from bench.survey.published import DESIGN_SPACE
from bench.survey.tables import command_of, markdown
from boards import find
from cli import Parser, meter, run_command, terminal, write_bytes, write_json
from nets.plot import plot_suffix

__all__ = ["SERIES", "get_parser", "main"]

RATIOS = tuple(n / 8 for n in range(1, 9))
SHARES = (0.01, *(n / 8 for n in range(1, 8)), 0.99)
# What varies, and the points: squeeze ratio and share of 3x3 filters.
SERIES = {"sr": tuple((ratio, 0.5) for ratio in RATIOS), "pct3x3": tuple((0.5, share) for share in SHARES)}
TITLES = {"sr": "squeeze ratio", "pct3x3": "share of 3x3 filters"}


def _point(sr: float, pct3x3: float, build: Path, told) -> dict:
    """One network: its metaparameters, size, figures on the board, and the paper's accuracy if it gives one."""
    record = measure(f"squeezenet:sr={sr:g},pct3x3={pct3x3:g}", build, [find(MAIN)], told)
    board = record["boards"][MAIN]
    top5 = next((point.top5 for point in DESIGN_SPACE if (point.sr, point.pct3x3) == (sr, pct3x3)), None)
    return {"sr": sr, "pct3x3": pct3x3, "parameters": record["parameters"], "megabytes": 4 * record["parameters"] / 1e6,
            "macs": record["macs"], "cycles": board.get("cycles"), "frames_per_s": board.get("frames_per_s"), "top5": top5,
            "refused": board.get("refused", [])}


def _cells(what: str, point: dict) -> list[str]:
    top5 = "" if point["top5"] is None else f"{point['top5']:.1f} %"
    speed = ["refused", ""] if point["cycles"] is None else [f"{point['cycles'] / 1e6:.2f}", f"{point['frames_per_s']:.1f}"]
    return [f"{point[what]:g}", f"{point['megabytes']:.1f}", f"{point['macs'] / 1e6:,.0f}", *speed, top5]


def _headings(what: str) -> list[str]:
    return [TITLES[what], "MB", "MMAC", "Mcycles", "frames/s", "top-5"]


def _page(series: dict[str, list[dict]], command: str, picture: str) -> str:
    chart = [f"![Size, cycles, frames/s and accuracy over both metaparameters]({picture})", ""] if picture else []
    tables = [text for what, points in series.items() for text in (
        f"## Over the {TITLES[what]}", "", markdown(_headings(what), (_cells(what, point) for point in points)))]
    return "\n".join([
        "# SqueezeNet's design space", "",
        f"Made by `{command}`.", "",
        "Figure 3 of [arXiv:1602.07360](https://arxiv.org/abs/1602.07360), with predicted cycles and frames/s on",
        f"{MAIN}. The networks are version 1.0 (`squeezenet:sr=...,pct3x3=...`); megabytes are those of float32",
        "weights, as in the paper, four times what the board stores. Top-5 is what the paper says in sections 5.2 and 5.3 of",
        "networks that its authors trained; of the points without one it says that a squeeze ratio above 0.75, and more than",
        "half of the filters 3x3, gain nothing.", "", *chart, *tables])


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.metaparameters", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="SR,PCT3X3", type=_metaparameters,
                        help="this point, as 0.125,0.5; may be given again (all)")
    parser.add_argument("--build", type=Path, default=Path("build/zoo"), metavar="DIR", help="what is kept (%(default)s)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables as a page, FILE.md")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them (png, svg or pdf)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the points as JSON")
    return parser


def _metaparameters(text: str) -> tuple[float, float]:
    try:
        sr, pct3x3 = map(float, text.split(","))
    except ValueError:
        sr = pct3x3 = 0.0
    if not any((sr, pct3x3) in points for points in SERIES.values()):
        raise argparse.ArgumentTypeError(f"must be a point of a series, such as 0.125,0.5 or 0.5,0.99, not {text!r}")
    return sr, pct3x3


def run(args: argparse.Namespace) -> None:
    if args.plot:
        plot_suffix(args.plot.suffix)           # before all the work
    wanted = {what: [point for point in points if not args.only or point in args.only] for what, points in SERIES.items()}
    series: dict[str, list[dict]] = {}
    with meter(BarColumn(), MofNCompleteColumn()) as shown:
        task = shown.add_task("networks", total=sum(map(len, wanted.values())))
        for what, points in wanted.items():
            series[what] = []
            for sr, pct3x3 in points:
                shown.update(task, description=f"squeeze ratio {sr:g}, {pct3x3:.0%} of the filters 3x3")
                series[what].append(_point(sr, pct3x3, args.build, lambda text: None))
                shown.advance(task)
    if args.json:
        write_json(args.json, {"board": MAIN, "series": series})
    if args.plot:
        write_bytes(args.plot, design_space(series, args.plot.suffix))
    if args.page:
        picture = args.plot.name if args.plot and args.plot.parent == args.page.parent else ""
        write_bytes(args.page, _page(series, command_of("bench.metaparameters", args), picture).encode())
    for what, points in series.items():
        table = Table(title=f"over the {TITLES[what]}")
        for heading in _headings(what):
            table.add_column(heading, justify="right")
        for point in points:
            table.add_row(*_cells(what, point))
        terminal().print(table)


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
