"""Boot from flash: which slot, what storage holds then, which mark is programmed, and what the chip tells about it."""
from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from arch.flash import PAGE_BYTES
from arch.slots import (
    ERASED,
    FACTORY,
    HEADER_MAGIC,
    MARK_AT,
    SLOT_NAMES,
    STATE_BYTES,
    Header,
    Layout,
    Outcome,
    State,
    Why,
    newest,
)

__all__ = ["Booted", "boot", "candidates"]


@dataclass(frozen=True, kw_only=True)
class Booted:
    """What a boot came to. `header` of the slot that was booted, None if none was; `mark`: address of the byte in flash that the
    chip programs to 0 before anything else, if it does."""

    outcome: Outcome
    header: Header | None = None
    mark: int | None = None


def candidates(state: State | None, marked: bool, slots: int) -> list[int]:
    """Slots in the order in which they are tried. An active one on trial that had its turn stands where the others do."""
    wanted = [] if state is None else [state.fallback] if state.trial and marked else [state.active, state.fallback]
    return list(dict.fromkeys(slot for slot in [*wanted, *range(slots)] if slot < slots))


def boot(read: Callable[[int, int], bytes], layout: Layout, *, digest: int, storage: np.ndarray,
         run: Callable[[int], int | None]) -> Booted:
    """Boots an engine of this digest from a flash; `read` gives bytes of it from an address on, behind the last one the first.

    `storage` (uint16) changes as the chip's does. `run` runs the program at a word of it, and returns its cycles, None for a
    program that ended with a fault.
    """
    records = [read(layout.state(sector), MARK_AT + 1) for sector in (0, 1)]
    states = tuple(State.of(record[:STATE_BYTES]) for record in records)
    sector = newest(states)
    state = None if sector is None else states[sector]
    marked = state is not None and records[sector][MARK_AT] != ERASED
    begins = state is not None and state.trial and not marked
    whys = [Why.NOT_TRIED] * len(SLOT_NAMES)
    if state is not None and state.trial and marked and state.active < layout.slots:
        whys[state.active] = Why.TRIAL
    header, taken = None, None
    for slot in candidates(state, marked, layout.slots):
        found = _try(read, layout.slot(slot), digest, storage, run, 0 if state is None or slot == FACTORY else state.floor)
        if isinstance(found, Header):
            whys[slot], taken, header = Why.NOT_TRIED, slot, found
            break
        whys[slot] = found
    outcome = Outcome(slot=taken, trial=taken is not None and state is not None and state.trial and taken == state.active,
                      state=state is not None, whys=tuple(whys))
    return Booted(outcome=outcome, header=header, mark=layout.state(sector) + MARK_AT if begins else None)


def _try(read: Callable[[int, int], bytes], address: int, digest: int, storage: np.ndarray, run: Callable[[int], int | None],
         floor: int) -> Header | Why:
    """The header of a slot that booted, or why it does not."""
    page = read(address, PAGE_BYTES)
    if int.from_bytes(page[:4], "little") != HEADER_MAGIC:
        return Why.MAGIC
    try:
        header = Header.of(page)
    except ValueError:
        return Why.HEADER
    if header.digest != digest:
        return Why.GEOMETRY
    if not header.fits(len(storage)):
        return Why.SIZE
    if header.security < floor:
        return Why.SECURITY
    data = read(address + PAGE_BYTES, 2 * header.words + 4)
    storage[:header.words] = np.frombuffer(data[:-4], "<u2")
    if crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        return Why.PAYLOAD
    test = header.test
    output = storage[test.output:test.end]
    output[:] = 0
    cycles = run(header.program)
    if cycles is not None and cycles > test.cycles:
        return Why.LATE
    passed = cycles is not None and crc32(output.astype("<u2").tobytes()) == test.checksum
    return header if passed else Why.OUTPUT

