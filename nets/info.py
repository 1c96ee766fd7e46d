"""The layers of a network, float or quantised, with shapes, parameters and multiply-accumulates (MACs)."""
import argparse
from pathlib import Path
import sys

from rich.table import Table
from rich.text import Text

from cli import Parser, print_notes, run_command, terminal, write_bytes, write_json
from nets.graph import Graph
from nets.int8.network import QNetwork
from nets.load import add_model_arguments, model_from_arguments
from nets.network import quantised_file_of
from nets.plot import plot_costs
from nets.zoo import catalogue as zoo

__all__ = ["get_parser", "main", "record", "table"]


def record(graph: Graph | QNetwork) -> dict:
    """What `--json` writes: `parameters` and `macs` of the network and of each of its `layers`."""
    return {
        "model": graph.name,
        "parameters": graph.parameters,
        "macs": graph.total_macs,
        "notes": list(graph.notes),
        "layers": [{"name": layer.name, "op": layer.op, "shape": list(graph.shapes[layer.name]),
                    "parameters": layer.parameters, "macs": graph.macs(layer)}
                   for layer in graph.layers],
    }


def table(graph: Graph | QNetwork) -> Table:
    """The layers as a table, with totals."""
    grid = Table(title=Text(graph.name), show_footer=True)
    grid.add_column("layer", "total", overflow="fold")
    grid.add_column("op", "", no_wrap=True)
    grid.add_column("output", "", no_wrap=True, justify="right")
    grid.add_column("parameters", f"{graph.parameters:,}", no_wrap=True, justify="right")
    grid.add_column("MACs", f"{graph.total_macs:,}", no_wrap=True, justify="right")
    for layer in graph.layers:
        grid.add_row(Text(layer.name), layer.op, "x".join(map(str, graph.shapes[layer.name])),
                     *(f"{count:,}" if count else "" for count in
                       (layer.parameters, graph.macs(layer))))
    return grid


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m nets.info", description=__doc__)
    add_model_arguments(parser)
    zoo.add_family_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE",
                        help="also draw MACs and parameters per layer (png, svg or pdf, by suffix)")
    return parser


def run(args: argparse.Namespace) -> None:
    args.model = zoo.with_family_arguments(args.model, args)
    found = quantised_file_of(args)
    graph = model_from_arguments(args).graph if found is None else found
    if args.plot:           # files first: where one cannot be written, the message stands alone
        write_bytes(args.plot, plot_costs(graph, args.plot.suffix))
    if args.json:
        write_json(args.json, record(graph))
    print_notes(graph.notes)
    terminal().print(table(graph))


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
