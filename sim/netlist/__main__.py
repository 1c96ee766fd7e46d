"""Command: a chip's packed netlist, talked to through its serial pins, against golden.

Synthesises a board's chip, has nextpnr pack it, and simulates the cells that are to be placed, with a host at the pins: connect,
write, read, checksum, frames of a network of about 2 KB; outputs, cycles, counters and all of storage must be golden's. The board
`small` is an ECP5 Versa with a small engine and a slow clock. Any netlist that nextpnr wrote for the board may be given instead,
the routed one too. With --mutants faults are put into copies of the chip beside the whole one, 63 at a time, and each must be
seen in what the host gets.
"""
import argparse
from pathlib import Path
import sys
import time

from cli import Parser, positive, run_command, terminal, waiting, write_json
from sim.netlist.chips import SMALL, board_of, link_to, packed, started
from sim.netlist.frames import Difference, Load, converse, small_programs
from sim.netlist.mutants import COPIES, draw, judged
from sim.netlist.reader import Tables, read

__all__ = ["get_parser", "main"]


def get_parser() -> argparse.ArgumentParser:
    """Command line of this module."""
    parser = Parser(prog="python -m sim.netlist", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", default=SMALL, metavar="B",
                        help=f"{SMALL}, or a board without SDRAM and flash, such as versa-ecp5 (%(default)s)")
    parser.add_argument("--netlist", type=Path, metavar="FILE", help="what nextpnr wrote (--write), instead of making it")
    parser.add_argument("--frames", type=positive, default=3, metavar="N",
                        help="of the first network; of the second two (%(default)s)")
    parser.add_argument("--mutants", type=positive, default=0, metavar="N",
                        help="spoil N lookup tables and registers, and tell which of them are seen")
    parser.add_argument("--seed", type=positive, default=1, metavar="N", help="by which faults are drawn (%(default)s)")
    parser.add_argument("--build", type=Path, default=Path("build/netlist"), metavar="DIR",
                        help="folder of the boards' folders (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was compared as JSON")
    return parser


def _tables(args: argparse.Namespace, board) -> Tables:
    path = args.netlist
    if path is None:
        with waiting(f"synthesising and packing the chip of {board.title}"):
            path = packed(board, args.build / args.board)
    return read(path)


def _hunted(tables: Tables, board, loads: list[Load], args: argparse.Namespace) -> dict:
    """Puts in mutants, batch by batch, talks to each batch, and tells what was seen of them."""
    out, mutants, verdicts = terminal(), draw(tables, args.mutants, args.seed), []
    for first in range(0, len(mutants), COPIES):
        batch = mutants[first:first + COPIES]
        with started(tables, batch) as chip:
            link = link_to(chip, board)
            converse(link, board, loads, clock=link.now)
            verdicts += judged(chip, batch, link.clock_hz / link.baud)
        out.print(f"{sum(one.found for one in verdicts)} of {len(verdicts)} mutants found")
    missed = [one for one in verdicts if not one.found]
    for one in missed:
        why = "made a difference that did not get out" if one.excited else "made no difference at its own output"
        out.print(f"  {one.mutant}: {why}", markup=False)
    return {"mutants": len(verdicts), "found": len(verdicts) - len(missed),
            "missed": [{"cell": one.mutant.cell.name, "fault": one.mutant.how, "excited": one.excited} for one in missed]}


def run(args: argparse.Namespace) -> int:
    board = board_of(args.board)
    loads = small_programs(board.geometry, board.storage_words, args.frames)
    tables = _tables(args, board)
    out = terminal()
    out.print(", ".join(f"{count:,} {kind}" for kind, count in sorted(tables.cells.items())))
    begun = time.process_time()
    try:
        with started(tables) as chip:
            link = link_to(chip, board)
            found, cycles = converse(link, board, loads, clock=link.now, status=out.print), chip.cycle
        seconds = time.process_time() - begun
        out.print(f"{len(found.cycles)} frames, their cycles and counters, and {found.words:,} words of storage equal golden; "
                  f"{found.levels} values in the outputs; {cycles:,} cycles, {cycles / seconds:,.0f} a second")
        record = {"board": board.name, "cells": tables.cells, "cycles": found.cycles, "values": found.levels,
                  "storage_words": found.words, "simulated": cycles, "seconds": seconds}
        if args.mutants:
            record |= _hunted(tables, board, loads, args)
    except Difference as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.json:
        write_json(args.json, record)
    return 0


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    """Run the command line; 1 if the netlist differs from golden or a tool fails, 2 bad request, 130 interrupted."""
    return run_command(run, (parser or get_parser()).parse_args(argv), ValueError)


if __name__ == "__main__":
    sys.exit(main())
