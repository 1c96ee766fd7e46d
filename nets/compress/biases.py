"""Bias correction: every channel has the mean again that it had before, whatever the layers in front of it have lost.

(Nagel and others, "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721.) The means are
measured, and behind a ReLU or clip, where there is one: a channel whose values have drawn together keeps its mean in front of it,
and yet hardly ever passes.
"""
from collections.abc import Sequence
from dataclasses import replace
import math

import numpy as np

from cli import progress
from nets.compress.pruning import WEIGHTED
from nets.compress.together import Together
from nets.float_run import LAYERS
from nets.graph import Clip, Graph, Layer, Relu
from nets.quantise import spread

__all__ = ["corrected"]

IMAGES = 32             # at most, and as many as have room
ELEMENTS = 1 << 25      # of the largest tensor of all images together
VALUES = 1 << 12        # of a channel and an image that are looked at, on a grid
HALVINGS = 16           # of the range of a channel's values, until its bias is near enough


def corrected(graph: Graph, before: Graph, images: Sequence[np.ndarray]) -> Graph:
    """The network with biases such that the channels of each convolution and linear layer, or of the clamp behind it, have the
    means, over prepared images, that they have in the network `before`, of the same layers."""
    largest = max(map(math.prod, graph.shapes.values()))
    images = spread(images, max(1, min(IMAGES, ELEMENTS // largest)))
    was, now, layers = Together(before, images), Together(graph, images), [graph.input]
    for layer in progress(graph.layers, "correcting biases"):
        if layer is graph.input:
            continue
        wanted, got = was.run(before.by_name[layer.name]), now.run(layer)
        if isinstance(layer, WEIGHTED):
            lost = _lost(_values(wanted), _values(got), graph.consumers[layer.name])
            layer = replace(layer, bias=layer.bias + lost)
            got = [y + lost.reshape(-1, *(1,) * (y.ndim - 1)) for y in got]
        was.put(before.by_name[layer.name], wanted)
        now.put(layer, got)
        layers.append(layer)
    return replace(graph, layers=tuple(layers))


def _values(tensors: Sequence[np.ndarray]) -> np.ndarray:
    """float32 (channels, values)."""
    flat = [x.reshape(len(x), -1) for x in tensors]
    return np.concatenate([x[:, ::-(-x.shape[1] // VALUES)] for x in flat], axis=1)


def _lost(wanted: np.ndarray, got: np.ndarray, readers: Sequence[Layer]) -> np.ndarray:
    """float32 (channels,): what must be added to the values so that they, or what a clamp leaves of them, have the wanted mean. 0
    where the clamp has let nothing through."""
    if not readers or not all(isinstance(reader, Relu | Clip) for reader in readers):
        return (wanted.mean(1, dtype=np.float64) - got.mean(1, dtype=np.float64)).astype(np.float32)
    clamp = readers[0]

    def mean(values: np.ndarray) -> np.ndarray:
        return LAYERS[type(clamp)](clamp, values).mean(1, dtype=np.float64)
    goal = mean(wanted)
    reach = (np.abs(wanted).max(1) + np.abs(got).max(1)).astype(np.float64)
    least, most = (mean(np.full((len(reach), 1), value, np.float32)) for value in (-np.inf, np.inf))
    low, high = -reach, reach
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        less = mean(got + middle[:, None].astype(np.float32)) < goal
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    return np.where((goal > least) & (goal < most), (low + high) / 2, 0).astype(np.float32)
