"""The command: what it prints, writes and refuses."""
import json
import re
import shutil

import pytest

from nets import digits
from nets.compress.__main__ import _other_sparsities, main
from nets.compress.plot import Point, plot_accuracy
from nets.int8.file import load

QUICK = ["--calibration-limit", "4", "--limit", "6", "--jobs", "1"]


def test_digits(tmp_path, capsys, monkeypatch):
    """The file is called by the network's name where none is given."""
    monkeypatch.chdir(tmp_path)
    file, record = tmp_path / "digits-compressed.fln", tmp_path / "net.json"
    assert main([*QUICK, "--sparsity", "0.6", "--codebook", "16", "--json", str(record)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("digits on 6 images") and out.endswith("\ndigits-compressed.fln\n")
    assert re.search(r"before .* 100.00%", out) and re.search(r"after .* 16 ", out)
    assert "note: digits: compressed: 6" in err
    found = json.loads(record.read_text())
    assert found["after"]["zeros"] >= 0.6 > 0.1 > found["before"]["zeros"] and found["after"]["integers"] <= 16
    assert found["after"]["bytes"] < 0.5 * found["before"]["bytes"]
    assert {"float", "int8", "images"} <= set(found["after"]) and len(found["layers"]) > 5
    assert load(file).provenance["codebook"] == 16
    assert main([*QUICK, "--sparsity", "0.5"]) == 0 and not load(file).provenance["codebook"], "a network takes its place"


def test_all_that_is_wrong_is_told_at_once(tmp_path, capsys):
    assert main(["--model", "nowhere.onnx", "--images", str(tmp_path / "absent"), "--out", "net.onnx", "--plot", "a.txt",
                 "--json", str(tmp_path / "no" / "a.json")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: 6 problems\n")
    for what in ("nothing to do: give --sparsity or --codebook", "net.onnx: a quantised file must end in .fln",
                 "plot must end in", "a.json: cannot be written", "nowhere.onnx", "absent: is not a folder"):
        assert what in err, what


@pytest.mark.parametrize("named", [True, False])
def test_other_files_are_not_overwritten(named, tmp_path, capsys, monkeypatch):
    """Neither one that is named nor one that has the name that the command would choose; a network may be."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "digits-compressed.fln"
    path.write_text("a diary of many pages")
    assert main([*QUICK, "--sparsity", "0.5", *(["--out", path.name] if named else [])]) == 2
    assert "digits-compressed.fln: is there already and holds no quantised network" in capsys.readouterr().err
    assert path.read_text() == "a diary of many pages"


@pytest.mark.parametrize(("arguments", "says"), [
    (["--sparsity", "1"], "must be 0..0.98, not '1'"), (["--sparsity", "nan"], "must be 0..0.98, not 'nan'"),
    (["--sparsity", "x"], "must be 0..0.98"), (["--codebook", "1"], "must be 2..255"), (["--codebook", "256"], "must be 2..255")])
def test_bad_numbers_are_refused(arguments, says, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--out", "x.fln"])
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "says"), [
    (["--model", "squeezenet:size=32,modules=1,pools=1"], "give --images: only digits brings images of its own"),
    (["--model", "net.fln"], "net.fln: no such file"),
    (["--images", "{tmp}"], "file names must begin with a class"),
    (["--images", "{tmp}", "--calibrate", "absent"], "2 problems")])
def test_what_cannot_be_measured_is_refused(arguments, says, capsys, tmp_path):
    shutil.copy(digits.IMAGES / "0_0078.png", tmp_path / "zero.png")
    assert main([word.format(tmp=tmp_path) for word in (*arguments, "--sparsity", "0.5", "--out", "{tmp}/x.fln")]) == 2
    assert says in capsys.readouterr().err and len(list(tmp_path.iterdir())) == 1


def test_a_drawing_has_all_points():
    before = Point(size=4e5, float=0.64, int8=0.63, label="before")
    points = [Point(size=size, float=0.6, int8=share, label=f"{share:.0%}") for size, share in ((1e5, 0.2), (2e5, 0.5))]
    drawn = plot_accuracy("[/b]$x", before, points, points[1], ".svg").decode()
    assert plot_accuracy("x", before, points, points[1], ".png").startswith(b"\x89PNG")
    assert drawn.count("<use ") > 6


def test_a_drawing_has_no_network_twice():
    assert _other_sparsities(0.6, 0.01) == pytest.approx([0, 0.2, 0.4, 2.2 / 3])
    assert _other_sparsities(0.6, 0.3) == pytest.approx([0, 0.4, 2.2 / 3])
    assert _other_sparsities(0.6, 0.66) == pytest.approx([2.2 / 3])
    assert _other_sparsities(0.0, 0.01) == pytest.approx([0.98 / 3, 0.98 * 2 / 3])
