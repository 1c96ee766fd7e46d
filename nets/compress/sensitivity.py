"""What a network bears: how much its scores change when one layer alone is pruned, and where pruning costs least.

Noise of several layers is taken to add up, and its logarithm to be linear in the share of weights that are gone, between the
shares that are measured.
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cli import counting
from nets.compress.pruning import WEIGHTED, prune, zeros
from nets.compress.together import Together, rest_of
from nets.endings import scores_of
from nets.graph import Conv, Graph, Linear
from nets.int8.calibrate import Statistics

__all__ = ["LEVELS", "MOST", "Sensitivity", "chosen_shares", "measure_sensitivity"]

LEVELS = (0.3, 0.5, 0.7, 0.9)       # shares that are measured
MOST = 0.98                         # of a layer is taken out
GRID = np.linspace(0, MOST, 197)    # shares that are chosen from
LEAST_NOISE = 1e-9                  # what a share of 0, and rounding of floats, may be taken to cost


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """A layer of `size` weights, of which the share `zeros` is 0 already, and the `noise` in the network's scores, as a part of
    their power, for each of `LEVELS`."""

    size: int
    zeros: float
    noise: tuple[float, ...]

    def cost(self) -> np.ndarray:
        """The noise for each share of `GRID`."""
        levels = np.maximum.accumulate(np.log(np.maximum(self.noise, LEAST_NOISE)))
        first, last = (np.diff(levels)[end] / np.diff(LEVELS)[end] for end in (0, -1))
        inner = np.interp(GRID, LEVELS, levels)
        outer = np.minimum(GRID - LEVELS[0], 0) * first + np.maximum(GRID - LEVELS[-1], 0) * last
        return np.exp(inner + outer)


def measure_sensitivity(graph: Graph, statistics: Statistics, images: Sequence[np.ndarray], *,
                        known: dict[str, Sensitivity] | None = None,
                        keep: Callable[[dict[str, Sensitivity]], None] = lambda found: None) -> dict[str, Sensitivity]:
    """Of every layer with weights that the scores depend on, over prepared images. `statistics`: of the graph's plan. Layers that
    are `known` are not measured again; `keep` is called with what was found behind every other one."""
    last, together, found = scores_of(graph)[0].name, Together(graph, images), dict(known or {})
    names = [layer.name for layer in graph.layers if isinstance(layer, WEIGHTED) and layer.name in statistics.moments]
    exact: list[np.ndarray] | None = None
    if found.keys() >= set(names):
        return found
    with counting("measuring layers", len(names)) as done:
        for layer in graph.layers:
            if layer is graph.input:
                continue
            if layer.name in names and layer.name not in found:
                exact = exact or [rest_of(graph, layer, together.of(n), last) for n in range(len(images))]
                found[layer.name] = _measured(graph, layer, statistics, together, exact, last)
                keep(found)
                done(len(found))
            together.put(layer, together.run(layer))
    return found


def _measured(graph: Graph, layer: Conv | Linear, statistics: Statistics, together: Together, exact: list[np.ndarray],
              last: str) -> Sensitivity:
    already, noise = zeros(layer), []
    signal = sum(_power(scores) for scores in exact)
    for share, less in zip(LEVELS, prune(layer, statistics.moments[layer.name], LEVELS), strict=True):
        changed = share > already
        wrong = [_power(rest_of(graph, less, together.of(n), last) - scores) for n, scores in enumerate(exact) if changed]
        noise.append(sum(wrong) / max(signal, np.finfo(np.float32).tiny))
    return Sensitivity(size=layer.weight.size, zeros=already, noise=tuple(noise))


def _power(scores: np.ndarray) -> float:
    """Of the scores' differences: what all share says nothing."""
    return float(np.square(scores.astype(np.float64) - scores.mean(0)).sum())


def chosen_shares(layers: dict[str, Sensitivity], share: float) -> dict[str, float]:
    """The share of each layer's weights to be 0, so that `share` of all is, at most `MOST`, at the least noise. A layer keeps
    what it has already, so that all may have more than that."""
    if not layers:
        return {}
    sizes = np.array([layer.size for layer in layers.values()], np.float64)
    costs = np.array([layer.cost() for layer in layers.values()])
    already = np.array([layer.zeros for layer in layers.values()])

    def taken(price: float) -> np.ndarray:
        """The shares where a weight more would cost more than so much."""
        best = (costs - price * sizes[:, None] * GRID).argmin(1)
        return np.maximum(GRID[best], already)
    low, high = 0.0, 1.0
    if sizes @ taken(low) >= share * sizes.sum():
        return dict(zip(layers, already.tolist(), strict=True))
    while sizes @ taken(high) < share * sizes.sum() and high < 1e30:
        high *= 2
    for _ in range(60):
        middle = (low * high) ** 0.5 if low else high / 2 ** 20
        low, high = (low, middle) if sizes @ taken(middle) >= share * sizes.sum() else (middle, high)
    fewer, more = taken(low), taken(high)
    part = (share * sizes.sum() - sizes @ fewer) / max(sizes @ more - sizes @ fewer, 1e-9)
    return dict(zip(layers, (fewer + min(part, 1.0) * (more - fewer)).tolist(), strict=True))
