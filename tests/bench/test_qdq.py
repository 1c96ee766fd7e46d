"""The comparison with ONNX Runtime as a command."""
from dataclasses import replace
import sys

import numpy as np

from bench import qdq
from nets.export_qdq import network_model
from nets.load import load_model
from nets.quantise import quantise_with
from tests.nets.onnx.cases import model, node, save, weights


def test_that_the_runtime_is_missing_is_told_before_the_network_is_quantised(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(qdq, "network_and_model", None)        # not called
    assert qdq.main(["--images", "nowhere"]) == 1
    said = capsys.readouterr().err
    assert said == "error: the comparison with ONNX Runtime needs onnxruntime: pip install -e '.[bench]'\n"


def test_a_quantised_file_is_held_against_itself(tmp_path):
    """Scores that the file and golden compute alike are all equal, and a bias that is off is seen."""
    float_file = save(tmp_path, model([node("Conv", "x w b", "c"), node("Flatten", "c")],
                                      weights(w=(6, 3, 3, 3), b=(6,)), shape=(1, 3, 6, 7)), "float.onnx")
    path = tmp_path / "net.onnx"
    path.write_bytes(network_model(quantise_with(load_model(float_file))).SerializeToString())
    network = quantise_with(load_model(path))
    images = list(np.random.default_rng(1).uniform(-2, 2, (5, 3, 6, 7)).astype(np.float32))
    assert qdq.against_file(network, path, images, fused=False) == {"equal": 1, "steps": 0, "same_top1": 5}
    wrong = replace(network, layers=tuple(replace(layer, bias=layer.bias + 9000) if hasattr(layer, "bias") else layer
                                          for layer in network.layers))
    assert qdq.against_file(wrong, path, images, fused=False)["equal"] < 1
