"""Every network of the zoo on every board: cycles, bounds, frames/s, and what compiling takes. Resumable.

    python -m bench.zoo --board ulx3s --page docs/zoo.md --plot docs/zoo.png

Networks are compiled in processes of their own, and cycles are predicted, which is what the RTL takes. What has been found out is
kept in --build and used again until our sources change. --only measures a few networks, which may be any name of the zoo with
options, or a file.
"""
import argparse
from collections.abc import Iterable
from pathlib import Path
import sys

from rich.progress import BarColumn, MofNCompleteColumn

from bench import light
from bench.survey.charts import survey
from bench.survey.measure import MAIN, measure, slug
from bench.survey.published import TOP1
from bench.survey.tables import command_of, page, row, terminal_tables
from boards import BOARDS, find
from cli import Parser, RequestError, WorkError, meter, print_error, print_notes, run_command, terminal, write_bytes, write_json
from nets.plot import plot_suffix
from nets.zoo.catalogue import NAMES, blank

__all__ = ["NETWORKS", "get_parser", "main"]

# All names with their usual options, points of them that are often met, and the light files of the onnx package.
NETWORKS = (*NAMES, "mobilenet_v1:width=0.25,size=128", "resnet110_stochastic:shortcut=pad", "googlenet_bn:transform_input=1",
            "lenet5:size=28", *light.NAMES)


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.zoo", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", help="this network; may be given again (all of the zoo)")
    parser.add_argument("--board", action="append", metavar="B",
                        help=f"this board, and {MAIN}; may be given again (all of {', '.join(BOARDS)})")
    parser.add_argument("--build", type=Path, default=Path("build/zoo"), metavar="DIR", help="what is kept (%(default)s)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables as a page, FILE.md")
    parser.add_argument("--plot", type=Path, metavar="FILE",
                        help="draw published top-1 over multiply-accumulates, with parameters and frames/s (png, svg or pdf)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all records as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    if args.plot:
        plot_suffix(args.plot.suffix)           # before hours of work
    names = args.only or NETWORKS
    if args.plot and not any(name in TOP1 for name in names):
        raise RequestError(f"--plot: no accuracy is published of {', '.join(names)}, which the chart would show")
    chosen = _checked(args.board or BOARDS, names) | {MAIN}
    boards = [board for name, board in BOARDS.items() if name in chosen]
    records, failed = [], 0
    with meter(BarColumn(), MofNCompleteColumn()) as shown:
        task = shown.add_task("networks", total=len(names))
        for name in names:
            try:
                model = light.file_of(name, args.build / slug(name)) if name in light.NAMES else None
                records.append(measure(name, args.build, boards, _teller(shown, task, name), model))
            except (RequestError, WorkError) as error:      # the others go on
                print_error(f"{name}: {error}")
                failed += 1
            shown.advance(task)
    rows = [row(record, MAIN) for record in records]
    if args.json:
        write_json(args.json, {"board": MAIN, "networks": records, "rows": rows})
    if args.plot:
        write_bytes(args.plot, survey(rows, args.plot.suffix))
    if args.page:
        picture = args.plot.name if args.plot and args.plot.parent == args.page.parent else ""
        text = page(rows, MAIN, float(find(MAIN).pll.clock_mhz), command_of("bench.zoo", args), picture)
        write_bytes(args.page, text.encode())
    asked = [board.name for board in boards if args.board and board.name != MAIN]
    for table in terminal_tables(rows, MAIN, asked):
        terminal().print(table)
    print_notes(f"{record['network']} on {name}: {reason}" for record in records for name in asked
                for reason in record["boards"][name].get("refused", ()))
    return int(failed > 0)


def _checked(boards: Iterable[str], names: Iterable[str]) -> set[str]:
    """The names of boards. Raises RequestError with all boards and networks that there are not, before hours of work."""
    known = [name for name in names if name not in light.NAMES and not Path(name).is_file() and name != "digits"]
    chosen, problems = set(), []
    for check, name in [*((find, name) for name in boards), *((blank, name) for name in known)]:
        try:
            found = check(name)
        except ValueError as error:
            problems.append(str(error))
        else:
            chosen |= {found.name} if check is find else set()
    if problems:
        raise RequestError("; ".join(problems))
    return chosen


def _teller(shown, task, name: str):
    return lambda what: shown.update(task, description=f"{name}: {what}")


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv), ValueError)


if __name__ == "__main__":
    sys.exit(main())
