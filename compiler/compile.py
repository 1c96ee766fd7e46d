"""Compile a network for a board: a program and memory images in one file (.flp)."""
import argparse
from dataclasses import dataclass, replace
from pathlib import Path
import re
import sys

from arch.geometry import PRESETS, Geometry
from arch.sdram import Timing
from boards import BOARDS, find
from cli import OutputError, print_notes, run_command, terminal, write_json
from compiler import explain
from compiler.build import STORAGE_WORDS, Compiled, compile_network
from compiler.figures import figures
from compiler.program_file import SUFFIX, ProgramFileError, load, save
from compiler.stages import NetworkError
from nets.int8.network import QNetwork
from nets.network import add_network_arguments, network_from_arguments

__all__ = ["Target", "get_parser", "main", "target_of"]

USUAL = "ulx3s"         # the board whose SDRAM an engine without a board has


@dataclass(frozen=True)
class Target:
    """What a program is made for. `storage_words` words of 16 bits; `timing` of the SDRAM, None for block RAM."""

    name: str
    geometry: Geometry
    storage_words: int
    timing: Timing | None = None


def target_of(board: str, geometry: Path | None = None) -> Target:
    """The board of this name, or for the name of a preset an engine with the usual SDRAM of 32 MB; with another engine if a file
    names one.

    Raises ValueError for an unknown name, OutputError for a file that holds no geometry.
    """
    if board in PRESETS:
        target = Target(board, PRESETS[board], STORAGE_WORDS, find(USUAL).timing)
    else:
        try:
            found = find(board)
        except ValueError as error:
            raise ValueError(f"{error}; or an engine of {', '.join(PRESETS)}") from None
        target = Target(found.name, found.geometry, found.storage_words, found.timing)
    if geometry is None:
        return target
    try:
        return replace(target, geometry=Geometry.from_json(geometry.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(f"{geometry}: {getattr(error, 'strerror', None) or error}") from None


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m compiler.compile", description=__doc__)
    add_network_arguments(parser)
    parser.add_argument("--board", default="ulx3s", metavar="B",
                        help=f"board or engine: {', '.join([*BOARDS, *PRESETS])} (%(default)s)")
    parser.add_argument("--geometry", type=Path, metavar="FILE", help="another engine than the board's, as JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the program (<network>-<board>.flp)")
    parser.add_argument("--explain", action="store_true",
                        help="also print schedule, memories over time, storage and predicted cycles of each layer")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw schedule and activation memory (.png, .svg)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what --explain shows as JSON")
    return parser


def run(args: argparse.Namespace) -> int | None:
    if args.plot and args.plot.suffix.lower() not in explain.PLOTS:
        raise OutputError(f"{args.plot}: a picture must end in {' or '.join(explain.PLOTS)}")
    target = target_of(args.board, args.geometry)
    network = network_from_arguments(args)
    out = _output(args.out or Path(re.sub(r"[^\w.-]", "_", f"{network.name}-{target.name}") + SUFFIX))
    try:
        compiled = compile_network(network, target.geometry, storage_words=target.storage_words)
    except NetworkError as error:
        for problem in error.problems:
            print(f"error: {network.name} on {target.name}: {problem}", file=sys.stderr)
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


def _output(path: Path) -> Path:
    """The file to write. Raises ProgramFileError if it is there and holds something else, so that nothing is lost by surprise."""
    if path.suffix != SUFFIX:
        raise ProgramFileError(f"{path}: a program must end in {SUFFIX}")
    if path.is_file() and path.stat().st_size:
        try:
            load(path)
        except ProgramFileError as error:
            if "is no program" in str(error):
                raise ProgramFileError(f"{path}: is there already and holds no program: remove it first") from None
    return path


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv), ValueError)


if __name__ == "__main__":
    sys.exit(main())
