"""What an update sends over the line, and how long it takes: a bundle into an empty slot, and into one that holds another bundle.

The host's own code writes it to a board of `host.device`; the bytes of both directions are counted, one behind the other, as the
host waits for each answer. The flash takes what is typical of a W25Q128JV (its data sheet, section 9.6).
"""
import argparse
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
import random
import sys

from rich.table import Table

from arch.flash import BOOT_OFFSET, PAGE_BYTES, Command
from arch.protocol import Identity
from arch.slots import Header, Outcome, State, newest
from cli import Parser, RequestError, positive, run_command, terminal, write_json
from golden.boot import Booted
from host.device import Device
from host.flash import Flash
from host.session import Session
from host.slots import Slots
from host.update import update
from sim.models.flash import FlashChip
from sim.models.line import FaultyLine

__all__ = ["Cost", "cost", "get_parser", "main"]

BAUDS = (3_000_000, 115_200)
_SECONDS = {Command.PROGRAM: 0.4e-3, Command.ERASE_SECTOR: 45e-3, Command.ERASE_BLOCK: 150e-3}
_SLOT = 1                       # that a board without a state replaces


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Bytes of the bundle and those that were written to flash; bytes and requests on the line; seconds that the flash takes, and
    those of all at each of `BAUDS`, beside what a PC and its adapter add to each request."""

    bundle: int
    written: int
    sent: int
    received: int
    requests: int
    flash_s: float
    seconds: tuple[float, ...]


class _Chip(FlashChip):
    def __init__(self, size: int):
        super().__init__(size)
        self.commands: Counter[int] = Counter()

    def exchange(self, sent: bytes) -> bytes:
        self.commands[sent[0]] += 1
        return super().exchange(sent)


class _Line(FaultyLine):
    sent = received = requests = 0

    def write(self, data: bytes) -> None:
        self.sent += len(data)
        self.requests += 1
        super().write(data)

    def read(self, timeout_s: float) -> bytes:
        data = super().read(timeout_s)
        self.received += len(data)
        return data


def _boot(device: Device) -> Booted:
    """What the state names boots, as if every self-test passed."""
    read, slots = device.flash.read, device.identity.slots
    states = tuple(State.of(read(slots.state(sector), PAGE_BYTES)) for sector in range(2))
    found = newest(states)
    if found is None:
        return Booted(outcome=Outcome())
    state = states[found]
    return Booted(outcome=Outcome(slot=state.active, trial=state.trial, state=True),
                  header=Header.of(read(slots.slot(state.active), PAGE_BYTES)))


def cost(bundle: bytes, before: bytes, flash_bytes: int) -> Cost:
    """Of an update by a bundle, where the slot that is replaced holds `before` (nothing, if that is empty).

    Raises RequestError for what is no bundle, or does not fit."""
    try:
        header = Header.of(bundle[:PAGE_BYTES])
        identity = Identity(digest=header.digest, storage_words=header.words, clock_khz=125_000, name="bench",
                            flash_offset=BOOT_OFFSET, flash_bytes=flash_bytes)
    except ValueError as error:
        raise RequestError(error) from None
    slots = identity.slots
    if max(len(bundle), len(before)) > slots.slot_bytes or not slots.updates:
        raise RequestError(f"Bundles must be at most {slots.slot_bytes:,} bytes for such a flash")
    chip = _Chip(flash_bytes)
    chip.bytes[slots.slot(_SLOT):slots.slot(_SLOT) + len(before)] = before
    line = _Line(Device(identity, flash=chip, boot=_boot), seed=1, rate=0)
    session = Session(line, clock=line.now, numbers=random.Random(1))
    session.connect()
    written = update(session, Slots(Flash(session, slots.offset), slots), bundle)["written"]
    flash_s = sum(chip.commands[command] * seconds for command, seconds in _SECONDS.items())
    return Cost(bundle=len(bundle), written=written, sent=line.sent, received=line.received, requests=line.requests,
                flash_s=flash_s, seconds=tuple(flash_s + 10 * (line.sent + line.received) / baud for baud in BAUDS))


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m sim.update_costs", description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="FILE",
                        help="bundles (.flu): each into an empty slot, and over the one before it")
    parser.add_argument("--flash-mb", type=positive, default=16, metavar="N", help="size of the flash (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    table, records, before = Table(box=None, pad_edge=False), [], None
    for heading in ("bundle", "over", "bytes", "written", "sent", "received", *(f"s at {baud:,} baud" for baud in BAUDS)):
        table.add_column(heading, justify="left" if heading in ("bundle", "over") else "right")
    for path in args.bundles:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RequestError(f"{path}: cannot be read: {error.strerror or error}") from None
        for over, there in ((None, b""), *([before] if before else [])):
            found = cost(data, there, args.flash_mb << 20)
            table.add_row(path.stem, over.stem if over else "nothing", *(f"{count:,}" for count in (
                found.bundle, found.written, found.sent, found.received)), *(f"{seconds:.1f}" for seconds in found.seconds))
            records.append({"file": str(path), "over": over and str(over), **asdict(found)})
        before = path, data
    terminal().print(table)
    if args.json:
        write_json(args.json, records)


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
