"""What layers bear is what the network does without them, and shares are where they cost least."""
import numpy as np
import pytest

from nets import float_run
from nets.compress.pruning import prune, pruned
from nets.compress.sensitivity import GRID, LEVELS, MOST, Sensitivity, chosen_shares, measure_sensitivity
from nets.int8.calibrate import measure
from nets.int8.fuse import plan
from tests.nets.compress.networks import images_for, small_model


def layer_of(size: int, noise: float, *, steep: float = 6.0, zeros: float = 0.0) -> Sensitivity:
    return Sensitivity(size=size, zeros=zeros, noise=tuple(noise * np.exp(steep * level) for level in LEVELS))


@pytest.fixture(scope="module")
def measured():
    model = small_model()
    prepared = [model.spec.normalise(pixels) for pixels in images_for(model, 6)]
    statistics = measure(model.graph, plan(model.graph), prepared)
    return model.graph, prepared, statistics, measure_sensitivity(model.graph, statistics, prepared)


def test_noise_is_that_of_the_whole_network(measured):
    graph, prepared, statistics, found = measured
    assert list(found) == ["stem", "depthwise", "left", "right", "classes"]
    exact = [float_run.run(graph, x)["classes"].astype(np.float64) for x in prepared]
    signal = sum(np.square(scores - scores.mean()).sum() for scores in exact)
    for name in ("stem", "left", "classes"):
        for noise, less in zip(found[name].noise, prune(graph.by_name[name], statistics.moments[name], LEVELS), strict=True):
            layers = tuple(less if layer.name == name else layer for layer in graph.layers)
            wrong = [float_run.run(type(graph)(name="x", layers=layers, output="classes"), x)["classes"] - scores
                     for x, scores in zip(prepared, exact, strict=True)]
            assert noise == pytest.approx(sum(np.square(one - one.mean()).sum() for one in wrong) / signal, rel=1e-4), name


def test_shares_give_what_was_asked_for(measured):
    graph, _, statistics, found = measured
    for share in (0.2, 0.6, 0.9):
        shares = chosen_shares(found, share)
        assert sum(shares[name] * layer.size for name, layer in found.items()) == pytest.approx(
            share * sum(layer.size for layer in found.values()), rel=1e-3)
        less = pruned(graph, statistics, shares)
        weights = [less.by_name[name].weight for name in found]
        assert sum(int((weight == 0).sum()) for weight in weights) >= share * sum(w.size for w in weights) - len(weights)


def test_no_other_shares_cost_less():
    layers = {"a": layer_of(1000, 1e-4), "b": layer_of(3000, 1e-3, steep=4), "c": layer_of(500, 1e-5, steep=9)}
    sizes = np.array([layer.size for layer in layers.values()])

    def noise(shares) -> float:
        return sum(float(np.interp(share, GRID, layer.cost())) for share, layer in zip(shares, layers.values(), strict=True))
    best = np.array(list(chosen_shares(layers, 0.6).values()))
    rng = np.random.default_rng(1)
    for _ in range(300):
        other = best + rng.normal(0, 0.1, 3)
        other += (0.6 * sizes.sum() - sizes @ other) / sizes.sum()
        if other.min() >= 0 and other.max() <= MOST:
            assert noise(best) <= noise(other) * 1.01, other

    def slopes(**steep: float) -> list[float]:
        return [one * float(np.interp(share, GRID, layers[name].cost())) / layers[name].size
                for (name, one), share in zip(steep.items(), best, strict=True)]
    assert np.ptp(np.log(slopes(a=6, b=4, c=9))) < 0.1, best        # a weight more would cost the same anywhere


def test_layers_that_are_sparse_already_keep_what_they_have():
    layers = {"a": layer_of(1000, 1e-4, zeros=0.7), "b": layer_of(1000, 1e-4)}
    assert chosen_shares(layers, 0.3) == {"a": 0.7, "b": 0.0}
    shares = chosen_shares(layers, 0.6)
    assert shares["a"] == 0.7 and shares["b"] == pytest.approx(0.5)
    assert chosen_shares({}, 0.5) == {}


def test_a_layer_that_does_nothing_costs_nothing():
    layers = {"idle": Sensitivity(size=1000, zeros=0.0, noise=(0.0,) * len(LEVELS)), "b": layer_of(1000, 1e-2)}
    shares = chosen_shares(layers, 0.4)
    assert shares["idle"] > 0.75 and shares["b"] < 0.05
