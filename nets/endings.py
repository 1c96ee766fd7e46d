"""How networks end: what comes behind the scores only presents them, and is left to the host.

A softmax, a sigmoid or the choice of the best class does not change the ranking of what it reads, so integers stop before it,
and the host computes it from the scores, in floats.
"""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nets.functions import Sigmoid
from nets.graph import Dropout, Flatten, Graph, Layer, Shape, Softmax
from nets.moves import Rearrange

__all__ = ["ENDINGS", "ArgMax", "LogSoftmax", "applied", "finish", "scores_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LogSoftmax(Layer):
    """Logarithm of the softmax over the channels or features."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgMax(Layer):
    """The number of the largest channel or feature, the first of equal ones: (C, ...) -> (1, ...), as float32."""

    def infer(self, *shapes: Shape) -> Shape:
        return (1, *shapes[0][1:])


ENDINGS = {kind.__name__: kind for kind in (Softmax, LogSoftmax, Sigmoid, ArgMax)}


def scores_of(graph: Graph) -> tuple[Layer, tuple[str, ...]]:
    """The layer whose tensor ranks the classes, and the names of the endings behind it (keys of `ENDINGS`), in order of
    execution."""
    layer = last = graph.by_name[graph.output]
    endings: list[str] = []
    while isinstance(layer, (*ENDINGS.values(), Dropout, Flatten, Rearrange)):
        if isinstance(layer, Rearrange) and list(layer.order) != sorted(layer.order):
            break                               # classes would change their numbers
        source = graph.by_name[layer.inputs[0]]
        if layer.op in ENDINGS:
            endings.insert(0, layer.op)
            last = source
        elif layer is last and isinstance(layer, Dropout):
            last = source
        layer = source
    return last, tuple(endings)


def finish(scores: np.ndarray, endings: Sequence[str]) -> np.ndarray:
    """float64, of the shape of `scores` (channels, ...): what a user is shown for each class.

    The sigmoid of a network that ends in one, else probabilities, also where a network ends in bare scores, in logarithms of
    probabilities, or in the best class. A single score is no choice between classes: it is shown as the network has it.
    """
    values = np.asarray(scores, np.float64)
    if values.size > 1 and not set(endings) - {"ArgMax"}:
        return _softmax(values.reshape(-1, 1)).reshape(values.shape)
    for ending in endings:
        if ending == "Sigmoid":
            values = np.exp(-np.logaddexp(0, -values))
        elif ending in ("Softmax", "LogSoftmax"):
            values = _softmax(values)
    return values


def applied(values: np.ndarray, endings: Sequence[str]) -> np.ndarray:
    """float64 values (channels, height, width) behind these endings, as the network's file gives them."""
    for ending in endings:
        if ending == "ArgMax":
            values = values.argmax(0)[None].astype(np.float64)
        elif ending == "Sigmoid":
            values = np.exp(-np.logaddexp(0, -values))
        elif ending == "Softmax":
            values = _softmax(values)
        else:
            values = values - values.max(0)
            values = values - np.log(np.exp(values).sum(0))
    return values


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(0))
    return powers / powers.sum(0)
