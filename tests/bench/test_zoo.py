"""The survey of the zoo as a command: a table, a page and a chart of few networks, kept from one run to the next."""
import json
import re

import pytest

from bench import light, zoo
from bench.survey.published import TOP1, TORCHVISION
from nets.zoo.catalogue import NAMES
from tests.nets.onnx.cases import model, node, save, weights


def test_all_names_of_the_zoo_are_measured():
    assert set(NAMES) | set(light.NAMES) <= set(zoo.NETWORKS) and len(set(zoo.NETWORKS)) == len(zoo.NETWORKS)


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("FIRELINE_DATA", raising=False)
    monkeypatch.setitem(TOP1, "digits", (99.0, TORCHVISION))
    words = ["--only", "digits", "--only", "lenet5:size=28", "--board", "versa-ecp5", "--build", str(tmp_path / "kept"),
             "--page", str(tmp_path / "zoo.md"), "--plot", str(tmp_path / "zoo.png"), "--json", str(tmp_path / "zoo.json")]
    assert zoo.main(words) == 0
    shown = capsys.readouterr()
    said = shown.out
    assert re.search(r"digits .* s, \d+ MB", said) and re.search("digits .* 2,482", said)
    assert "lenet5:size=28" in said and "versa-ecp5" in said
    assert max(map(len, said.splitlines())) <= 80
    assert "note: lenet5:size=28 on versa-ecp5: lenet5:size=28 (network): storage must" in shown.err
    assert "note: digits" not in shown.err
    page, found = (tmp_path / "zoo.md").read_text(), json.loads((tmp_path / "zoo.json").read_text())
    assert "python -m bench.zoo --only digits --only lenet5:size=28 --board versa-ecp5 --page" in page and "(zoo.png)" in page
    assert [row["network"] for row in found["rows"]] == ["digits", "lenet5:size=28"]
    assert found["rows"][0]["cycles"] == found["networks"][0]["boards"]["ulx3s-85f"]["cycles"]
    assert found["rows"][0]["layer_by_layer"] <= found["rows"][0]["cycles"]
    assert (tmp_path / "zoo.png").read_bytes().startswith(b"\x89PNG")
    assert zoo.main(words) == 0 and (tmp_path / "zoo.md").read_text() == page         # nothing is measured again


def test_a_network_that_is_refused_has_a_row_and_one_that_cannot_be_read_does_not_end_the_others(tmp_path, capsys):
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    nodes = [node("Conv", "x w", "c"), node("LRN", "c", "n", size=7), node("GlobalAveragePool", "n")]
    refused = save(tmp_path, model(nodes, weights(w=(8, 3, 3, 3)), shape=(1, 3, 16, 16)), "refused.onnx")
    words = ["--only", str(tmp_path / "bad.onnx"), "--only", str(refused), "--only", "digits", "--board", "versa-ecp5"]
    assert zoo.main([*words, "--build", str(tmp_path), "--page", str(tmp_path / "zoo.md")]) == 1
    shown, page = capsys.readouterr(), (tmp_path / "zoo.md").read_text()
    assert "bad.onnx" in shown.err and "Traceback" not in shown.err
    assert "refused" in shown.out and "refused.onnx` is refused: " in page and "(LRN)" in page and "| `digits` |" in page


@pytest.mark.parametrize("words, message", [
    (["--only", "resnet19"], "error: resnet19: is no network; did you mean resnet1"),
    (["--only", "mobilenet_v1:with=2"], "error: mobilenet_v1:with=2: 'with=2' must be option=value"),
    (["--only", "digits", "--plot", "zoo.png"], "error: --plot: no accuracy is published of digits, which the chart would show"),
    (["--board", "ulx4s"], "error: board must be"), (["--plot", "zoo.doc"], "error: plot must end in")])
def test_bad_requests_are_one_line(words, message, tmp_path, capsys):
    assert zoo.main([*words, "--build", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(message) and said.count("\n") == 1


def test_all_that_is_wrong_with_a_request_is_told_at_once(tmp_path, capsys):
    assert zoo.main(["--only", "resnet19", "--only", "lenet5:with=2", "--board", "ulx4s", "--build", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "resnet19: is no network" in said and "'with=2' must be" in said and "board must be" in said
