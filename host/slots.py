"""Slots and states in a board's flash, in an order in which the power may go at any time: what boots then is a whole model."""
from collections.abc import Callable, Iterator

from arch.flash import BLOCK_BYTES, PAGE_BYTES, SECTOR_BYTES
from arch.slots import ERASED, FACTORY, MARK_AT, STATE_BYTES, Header, Layout, State, newest
from host.flash import Flash
from host.link import LinkError

__all__ = ["Slots", "target_of"]

_INVALID = bytes(4)             # in place of a header's magic
Progress = Callable[[str, int], None]


def target_of(layout: Layout, state: State | None, booted: int | None) -> int:
    """Which slot an update replaces: neither the one that runs nor the factory's, or of two slots the other one.

    Where nothing runs, the state says which one is the best. A slot on trial is taken again, so that an update goes on that broke
    off behind its state.
    """
    proven = FACTORY if state is None else state.fallback if state.trial else state.active
    kept = proven if booted is None or (state and state.trial and booted == state.active) else booted
    free = [slot for slot in range(layout.slots) if slot != kept and (slot != FACTORY or layout.slots == 2)]
    if state and state.trial and state.active in free:
        return state.active
    return free[0]


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
        states = self.states()
        found = newest(states)
        return None if found is None else states[found]

    def tried(self) -> bool:
        """Whether the slot on trial, of the record that counts, has had its turn."""
        found = newest(self.states())
        return found is not None and self.flash.read(self.layout.state(found) + MARK_AT, 1) != bytes([ERASED])

    def header(self, slot: int) -> Header | None:
        """Of a slot, if there is a whole one."""
        try:
            return Header.of(self.flash.read(self.layout.slot(slot), PAGE_BYTES))
        except ValueError:
            return None

    def write_state(self, state: State, before: State | None) -> None:
        """Replaces the record that counts, `before`, which stays in its sector. Raises LinkError if another one counts."""
        states = self.states()
        found = newest(states)
        if (None if found is None else states[found]) != before:
            raise LinkError("The state in flash has changed meanwhile: does another host update this board? Start again")
        address = self.layout.state(0 if found is None else 1 - found)
        self.flash.erase_sector(address)
        self.flash.program(address, state.to_bytes())
        self.flash.check(address, state.to_bytes())

    def write_slot(self, slot: int, data: bytes, progress: Progress = lambda stage, done: None) -> int:
        """Makes a slot hold `data`, header and payload; returns how many bytes had to be written. Only sectors that differ are
        erased and written. From the first change on until all is there and verified, no header is. `progress` hears the stage
        ("compare", "write") and how many bytes of `data` are behind it."""
        base, size = self.layout.slot(slot), self.layout.slot_bytes
        if len(data) > size:
            raise ValueError(f"Data of a slot must be at most {size} bytes, not {len(data)}")
        wrong = []
        for start in range(0, len(data), SECTOR_BYTES):
            progress("compare", start)
            if self.flash.differs(base + start, data[start:start + SECTOR_BYTES]):
                wrong.append(start)
        progress("compare", len(data))
        progress("write", 0)
        if not wrong:
            progress("write", len(data))
            return 0
        self.flash.program(base, _INVALID)
        wrong = sorted({0, *wrong})                 # the header's is the last
        for starts in [*_together(wrong[1:], len(data)), [0]]:
            self._rewrite(base, data, starts)
            progress("write", starts[-1])
        progress("write", len(data))
        return sum(len(data[start:start + SECTOR_BYTES]) for start in wrong)

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
                    self.flash.check(base + PAGE_BYTES, sector[PAGE_BYTES:])
                if part.count(ERASED) < len(part):
                    self.flash.program(base + start + page, part)
            self.flash.check(base + start, sector)


def _together(starts: list[int], size: int) -> Iterator[list[int]]:
    """The sectors at `starts`, of data of this size: those of a block together, if all that the data have of it are there."""
    for block in range(0, size, BLOCK_BYTES):
        mine = [start for start in starts if block <= start < block + BLOCK_BYTES]
        if len(mine) > 1 and len(mine) == len(range(block, min(size, block + BLOCK_BYTES), SECTOR_BYTES)):
            yield mine
        else:
            yield from ([start] for start in mine)
