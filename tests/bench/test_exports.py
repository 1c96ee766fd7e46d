"""Networks as PyTorch exports them. PyTorch is large and only in the `train` extra: without it the command says so; what its
files look like is tested in tests/nets/onnx/test_exported.py."""
from importlib.util import find_spec
import json

import pytest

from bench import exports


@pytest.mark.parametrize("network", ["lenet5", "lenet5:activation=relu"])
def test_command(tmp_path, capsys, network):
    target = tmp_path / "exports.json"
    code = exports.main(["--only", network, "--json", str(target)])
    said = capsys.readouterr()
    if not (find_spec("torch") and find_spec("onnxscript")):
        assert code == 1 and said.err.count("\n") == 1 and "pip install -e '.[train]'" in said.err
        return
    assert code == 0 and "the zoo's" in said.out
    assert [figure["exporter"] for figure in json.loads(target.read_text())["figures"]] == ["old", "new"]


def test_a_figure_is_good_only_if_all_of_it_is():
    good = exports.Exported(network="n", exporter="old", worst=1e-5, same_top1=exports.IMAGES, same_macs=True)
    assert good.good
    for change in ({"worst": 2e-4}, {"same_top1": 1}, {"same_macs": False}, {"error": "refused"}):
        assert not exports.Exported(**{"network": "n", "exporter": "old", "worst": 1e-5, "same_top1": exports.IMAGES,
                                       "same_macs": True, **change}).good
