"""Slots and states in a board's flash, in an order in which the power may go at any time: what boots then is a whole model."""
from collections.abc import Callable, Iterator

from arch.flash import BLOCK_BYTES, PAGE_BYTES, SECTOR_BYTES
from arch.slots import (
    ERASED,
    FACTORY,
    MARK_AT,
    STATE_BYTES,
    Header,
    Layout,
    Outcome,
    Slot,
    State,
    Why,
    newest,
)
from host.flash import Flash, NotWritten
from host.link import LinkError
from host.slot.journal import Journal

__all__ = ["REASONS", "Slots", "install", "plan", "told"]

_INVALID = bytes(4)             # in place of a header's magic
Progress = Callable[[str, int, int], None]          # a stage, and how many bytes of how many are behind it
REASONS = {
    Why.NOT_TRIED: "not tried", Why.MAGIC: "holds no model", Why.HEADER: "header damaged", Why.GEOMETRY: "for another engine",
    Why.SIZE: "too large for the storage", Why.SECURITY: "security counter too low", Why.PAYLOAD: "damaged",
    Why.OUTPUT: "self-test gave a wrong output", Why.LATE: "self-test took too long", Why.TRIAL: "never confirmed"}


def told(outcome: Outcome, layout: Layout | None) -> str:
    """What a board has booted, and why not others, in words."""
    if layout is None:
        return "no way to it"
    whys = [f"{layout.name(slot)}: {REASONS[why]}" for slot, why in enumerate(outcome.whys[:layout.slots]) if why]
    slot = "booted nothing" if outcome.slot is None else f"booted slot {layout.name(outcome.slot)}"
    return "; ".join([slot + ", on trial" * outcome.trial, *whys])


def plan(layout: Layout, state: State | None, booted: int | None) -> tuple[int, int]:
    """Which slot an update replaces, and which one stays to fall back to: the one that runs, or else the one that the state calls
    proven. The factory's slot is not replaced, but one of two is the other one.

    A slot on trial is replaced again, so that an update goes on that broke off behind its state.
    """
    kept = FACTORY if state is None else state.fallback if state.trial else state.active
    if booted is not None and not (state and state.trial and booted == state.active):
        kept = booted
    free = [slot for slot in range(layout.slots) if slot != kept and (slot != FACTORY or layout.slots == 2)]
    return (state.active if state and state.trial and state.active in free else free[0]), kept


def install(slots: "Slots", make: Callable[[int], Slot], booted: int | None,
            progress: Progress = lambda stage, done, size: None) -> Slot:
    """Makes a model active at once, without a trial, in the factory's slot, or of two slots in the one that is not in use: for
    somebody who stands beside the board. `make` is given the security counter that the model must have, and makes the slot, which
    is returned."""
    layout, state = slots.layout, slots.state()
    target, kept = FACTORY, FACTORY
    if layout.slots == 2 and (state or booted is not None):
        target, kept = plan(layout, state, booted)
    floor = state.floor if state else 0
    slot = make(floor)
    if slot.header.slot_bytes > layout.slot_bytes:
        raise LinkError(f"The program takes {slot.header.slot_bytes:,} bytes of flash, and a slot has {layout.slot_bytes:,}: "
                        f"{slot.header.slot_bytes - layout.slot_bytes:,} are missing; upload without --flash")
    slots.write_slot(target, slot.to_bytes(), progress)
    fresh = State(counter=0, active=target, fallback=kept, trial=False, floor=floor)
    new = (state or fresh).next(active=target, fallback=kept, trial=False)
    slots.write_state(new, state)
    slots.settle(new)
    return slot


class Slots:
    """The slots in a flash. All methods raise LinkError when the line fails, or the flash does not hold what was written."""

    def __init__(self, flash: Flash, layout: Layout):
        self.flash, self.layout = flash, layout

    def states(self) -> tuple[State | None, State | None]:
        """The records of both sectors."""
        first, second = (State.of(self.flash.read(self.layout.state(sector), STATE_BYTES)) for sector in range(2))
        return first, second

    def state(self) -> State | None:
        """The record that counts."""
        return self._counting()[1]

    def tried(self) -> bool:
        """Whether the slot on trial, of the record that counts, has had its turn."""
        found, _ = self._counting()
        return found is not None and self.flash.read(self.layout.state(found) + MARK_AT, 1) != bytes([ERASED])

    def header(self, slot: int) -> Header | None:
        """Of a slot, if there is a whole one."""
        try:
            return Header.of(self.flash.read(self.layout.slot(slot), PAGE_BYTES))
        except ValueError:
            return None

    def write_state(self, state: State, before: State | None) -> None:
        """Replaces the record that counts, `before`, which stays in its sector. Raises LinkError if another one counts."""
        found, there = self._counting()
        if there != before:
            raise LinkError("The state in flash has changed meanwhile: does another host update this board? Start again")
        address = self._next(found)
        self.flash.erase_sector(address)
        self.flash.program(address, state.to_bytes())
        if self.flash.read(address, STATE_BYTES) != state.to_bytes():
            raise NotWritten(address)

    def settle(self, state: State) -> None:
        """Has both sectors say what a state without a trial says, so that a cut of either leaves the other one. `state` is the
        one that counts."""
        if any(there is None or there.trial or there.active != state.active for there in self.states()):
            self.write_state(state.next(), state)

    def _counting(self) -> tuple[int | None, State | None]:
        """The sector of the record that counts, and the record."""
        states = self.states()
        found = newest(states)
        return found, None if found is None else states[found]

    def _next(self, found: int | None) -> int:
        """Where the next state goes to."""
        return self.layout.state(0 if found is None else 1 - found)

    def write_slot(self, slot: int, data: bytes, progress: Progress = lambda stage, done, size: None) -> int:
        """Makes a slot hold `data`, header and payload; returns how many bytes had to be written. Only sectors that differ are
        erased and written, and those that a cut may have left between the two. From the first change on until all is there and
        verified, no header is. `progress` hears the stages "compare" and "write"."""
        base, most = self.layout.slot(slot), self.layout.slot_bytes
        if len(data) > most:
            raise ValueError(f"Data of a slot must be at most {most} bytes, not {len(data)}")
        journal = Journal(self.flash, self._next(self._counting()[0]), -(-len(data) // SECTOR_BYTES))
        wrong = {SECTOR_BYTES * number for number in journal.cut_off()}
        for start in range(0, len(data), SECTOR_BYTES):
            progress("compare", start, len(data))
            if start not in wrong and not self._holds(base, data, start):
                wrong.add(start)
        progress("compare", len(data), len(data))
        if not wrong:
            return 0
        wrong.add(0)                                    # the header's, which is the last
        size, done = sum(len(data[start:start + SECTOR_BYTES]) for start in wrong), 0
        progress("write", done, size)
        self.flash.program(base, _INVALID)
        for starts in [*_together(sorted(wrong - {0}), len(data)), [0]]:
            journal.begin(starts[0] // SECTOR_BYTES, len(starts))
            self._rewrite(base, data, starts)
            journal.done(starts[0] // SECTOR_BYTES, len(starts))
            done += sum(len(data[start:start + SECTOR_BYTES]) for start in starts)
            progress("write", done, size)
        return size

    def _holds(self, base: int, data: bytes, start: int) -> bool:
        """Whether a sector of a slot is that of its data. All pages that end with their own CRC, as headers do, have the same
        CRC: so the header's is read."""
        return (self.flash.holds(base + start, data[start:start + SECTOR_BYTES])
                and (start > 0 or self.flash.read(base, PAGE_BYTES) == data[:PAGE_BYTES]))

    def _rewrite(self, base: int, data: bytes, starts: list[int]) -> None:
        """Erases sectors of data, and writes them, the last page first."""
        if len(starts) > 1:
            self.flash.erase_block(base + starts[0])
        else:
            self.flash.erase_sector(base + starts[0])
        for start in starts:
            sector = data[start:start + SECTOR_BYTES]
            for page in reversed(range(0, len(sector), PAGE_BYTES)):
                part = sector[page:page + PAGE_BYTES]
                if start == page == 0:
                    self.flash.expect(base, bytes([ERASED]) * PAGE_BYTES + sector[PAGE_BYTES:])
                if part.count(ERASED) < len(part):
                    self.flash.program(base + start + page, part)
            if not self._holds(base, data, start):
                raise NotWritten(base + start)


def _together(starts: list[int], size: int) -> Iterator[list[int]]:
    """The sectors at `starts`, of data of this size: those of a block together, if all that the data have of it are there."""
    for block in range(0, size, BLOCK_BYTES):
        mine = [start for start in starts if block <= start < block + BLOCK_BYTES]
        if len(mine) > 1 and len(mine) == len(range(block, min(size, block + BLOCK_BYTES), SECTOR_BYTES)):
            yield mine
        else:
            yield from ([start] for start in mine)
