"""Small networks trained on the digits: PyTorch is only in the `train` extra, and the command says so in a line."""
from importlib.util import find_spec
import sys

import pytest

from bench import trained

HERE = bool(find_spec("torch") and find_spec("sklearn"))


def test_without_pytorch_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)         # as if it were not installed
    assert trained.main([]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pip install -e '.[train]'" in said


def test_unknown_names_are_refused(capsys):
    assert trained.main(["--only", "lenet6"]) == (2 if HERE else 1)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert ("lenet5, resnet20, densenet_bc40, mobilenet_v2_025, not lenet6" if HERE else "pip install -e '.[train]'") in said


@pytest.mark.parametrize("words", [["--epochs", "0"], ["--jobs", "x"]])
def test_bad_requests(words):
    with pytest.raises(SystemExit, match="2"):
        trained.main(words)
