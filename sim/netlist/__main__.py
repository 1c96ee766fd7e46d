"""Command: a chip's packed netlist, talked to through its serial pins, against golden.

Synthesises a board's chip, has nextpnr pack it, and simulates the cells that are to be placed, with a host at the pins: connect,
write, read, checksum, frames of a network of about 2 KB; outputs, cycles, counters and all of storage must be golden's. The board
`small` is an ECP5 Versa with a small engine and a slow clock. Any netlist that nextpnr wrote for the board may be given instead,
the routed one too.
"""
import argparse
from pathlib import Path
import sys
import time

from cli import Parser, positive, run_command, terminal, waiting, write_json
from sim.netlist.chips import SMALL, board_of, link_to, packed, started
from sim.netlist.frames import Difference, converse, small_program
from sim.netlist.reader import Tables, read

__all__ = ["get_parser", "main"]


def get_parser() -> argparse.ArgumentParser:
    """Command line of this module."""
    parser = Parser(prog="python -m sim.netlist", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", default=SMALL, metavar="B",
                        help=f"{SMALL}, or a board without SDRAM and flash, such as versa-ecp5 (%(default)s)")
    parser.add_argument("--netlist", type=Path, metavar="FILE", help="what nextpnr wrote (--write), instead of making it")
    parser.add_argument("--frames", type=positive, default=3, metavar="N", help="frames that are run (%(default)s)")
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


def run(args: argparse.Namespace) -> int:
    board = board_of(args.board)
    program, images = small_program(board.geometry, board.storage_words, args.frames)
    tables = _tables(args, board)
    out = terminal()
    out.print(", ".join(f"{count:,} {kind}" for kind, count in sorted(tables.cells.items())))
    chip = started(tables)
    link = link_to(chip, board)
    begun = time.process_time()
    try:
        found = converse(link, board, program, images, clock=link.now, status=out.print)
    except Difference as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    seconds = time.process_time() - begun
    out.print(f"{len(images)} frames, their cycles and counters, and {found.words:,} words of storage equal golden; "
              f"{found.levels} values in the outputs; {chip.cycle:,} cycles, {chip.cycle / seconds:,.0f} a second")
    if args.json:
        write_json(args.json, {"board": board.name, "cells": tables.cells, "cycles": found.cycles, "values": found.levels,
                               "storage_words": found.words, "simulated": chip.cycle, "seconds": seconds})
    return 0


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    """Run the command line; 1 if the netlist differs from golden or a tool fails, 2 bad request, 130 interrupted."""
    return run_command(run, (parser or get_parser()).parse_args(argv), ValueError)


if __name__ == "__main__":
    sys.exit(main())
