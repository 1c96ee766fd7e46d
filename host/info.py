"""What is on the port: board, engine, clock, storage, and what it does."""
import argparse
from dataclasses import asdict
import sys

from rich.table import Table

from arch.control import Fault
from arch.memory.calibration import Calibrated, Calibration
from arch.protocol import Identity
from arch.slots import Outcome
from boards import BOARDS
from cli import Parser, terminal, write_json
from host.cli import add_port_arguments, board_session, main_of, port_of
from host.engine import engine_of
from host.link import LinkError, SerialLink
from host.selftest.phase import told_phase
from host.selftest.silence import why_silent
from host.session import Silent
from host.slots import told

__all__ = ["get_parser", "main"]


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m host.info", description=__doc__)
    add_port_arguments(parser)
    return parser


def _bytes(count: int) -> str:
    return f"{count >> 20} MB" if count >= 1 << 20 else f"{count >> 10} KB"


def run(args: argparse.Namespace) -> None:
    try:
        with board_session(args) as session:
            identity, status, phase = session.info.identity, session.status(), session.phase()
    except Silent:
        found = port_of(args)
        raise why_silent(lambda baud: SerialLink(found.port, baud), found.baud) from None
    try:
        geometry = engine_of(identity.digest)
        lanes = f"{geometry.input_lanes}x{geometry.output_lanes}"
        engine = ", ".join([lanes, f"{geometry.macs} MACs a cycle", *geometry.options])
    except LinkError:
        engine = "of its own" if identity.digest else "none, this is the self-test's chip"
    table = Table(show_header=False, box=None, pad_edge=False)
    board = BOARDS.get(identity.name)
    state = ("without memory that works" if status.no_window else "running" if status.running else
             f"stopped with {Fault(status.fault).name}" if status.failed else
             f"finished after {status.cycles} cycles" if status.finished else "ready")
    for name, value in (("board", board.title if board else identity.name), ("clock", f"{identity.clock_khz / 1000:g} MHz"),
                        ("engine", f"{engine} (digest {identity.digest:016x})"),
                        ("storage", _bytes(2 * identity.storage_words)),
                        ("protocol", f"version {session.info.version}{', unpacks images' * identity.packing}"), ("state", state),
                        ("memory clock", told_phase(phase, identity.clock_khz)),
                        ("flash", told(status.outcome, identity.slots))):
        if value:
            table.add_row(name, value)
    terminal().print(table)
    if args.json:
        write_json(args.json, {
            "board": identity.name, "clock_mhz": identity.clock_khz / 1000, "digest": f"{identity.digest:016x}",
            "storage_words": identity.storage_words, "version": session.info.version, "packing": identity.packing,
            "slots": _slots(status.outcome, identity), "phase": _phase(phase), "status": asdict(status)})


def _phase(phase: Calibrated) -> dict | None:
    """What `told_phase` says, as plain values; steps that pass as a string of 0 and 1, from 0 degrees on."""
    return None if phase.state is Calibration.NONE else {
        "state": phase.state.name.lower(), "steps": phase.steps, "chosen": phase.chosen, "first": phase.first, "last": phase.last,
        "width": phase.width, "passing": "".join(str(phase.mask >> step & 1) for step in range(phase.steps))}


def _slots(outcome: Outcome, identity: Identity) -> dict | None:
    """What `told` says, as plain values."""
    layout = identity.slots
    return layout and {
        "booted": None if outcome.slot is None else layout.name(outcome.slot), "trial": outcome.trial, "bytes": layout.slot_bytes,
        "left": {layout.name(slot): why.name.lower() for slot, why in enumerate(outcome.whys[:layout.slots]) if why}}


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return main_of(run, parser or get_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
