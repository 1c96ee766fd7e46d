"""Board records: they agree with amaranth-boards, and with each other."""
from dataclasses import replace
import json
from pathlib import Path
import re

import pytest

from arch.geometry import PRESETS
import boards
from boards import Board
from boards import list as listing
from compiler.build import compile_network
from nets.load import load_model
from nets.quantise import quantise_with

# Balls with the functions CSSPIN, D0/MOSI and D1/MISO (Lattice's pin lists; Project Trellis, iodb.json).
CONFIGURATION = {"BG381": ("R2", "W2", "V2"), "BG256": ("N8", "T8", "T7"), "BG554": ("AA2", "AE2", "AD2")}


@pytest.mark.parametrize("board", boards.BOARDS.values(), ids=lambda board: board.name)
def test_record_is_true(board):
    platform = board.platform()
    assert board.device.startswith("LFE5U") and board.package.startswith("BG") and board.speed in "678"
    assert 8 <= board.input_mhz <= 100 and board.pll.clock_mhz <= board.clock_mhz
    names = {name for name, _ in platform.resources}
    assert "uart" in names and {led.split(".")[0] for led in board.leds} <= names
    for led in board.leds:
        name, number, *part = led.split(".")
        assert (name, int(number)) in platform.resources and len(part) <= 1
    if board.flash:
        flash = platform.lookup("spi_flash" if "spi_flash" in names else "spi_flash_1x", 0)
        pins = {part.name: part.ios[0].names[0] for part in flash.ios}
        assert (pins["cs"], pins["copi"], pins["cipo"]) == CONFIGURATION[board.package]
    if board.chips:
        assert "sdram" in names
        assert board.timing.pin_registers == 2 and board.timing.clock_mhz <= 1000 / board.sdram.cycle_ns[1]
    # Three samples a bit at least, as `hw.link.uart` needs.
    assert board.pll.clock_mhz * 1_000_000 >= 8 * board.baud


def test_the_record_in_readme_is_the_board_s():
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    record = re.search(r"<!-- board -->\n```python\n(.*?)```", text, re.DOTALL)[1]
    assert eval(record, {"Board": Board, "PRESETS": PRESETS}) == boards.BOARDS["icepi-zero"]


def test_the_esp32_of_a_ulx3s_is_told_to_stay_away_and_left_on():
    for board in boards.BOARDS.values():
        if board.name.startswith("ulx3s"):
            pins = {part.name: part.ios[0].names[0] for part in board.platform().lookup("esp32", 0).ios}
            assert dict(board.rests)[pins["gpio0"]] == 1 and pins["en"] not in dict(board.rests)


def test_aliases():
    assert boards.find("ulx3s") is boards.find("ulx3s-85f")
    with pytest.raises(ValueError, match="board must be one of ulx3s, ulx3s-64mb, ulx3s-12f, .*, not 'ulx4s'"):
        boards.find("ulx4s")


@pytest.mark.parametrize("change, message", [
    ({"name": "Board"}, "Board name must be 1..16 lower-case characters, not 'Board'"),
    ({"chips": ("as4c16m16sa-7", "sram")}, "chips must be of as4c32m16sb-7, .*, not 'sram'"),
    ({"storage_words": 0}, "storage_words must be 1..16777216, not 0"),
    ({"baud": 4_000_000}, "baud must be 9600..3000000, not 4000000"),
    ({"flash_offset": 1 << 24}, "flash_offset must be a multiple of 65536 below 16777216, not 16777216"),
    ({"public_key": "12" * 31 + "XY"}, "public_key must be 64 hexadecimal digits, not '12"),
    ({"flash_offset": 100}, "flash_offset must be a multiple of 65536 below 16777216, not 100"),
    ({"flash_bytes": 100}, "flash_bytes must be a multiple of 65536 up to 16777216, not 100"),
    ({"flash_bytes": 2 << 20}, "Flash of 2,097,152 bytes must reach 131,072 beyond its offset 2,097,152 for a slot, but 0"),
    ({"leds": ("led.0",) * 9}, "leds must be at most 8: alive, received, failed, busy, damaged, ready, booted, trial, not 9"),
])
def test_records_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        replace(boards.find("ulx3s"), **change)


@pytest.mark.parametrize("name", ["ulx3s", "ulx3s-64mb", "versa-ecp5"])
@pytest.mark.parametrize("megabytes, columns", [(1, 9), (32, 9), (64, 10), (76, 11), (256, 12)])
def test_a_board_as_if_it_had_other_storage(name, megabytes, columns):
    board = boards.find(name)
    other = board.with_storage(megabytes)
    assert other.storage_words == megabytes << 19 and 2 * other.storage_words <= other.sdram.bytes
    assert other.timing.column_bits == max(columns, board.timing.column_bits if board.timing else 0)
    if board.chips:
        assert other == replace(board, storage_words=megabytes << 19, imagined=True)
        assert other.timing == replace(board.timing, column_bits=other.timing.column_bits)


@pytest.mark.parametrize("megabytes", [0, 257])
def test_storage_has_its_limits(megabytes):
    with pytest.raises(ValueError, match=f"Storage must be 1..256 MB, not {megabytes}"):
        boards.find("ulx3s").with_storage(megabytes)


def test_a_board_has_the_storage_of_its_chip():
    """10 bits of column instead of 9; and no record says more."""
    small, large = boards.find("ulx3s"), boards.find("ulx3s-64mb")
    assert (small.timing.address_bits, large.timing.address_bits, large.storage_words) == (24, 25, 1 << 25)
    assert all(2 * board.storage_words <= board.sdram.bytes for board in boards.BOARDS.values() if board.chips)
    assert not any(board.imagined for board in boards.BOARDS.values())
    with pytest.raises(ValueError, match="storage_words must be 1..33554432, not 33554433"):
        replace(large, storage_words=(1 << 25) + 1)


def test_list(tmp_path, capsys):
    assert listing.main(["--json", str(tmp_path / "boards.json")]) == 0
    records = json.loads((tmp_path / "boards.json").read_text())
    assert [record["name"] for record in records] == list(boards.BOARDS)
    assert "ulx3s-85f" in capsys.readouterr().out
    assert listing.main(["--json", str(tmp_path / "no" / "boards.json")]) == 2


@pytest.mark.parametrize("name", ["ecp5-5g-evn", "versa-ecp5", "colorlight-5a75b"])
def test_block_ram_holds_digits(name):
    board, network = boards.find(name), quantise_with(load_model("digits"))
    program = compile_network(network, board.geometry, storage_words=board.storage_words).program
    assert program.storage_words <= board.storage_words


@pytest.mark.parametrize("megabytes, slots", [(16, 3), (8, 3), (4, 2), (3, 1)])
def test_flash_of_a_batch(megabytes, slots):
    board = boards.find("ulx3s").with_flash(megabytes)
    assert board.slots.slots == slots and board.slots.flash_bytes == megabytes << 20
    with pytest.raises(ValueError, match="Flash of 2,097,152 bytes must reach 131,072 beyond its offset 2,097,152 for a slot"):
        board.with_flash(2)
    with pytest.raises(ValueError, match="versa-ecp5 boots from no flash: its size does not matter"):
        boards.find("versa-ecp5").with_flash(megabytes)
