"""Networks as sparse as a paper's."""
import numpy as np
import pytest

from bench.weights.pruned import STAYING, main, pruned
from nets.int8.network import QConv
from nets.load import load_model
from nets.quantise import outline, quantise_with


@pytest.fixture(scope="module")
def network():
    return quantise_with(load_model("digits"))


def test_so_many_stay_as_they_were_and_nothing_else_changes(network):
    convs = [layer for layer in network.layers if isinstance(layer, QConv)]
    staying = [10 + 3 * n for n in range(len(convs))]
    found, again, other = (pruned(network, staying, seed) for seed in (1, 1, 2))
    assert found.name == "digits_pruned"
    for share, layer in zip(staying, convs, strict=True):
        weight, place = found.by_name[layer.name].weight, found.by_name[layer.name]
        kept = weight != 0
        assert np.array_equal(weight[kept], layer.weight[kept]) and weight.dtype == np.int8
        assert kept.sum() <= round(layer.weight.size * share / 100)
        assert kept.sum() >= round(layer.weight.size * share / 100) - (layer.weight == 0).sum()
        assert place.bias is layer.bias and np.array_equal(weight, again.by_name[layer.name].weight)
    assert any(not np.array_equal(found.by_name[layer.name].weight, other.by_name[layer.name].weight) for layer in convs)
    with pytest.raises(ValueError, match="digits has fewer than"):
        pruned(network, [*staying, 5], 1)


@pytest.mark.parametrize("name", STAYING)
def test_the_paper_s_layers(name):
    assert sum(isinstance(layer, QConv) for layer in outline(load_model(name)).layers) == len(STAYING[name])


def test_bad_requests(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "a.onnx")]) == 2 and main(["--seed", "-1"]) == 2
    error = capsys.readouterr().err
    assert "a quantised file must end in .fln" in error and "--seed must be 0 or more, not -1" in error
