import json

import pytest

from compiler.compile import main
from compiler.program_file import load
from tests.nets.onnx.cases import model, node, save, weights


def test_writes_a_program_under_the_names_of_network_and_board(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--model", "digits", "--board", "12f"]) == 0
    assert capsys.readouterr().out == "digits-12f.flp\n"
    assert load(tmp_path / "digits-12f.flp").name == "digits"
    assert main(["--model", "digits", "--board", "12f"]) == 0           # a program may be replaced


def test_explains_in_words_numbers_and_a_picture(tmp_path, capsys):
    names = [tmp_path / name for name in ("d.flp", "d.json", "d.svg")]
    assert main(["--model", "digits", "--board", "85f", "--explain", "--out", str(names[0]), "--json", str(names[1]),
                 "--plot", str(names[2])]) == 0
    out = capsys.readouterr().out
    assert "fire5/expand3x3" in out and "of peak" in out
    record = json.loads(names[1].read_text())
    assert record["macs"] == sum(layer["macs"] for layer in record["layers"]) and record["storage_bytes"]["spilled"] == 0
    assert (record["weight_bytes"], record["stored_weight_bytes"]) == (39_904, record["storage_bytes"]["weights"])
    assert names[2].read_text().startswith("<?xml")


@pytest.mark.parametrize("arguments, message", [
    (["--board", "nothing"], "board must be one of"),
    (["--out", "a.bin"], "a.bin: a program must end in .flp"),
    (["--plot", "a.txt"], "a.txt: a picture must end in .png or .svg"),
    (["--geometry", "none.json"], "none.json: No such file"),
])
def test_bad_requests(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--board", "85f", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_other_files_are_not_overwritten(tmp_path, capsys):
    path = tmp_path / "a.flp"
    path.write_text("a diary of many pages")
    assert main(["--model", "digits", "--board", "85f", "--out", str(path)]) == 2
    assert "is there already and holds no program" in capsys.readouterr().err
    assert path.read_text() == "a diary of many pages"


def test_a_network_without_a_unit_is_refused_by_its_operator(tmp_path, capsys):
    nodes = [node("Conv", "x w", "a", name="first"), node("LRN", "a", name="norm", size=7)]
    path = save(tmp_path, model(nodes, weights(w=(4, 3, 3, 3)), shape=(1, 3, 20, 20)))
    assert main(["--model", str(path), "--board", "85f", "--calibration-limit", "1"]) == 2
    assert "(LRN): size must be at most 5 channels, not 7" in capsys.readouterr().err
