"""Flashes with slots and states, whole and damaged, for tests of the boot: in gates, in Python, on the host's side."""
from dataclasses import replace
import random
from zlib import crc32

import numpy as np

from arch.flash import BLOCK_BYTES, PAGE_BYTES
from arch.slots import MARK_AT, Layout, SelfTest, Slot, State, layout

__all__ = ["CYCLES", "DIGEST", "LAYOUT", "Flash", "STORAGE_WORDS", "damage", "program", "random_flash", "slot",
           "wrong_sizes"]

DIGEST, STORAGE_WORDS = 0xFEDCBA9876543210, 1000
LAYOUT = layout(4 << 20, BLOCK_BYTES)           # three slots
CYCLES = 5000                                   # that a self-test may take


class Flash:
    """Bytes of a flash, by address; those that nobody wrote are 0xFF."""

    def __init__(self, made: Layout = LAYOUT):
        self.layout, self.bytes = made, bytearray(b"\xff" * made.flash_bytes)
        self.spans: list[tuple[int, int]] = []          # that were written

    def write(self, address: int, data: bytes) -> None:
        self.bytes[address:address + len(data)] = data
        self.spans.append((address, address + len(data)))

    def read(self, address: int, count: int) -> bytes:
        return bytes(self.bytes[address:address + count] + self.bytes[:max(0, address + count - len(self.bytes))])

    def state(self, sector: int, state: State, mark: int = 0xFF) -> None:
        self.write(self.layout.state(sector), state.to_bytes() + bytes([mark]))

    def slot(self, number: int, made: Slot) -> None:
        self.write(self.layout.slot(number), made.to_bytes())


def program(storage: np.ndarray, address: int) -> int | None:
    """What the machine of these tests does with a program: words at its address say how many cycles it takes (0: it ends with a
    fault), and how many words it writes where, counting up from the last."""
    cycles, count, first, value = (int(word) for word in np.resize(storage[address:address + 4], 4))
    storage[first:first + count] = value + np.arange(len(storage[first:first + count]))
    return cycles or None


def slot(*, cycles: int = 100, value: int = 7, words: int = 60, at: int = 10, output: int = 300, count: int = 5,
         most: int = CYCLES, **fields) -> Slot:
    """One whose program does what its self-test says; `fields` of the header may be other ones."""
    payload = (np.arange(words, dtype=np.uint16) * 257 + value).astype("<u2")
    payload[at:at + 4] = cycles, count, output, value
    result = (value + np.arange(count)).astype("<u2")
    test = SelfTest(output=output, end=output + count, checksum=crc32(result.tobytes()), cycles=most)
    made = Slot.make(payload, **{"name": "test", "digest": DIGEST, "program": at, "security": 5, "version": 1, "test": test})
    return replace(made, header=replace(made.header, **fields))


def _header(rng: random.Random, flash: Flash, number: int, made: Slot) -> None:
    page = bytearray(made.header.to_bytes())
    page[rng.randrange(4, PAGE_BYTES)] ^= 1 << rng.randrange(8)
    flash.write(flash.layout.slot(number), bytes(page))


def _payload(rng: random.Random, flash: Flash, number: int, made: Slot) -> None:
    at = PAGE_BYTES + rng.randrange(2 * made.header.words + 4)
    address = flash.layout.slot(number) + at
    flash.write(address, bytes([flash.bytes[address] ^ 1 << rng.randrange(8)]))


def wrong_sizes(made: Slot) -> list[dict]:
    """Fields of a header, one of which at a time makes the slot unfit for its storage."""
    test, words = made.header.test, made.header.words
    return [{"words": 0}, {"words": STORAGE_WORDS + 1}, {"words": 1 << 24}, {"program": words}, {"program": words + 16},
            {"program": 1 << 31}, {"test": replace(test, end=test.output)}, {"test": replace(test, output=test.end + 1)},
            {"test": replace(test, output=1 << 31)}, {"test": replace(test, end=STORAGE_WORDS + 1)},
            {"test": replace(test, end=STORAGE_WORDS + 65536)}, {"test": replace(test, end=1 << 31)}]


def damage(rng: random.Random, flash: Flash, number: int, kind: str) -> None:
    """Writes a slot that does not boot, for the reason that `kind` says."""
    made = slot(value=rng.randrange(1000), words=rng.randrange(20, 200))
    test = made.header.test
    fields = {
        "geometry": {"digest": DIGEST ^ 1 << rng.randrange(64)}, "security": {"security": rng.randrange(3)},
        "size": rng.choice(wrong_sizes(made)),
        "output": rng.choice([{"test": replace(test, checksum=test.checksum ^ 1 << rng.randrange(32))},
                              {"test": replace(test, end=test.end + 1)}]),
        "late": {"test": replace(test, cycles=rng.randrange(60))}}.get(kind, {})
    made = replace(made, header=replace(made.header, **fields))
    if kind == "fault":
        made.words[made.header.program] = 0
    flash.slot(number, Slot(header=made.header, words=made.words))
    if kind == "magic":
        flash.write(flash.layout.slot(number) + rng.randrange(4), bytes([rng.randrange(0x80, 0x100)]))
    elif kind in ("header", "payload"):
        {"header": _header, "payload": _payload}[kind](rng, flash, number, made)


KINDS = ("magic", "header", "geometry", "size", "security", "payload", "output", "fault", "late")


def random_flash(seed: int, made: Layout = LAYOUT) -> Flash:
    """Any state, any slots: whole, damaged, half written."""
    rng, flash = random.Random(seed), Flash(made)
    for number in range(made.slots):
        if rng.random() < 0.5:
            flash.slot(number, slot(value=rng.randrange(1000), words=rng.randrange(20, 200), security=rng.randrange(3, 7),
                                    cycles=rng.randrange(1, 300), count=rng.randrange(1, 20), output=rng.randrange(900)))
        elif rng.random() < 0.9:
            damage(rng, flash, number, rng.choice(KINDS))
    counter = rng.choice([0, 1, 6, 0xFFFF, 0x1FFFF, 0xFFFFFFFE])
    for sector in (0, 1):
        if rng.random() < 0.2:
            continue
        state = State(counter=max(0, counter + rng.choice([-1, 0, 1])), active=rng.choice([0, 1, 2, 2, 3, 255]),
                      fallback=rng.choice([0, 1, 2, 4]), trial=rng.random() < 0.6, floor=rng.choice([0, 3, 5, 6, 0x10000]))
        flash.state(sector, state, rng.choice([0xFF, 0xFF, 0, 0xF7, 0x7F]))
        if state.trial:                                 # any number but 0 says so
            body = bytearray(state.to_bytes()[:-4])
            body[14] = rng.choice([1, 2, 0x80])
            flash.write(made.state(sector), bytes(body) + crc32(body).to_bytes(4, "little"))
        if rng.random() < 0.2:                          # a sector half erased, half written, or with a bit turned
            at, count = rng.randrange(MARK_AT), rng.randrange(1, 20)
            flash.write(made.state(sector) + at, bytes(rng.choice([0, 0xFF, rng.randrange(256)]) for _ in range(count)))
    return flash
