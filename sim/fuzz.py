"""Random work over a line that damages its frames, in front of the reference board or of the link's gateware.

The gateware must answer every byte that arrives as the reference does. What a session says is written must be in storage, what it
reads must have been there, what the flash answers must be what it said, and a program starts once for each start that was
answered. After a reset of the board sessions connect again; nothing else may ever be needed, and everything must come to an end.
"""
import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
import random
import sys
import time

import numpy as np

from arch.protocol import Identity
from cli import Parser, WorkError, counting, run_command, write_json
from golden.packing import unpack
from host.device import Device
from host.link import LinkError
from host.packing import pack
from host.protocol import checksum
from host.session import Session
from sim.link import IDENTITY, LinkBoard, Mirror
from sim.models.line import FAULTS, FaultyLine

__all__ = ["FuzzError", "fuzz", "get_parser", "main"]

_ROUND = 40                     # requests on a line before the next one


class FuzzError(WorkError):
    """Something wrong was accepted, or something hung; the message says with which seed."""


def _round(device: Device, line: FaultyLine, seed: int) -> int:
    """Work on one line; returns how often a session had to connect again."""
    rng, words = np.random.default_rng(seed), device.identity.storage_words
    session = Session(line, patience_s=0.01, clock=line.now, numbers=random.Random(seed))
    expected, connected, reconnects = device.storage.copy(), False, -1
    for _ in range(_ROUND):
        try:
            if not connected:
                reconnects += 1
                expected[:] = device.storage                    # what was under way may be partly done
                session.connect()
                connected, starts = True, len(device.starts)
            count = int(rng.choice([1, 2, 9, 60, 1100]))
            address, image = int(rng.integers(words - count)), rng.integers(0, 1 << 16, count, dtype=np.uint16)
            match rng.integers(9):
                case 0 | 1 | 2:
                    session.write(address, image)
                    expected[address:address + count] = image
                case 3:
                    count = min(count, 60)
                    if not np.array_equal(session.read(address, count), device.storage[address:address + count]):
                        raise FuzzError(f"seed {seed}: wrong words were read")
                case 4:
                    if session.checksum(address, count) != checksum(device.storage[address:address + count]):
                        raise FuzzError(f"seed {seed}: a wrong checksum was accepted")
                case 5:
                    session.start(3)
                    starts += 1
                    session.clear()
                case 6:
                    sent = rng.bytes(min(count, 60))
                    if session.exchange(sent) != device.flash.exchange(sent):
                        raise FuzzError(f"seed {seed}: wrong bytes came from the flash")
                case 8:
                    rows = image[:60].reshape(-1, len(image[:60]) // (3 if count >= 9 else 1))
                    session.write_packed(pack(rows, address, int(rng.choice([1, 3]))))
                    expected[address:address + rows.size] = rows.ravel()
                case 7:
                    sector = int(rng.integers(1 << 12)) << 12
                    if session.scan(sector) != device.flash.scan(sector):
                        raise FuzzError(f"seed {seed}: a wrong checksum of the flash was accepted")
        except LinkError:                                       # a reset, or eight damaged answers in a row
            connected = False
            continue
        if not np.array_equal(device.storage, expected):
            raise FuzzError(f"seed {seed}: storage is not what was written")
        if len(device.starts) != starts:
            raise FuzzError(f"seed {seed}: {len(device.starts)} starts for {starts} answers")
    # The line gets good again: the board must be as usable as a new one, without a reset.
    line.rate = 0
    session.connect()
    session.write(0, expected[:60])
    if not session.verify(0, expected[:60]):
        raise FuzzError(f"seed {seed}: the board does not work after all that")
    return reconnects


def fuzz(*, rtl: bool, frames: int, rate: float, seed: int, progress: Callable[[int], None] = lambda damaged: None) -> dict:
    """Figures of a run until so many frames were damaged. Raises FuzzError, and SimulationError where gateware and reference
    differ or nothing comes."""
    board = LinkBoard() if rtl else Device(Identity(digest=1, storage_words=4000, clock_khz=140_000, name="reference",
                                                   packing=True), flash=Mirror(), unpack=unpack)
    damaged, sent, reconnects, rounds = Counter(), 0, 0, 0
    while damaged.total() < frames:
        line = FaultyLine(board, seed=seed + rounds, rate=rate, faults=FAULTS)
        reconnects += _round(board.twin if rtl else board, line, seed + rounds)
        damaged += line.damaged
        sent += line.frames
        rounds += 1
        progress(damaged.total())
    return {"board": IDENTITY.name if rtl else "reference", "frames": sent, "damaged": damaged.total(), "by_fault": dict(damaged),
            "reconnects": reconnects, "rounds": rounds, "seed": seed, "wrong": 0}


def get_parser() -> argparse.ArgumentParser:
    """Command line of this module."""
    parser = Parser(prog="python -m sim.fuzz", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rtl", action="store_true", help="the gateware in Verilator instead of the reference")
    parser.add_argument("--frames", type=int, default=10_000, metavar="N", help="damaged frames (%(default)s)")
    parser.add_argument("--rate", type=float, default=0.2, metavar="R", help="share of frames that are damaged (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser


def _run(args: argparse.Namespace) -> int | None:
    if args.frames < 1 or not 0 < args.rate <= 0.5:
        print("error: --frames must be at least 1 and --rate above 0, at most 0.5", file=sys.stderr)
        return 2
    start = time.monotonic()
    with counting("damaged frames", args.frames) as shown:
        record = fuzz(rtl=args.rtl, frames=args.frames, rate=args.rate, seed=args.seed, progress=shown)
    faults = ", ".join(f"{name} {count}" for name, count in sorted(record["by_fault"].items()))
    print(f"{record['damaged']} damaged of {record['frames']} frames ({faults}) in {time.monotonic() - start:.0f} s: nothing "
          f"wrong accepted, nothing hung; {record['reconnects']} times connected again")
    if args.json:
        write_json(args.json, record)
    return None


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 0 all right, 1 something wrong was accepted, 2 bad request, 130 interrupted."""
    return run_command(_run, get_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
