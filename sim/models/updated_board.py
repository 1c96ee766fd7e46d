"""A board with slots in a flash whose power may go, models for it, and the steps of its life: updates, one after the other."""
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
import random
from zlib import crc32

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
import numpy as np

from arch.protocol import Identity
from arch.slots import SelfTest, Slot
from cli import WorkError
from host.device import Device
from host.flash import Flash
from host.protocol import Status
from host.session import Session
from host.slot.signing import sign
from host.slots import Slots, install
from host.update import update
from sim.models.booting import booting
from sim.models.cut_flash import CutFlash, PowerCut
from sim.models.line import FAULTS, FaultyLine

__all__ = ["KEY", "OTHER_KEY", "THREE", "TWO", "UPDATES", "Board", "Life", "Line", "UpdateError", "lives", "model"]

MB = 1 << 20
STORAGE, WORDS, OUTPUT, CYCLES = 9000, 5000, 8000, 4000
KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(2))
THREE = Identity(digest=0x5107_0000_0000_0003, storage_words=STORAGE, clock_khz=140_000, name="three slots", flash_offset=MB // 4,
                 flash_bytes=15 * MB // 4)
TWO = replace(THREE, name="two slots", flash_offset=2 * MB)
_MARKER = 0xF1AE                # first word of a program of the machine here
UPDATES = 4                    # of a board, one after the other


class UpdateError(WorkError):
    """A board boots no model, or one that nobody made; the message says with which seed."""


def _machine(storage: np.ndarray, address: int) -> Status:
    """Ten words from `OUTPUT` on that depend on all words of the payload; the program says how many cycles that takes."""
    marker, cycles = (int(word) for word in storage[address:address + 2])
    failed = Status(running=False, finished=False, failed=True)
    if marker != _MARKER:
        return failed
    storage[OUTPUT:OUTPUT + 10] = _result(storage[:WORDS])
    return replace(failed, finished=True, failed=False, cycles=cycles)


def _result(words: np.ndarray) -> np.ndarray:
    return np.resize(np.frombuffer(crc32(words.astype("<u2").tobytes()).to_bytes(4, "little"), "<u2"), 10)


def model(number: int, key: Ed25519PrivateKey = KEY, program: int = 10, **fields) -> Slot:
    """A model whose self-test passes, signed; half of its payload is the same for all of them. `fields` are those of its header
    that shall be others."""
    halves = [np.random.default_rng(seed).integers(0, 1 << 16, WORDS // 2) for seed in (0, number)]
    words = np.concatenate(halves).astype(np.uint16)
    words[10:12] = _MARKER, CYCLES
    test = SelfTest(output=OUTPUT, end=OUTPUT + 10, checksum=crc32(_result(words).tobytes()), cycles=2 * CYCLES)
    made = Slot.make(words, **{"name": f"model {number}", "digest": THREE.digest, "program": program, "security": number // 2,
                               "version": number, "test": test} | fields)
    return sign(made, key)


class Line(FaultyLine):
    """A line whose `before` is called before each write, and may raise LinkError."""

    before: Callable[[], None] = staticmethod(lambda: None)

    def write(self, data: bytes) -> None:
        self.before()
        super().write(data)


class Board:
    """A board with a flash that may lose its power. `outcome` of its last boot is `device.status.outcome`."""

    def __init__(self, identity: Identity, seed: int):
        self.chip, self.random = CutFlash(4 * MB, seed=seed), random.Random(seed)
        self.device = Device(identity, lambda address: _machine(self.device.storage, address), self.chip, booting)

    def session(self, rate: float = 0, faults: tuple[str, ...] = FAULTS) -> tuple[Session, Line]:
        """A host that connects."""
        line = Line(self.device, seed=self.random.randrange(1 << 30), rate=rate, faults=faults)
        session = Session(line, patience_s=0.01, clock=line.now, numbers=random.Random(self.random.randrange(1 << 30)))
        session.connect()
        return session, line

    def slots(self, session: Session) -> Slots:
        layout = self.device.identity.slots
        return Slots(Flash(session, layout.offset, session.now), layout)

    def update(self, slot: Slot, session: Session | None = None) -> None:
        """By a host whose session is connected, or a new one on a good line."""
        self.write(slot.to_bytes(), session or self.session()[0])

    def write(self, data: bytes, session: Session) -> None:
        """An update with whatever is in a bundle."""
        update(session, self.slots(session), data)

    def install(self, slot: Slot) -> None:
        """As `host.load --flash` does."""
        session, _ = self.session()
        install(self.slots(session), lambda security: slot, session.status().outcome.slot)
        session.reboot(1)

    def power_up(self, again: float = 0.2) -> None:
        """After a cut; sometimes the power goes once more while it boots."""
        while True:
            self.chip.power_up()
            self.chip.cut = self.chip.changes if self.random.random() < again else None
            self.device.storage[:] = 0xDEAD
            try:
                self.device.reset()
            except PowerCut:
                continue
            self.chip.cut = None
            return

    def boots(self, models: dict[str, Slot], where: str) -> str:
        """Which of the models runs. Raises UpdateError if none of them does."""
        status, storage = self.device.status, self.device.storage
        for name, slot in models.items():
            if status.booted and np.array_equal(storage[:WORDS], slot.words) and status.program == slot.header.program:
                return name
        raise UpdateError(f"{where}: none of {', '.join(models)} boots: {status.outcome}")


@dataclass(frozen=True, kw_only=True)
class Life:
    """A step of a board's life: `work` replaces a model by the one called `new`; `models` are those of which one must boot,
    whatever breaks off meanwhile. `flash`: what it holds before."""

    board: Board
    flash: bytes
    models: dict[str, Slot]
    new: str
    work: Callable[[], object]
    where: str

    @property
    def slot(self) -> Slot:
        """The new one."""
        return self.models[self.new]

    @property
    def old(self) -> dict[str, Slot]:
        """The models without the new one."""
        return {name: slot for name, slot in self.models.items() if name != self.new}

    def restore(self) -> None:
        """The board as it was before."""
        chip = self.board.chip
        chip.bytes[:], chip.weak = self.flash, {}
        self.board.power_up(again=0)

    def boots(self, where: str) -> str:
        """Whether what runs is the "old" or the "new" model. Raises UpdateError if it is neither."""
        return "new" if self.board.boots(self.models, f"{self.where}, {where}") == self.new else "old"

    def resume(self, where: str) -> None:
        """The same again, without a fault, ends with the new model, confirmed. Raises UpdateError if not."""
        self.work()
        for how in ("after the update went on", "after a reset behind that"):
            self.board.boots({self.new: self.slot}, f"{self.where}, {where}, {how}")
            self.board.power_up(again=0)
        if self.board.device.status.outcome.trial:
            raise UpdateError(f"{self.where}, {where}: still on trial")


def lives(seed: int) -> Iterator[Life]:
    """Steps of one board after the other, without an end: updates, then a new factory model. Boards with three slots and with two
    take turns."""
    for number in count(seed):
        board = Board((THREE, TWO)[number % 2], number)
        there = {"model 0": model(0)}
        board.install(there["model 0"])
        for step in range(1, UPDATES + 2):
            new, slot = f"model {step}", model(step)
            if step <= UPDATES:                 # the one that runs, or the new one; never one from further back
                models, work = dict(list(there.items())[-1:]), partial(board.update, slot)
            else:                               # by somebody who is there: any other may run meanwhile
                models, work = dict(there), partial(board.install, slot)
            life = Life(board=board, flash=bytes(board.chip.bytes), models=models | {new: slot}, new=new, work=work,
                        where=f"seed {number}, {new}")
            yield life
            life.restore()
            life.resume("without a fault")
            there[new] = slot
