"""Synthesise and route an engine, several seeds, and report its clock, its size and what limits it."""

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
import sys
from threading import Event

from amaranth.lib import wiring
from rich.table import Table

from arch.geometry import PRESETS, Geometry
from bench.flow import DEVICES, place_and_route, synthesise
from bench.harness import Harness
from bench.heatmap import picture
from cli import Parser, meter, positive, run_command, terminal, write_json
from hw.tools.flow import Routed
from hw.tools.toolchain import ToolError

__all__ = ["CORES", "build", "get_parser", "main", "measure"]


def _array(geometry: Geometry) -> wiring.Component:
    from hw.engine.mac_array import MacArray
    return MacArray(lanes=geometry.input_lanes, columns=geometry.output_lanes, depth=geometry.band_pixels,
                    lut_pairs=geometry.lut_pairs)


def _engine(geometry: Geometry) -> wiring.Component:
    from hw.engine.engine import Engine
    return Engine(geometry)


CORES = {"engine": _engine, "array": _array}

# A 12F is a 25F in another package label; nextpnr and the open bitstream tools treat them alike.
_DEVICE_OF = {preset: preset if preset in DEVICES else "25f" for preset in PRESETS}


def build(core: str, preset: str, directory: Path) -> Path:
    """Netlist of a core for a preset, in `directory`. Raises ToolError if it does not synthesise."""
    return synthesise(Harness(CORES[core](PRESETS[preset])), directory, _DEVICE_OF[preset])


def measure(netlist: Path, preset: str, *, seeds: int, jobs: int, freq_mhz: float, stop_after: float | None = None,
            heatmap: Path | None = None, started: Callable[[int], None] = lambda seed: None,
            ended: Callable[[int, "Routed | ToolError"], None] = lambda seed, result: None) -> list[Routed]:
    """Route with seeds 1..`seeds`, `jobs` at a time, fastest first; `ended` sees failures too.

    `heatmap` is a picture of the router's congestion; of several seeds each has its number in the file's name.
    Raises ToolError if no seed routes.
    """
    stop = Event()

    def run(seed: int) -> Routed:
        started(seed)
        drawn = heatmap and (heatmap if seeds == 1 else heatmap.with_stem(f"{heatmap.stem}-{seed}"))
        return place_and_route(netlist, _DEVICE_OF[preset], freq_mhz=freq_mhz, seed=seed, stop_after=stop_after, heatmap=drawn,
                               stop=stop)

    routed, failed = [], None
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run, seed): seed for seed in range(1, seeds + 1)}
        try:
            for future in as_completed(futures):
                try:
                    routed.append(future.result())
                    ended(futures[future], routed[-1])
                except ToolError as error:
                    failed = error
                    ended(futures[future], error)
        finally:
            stop.set()          # an interrupt need not wait for the rest
            pool.shutdown(cancel_futures=True)
    if not routed:
        raise failed
    return sorted(routed, key=lambda result: -result.clock_mhz)


def _record(core: str, preset: str, routed: list[Routed]) -> dict:
    geometry, best = PRESETS[preset], routed[0].to_json()
    return {
        "core": core, "preset": preset, "device": f"LFE5U-{_DEVICE_OF[preset].upper()}-6", "clock_mhz": best["clock_mhz"],
        "seed": best["seed"], "resources": best["resources"], "critical_path": best["path"],
        "macs_per_cycle": geometry.macs, "gmac_per_s": round(geometry.macs * best["clock_mhz"] / 1000, 2),
        "seeds": [{"seed": run.seed, "clock_mhz": run.clock_mhz} for run in routed]}


def _table(record: dict) -> Table:
    path = record["critical_path"]
    table = Table(title=f"{record['core']} {record['preset']} on {record['device']}", show_header=False)
    table.add_row("clock", f"{record['clock_mhz']} MHz (seed {record['seed']}), {record['gmac_per_s']} GMAC/s")
    for key, value in record["resources"].items():
        table.add_row(key, f"{value['used']} of {value['available']}")
    if path:
        table.add_row("limited by", f"{path['logic_ns']} ns logic + {path['routing_ns']} ns routing")
        table.add_row("", f"from {path['from']}\nto {path['to']}")
    table.add_row("all seeds", ", ".join(f"{run['seed']}: {run['clock_mhz']}" for run in record["seeds"]))
    return table


def get_parser() -> argparse.ArgumentParser:
    """Command line of this module."""
    parser = Parser(prog="python -m bench.fmax", description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, required=True, help="geometry and device")
    parser.add_argument("--core", choices=CORES, default="engine", help="what to route (default %(default)s)")
    parser.add_argument("--seeds", type=positive, default=1, metavar="N", help="placement seeds 1..N (default %(default)s)")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="seeds routed at a time (default %(default)s)")
    parser.add_argument("--freq", type=float, default=160, metavar="MHZ", help="clock asked for (default %(default)s)")
    parser.add_argument("--stop-after", type=float, default=60, metavar="MINUTES",
                        help="give up on a seed that takes longer (default %(default)s)")
    parser.add_argument("--heatmap", type=picture, metavar="FILE.png", help="draw where nets want the same wires")
    parser.add_argument("--build", type=Path, default=Path("build/fmax"), metavar="DIR",
                        help="netlists and logs (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser


def run(args: argparse.Namespace) -> None:
    with meter(transient=False) as shown:
        task = shown.add_task("synthesis", total=1)
        netlist = build(args.core, args.preset, args.build / f"{args.core}-{args.preset}")
        shown.update(task, completed=1)
        tasks = {}

        def started(seed):
            tasks[seed] = shown.add_task(f"seed {seed}: place and route", total=1)

        def ended(seed, result):
            text = f"{result.clock_mhz} MHz" if isinstance(result, Routed) else str(result)
            shown.update(tasks[seed], completed=1, description=f"seed {seed}: {text}")

        routed = measure(netlist, args.preset, seeds=args.seeds, jobs=args.jobs, freq_mhz=args.freq,
                         stop_after=60 * args.stop_after, heatmap=args.heatmap, started=started, ended=ended)
    record = _record(args.core, args.preset, routed)
    if args.json:
        write_json(args.json, record)
    terminal().print(_table(record))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 0 routed, 1 synthesis or every seed failed, 2 bad request."""
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
