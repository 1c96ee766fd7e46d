"""Put a bundle into a free slot of a board's flash, have the board boot and test it, and confirm it; whatever breaks off in
between leaves a board that boots the model before."""
import argparse
from hashlib import sha256
from pathlib import Path
import sys
import time
from zlib import crc32

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from arch.flash import PAGE_BYTES
from arch.protocol import Identity
from arch.slots import MOST_COUNTER, Header, Layout, State, Why
from boards import BOARDS
from cli import Parser, RequestError, print_error, write_json
from host.cli import BOOT_S, add_port_arguments, board_session, main_of, slot_meter
from host.flash import Flash
from host.link import LinkError
from host.session import Session
from host.slot.signing import public_key, signed_by
from host.slots import REASONS, Progress, Slots, plan

__all__ = ["BundleError", "confirm", "get_parser", "main", "problems", "slots_of", "update"]

_ATTEMPTS = 2                   # at a slot whose payload the board finds damaged


class BundleError(RequestError):
    """A bundle that must not be written to this board, with all `problems`."""

    def __init__(self, problems: list[str]):
        super().__init__("; ".join(problems))
        self.problems = problems


def problems(data: bytes, key: Ed25519PublicKey, identity: Identity, layout: Layout, floor: int) -> list[str]:
    """All that speaks against a bundle of the owner of `key` for a board, whose security floor is `floor`."""
    try:
        header = Header.of(data[:PAGE_BYTES])
    except ValueError as error:
        return [f"is no bundle, or a damaged one: {error}"]
    payload, found = data[PAGE_BYTES:-4], []
    if len(data) != header.slot_bytes or header.header_bytes != PAGE_BYTES:
        found.append(f"has {len(data):,} bytes instead of the {header.slot_bytes:,} that its header says")
    elif crc32(payload) != int.from_bytes(data[-4:], "little"):
        found.append("is damaged: the CRC of its payload is wrong")
    if sha256(payload).digest() != header.sha256:
        found.append("its payload is not what was signed: SHA-256 differs")
    if not any(header.signature):
        found.append("is not signed")
    elif not signed_by(header, key):
        found.append("its signature is not that of the public key")
    if header.digest != identity.digest:
        found.append(f"is for engine {header.digest:016x}, the board holds {identity.digest:016x}")
    if not header.fits(identity.storage_words):
        found.append(f"does not fit the board's storage of {2 * identity.storage_words:,} bytes")
    if header.slot_bytes > layout.slot_bytes:
        found.append(f"takes {header.slot_bytes:,} bytes of flash, and the board's slots have {layout.slot_bytes:,}: "
                     f"{header.slot_bytes - layout.slot_bytes:,} too many")
    if header.security < floor:
        found.append(f"its security counter is {header.security}, and the board takes none below {floor}")
    return found


def slots_of(session: Session) -> Slots:
    """The slots of the board of a session. Raises LinkError for a board without any, or with a single one."""
    layout = session.info.identity.slots
    if layout is None:
        raise LinkError("The bitstream on this board has no way to its flash: no slots, no updates")
    if not layout.updates:
        raise LinkError(f"The board's flash of {layout.flash_bytes:,} bytes has room for a single slot of {layout.slot_bytes:,} "
                        f"bytes from byte {layout.offset:,} on: a model cannot be replaced while it stays; two need "
                        f"{2 * (512 << 10) + (64 << 10):,} bytes from there on")
    return Slots(Flash(session, layout.offset), layout)


def _trial(state: State | None, target: int, kept: int) -> State:
    """The state that has a slot tried."""
    if state is None:
        return State(counter=1, active=target, fallback=kept, trial=True, floor=0)
    if state.counter >= MOST_COUNTER - 1:
        raise LinkError("The counter of the states in this flash is at its end: write them anew (python -m host.load --flash)")
    return state.next(active=target, fallback=kept, trial=True)


def update(session: Session, slots: Slots, data: bytes, *, confirmed: bool = True,
           progress: Progress = lambda stage, done, size: None) -> dict:
    """Writes a bundle that has no `problems`, boots it, and confirms it unless not `confirmed`; what was done as plain values.

    Raises LinkError if the line fails, or the board does not boot it.
    """
    header, state, booted = Header.of(data[:PAGE_BYTES]), slots.state(), session.status().outcome.slot
    if state and not state.trial and booted == state.active and slots.header(booted) == header:
        slots.settle(state)
        return {"slot": booted, "written": 0, "booted": True, "confirmed": True, "fresh": False}
    (target, kept), written = plan(slots.layout, state, booted), 0
    for _ in range(_ATTEMPTS):
        written += slots.write_slot(target, data, progress)
        trial = _trial(state, target, kept)
        slots.write_state(trial, state)
        state, outcome = trial, session.reboot(BOOT_S).outcome
        if outcome.whys[target] not in (Why.MAGIC, Why.HEADER, Why.PAYLOAD):
            break
    if outcome.slot != target:
        runs = "nothing" if outcome.slot is None else f"slot {slots.layout.name(outcome.slot)}"
        raise LinkError(f"The board does not boot slot {slots.layout.name(target)}, but {runs}: {REASONS[outcome.whys[target]]}")
    if confirmed:
        _confirm(slots, trial, header)
    return {"slot": target, "written": written, "booted": True, "confirmed": confirmed, "fresh": True}


def _confirm(slots: Slots, state: State, header: Header) -> None:
    new = state.next(trial=False, floor=max(state.floor, header.security))
    slots.write_state(new, state)
    slots.settle(new)


def confirm(session: Session, slots: Slots) -> dict:
    """Confirms the slot on trial; what was done as plain values. Raises LinkError if another one, or nothing, runs."""
    state, outcome = slots.state(), session.status().outcome
    if outcome.slot is None or state is None or outcome.slot != state.active:
        raise LinkError("The board runs no slot that could be confirmed: python -m host.info shows why")
    header = slots.header(outcome.slot)
    if header is None:
        raise LinkError(f"The header of slot {slots.layout.name(outcome.slot)} is not the one that was booted: update again")
    if state.trial:
        _confirm(slots, state, header)
    else:
        slots.settle(state)
    return {"slot": outcome.slot, "written": 0, "booted": True, "confirmed": True, "fresh": state.trial}


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m host.update", description=__doc__)
    add_port_arguments(parser)
    parser.add_argument("bundle", nargs="?", type=Path, metavar="FILE", help="what host.bundle made (.flu)")
    parser.add_argument("--public-key", type=Path, metavar="FILE", help="key of whoever signs bundles (the board's record's)")
    parser.add_argument("--no-confirm", action="store_true",
                        help="leave the model on trial: at the next reset the board goes back, unless --confirm came before")
    parser.add_argument("--confirm", action="store_true", help="confirm what runs on trial, without a bundle")
    return parser


def _key(args: argparse.Namespace, identity: Identity) -> Ed25519PublicKey:
    board = BOARDS.get(identity.name)
    if args.public_key:
        return public_key(args.public_key)
    if board and board.public_key:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(board.public_key))
    raise RequestError(f"give --public-key: no key is pinned in the record of {identity.name}")


def _checked(args: argparse.Namespace, session: Session, slots: Slots) -> bytes:
    """The bundle that the arguments name. Raises BundleError."""
    try:
        data = args.bundle.read_bytes()
    except OSError as error:
        raise RequestError(f"{args.bundle}: cannot be read: {error.strerror or error}") from None
    identity, state = session.info.identity, slots.state()
    found = problems(data, _key(args, identity), identity, slots.layout, state.floor if state else 0)
    if found:
        raise BundleError([f"{args.bundle}: {problem}" for problem in found])
    return data


def run(args: argparse.Namespace) -> int | None:
    if args.confirm == bool(args.bundle) or args.confirm and args.no_confirm:
        raise RequestError("give a bundle, with --no-confirm if it shall stay on trial; or --confirm alone")
    with board_session(args) as session:
        slots, start, size = slots_of(session), time.monotonic(), 0
        if args.confirm:
            record = confirm(session, slots)
        else:
            try:
                data = _checked(args, session, slots)
            except BundleError as error:
                for problem in error.problems:
                    print_error(problem)
                return 2
            size = len(data)
            with slot_meter() as show:
                record = update(session, slots, data, confirmed=not args.no_confirm, progress=show)
        seconds, header = time.monotonic() - start, slots.header(record["slot"])
    where = f"slot {slots.layout.name(record['slot'])}"
    how = "confirmed" if record["confirmed"] else "on trial: --confirm keeps it, a reset goes back"
    if record["fresh"]:
        print(f"{header.name} version {header.version} in {where}: {record['written']:,} of {size:,} bytes written in "
              f"{seconds:.1f} s, booted, self-test passed, {how}; {session.sent_again} times sent again")
    else:
        print(f"{header.name} version {header.version} in {where}: runs already, confirmed")
    if args.json:
        write_json(args.json, {**record, "slot": slots.layout.name(record["slot"]), "name": header.name,
                               "version": header.version, "security": header.security, "bytes": size, "seconds": seconds,
                               "sent_again": session.sent_again})
    return None


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return main_of(run, parser or get_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
