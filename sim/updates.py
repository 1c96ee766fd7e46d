"""Power cuts, wrong bundles, bad lines and a second host in the middle of model updates: what boots after each must be a model
that was whole, and the update must go on from there.

Every page program and sector erase of every update of a board's life is cut, those of its boots too. The flash keeps what real
ones keep of an interrupted change; `golden.boot` says what boots.
"""
import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import random
import sys

from arch.flash import PAGE_BYTES
from arch.slots import Slot
from cli import Parser, counting, positive, run_command, write_json
from host.link import LinkError
from host.update import problems
from sim.models.cut_flash import PowerCut
from sim.models.updated_board import KEY, OTHER_KEY, UPDATES, Life, UpdateError, lives, model

__all__ = ["FAULTS", "campaign", "cut", "get_parser", "main"]

_AT_A_TIME = 5                  # faults of a kind in one step of a life


def cut(life: Life, change: int) -> str | None:
    """Which model boots after a step that is cut at this change, "old" or "new"; None if it has no such change. Raises
    UpdateError if none does, or the step does not go on."""
    life.restore()
    chip = life.board.chip
    chip.cut = chip.changes + change
    try:
        life.work()
    except PowerCut:
        life.board.power_up()
    else:
        return None
    booted = life.boots(f"cut at change {change}")
    life.resume(f"cut at change {change}")
    return booted


def _refused(life: Life, rng: random.Random) -> str:
    """A bundle that is damaged, or not for this board: the host finds it before it writes a byte."""
    data = bytearray(life.slot.to_bytes())
    kind = rng.choice(("bit", "short", "long", "key", "unsigned", "engine", "security", "storage"))
    fields = {"engine": {"digest": 1 << rng.randrange(64)}, "storage": {"program": 1 << 20}, "security": {"security": 0}}
    if kind == "bit":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "short":
        del data[rng.randrange(len(data)):]
    elif kind == "long":
        data += rng.randbytes(rng.randrange(1, 9000))
    else:
        made = model(9, OTHER_KEY if kind == "key" else KEY, **fields.get(kind, {}))
        data = (made.with_signature(bytes(64)) if kind == "unsigned" else made).to_bytes()
    identity = life.board.device.identity
    if not problems(bytes(data), KEY.public_key(), identity, identity.slots, floor=1):
        raise UpdateError(f"{life.where}: a wrong bundle was accepted ({kind})")
    return "refused"


def _forced(life: Life, rng: random.Random) -> str:
    """A wrong bundle that a host writes without having looked at it: the board leaves it for the model before."""
    slot, test = life.slot, life.slot.header.test
    session, _ = life.board.session()
    kinds = {"payload": {}, "engine": {"digest": 1 << rng.randrange(64)}, "storage": {"words": 1 << 20},
             "program": {"program": 11}, "output": {"test": replace(test, checksum=test.checksum ^ 1)},
             "slow": {"test": replace(test, cycles=99)}}
    if life.board.slots(session).state().floor and life.board.device.identity.slots.slots == 3:
        kinds["security"] = {"security": 0}             # of two slots the first one is exempt
    kind = rng.choice(list(kinds))
    data = bytearray(Slot(header=replace(slot.header, **kinds[kind]), words=slot.words).to_bytes())
    if kind == "payload":
        data[rng.randrange(PAGE_BYTES, len(data))] ^= 1 << rng.randrange(8)
    try:
        life.board.write(bytes(data), session)
    except LinkError:
        life.board.boots(life.old, f"{life.where}, wrong {kind}")
        life.board.power_up()
        life.board.boots(life.old, f"{life.where}, wrong {kind}, after a reset")
        life.resume(f"wrong {kind}")
        return "old"
    raise UpdateError(f"{life.where}: a board booted a wrong model ({kind})")


def _broken(life: Life, work: Callable[[], object], where: str, rng: random.Random) -> str:
    """Which model boots behind work that may fail, with or without a reset."""
    try:
        work()
    except LinkError:
        pass
    if rng.random() < 0.5:
        life.board.power_up()
    else:
        life.board.device.reset()
    booted = life.boots(where)
    life.resume(where)
    return booted


def _line_gone(life: Life, rng: random.Random) -> str:
    """The line ends anywhere in the update."""
    session, line = life.board.session()
    left = rng.randrange(10, 500)

    def before() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise LinkError("the line is gone")
    line.before = before
    return _broken(life, lambda: life.board.update(life.slot, session), "line gone", rng)


def _noise(life: Life, rng: random.Random) -> str:
    """Frames are damaged on the line, and the board's button is pressed meanwhile."""
    rate = rng.choice((0.002, 0.01, 0.1))
    return _broken(life, lambda: life.board.update(life.slot, life.board.session(rate)[0]), f"noise {rate}", rng)


def _second_host(life: Life, rng: random.Random) -> str:
    """Another host updates the same board with another model in the middle of it, or a part of it."""
    session, line = life.board.session()
    other, _ = life.board.session()
    session.connect()
    at, other_model, end = rng.randrange(10, 500), model(50, security=UPDATES), rng.randrange(10, 500)
    two = replace(life, models=life.models | {"other": other_model})

    def before() -> None:
        nonlocal at
        at -= 1
        if at == 0:
            try:
                other.connect()
                other.link.before = _ending(end)
                life.board.update(other_model, other)
            except LinkError:
                pass
    line.before = before
    try:
        life.board.update(life.slot, session)
    except LinkError:
        pass
    life.board.power_up()
    return {life.new: "new", "other": "other"}.get(life.board.boots(two.models, f"{life.where}, second host"), "old")


def _ending(left: int) -> Callable[[], None]:
    def before() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise LinkError("the line is gone")
    return before


FAULTS = {"wrong bundle": _refused, "wrong bundle, written": _forced, "line gone": _line_gone, "noise and resets": _noise,
          "second host": _second_host}


def campaign(cuts: int, faults: int, seed: int, progress: Callable[[int], None] = lambda done: None) -> dict:
    """Figures of so many power cuts, and so many faults of each kind. Raises UpdateError for the first board that boots no model
    that was whole, or on which the update does not go on."""
    booted, done, found = Counter(), 0, {}
    steps = lives(seed)
    while done < cuts:
        life, change = next(steps), 0
        while done < cuts and (name := cut(life, change)):
            booted[name] += 1
            done, change = done + 1, change + 1
            progress(done)
    for kind, fault in FAULTS.items():
        tried, found[kind] = 0, Counter()
        steps = (life for life in lives(seed) if len(life.models) == 2)         # updates
        while tried < faults:
            life = next(steps)
            for _ in range(min(_AT_A_TIME, faults - tried)):
                life.restore()
                found[kind][fault(life, random.Random(seed + tried))] += 1
                tried += 1
                progress(done + tried)
        done += tried
    return {"seed": seed, "cuts": cuts, "booted": dict(booted), "faults": faults * len(FAULTS),
            "by_fault": {kind: dict(counts) for kind, counts in found.items()}, "without_model": 0}


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m sim.updates", description=__doc__)
    parser.add_argument("--cuts", type=positive, default=200, metavar="N", help="power cuts (%(default)s)")
    parser.add_argument("--faults", type=positive, default=20, metavar="N", help="of each other kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    total = args.cuts + args.faults * len(FAULTS)
    with counting("cuts and faults", total) as show:
        record = campaign(args.cuts, args.faults, args.seed, show)
    print(f"{args.cuts} power cuts: {record['booted']} booted; every update went on to its end")
    for kind, counts in record["by_fault"].items():
        print(f"{args.faults} times {kind}: {counts}")
    print(f"{total} cuts and faults, {record['without_model']} boards without a model that was whole")
    if args.json:
        write_json(args.json, record)


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
