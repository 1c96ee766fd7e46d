"""Command: random whole networks through compiler and machine, against golden and against the predicted cycles, by the hundred.

Networks have 2 to 12 layers with branches and odd sizes, on engines so small that most of them run in bands and many spill.
Each is executed in NumPy, which finds most mistakes of a compiler in milliseconds; with --rtl also on the RTL.
"""
import argparse
from collections import Counter
from pathlib import Path
import sys

from arch.geometry import Geometry
from arch.program import Program
from boards import find
from cli import Parser, needs_extra, run_command, terminal, write_json
from compiler.build import compile_network
from compiler.stages import NetworkError
from compiler.target import add_units_argument
from golden import compare, values
from golden.consistency import check_program
from golden.machine import execute
from nets.int8.network import QNetwork
from sim.frame import FrameBench, predict
from sim.run import check_frame
from sim.verilog.export import SimulationError

__all__ = ["Sweep", "get_parser", "main"]

GEOMETRIES = (Geometry(input_lanes=8, output_lanes=4, activation_words=512, weight_words=512, band_pixels=64),
              Geometry(input_lanes=4, output_lanes=4, activation_words=512, weight_words=1024, band_pixels=64),
              Geometry(input_lanes=16, output_lanes=4, activation_words=1024, weight_words=512, band_pixels=128))
BOARD = "ulx3s"


class Sweep:
    """Runs networks one after the other and counts what they were; `units`: optional units of the engines; `rtl`: on the RTL of
    the first geometry too."""

    def __init__(self, *, rtl: bool, units: tuple[str, ...] = ()):
        self.counts: Counter[str] = Counter()
        self.geometries = [geometry.with_options(units) for geometry in GEOMETRIES]
        self.bench = None
        if rtl:
            self.bench = FrameBench(self.geometries[0], timing=find(BOARD).timing, words=find(BOARD).storage_words)

    def check(self, network: QNetwork, q) -> None:
        """Raises AssertionError, with the network's layers, for the first difference."""
        try:
            self._check(network, q)
        except Exception as error:
            from tests.sim.networks import describe
            error.add_note(describe(network))
            raise

    def _check(self, network: QNetwork, q) -> None:
        tensors = values.run(network, q, keep=network.by_name)
        self.counts["networks"] += 1
        for geometry in self.geometries:
            try:
                program = compile_network(network, geometry).program
            except NetworkError:
                self.counts["refused"] += 1
                continue
            check_program(program)
            result = execute(program, q)
            wrong = sum(compare.mismatches(network, tensors, program, result.written))
            assert not wrong, f"{wrong} elements differ from golden"
            assert (compare.final_output(network, program, result.output) == tensors[network.output]).all(), "the output differs"
            self.counts["programs"] += 1
            self.counts["commands"] += len(program.parts)
            self.counts["that spill"] += program.store_words > program.output.words
            if self.bench and geometry is self.geometries[0]:
                self._run(network, program, q)

    def _run(self, network: QNetwork, program: Program, q) -> None:
        self.bench.load(program)
        checked = check_frame(network, program, q, self.bench.run(q))
        foretold = predict(program, timing=find(BOARD).timing, words=find(BOARD).storage_words, start=checked.frame.start)
        late = sum(foretold.late(checked.frame).values())
        assert not checked.mismatches, f"{checked.mismatches} elements differ from golden on the RTL"
        assert not late and foretold.cycles == checked.frame.cycles, (
            f"{late} commands in another cycle than predicted; {checked.frame.cycles} cycles, not {foretold.cycles}")
        self.counts["frames"] += 1
        self.counts["cycles"] += checked.frame.cycles


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.random_networks", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, metavar="N", help="networks (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the networks (%(default)s)")
    parser.add_argument("--layers", type=int, default=12, metavar="N", help="of a network at most, about (%(default)s)")
    add_units_argument(parser, "optional units of the engines, for which networks have layers")
    parser.add_argument("--rtl", action="store_true", help="run them on the RTL too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the counts as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    if args.count < 1 or args.layers < 2:
        raise ValueError("count must be 1 or more and layers 2 or more")
    needs_extra("hypothesis", "test", "drawing networks")
    needs_extra("tests.sim.networks", "test", "drawing networks")       # the source tree has them
    from hypothesis import HealthCheck, Phase, given, seed, settings

    from tests.sim.networks import networks
    sweep = Sweep(rtl=args.rtl, units=args.units)

    @seed(args.seed)
    @settings(max_examples=args.count, deadline=None, database=None, phases=[Phase.generate], report_multiple_bugs=False,
              suppress_health_check=list(HealthCheck))
    @given(networks(layers=args.layers, units=args.units))
    def sweep_all(drawn):
        sweep.check(*drawn)
    failure = None
    try:
        sweep_all()
    except (AssertionError, ValueError, SimulationError) as error:
        failure = f"{type(error).__name__}: {error}"
        notes = [note for note in getattr(error, "__notes__", ()) if " of " in note]
        print(f"error: {failure}\n" + "\n".join(notes[:1]), file=sys.stderr)
    terminal().print(", ".join(f"{count:,} {what}" for what, count in sweep.counts.items()), soft_wrap=True)
    if args.json:
        write_json(args.json, {"seed": args.seed, "units": args.units, **sweep.counts, "failure": failure})
    return int(failure is not None)


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv), ValueError)


if __name__ == "__main__":
    sys.exit(main())
