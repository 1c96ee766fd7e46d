"""Compile a network for a board: a program and memory images in one file (.flp)."""
import argparse
from pathlib import Path
import sys

from cli import OutputError, Parser, print_notes, run_command, terminal, write_json
from compiler import explain
from compiler.build import Compiled, compile_network
from compiler.figures import figures
from compiler.program_file import SEAL, save
from compiler.stages import NetworkError
from compiler.target import Target, add_target_arguments, target_from_arguments
from nets.int8.network import QNetwork
from nets.network import add_network_arguments, network_from_arguments

__all__ = ["get_parser", "main"]

def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m compiler.compile", description=__doc__)
    add_network_arguments(parser)
    add_target_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the program (<network>-<board>.flp)")
    parser.add_argument("--explain", action="store_true",
                        help="also print schedule, memories over time, storage and predicted cycles of each layer")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw schedule and activation memory (.png, .svg)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what --explain shows as JSON")
    return parser


def run(args: argparse.Namespace) -> int | None:
    if args.plot and args.plot.suffix.lower() not in explain.PLOTS:
        raise OutputError(f"{args.plot}: a picture must end in {' or '.join(explain.PLOTS)}")
    target = target_from_arguments(args)
    network = network_from_arguments(args)
    target = target.serving(network)
    out = args.out or SEAL.named(f"{network.name}-{target.name}")
    SEAL.check_output(out)
    try:
        compiled = compile_network(network, target.geometry, storage_words=target.storage_words, timing=target.timing)
    except NetworkError as error:
        for problem in error.problems:
            print(f"error: {network.name} on {target.title}: {problem}", file=sys.stderr)
        return 2
    save(compiled.program, out)
    print_notes(network.notes)
    if args.explain or args.plot or args.json:
        _explain(args, compiled, network, target)
    print(out)
    return None


def _explain(args: argparse.Namespace, compiled: Compiled, network: QNetwork, target: Target) -> None:
    found = figures(compiled, network, target.timing, target.storage_words)
    record = explain.record(compiled, found)
    if args.explain:
        explain.show(terminal(), compiled, record)
    if args.json:
        write_json(args.json, record)
    if args.plot:
        explain.plot(args.plot, compiled, found)


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv), ValueError)


if __name__ == "__main__":
    sys.exit(main())
