"""Put a network's program and weights into a board's storage, or into the flash that it boots from, and verify them."""
import argparse
from functools import partial
from pathlib import Path
import sys
import time

import numpy as np

from arch.slots import Slot
from boards import BOARDS
from cli import Parser, write_json
from golden.selftest import slot_of
from host.cli import add_port_arguments, add_program_arguments, board_session, main_of, program_of, slot_meter, upload
from host.flash import Flash
from host.link import LinkError
from host.runner import Runner
from host.slots import Slots, install

__all__ = ["get_parser", "main"]

_SEED = 20160224               # of what the self-test computes


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m host.load", description=__doc__)
    add_port_arguments(parser)
    add_program_arguments(parser)
    parser.add_argument("--flash", nargs="?", type=Path, const=Path(), metavar="FILE",
                        help="into the factory's slot of flash, from which the board boots after its next reset; a compiled "
                        "program, or the model's")
    return parser


def _slot(runner: Runner, security: int) -> Slot:
    """The program, with noise for its self-test."""
    identity, program = runner.session.info.identity, runner.program
    board = BOARDS.get(identity.name)
    noise = np.random.default_rng(_SEED).integers(0, 256, program.input.shape, dtype=np.uint8)
    timing = board.timing if board else None
    return slot_of(program, noise, timing, identity.storage_words, version=0, security=security)


def _flash(runner: Runner) -> int:
    """Writes the factory's slot (`host.slots.install`), with progress to stderr; returns how many bytes the slot has."""
    session, layout = runner.session, runner.session.info.identity.slots
    if layout is None:
        raise LinkError("The bitstream on this board has no way to its flash: upload without --flash")
    slots, booted = Slots(Flash(session, layout.offset), layout), session.status().outcome.slot
    with slot_meter() as show:
        return install(slots, partial(_slot, runner), booted, show).header.slot_bytes


def run(args: argparse.Namespace) -> None:
    if args.flash not in (None, Path()):
        args.program = args.flash
    with board_session(args) as session:
        runner = Runner(session, program_of(args, session))
        start, fresh, size = time.monotonic(), True, 2 * len(runner.program.storage)
        if args.flash:
            size = _flash(runner)
        else:
            fresh = upload(runner)
        seconds = time.monotonic() - start
        where = " to flash, booted after the next reset" if args.flash else ""
        if fresh:
            print(f"{runner.program.name}: {size} bytes{where}, in {seconds:.1f} s, verified; "
                  f"{session.sent_again} times sent again")
        else:
            print(f"{runner.program.name}: is there already, verified")
        if args.json:
            write_json(args.json, {"program": runner.program.name, "bytes": size, "seconds": seconds, "uploaded": fresh,
                                   "flash": bool(args.flash), "sent_again": session.sent_again})


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return main_of(run, parser or get_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
