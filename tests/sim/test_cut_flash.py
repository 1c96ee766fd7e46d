"""A flash whose power goes: everything before the cut is there, everything outside of what was changed, and any part of that."""
import pytest

from arch.flash import BLOCK_BYTES, PAGE_BYTES, SECTOR_BYTES, Command
from sim.models.cut_flash import CutFlash, PowerCut

SIZE = 2 * BLOCK_BYTES
PAGE, SECTOR = 0x1200, 0x1000


def change(chip: CutFlash, command: int, address: int, data: bytes = b"") -> None:
    chip.exchange(bytes([Command.RELEASE]))
    chip.exchange(bytes([Command.WRITE_ENABLE]))
    chip.exchange(bytes([command, *address.to_bytes(3, "big")]) + data)
    while chip.exchange(bytes([Command.STATUS, 0]))[1] & 1:
        pass


def used(seed: int) -> CutFlash:
    chip = CutFlash(SIZE, seed=seed)
    chip.bytes[:] = b"\xa5" * SIZE
    return chip


@pytest.mark.parametrize("command, data, start, size", [
    (Command.PROGRAM, b"\x81" * PAGE_BYTES, PAGE, PAGE_BYTES), (Command.ERASE_SECTOR, b"", SECTOR, SECTOR_BYTES),
    (Command.ERASE_BLOCK, b"", 0, BLOCK_BYTES)])
def test_a_cut_leaves_any_part_of_a_change(command, data, start, size):
    kinds = set()
    for seed in range(40):
        chip = used(seed)
        change(chip, Command.PROGRAM, SIZE - PAGE_BYTES, b"\0")         # complete before
        chip.cut = 1
        with pytest.raises(PowerCut):
            change(chip, command, PAGE, data)
        chip.power_up()
        assert chip.asleep and not chip.busy and chip.bytes[SIZE - PAGE_BYTES] == 0
        left, rest = bytes(chip.bytes[start:start + size]), bytes(chip.bytes[:start] + chip.bytes[start + size:])
        assert set(rest) == {0xA5, 0}
        if command == Command.PROGRAM:
            assert all(byte & 0xA5 == byte and byte | 0x81 == byte for byte in left)     # no one from zero, no zero but those
            kinds.add("none" if left == b"\xa5" * size else "all" if left == data else "part")
        else:
            kinds.add("none" if left == b"\xa5" * size else "all" if left == b"\xff" * size else "part")
        assert all(start <= place < start + size for place in chip.weak)
        change(chip, command, PAGE, data)                               # goes on, and is complete now
        assert chip.changes == 3 and chip.read(start, size) == (data or b"\xff" * size) and not chip.weak
    assert kinds == {"none", "part", "all"}


def test_weak_bits_read_differently():
    for seed in range(20):
        chip = used(seed)
        chip.cut = 0
        with pytest.raises(PowerCut):
            change(chip, Command.ERASE_SECTOR, SECTOR)
        chip.power_up()
        chip.exchange(bytes([Command.RELEASE]))
        seen = {chip.exchange(bytes([Command.READ, 0, 0x10, 0]) + bytes(SECTOR_BYTES)) for _ in range(20)}
        assert (len(seen) > 1) == bool(chip.weak)


def test_without_a_cut_it_is_a_flash():
    chip = used(1)
    change(chip, Command.ERASE_SECTOR, SECTOR)
    change(chip, Command.PROGRAM, PAGE, bytes(range(256)))
    assert chip.read(PAGE, 256) == bytes(range(256)) and chip.read(PAGE + 256, 4) == b"\xff" * 4 and chip.changes == 2
    chip.exchange(bytes([Command.PROGRAM, 0, 0, 0, 0]))                 # not enabled
    assert chip.changes == 2 and chip.read(0, 1) == b"\xa5"
