"""The figure of the float reference: on real images, within a ten-thousandth of the output's range of ONNX Runtime."""
import json

import pytest

from bench.float_reference import TARGET, main


def test_digits(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FIRELINE_DATA", raising=False)
    target = tmp_path / "figures.json"
    assert main(["--count", "20", "--json", str(target)]) == 0
    [figure] = json.loads(target.read_text())["figures"]
    assert figure["images"] == figure["same_top1"] == 20 and figure["worst"] < TARGET
    assert "digits" in capsys.readouterr().out


def test_shared_models(tmp_path, data):
    target = tmp_path / "figures.json"
    assert main(["--count", "3", "--data", str(data), "--json", str(target)]) == 0
    assert [figure["worst"] < TARGET for figure in json.loads(target.read_text())["figures"]] == [True] * 3


@pytest.mark.parametrize("words", [["--count", "0"], ["--data", "/nonexistent"], ["--count", "few"]])
def test_bad_requests(words):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
