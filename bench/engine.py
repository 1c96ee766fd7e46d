"""Command: every convolution of a network on the simulated engine, against golden beat by beat; utilisation and speed.

Each layer runs alone, its input whole in an activation memory enlarged for that, from the offer of its first command to its
last write; weights beyond the first phases are loaded while it runs. A convolution of the image begins with its pixels, which the
gather makes into words beside it.
"""
import argparse
from dataclasses import dataclass, replace
from pathlib import Path
import sys
import time

import numpy as np
from rich.table import Table

from arch.geometry import PRESETS, Geometry
from cli import Parser, print_notes, progress, run_command, terminal, waiting, write_json
from compiler.layer import LayerError
from compiler.lowering.needs import needed
from golden import values
from golden.cycles.gather_port import gather_timeline
from nets.int8.network import QNetwork
from nets.network import add_network_arguments, network_from_arguments
from nets.preprocess import load_image
from nets.quantise import synthetic_images
from sim.cases import Case, cases_of
from sim.engine import EngineBench, gather_mismatches, mismatches, predicted
from sim.expected import Expected, pack_columns

__all__ = ["Measure", "get_parser", "main", "measure"]

MOST_WORDS = 32768          # of activation memory: a layer's whole input, which the chip holds in bands


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One layer on the engine. `cycles` from the offer of the first command to the last write, both included; `utilisation` of
    PI x PO multipliers in that time; `wrong` and `late` count beats that differ from golden in value and cycle."""

    name: str
    shape: tuple[int, int, int]
    macs: int
    commands: int
    cycles: int
    predicted_cycles: int
    utilisation: float
    beats: int
    wrong: int
    late: int
    model_seconds: float
    cycles_per_second: float


def measure(bench: EngineBench, case: Case, *, read_grant: np.ndarray | None = None,
            write_grant: np.ndarray | None = None) -> Measure:
    """Runs a layer and compares it. Raises LayerError if it does not fit, SimulationError if it does not end."""
    geometry = bench.geometry
    plan, target, memory = case.place(geometry)
    words, commands, pixels = memory[:target.base], [], None
    if case.raster:
        commands, pixels = case.gather(geometry, plan)
        memory = np.zeros_like(memory)
    run = bench.run(plan, memory, read_grant=read_grant, write_grant=write_grant, gather=commands, pixels=pixels,
                    follow=bool(commands))
    expected = Expected(geometry, plan, case, target)
    started = time.perf_counter()
    line = predicted(geometry, plan, run.offered, read_grant=read_grant, write_grant=write_grant)
    seconds = time.perf_counter() - started
    counts = mismatches(run.beats, line, expected)
    if commands:
        first = [np.zeros(len(offers), np.int64) for offers in (commands, pixels)]
        gather = gather_timeline(geometry, commands, *first, line.written)
        address = np.arange(len(words)), (geometry.activation_words - 1).bit_length()
        counts |= gather_mismatches(run.beats, gather, pack_columns(address, (words, 0)))
    cycles = int(run.beats["written"].cycle[-1]) + 1
    return Measure(name=case.name, shape=case.shape, macs=plan.macs, commands=len(plan.commands), cycles=cycles,
                   predicted_cycles=int(line.written[-1]) + 1, utilisation=plan.macs / (geometry.macs * cycles),
                   beats=sum(beats for beats, _, _ in counts.values()), wrong=sum(wrong for _, wrong, _ in counts.values()),
                   late=sum(late for _, _, late in counts.values()), model_seconds=seconds,
                   cycles_per_second=run.simulated / run.seconds)


def table_of(measures: list[Measure], geometry: Geometry) -> Table:
    """The figures of all layers and their sum."""
    table = Table(title=f"engine {geometry.input_lanes}x{geometry.output_lanes}, RTL against golden")
    for column in ("layer", "output", "MACs", "commands", "cycles", "predicted", "utilisation", "beats", "wrong", "late",
                   "model s", "cycles/s"):
        table.add_column(column, justify="left" if column in ("layer", "output") else "right")
    for m in measures:
        table.add_row(m.name, "x".join(map(str, m.shape)), f"{m.macs:,}", str(m.commands), f"{m.cycles:,}",
                      f"{m.predicted_cycles:,}", f"{m.utilisation:.1%}", f"{m.beats:,}", str(m.wrong), str(m.late),
                      f"{m.model_seconds:.2f}", f"{m.cycles_per_second:,.0f}")
    macs, cycles = sum(m.macs for m in measures), sum(m.cycles for m in measures)
    if len(measures) > 1:
        table.add_section()
        table.add_row("all", "", f"{macs:,}", str(sum(m.commands for m in measures)), f"{cycles:,}",
                      f"{sum(m.predicted_cycles for m in measures):,}", f"{macs / (geometry.macs * cycles):.1%}",
                      f"{sum(m.beats for m in measures):,}", str(sum(m.wrong for m in measures)),
                      str(sum(m.late for m in measures)), f"{sum(m.model_seconds for m in measures):.2f}", "")
    return table


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.engine", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add_network_arguments(parser, default="squeezenet1_1")
    parser.add_argument("--image", type=Path, metavar="I", help="the picture (without one, noise)")
    parser.add_argument("--preset", choices=PRESETS, default="85f", help="geometry (%(default)s)")
    parser.add_argument("--layers", nargs="+", metavar="NAME", help="only layers whose names contain one of these")
    parser.add_argument("--stalls", type=int, metavar="SEED", help="withhold grants at random, half of the cycles")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser


def input_of(network: QNetwork, image: Path | None) -> np.ndarray:
    """The quantised input tensor of a picture, or of noise."""
    pixels = load_image(image, network.spec) if image else synthetic_images(network.spec, count=1)[0]
    return network.quantise_input(network.spec.normalise(pixels))


def run(args: argparse.Namespace) -> int:
    network = network_from_arguments(args)
    print_notes(network.notes)
    tensors = values.run(network, input_of(network, args.image), keep=network.by_name)
    cases = [case for case in cases_of(network, tensors)
             if not args.layers or any(part in case.name for part in args.layers)]
    if not cases:
        raise LayerError(f"--layers must name a convolution of {network.name}, not {' '.join(args.layers or ['nothing'])}")
    geometry = replace(PRESETS[args.preset], activation_words=MOST_WORDS)
    geometry = geometry.with_options(needed(network, geometry))
    grants = {}
    if args.stalls is not None:
        rng = np.random.default_rng(args.stalls)
        grants = {name: np.append(rng.random(997) < .5, True) for name in ("read_grant", "write_grant")}
    with waiting("compiling the engine"):
        bench = EngineBench(geometry)
    measures = []
    for case in progress(cases, "convolutions"):
        measures.append(measure(bench, case, **grants))
    terminal().print(table_of(measures, geometry))
    if args.json:
        lanes = [geometry.input_lanes, geometry.output_lanes]
        write_json(args.json, {"model": network.name, "preset": args.preset, "lanes": lanes, "stalls": args.stalls,
                               "layers": [vars(m) for m in measures]})
    return int(any(m.wrong or m.late for m in measures))


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
