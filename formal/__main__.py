"""Command: proves every claim about the gateware's stream stages, reaches its covers, and spoils each to see the proof fail."""
import argparse
from functools import partial
from pathlib import Path
import sys

from rich.table import Table

from cli import Parser, RequestError, progress, run_command, terminal, write_json
from formal.claims import CLAIMS, COVER_DEPTH, checked
from formal.products import TRIPLES, differing
from formal.prove import cover
from hw.engine.mac_lane import LutLane, PackedLane

__all__ = ["get_parser", "main"]

LANES = {"packed": PackedLane, "lut": LutLane}


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m formal", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of {', '.join([*CLAIMS, *LANES])}")
    parser.add_argument("--timeout", type=int, default=600, metavar="S", help="seconds of a proof at most (%(default)s)")
    parser.add_argument("--depth", type=int, metavar="N",
                        help="cycles for claims that are proved for so many only, 0 for all (as tests/formal has them, 16 to 30)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the verdicts as JSON")
    return parser


def verdicts(name: str, timeout: int, depth: int | None = None) -> dict:
    """What became of a claim: `proved`, `covered`, `faults` (how many there are), `found` (how many the assertions notice), and
    `how`: in what time, and for how many cycles if not for all."""
    if name in LANES:
        triples, wrong = differing(LANES[name](0))
        return {"proved": triples == TRIPLES and not wrong, "covered": triples == TRIPLES, "faults": 0, "found": 0,
                "how": f"all {triples:,} operands"}
    claim = CLAIMS[name]
    if claim.depth is None or depth == 0:
        depth = None
    elif depth is None:
        depth = claim.depth
    proof = checked(claim, depth, timeout=timeout)
    found = [checked(partial(claim, fault=fault), depth, timeout=timeout, replay=False).holds is False for fault in claim.faults]
    cycles = "" if depth is None else f", {depth} cycles"
    return {"proved": proof.holds is True, "covered": cover(claim, COVER_DEPTH, timeout=timeout).holds is True,
            "faults": len(found), "found": sum(found), "how": f"{proof.seconds:.0f} s{cycles}"}


def run(args: argparse.Namespace) -> int:
    names = args.only or [*CLAIMS, *LANES]
    if unknown := [name for name in names if name not in CLAIMS and name not in LANES]:
        raise RequestError(f"--only must name claims of {', '.join([*CLAIMS, *LANES])}, not {', '.join(unknown)}")
    if args.depth is not None and args.depth < 0:
        raise RequestError(f"--depth must be at least 0, not {args.depth}")
    table = Table("claim", "proved", "covered", "faults found", "how")
    results = {}
    for name in progress(names, "claims"):
        results[name] = r = verdicts(name, args.timeout, args.depth)
        table.add_row(name, *("yes" if r[key] else "NO" for key in ("proved", "covered")), f"{r['found']} of {r['faults']}",
                      r["how"])
    terminal().print(table)
    if args.json:
        write_json(args.json, results)
    return int(not all(r["proved"] and r["covered"] and r["found"] == r["faults"] for r in results.values()))


def main(argv: list[str] | None = None) -> int:
    return run_command(run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
