"""What a program is made for: boards, engines, and either with a storage that it does not have."""
from dataclasses import replace
import re

import numpy as np
import pytest

from arch.geometry import PRESETS
from arch.units import OPTIONAL
from boards import find
from cli import OutputError
from compiler import compile as command
from compiler.lowering.needs import NEEDS, needed
from compiler.program_file import load
from compiler.target import Target, target_of
from nets.graph import Conv, Graph, Input, Relu, Window
from nets.model import Model
from nets.preprocess import InputSpec
from nets.quantise import outline
from tests.nets.operators import conv


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
    assert target_of("ulx3s", path) == replace(target_of("ulx3s"), geometry=PRESETS["12f"], own=True)
    assert target_of("ulx3s", path, 64) == replace(target_of("ulx3s", storage_mb=64), geometry=PRESETS["12f"], own=True)
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


LENET = ["--model", "lenet5:size=28", "--board", "versa-ecp5"]


def test_of_every_optional_unit_is_known_whose_need_it_is():
    assert tuple(NEEDS) == OPTIONAL


def test_a_board_is_given_the_units_that_a_network_needs(tmp_path, capsys):
    path = tmp_path / "a.flp"
    assert command.main([*LENET, "--storage-mb", "1", "--out", str(path)]) == 0
    said = capsys.readouterr().err
    assert "note: lenet5:size=28 needs table: an optional unit of the engine, which versa-ecp5 is given\n" in said
    assert load(path).geometry == find("versa-ecp5").geometry.with_options(["table"])


@pytest.mark.parametrize("units", ["all", "table", "table,table"])
def test_units_that_are_asked_for(tmp_path, capsys, units):
    """The network needs none of them, and nobody is told what they asked for."""
    path = tmp_path / "a.flp"
    assert command.main(["--board", "versa-ecp5", "--units", units, "--out", str(path)]) == 0
    wanted = OPTIONAL if units == "all" else {"table"}
    assert load(path).geometry == find("versa-ecp5").geometry.with_options(wanted) and "needs" not in capsys.readouterr().err


def test_an_engine_of_one_s_own_is_left_as_it_is(tmp_path, capsys):
    engine, path = tmp_path / "engine.json", tmp_path / "a.flp"
    engine.write_text(PRESETS["12f"].to_json())
    words = [*LENET, "--storage-mb", "1", "--geometry", str(engine), "--out", str(path)]
    assert command.main(words) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len([line for line in errors if line.startswith("error: ")]) == 4
    assert errors[-1] == ('error: lenet5:size=28 on versa-ecp5: f6/tanh (Table): the engine has no unit "table": --units table '
                          "adds it, and hw.build --units table makes such a chip")
    assert command.main([*words, "--units", "table"]) == 0


@pytest.mark.parametrize("units, wrong", [("tables", "'tables'"), ("table,", "''"), ("all,x", "'x'")])
def test_units_that_there_are_not(capsys, units, wrong):
    with pytest.raises(SystemExit) as caught:
        command.main(["--units", units])
    assert caught.value.code == 2
    assert f"argument --units: must be of {', '.join(OPTIONAL)}, or all, not {wrong}" in capsys.readouterr().err


def test_an_option_that_is_needed_for_the_memory_that_another_one_takes():
    """Weights of an output block that an 85F's memory holds, but not the one beside the unit of depthwise convolutions."""
    rng = np.random.default_rng(1)
    layers = [Input(name="x", shape=(3, 8, 8)), conv("a", "x", 600, 3), Relu(name="relu", inputs=("a",)),
              conv("b", "relu", 600, 1, groups=600, padding=(1, 1, 1, 1)),
              Conv(name="c", inputs=("b",), weight=rng.normal(0, 0.01, (16, 600, 4, 4)).astype(np.float32),
                   bias=np.zeros(16, np.float32), window=Window(kernel=(4, 4)))]
    model = Model(graph=Graph(name="wide", layers=tuple(layers), output="c"), spec=InputSpec(size=(8, 8), crop="none"))
    network, geometry = outline(model), PRESETS["85f"]
    assert 4096 < 38 * 16 * geometry.pairs <= geometry.weight_words
    assert needed(network, geometry) == ("carry", "depthwise")
    assert needed(network, geometry.with_options(["depthwise"])) == ("carry", "depthwise")
