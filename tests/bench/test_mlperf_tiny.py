"""MLPerf Tiny's networks on boards and against LiteRT, with small networks in the place of theirs."""
from dataclasses import replace
from functools import partial
import json

import numpy as np
import pytest

from bench import mlperf_tiny
from bench.tiny import machines
from bench.tiny.judges import compare, inputs_of, interpreters, without_softmax
from bench.tiny.page import BEGIN, END, write_page
from boards import find
from cli import RequestError
from golden import values
from nets.load import load_model
from nets.quantise import quantise_with
from sim.frame import FrameBench
from sim.verilog.verilate import VCD
from tests.nets.tflite.cases import model, op, save
from tests.sim.test_random_networks import GEOMETRY

SHAPE = (1, 6, 8, 3)
RNG = np.random.default_rng(0)
WEIGHTS = {"w": RNG.integers(-127, 128, (5, 3, 3, 3), np.int8), "b": RNG.integers(-2000, 2000, 5, np.int32), "a": [1, 2],
           "f": RNG.integers(-127, 128, (6, 5), np.int8), "g": RNG.integers(-500, 500, 6, np.int32)}
TYPES = {"x": (0.05, -3, 0), "w": (0.003, 0, 0), "c": (0.04, 10, 0), "m": (0.02, 4, 0), "f": (0.003, 0, 0), "l": (0.015, 4, 0),
         "y": (1 / 256, -128, 0)}
OPERATORS = [op("CONV_2D", "x w b", "c", shape=(1, 4, 6, 5)), op("MEAN", "c a", "m", shape=(1, 5)),
             op("FULLY_CONNECTED", "m f g", "l", shape=(1, 6))]


@pytest.fixture
def file(tmp_path):
    """A classifier under the name of keyword spotting."""
    data = model([*OPERATORS, op("SOFTMAX", "l", shape=(1, 6))], WEIGHTS, shape=SHAPE, dtype="i1", types=TYPES)
    return save(tmp_path, data, f"{mlperf_tiny.NETWORKS['KWS']}.tflite")


def test_the_tensor_before_the_softmax_is_compared(file):
    data = file.read_bytes()
    cut = without_softmax(data)
    assert len(cut) == len(data) and sum(a != b for a, b in zip(cut, data, strict=True)) == 1 and without_softmax(cut) == cut
    for judge in interpreters(cut):
        result = judge.get_output_details()[0]
        assert result["quantization"] == (pytest.approx(0.015), 4) and result["shape"].tolist() == [1, 6]
    network = quantise_with(load_model(file))
    found = compare(network, data, inputs_of(network, None, 8), classes=True)
    assert found["inputs"] == 8 and found["golden"]["equal"] > 0.5 and found["golden"]["steps"] <= 1
    wrong = replace(network, layers=tuple(replace(layer, bias=layer.bias + 4000) if hasattr(layer, "bias") else layer
                                          for layer in network.layers))
    assert compare(wrong, data, inputs_of(network, None, 8), classes=True)["golden"]["steps"] > 1


def test_frames_on_the_rtl_are_golden(file, monkeypatch):
    monkeypatch.setattr(machines, "FrameBench", partial(FrameBench, waves=VCD))       # the model of tests.sim.test_run
    network, board = quantise_with(load_model(file)), replace(find("ulx3s"), geometry=GEOMETRY)
    q = inputs_of(network, None, 1)[0]
    found = machines.simulated(network, board, q)
    assert found["wrong"] == 0 and found["predicted"] == found["cycles"][0] > found["cycles"][1]
    assert values.run(network, q)[network.output].any()


def test_command_keeps_what_it_found(file, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n{BEGIN}\nformer\n{END}\nbehind\n")
    words = ["--models", str(tmp_path), "--only", "KWS", "--inputs", "3", "--board", "versa-ecp5", "--rtl", "none",
             "--build", str(tmp_path / "kept"), "--page", str(page), "--json", str(tmp_path / "found.json")]
    assert mlperf_tiny.main(words) == 0
    record, text = json.loads((tmp_path / "found.json").read_text()), page.read_text()
    found = record["boards"]["versa-ecp5"]["KWS"]
    assert found["ms"][0] == pytest.approx(found["cycles"][0] / 100_000) and record["agreement"]["KWS"]["inputs"] == 3
    command = "python -m bench.mlperf_tiny --only KWS --board versa-ecp5 --rtl none --inputs 3"
    assert text.startswith(f"# Page\n{BEGIN}\nMade by `{command} ")
    assert text.endswith(f"{END}\nbehind\n") and "former" not in text and "not a submission" in text
    assert f"| versa-ecp5 | 100 | {found['ms'][0]:.3f}, then {found['ms'][1]:.3f} |" in text and "| 3 of noise |" in text
    monkeypatch.setattr(mlperf_tiny, "estimated", None)
    monkeypatch.setattr(mlperf_tiny, "compare", None)
    assert mlperf_tiny.main(words) == 0 and page.read_text() == text
    assert "versa-ecp5" in capsys.readouterr().out


def test_what_is_missing_is_told_at_once(tmp_path, capsys):
    assert mlperf_tiny.main(["--models", str(tmp_path), "--only", "AD"]) == 2
    said = "mlperf_tiny_ad_int8.tflite: no such file: give the folder of MLPerf Tiny's files (--models)"
    assert said in capsys.readouterr().err
    assert mlperf_tiny.main(["--board", "nothing"]) == 2
    (tmp_path / "page.md").write_text(f"{END}\n{BEGIN}\n")
    with pytest.raises(RequestError, match=f"page.md: must be a page with the lines {BEGIN} and {END}"):
        write_page(tmp_path / "page.md", {}, "")
