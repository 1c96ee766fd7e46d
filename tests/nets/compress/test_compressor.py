"""Compressed networks: as sparse and as shared as was asked for, in integers too, and near to what they were."""
from dataclasses import replace

import numpy as np
import pytest

from golden import values
from nets import float_run
from nets.compress.compressor import Compressor, integers_of_a_layer
from nets.compress.size import weight_bytes
from nets.graph import GraphError
from nets.int8.file import load, save
from nets.int8.network import QConv
from nets.int8.quantised import Quantisation
from nets.quantise import quantise
from tests.nets.compress.networks import images_for, small_model

SPARSITY, CODEBOOK = 0.5, 12


@pytest.fixture(scope="module")
def compressor():
    model = small_model()
    return Compressor(model, images_for(model))


@pytest.fixture(scope="module")
def compressed(compressor):
    return compressor.at(SPARSITY, CODEBOOK)


def scores(network, pixels):
    q = values.run(network, network.quantise_input(network.spec.normalise(pixels)))[network.output]
    return network.dequantise(network.output, q).ravel()


def test_integers_are_as_sparse_and_as_shared_as_was_asked_for(compressor, compressed):
    network = compressed.network
    for layer in network.layers:
        if isinstance(layer, QConv):
            assert len(np.unique(layer.weight)) <= CODEBOOK, layer.name
    nonzero = sum(np.count_nonzero(layer.weight) for layer in network.layers if isinstance(layer, QConv))
    weights = sum(layer.weight.size for layer in compressor.model.graph.layers if hasattr(layer, "weight"))
    assert nonzero <= (1 - SPARSITY) * weights + 5
    assert compressed.record["weights"] == nonzero and compressed.record["zeros"] == 1 - nonzero / weights
    assert compressed.record["integers"] == integers_of_a_layer(network) <= CODEBOOK
    assert weight_bytes(network) < 0.45 * weight_bytes(compressor.before().network)


def test_scores_stay_near(compressor, compressed):
    """Pruned by half, of 12 integers a layer: most of the signal is left, where cutting the least weights leaves much less."""
    exact = np.array([float_run.run(compressor.model.graph, compressor.model.spec.normalise(x))["classes"]
                      for x in images_for(compressor.model, 12)])
    got = np.array([scores(compressed.network, x) for x in images_for(compressor.model, 12)])
    exact, got = (x - x.mean(1, keepdims=True) for x in (exact, got))
    assert np.square(got - exact).sum() < 0.1 * np.square(exact).sum()


@pytest.mark.parametrize(("sparsity", "size"), [(0.0, CODEBOOK), (SPARSITY, None)])
def test_floats_mean_what_the_integers_do(compressor, sparsity, size):
    """Channels were equalised, which the float network must not show."""
    one = compressor.at(sparsity, size)
    assert one.network.octaves
    for pixels in images_for(compressor.model, 4):
        meant = float_run.run(one.model.graph, compressor.model.spec.normalise(pixels))["classes"]
        np.testing.assert_allclose(scores(one.network, pixels) - one.network.offset, meant, atol=0.05 * np.ptp(meant))
    weights = np.concatenate([layer.weight.ravel() for layer in one.model.graph.layers if hasattr(layer, "weight")])
    assert (weights == 0).mean() >= sparsity - 0.01


def test_where_nothing_is_pruned_nothing_is_measured(compressor):
    """As of a network that is sparse already: it keeps its weights and biases."""
    graph = compressor.model.graph
    stem = next(layer for layer in graph.layers if hasattr(layer, "weight"))
    sparse = replace(stem, weight=np.where(np.arange(8)[:, None, None, None] < 4, stem.weight, np.float32(0)))
    layers = tuple(sparse if layer is stem else layer for layer in graph.layers)
    fresh = Compressor(replace(compressor.model, graph=replace(graph, layers=layers)), compressor.images)
    assert 0 < fresh.zeros < 0.2
    fresh.at(fresh.zeros, None)
    assert fresh._sensitivity is None and fresh._statistics is None


def test_the_same_images_give_the_same_network_which_a_file_keeps(compressor, compressed, tmp_path):
    again = Compressor(compressor.model, compressor.images).at(SPARSITY, CODEBOOK).network
    for name, network in (("one.fln", compressed.network), ("two.fln", again)):
        save(network, tmp_path / name)
    assert (tmp_path / "one.fln").read_bytes() == (tmp_path / "two.fln").read_bytes()
    found = load(tmp_path / "one.fln")
    assert found.provenance["sparsity"] == SPARSITY and found.provenance["codebook"] == CODEBOOK
    assert any(f"a layer has at most {compressed.record['integers']} different ones" in note for note in found.notes)


def test_the_network_as_it_is_is_that_of_quantise(compressor):
    wanted, got = quantise(compressor.model, compressor.images), compressor.before().network
    for ours, theirs in zip(wanted.layers, got.layers, strict=True):
        assert not isinstance(ours, QConv) or (ours.weight == theirs.weight).all()


def test_quantised_networks_are_refused(compressor):
    graph = compressor.model.graph
    layers = tuple(replace(layer, quantised=Quantisation(scale=0.1, zero_point=3)) if layer.name == "stem" else layer
                   for layer in graph.layers)
    with pytest.raises(GraphError, match="comes quantised, but only a float network can be compressed"):
        Compressor(replace(compressor.model, graph=replace(graph, layers=layers)), compressor.images)
