"""The commands golden.run and golden.evaluate."""
import json
import shutil

import numpy as np
import pytest

from golden import evaluate, run, values
from nets import digits
from nets.int8.file import save
from nets.labelled import labelled_images
from nets.load import load_model
from nets.preprocess import PreprocessError, find_images, load_image
from nets.quantise import quantise_with


@pytest.fixture(scope="module")
def network():
    return quantise_with(load_model("digits"), limit=8)


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("quantised") / "digits.fln"
    save(network, path)
    return path


def test_run_shows_the_right_digit(file, tmp_path, capsys):
    image = next(path for path in find_images(digits.IMAGES) if path.name.startswith("7_"))
    assert run.main(["--model", str(file), "--image", str(image), "--json", str(tmp_path / "r.json")]) == 0
    best = json.loads((tmp_path / "r.json").read_text())["top5"]
    assert len(best) == 5 and best[0]["class"] == 7 and best[0]["label"] == "7"
    assert 0.5 < best[0]["score"] <= 1 and best == sorted(best, key=lambda entry: -entry["score"])
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["7", "7"]


def test_dump_writes_every_tensor(network, file, tmp_path):
    assert run.main(["--model", str(file), "--dump", str(tmp_path / "deep" / "dump")]) == 0
    index = json.loads((tmp_path / "deep" / "dump" / "index.json").read_text())
    assert [entry["name"] for entry in index] == list(network.by_name)
    image = load_image(find_images(digits.IMAGES)[0], network.spec)
    tensors = values.run(network, network.quantise_input(network.spec.normalise(image)), keep=network.by_name)
    for entry in index:
        np.testing.assert_array_equal(np.load(tmp_path / "deep" / "dump" / entry["file"]), tensors[entry["name"]])


def test_evaluate_counts_both_networks(tmp_path, capsys):
    arguments = ["--limit", "40", "--calibration-limit", "16"]
    for jobs in ("1", "2"):
        assert evaluate.main([*arguments, "--jobs", jobs, "--json", str(tmp_path / f"{jobs}.json")]) == 0
    one, two = (json.loads((tmp_path / f"{jobs}.json").read_text()) for jobs in ("1", "2"))
    assert one == two
    assert one["images"] == 40
    assert one["float"]["top1"] >= 0.95 and one["int8"]["top1"] >= 0.95 and one["int8"]["top5"] >= one["int8"]["top1"]
    assert "int8" in capsys.readouterr().out


def test_evaluate_of_a_file_knows_no_float(file, tmp_path, capsys):
    assert evaluate.main(["--model", str(file), "--images", str(digits.IMAGES), "--limit", "5", "--jobs", "1",
                          "--json", str(tmp_path / "e.json")]) == 0
    assert json.loads((tmp_path / "e.json").read_text())["float"] is None


def test_classes_from_names_and_folders(tmp_path):
    image = find_images(digits.IMAGES)[0]
    for name in ("3_a.png", "0004_x.png", "2/b.png", "n07/c.png", "great white/9_d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(image, tmp_path / name)
    labels = ("zero", "great white", "two", "n07 grouse", "four")
    found = {path.relative_to(tmp_path).as_posix(): number for path, number in labelled_images(tmp_path, 5, labels)}
    assert found == {"3_a.png": 3, "0004_x.png": 4, "2/b.png": 2, "n07/c.png": 3, "great white/9_d.png": 1}
    behind = {path.relative_to(tmp_path).as_posix(): number for path, number in labelled_images(tmp_path, 6, labels, 1)}
    assert behind == {"3_a.png": 4, "0004_x.png": 5, "2/b.png": 3, "n07/c.png": 3, "great white/9_d.png": 1}
    shutil.copy(image, tmp_path / "what.png")
    shutil.copy(image, tmp_path / "5_more.png")
    with pytest.raises(PreprocessError, match=r"must begin with a class of 0..4, .*: 5_more.png, what.png$"):
        labelled_images(tmp_path, 5, labels)


@pytest.mark.parametrize(("command", "arguments", "message"), [
    (run, ["--model", "squeezenet1_9"], "squeezenet1_9: is no model"),
    (run, ["--image", "missing.png"], "missing.png: cannot be read"),
    (run, ["--model", "missing.fln"], "missing.fln: cannot be read"),
    (run, ["--model", "any.fln", "--calibrate", "x"], "is quantised already: --calibrate cannot change it"),
    (run, ["--calibrate", "missing"], "missing: is not a folder of images"),
    (evaluate, ["--images", "missing"], "missing: is not a folder of images"),
])
def test_bad_requests_are_one_line(command, arguments, message, capsys):
    assert command.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_a_dump_that_cannot_be_written_is_one_line(file, capsys):
    assert run.main(["--model", str(file), "--dump", "/dev/null/dump"]) == 2
    assert "/dev/null/dump: cannot be written" in capsys.readouterr().err


def test_a_missing_image_is_told_before_anything_is_calibrated(monkeypatch, capsys):
    monkeypatch.setattr("golden.run.network_from_arguments", lambda args: pytest.fail("was asked for"))
    assert run.main(["--model", "squeezenet1_1", "--image", "/none.png"]) == 2
    assert capsys.readouterr().err == "error: /none.png: cannot be read: No such file or directory\n"
