"""Pruning: how many weights go and which, and that the others make up for them as well as they can."""
from dataclasses import replace

import numpy as np
import pytest

from nets.compress.pruning import prune, pruned, refit, zeros
from nets.float_run import LAYERS
from nets.graph import Conv, Window
from nets.int8.calibrate import measure
from nets.int8.fuse import plan
from nets.int8.rounding import InputMoments
from tests.nets.compress.networks import images_for, small_model


def layer_and_inputs(groups: int = 1):
    """A 1x1 convolution of 12 channels that are much alike, and 400 pixels for it."""
    rng = np.random.default_rng(groups)
    x = rng.normal(0, 0.4, (12, 20, 20)) + rng.normal(0, 1, (1, 20, 20)) + rng.normal(0, 1, (12, 1, 1))
    weight = rng.normal(0, 1, (24, 12 // groups, 1, 1)).astype(np.float32)
    layer = Conv(name="c", inputs=("i",), weight=weight, bias=rng.normal(0, 1, 24).astype(np.float32), groups=groups,
                 window=Window(kernel=(1, 1)))
    moments = InputMoments()
    moments.add(layer, x.astype(np.float32))
    return layer, x.astype(np.float32), moments


def test_refitted_weights_are_the_least_squares_solution():
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1, (2, 6, 500)) + rng.normal(0, 1, (2, 1, 500))
    exact, kept = rng.normal(0, 1, (2, 5, 6)), rng.random((2, 5, 6)) < 0.6
    got = refit(exact, np.zeros_like(exact), kept, x @ x.swapaxes(1, 2) / 500)
    assert not got[~kept].any()
    for g, o in np.ndindex(2, 5):
        wanted = np.linalg.lstsq(x[g, kept[g, o]].T, exact[g, o] @ x[g], rcond=None)[0]
        left = np.abs(got[g, o, kept[g, o]] - wanted).max()
        assert left < 0.05, (g, o, left)        # the damping of 1 % is all that they differ by


@pytest.mark.parametrize("groups", [1, 3, 12])
def test_a_layer_loses_the_share_and_what_is_gone_stays_gone(groups):
    layer, _, moments = layer_and_inputs(groups)
    before = np.zeros(layer.weight.shape, bool)
    for share, less in zip((0.25, 0.5, 0.75), prune(layer, moments, (0.25, 0.5, 0.75)), strict=True):
        assert zeros(less) == pytest.approx(share, abs=1 / layer.weight.size) and not less.weight[before].any()
        before = less.weight == 0


def test_what_is_0_already_stays_so_and_counts():
    layer, _, moments = layer_and_inputs()
    layer.weight[:6] = 0
    (less,) = prune(layer, moments, [0.5])
    assert zeros(less) == 0.5 and not less.weight[:6].any()
    (same,) = prune(layer, moments, [0.1])
    assert zeros(same) == 0.25


def test_weights_that_are_left_make_up_for_those_that_are_gone():
    """Much less is lost than by taking the same weights out alone, and nothing of the mean."""
    layer, x, moments = layer_and_inputs()
    *_, less = prune(layer, moments, (0.15, 0.3, 0.45, 0.6))
    alone = replace(layer, weight=np.where(less.weight != 0, layer.weight, 0))
    wanted, got, cut = (LAYERS[Conv](one, x).reshape(24, -1) for one in (layer, less, alone))
    np.testing.assert_allclose(got.mean(1), wanted.mean(1), atol=1e-4)
    assert (got - wanted).var(1).sum() < 0.25 * (cut - wanted).var(1).sum()


def test_magnitudes_count_with_what_the_inputs_hold():
    """A small weight that meets large values stays, a large one that meets small values goes."""
    x = np.random.default_rng(0).normal(0, 1, (2, 20, 20)) * np.array([100.0, 0.01]).reshape(2, 1, 1)
    weight = np.array([0.1, 3.0], np.float32).reshape(1, 2, 1, 1)
    layer = Conv(name="c", inputs=("i",), weight=weight, bias=np.zeros(1, np.float32), window=Window(kernel=(1, 1)))
    moments = InputMoments()
    moments.add(layer, x.astype(np.float32))
    (less,) = prune(layer, moments, [0.5])
    assert less.weight[0, 0, 0, 0] == pytest.approx(0.1, rel=0.02) and less.weight[0, 1, 0, 0] == 0


def test_layers_too_large_for_a_covariance_are_pruned_too(monkeypatch):
    monkeypatch.setattr("nets.int8.rounding.LARGEST", 4)
    layer, x, moments = layer_and_inputs()
    assert moments.covariance is None
    (less,) = prune(layer, moments, [0.5])
    kept = less.weight != 0
    np.testing.assert_array_equal(less.weight[kept], layer.weight[kept])
    np.testing.assert_allclose(LAYERS[Conv](less, x).mean((1, 2)), LAYERS[Conv](layer, x).mean((1, 2)), atol=1e-4)


def test_only_layers_that_shall_lose_some_are_touched():
    model = small_model()
    prepared = [model.spec.normalise(pixels) for pixels in images_for(model, 4)]
    less = pruned(model.graph, measure(model.graph, plan(model.graph), prepared), {"right": 0.5, "classes": 0.25, "left": 0.0})
    changed = {layer.name for layer in less.layers if layer is not model.graph.by_name[layer.name]}
    assert changed == {"right", "classes"}
    assert zeros(less.by_name["right"]) == 0.5 and zeros(less.by_name["classes"]) == 0.25
