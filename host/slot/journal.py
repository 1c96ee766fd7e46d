"""Which sectors of a slot are being written: so that one whose change was cut off is written again, even if it reads right."""
from arch.flash import PAGE_BYTES, SECTOR_BYTES
from host.flash import Flash

__all__ = ["CAPACITY", "Journal"]

CAPACITY = SECTOR_BYTES - PAGE_BYTES    # sectors of a slot: all that a flash can have
_NEEDED = 2                             # bits of a byte for a sector's next change
_ERASED = 0xFF


class Journal:
    """A byte for each sector of a slot, in the state sector that the next state goes to, behind the page of the record. Its bits
    are turned to 0 one by one: before a change of the sector begins, and when it is done. So an odd number says that one was cut
    off, and cells of that sector may be between 0 and 1. Writing the state erases it.

    Parameters
    ----------
    flash : Flash
    sector : int
        Address of the state sector.
    count : int
        Sectors of the slot, at most `CAPACITY`.
    """

    def __init__(self, flash: Flash, sector: int, count: int):
        if count > CAPACITY:
            raise ValueError(f"Sectors of a slot must be at most {CAPACITY}, not {count}")
        self._flash, self._sector = flash, sector
        self._marks = bytearray(flash.read(sector + PAGE_BYTES, count))

    def cut_off(self) -> set[int]:
        """Numbers of sectors whose change was begun and not done."""
        return {number for number, mark in enumerate(self._marks) if _odd(mark)}

    def begin(self, first: int, count: int) -> None:
        """Changes of so many sectors follow, of which none lies in another block than the first one."""
        if any(mark.bit_count() < _NEEDED and not _odd(mark) for mark in self._marks[first:first + count]):
            self._flash.erase_sector(self._sector)      # after the fourth change of a sector without a new state
            self._marks[:] = bytes([_ERASED]) * len(self._marks)
        self._mark(first, count, odd=True)

    def done(self, first: int, count: int) -> None:
        """They are complete."""
        self._mark(first, count, odd=False)

    def _mark(self, first: int, count: int, *, odd: bool) -> None:
        marks = bytes(mark if _odd(mark) is odd else mark & mark - 1 for mark in self._marks[first:first + count])
        self._flash.program(self._sector + PAGE_BYTES + first, marks)
        self._marks[first:first + count] = marks


def _odd(mark: int) -> bool:
    return bool((8 - mark.bit_count()) % 2)
