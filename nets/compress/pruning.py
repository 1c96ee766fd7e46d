"""Takes weights out of a layer, those of the least magnitude first, and lets those that are left make up for them.

A weight's magnitude counts with the deviation of the input that it meets, which makes it what the weight does to the layer's
output (Sun and others, "A Simple and Effective Pruning Approach for Large Language Models", arXiv:2306.11695). What is left is
the least squares solution for the layer's output on the calibration images (as in Frantar and Alistarh, "SparseGPT",
arXiv:2301.00774, but solved to the end), found by conjugate gradients. Nothing is trained: labels are not looked at.
"""
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from nets.graph import Conv, Graph, Linear
from nets.int8.calibrate import Statistics
from nets.int8.fuse import as_conv
from nets.int8.rounding import DAMPING, InputMoments

__all__ = ["WEIGHTED", "pruned", "prune", "refit", "zeros"]

WEIGHTED = (Conv, Linear)
ROUNDS = 8              # in which weights are taken: magnitudes change when the others make up for those that are gone
ITERATIONS = 10         # of conjugate gradients, from what the round before has found


def pruned(graph: Graph, statistics: Statistics, shares: dict[str, float]) -> Graph:
    """The network of which each layer named has at least that share of weights 0: itself, if that is so already. `statistics`: of
    the graph's plan."""
    def less(layer: Conv | Linear) -> Conv | Linear:
        *_, last = prune(layer, statistics.moments[layer.name], np.linspace(0, shares[layer.name], ROUNDS + 1)[1:])
        return last
    wanted = {layer.name for layer in graph.layers if layer.name in shares and shares[layer.name] > zeros(layer)}
    layers = tuple(less(layer) if layer.name in wanted else layer for layer in graph.layers)
    return replace(graph, layers=layers) if wanted else graph


def zeros(layer: Conv | Linear) -> float:
    """The share of the layer's weights that are 0."""
    return 1 - np.count_nonzero(layer.weight) / layer.weight.size


def prune(layer: Conv | Linear, moments: InputMoments, shares: Sequence[float]) -> Iterator[Conv | Linear]:
    """The layer with more and more weights 0: the shares, which ascend; those that are 0 already stay so. Its bias keeps the mean
    of what it computes."""
    conv = as_conv(layer)
    exact = conv.weight.reshape(conv.groups, len(conv.weight) // conv.groups, -1).astype(np.float64)
    covariance, mean, variance = (None, *np.zeros((2, conv.groups, exact.shape[2]))) if moments.empty else (
        moments.covariance, moments.mean, moments.variance)
    deviation = np.sqrt(variance + 1e-3 * variance.mean() + np.finfo(np.float32).tiny)[:, None]
    now = exact
    for share in shares:
        kept = _largest(np.abs(now) * deviation, round(share * now.size))
        now = np.where(kept, now, 0) if covariance is None else refit(exact, now, kept, covariance)
        bias = layer.bias + np.einsum("gon,gn->go", exact - now, mean).ravel()
        yield replace(layer, weight=now.reshape(layer.weight.shape).astype(np.float32), bias=bias.astype(np.float32))


def _largest(worth: np.ndarray, gone: int) -> np.ndarray:
    """All but so many of the least."""
    kept = np.ones(worth.size, bool)
    if gone:
        kept[np.argpartition(worth, gone - 1, axis=None)[:gone]] = False
    return kept.reshape(worth.shape)


def refit(exact: np.ndarray, start: np.ndarray, kept: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Weights (groups, out, n), 0 where they are not kept, whose outputs are nearest to those of the exact ones: their squared
    error, weighed by the inputs' `covariance` (groups, n, n), is least. `start` is where the search begins."""
    diagonal = np.diagonal(covariance, axis1=1, axis2=2)[:, None]
    damping = DAMPING * np.maximum(diagonal.mean(2, keepdims=True), 0) + np.finfo(np.float32).tiny

    def gradient(weight: np.ndarray) -> np.ndarray:
        return np.where(kept, weight @ covariance + damping * weight, 0)
    x = np.where(kept, start, 0)
    left = gradient(exact - x)
    direction, before = 0.0, np.inf
    for _ in range(ITERATIONS):
        scaled = left / (diagonal + damping)
        power = (left * scaled).sum(2, keepdims=True)
        direction = scaled + power / np.maximum(before, np.finfo(np.float64).tiny) * direction
        ahead = gradient(direction)
        step = power / np.maximum((direction * ahead).sum(2, keepdims=True), np.finfo(np.float64).tiny)
        x, left, before = x + step * direction, left - step * ahead, power
    return x
