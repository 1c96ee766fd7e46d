"""Route bare cores of different organisations and compare them."""

import argparse
from dataclasses import asdict
import logging
from pathlib import Path
import sys
import time

from rich.table import Table

from bench.flow import DEVICES, place_and_route, synthesise
from bench.harness import Harness
from bench.heatmap import picture
from bench.organisations import OutputStationary, SharedWeight, WeightStationary
from cli import Parser, RequestError, run_command, terminal, write_json
from hw.tools.toolchain import ToolError

__all__ = ["ORGANISATIONS", "compare", "get_parser", "main"]

# Name: what it is, how to build it, whether the multipliers are placed in order.
ORGANISATIONS = {
    "weight-stationary": ("columns, multipliers placed in order", WeightStationary, {}, True),
    "unplaced": ("the same, placed freely", WeightStationary, {}, False),
    "lut-share": ("columns, one pair in LUTs, placed in order", WeightStationary, {"lut_pairs": 1}, True),
    "shared-weight": ("columns, two pixels on one weight, placed in order", SharedWeight, {}, True),
    "output-stationary": ("weights read every cycle, adder trees", OutputStationary, {}, False),
}


def compare(names, *, lanes: int, columns: int, device: str, freq_mhz: float, seed: int, directory: Path,
            stop_after: float, router: str = "router2", heatmap: Path | None = None) -> list[dict]:
    """Route the named organisations and return a record for each; a failure is a record with `error`.

    `heatmap` is a picture of the router's congestion; of several organisations each has its name in that of the file.
    """
    records = []
    for name in names:
        what, core, options, plan = ORGANISATIONS[name]
        logging.info("%s: synthesis", name)
        started = time.monotonic()
        record = {"organisation": name, "what": what, "lanes": lanes, "columns": columns, "device": device}
        drawn = heatmap and (heatmap if len(names) == 1 else heatmap.with_stem(f"{heatmap.stem}-{name}"))
        try:
            netlist = synthesise(Harness(core(lanes=lanes, columns=columns, **options)), directory / f"{name}-{lanes}x{columns}")
            logging.info("%s: place and route", name)
            routed = place_and_route(netlist, device, freq_mhz=freq_mhz, seed=seed, plan=plan, router=router,
                                     stop_after=stop_after, heatmap=drawn)
            record |= asdict(routed)
        except ToolError as error:
            logging.warning("%s", error)
            record["error"] = str(error)
        record["minutes"] = round((time.monotonic() - started) / 60, 1)
        records.append(record)
    return records


def _table(records: list[dict]) -> Table:
    table = Table(title="Bare cores, harness included")
    for heading in ("organisation", "MHz", "LUT4", "FF", "RAM", "MULT", "limited by (ns logic + routing)", "min"):
        table.add_column(heading, overflow="fold")
    for record in records:
        used = {key: str(value["used"]) for key, value in record.get("resources", {}).items()}
        path = record.get("path", {})
        table.add_row(
            f"{record['organisation']}: {record['what']}", str(record.get("clock_mhz", "failed")), *(
                used.get(key, "") for key in ("lut4", "ff", "block_ram", "multipliers")),
            f"{path['logic_ns']} + {path['routing_ns']}: {path['from']}" if path else record.get("error", ""),
            str(record["minutes"]))
    return table


def get_parser() -> argparse.ArgumentParser:
    """Command line of this module."""
    parser = Parser(prog="python -m bench.cores", description=__doc__)
    parser.add_argument("organisations", nargs="*", metavar="ORGANISATION",
                        help=f"which ones: {', '.join(ORGANISATIONS)}; all if none is named")
    parser.add_argument("--lanes", type=int, default=16, help="input channels a cycle (default %(default)s)")
    parser.add_argument("--columns", type=int, default=16, help="output channels a cycle (default %(default)s)")
    parser.add_argument("--device", choices=DEVICES, default="85f", help="ECP5 size, speed grade 6 (default %(default)s)")
    parser.add_argument("--freq", type=float, default=160, metavar="MHZ", help="clock asked for (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="placement seed (default %(default)s)")
    parser.add_argument("--stop-after", type=float, default=45, metavar="MINUTES",
                        help="give up on a route that takes longer (default %(default)s)")
    parser.add_argument("--router", choices=("router1", "router2"), default="router2",
                        help="nextpnr's router (default %(default)s)")
    parser.add_argument("--heatmap", type=picture, metavar="FILE.png", help="draw where nets want the same wires (router2)")
    parser.add_argument("--build", type=Path, default=Path("build/cores"), metavar="DIR",
                        help="netlists and logs (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records here too")
    return parser


def run(args: argparse.Namespace) -> int:
    names = args.organisations or list(ORGANISATIONS)
    if unknown := [name for name in names if name not in ORGANISATIONS]:
        raise RequestError(f"an organisation must be one of {', '.join(ORGANISATIONS)}, not {unknown[0]!r}")
    if args.heatmap and args.router != "router2":
        raise RequestError(f"--heatmap must go with router2, not {args.router}")
    for option, step in (("lanes", 2), ("columns", 4)):
        value = getattr(args, option)
        if value % step or not step <= value <= 32:
            raise RequestError(f"--{option} must be a multiple of {step}, {step}..32, not {value}")
    records = compare(names, lanes=args.lanes, columns=args.columns, device=args.device, freq_mhz=args.freq, seed=args.seed,
                      directory=args.build, stop_after=60 * args.stop_after, router=args.router, heatmap=args.heatmap)
    if args.json:
        write_json(args.json, records)
    terminal().print(_table(records))
    return int(any("error" in record for record in records))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 0 all routed, 1 some did not, 2 bad request."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
