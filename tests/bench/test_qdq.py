"""The comparison with ONNX Runtime as a command."""
import sys

from bench import qdq


def test_that_the_runtime_is_missing_is_told_before_the_network_is_quantised(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(qdq, "network_from_arguments", None)        # not called
    assert qdq.main(["--images", "nowhere"]) == 1
    said = capsys.readouterr().err
    assert said == "error: the comparison with ONNX Runtime needs onnxruntime: pip install -e '.[bench]'\n"
