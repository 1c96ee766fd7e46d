"""Bias correction: means behind clamps, where there are any, are what they were."""
from dataclasses import replace

import numpy as np
import pytest

from nets import float_run
from nets.compress.biases import corrected
from nets.graph import Clip, Conv, Graph, Linear, Relu
from tests.nets.compress.networks import images_for, small_model


def means(graph: Graph, images) -> dict[str, np.ndarray]:
    found = [float_run.run(graph, x, keep=graph.by_name) for x in images]
    return {name: np.mean([tensors[name].reshape(len(tensors[name]), -1).mean(1) for tensors in found], 0)
            for name in graph.by_name}


@pytest.mark.parametrize("clamp", [Relu(name="stem/relu", inputs=("stem",)),
                                   Clip(name="stem/relu", inputs=("stem",), low=-1.0, high=2.0)], ids=["relu", "clip"])
def test_means_are_what_they_were(clamp):
    model = small_model()
    images = [model.spec.normalise(pixels) for pixels in images_for(model, 8)]
    before = replace(model.graph, layers=tuple(clamp if layer.name == clamp.name else layer for layer in model.graph.layers))
    rng = np.random.default_rng(5)
    spoilt = replace(before, layers=tuple(
        replace(layer, weight=(layer.weight * rng.uniform(0.6, 1, layer.weight.shape)).astype(np.float32))
        if isinstance(layer, Conv | Linear) else layer for layer in before.layers))
    mended = corrected(spoilt, before, images)
    wanted, got, was = (means(graph, images) for graph in (before, mended, spoilt))
    for name in ("stem/relu", "depthwise/relu", "classes"):
        active = wanted[name] > 0 if name.endswith("relu") else slice(None)
        np.testing.assert_allclose(got[name][active], wanted[name][active], atol=2e-3 * np.abs(wanted[name]).max(), err_msg=name)
        assert np.abs(was[name] - wanted[name]).max() > 0.02 * np.abs(wanted[name]).max(), name
    for layer in mended.layers:
        if isinstance(layer, Conv | Linear):
            assert layer.weight is spoilt.by_name[layer.name].weight


def test_channels_that_never_pass_are_left_alone():
    model = small_model()
    images = [model.spec.normalise(pixels) for pixels in images_for(model, 3)]
    stem = model.graph.by_name["stem"]
    dead = replace(stem, bias=np.where(np.arange(8) == 3, np.float32(-1e4), stem.bias))
    before = replace(model.graph, layers=tuple(dead if layer is stem else layer for layer in model.graph.layers))
    assert corrected(before, before, images).by_name["stem"].bias[3] == -1e4
