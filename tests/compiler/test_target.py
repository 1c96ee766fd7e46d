"""What a program is made for: boards, engines, and either with a storage that it does not have."""
from dataclasses import replace
import re

import pytest

from arch.geometry import PRESETS
from boards import find
from cli import OutputError
from compiler import compile as command
from compiler.target import Target, target_of


@pytest.mark.parametrize("name", ["ulx3s-85f", "versa-ecp5"])
def test_a_board(name):
    board = find(name)
    assert target_of(name) == Target(name, board.geometry, board.storage_words, board.timing)


def test_an_engine_has_the_usual_board_s_storage():
    board = find("ulx3s")
    assert target_of("25f") == Target("25f", PRESETS["25f"], board.storage_words, board.timing)
    assert target_of("25f", storage_mb=64) == Target("25f", PRESETS["25f"], 1 << 25, replace(board.timing, column_bits=10))


def test_another_engine(tmp_path):
    path = tmp_path / "engine.json"
    path.write_text(PRESETS["12f"].to_json())
    assert target_of("ulx3s", path) == replace(target_of("ulx3s"), geometry=PRESETS["12f"])
    assert target_of("ulx3s", path, 64) == replace(target_of("ulx3s", storage_mb=64), geometry=PRESETS["12f"])
    path.write_text("{}")
    with pytest.raises(OutputError, match="engine.json: "):
        target_of("ulx3s", path)


@pytest.mark.parametrize("name, megabytes, message", [
    ("ulx4s", None, "board must be one of .*, not 'ulx4s'.*; or an engine of "),
    ("ulx3s", 257, "^Storage must be 1..256 MB, not 257$"), ("25f", 0, "^Storage must be 1..256 MB, not 0$")])
def test_refused(name, megabytes, message):
    with pytest.raises(ValueError, match=message):
        target_of(name, storage_mb=megabytes)


def test_a_network_that_does_not_fit_is_told_how_to_go_on(tmp_path, capsys):
    """With as much storage as the message says, it fits."""
    words = ["--model", "squeezenet:size=63,sr=0.125", "--board", "versa-ecp5", "--out", str(tmp_path / "a.flp")]
    assert command.main(words) == 2
    said = re.search(r"storage must have at least ([\d,]+) bytes, not 65,536: ([\d,]+) are missing \(weights .*\); "
                     r"--storage-mb (\d+) goes on as if it had", capsys.readouterr().err)
    needed, missing, megabytes = (int(part.replace(",", "")) for part in said.groups())
    assert needed - missing == 65_536 and needed <= megabytes << 20
    assert command.main([*words, "--storage-mb", str(megabytes)]) == 0
