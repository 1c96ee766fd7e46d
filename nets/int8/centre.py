"""Scores far from zero are moved there: what all classes share would take up the range that tells them apart."""
from dataclasses import replace

import numpy as np

from nets.graph import Affine, AvgPool, Conv, Dropout, Flatten, GlobalAvgPool, Graph, Layer, Linear, MaxPool
from nets.int8.equalise import Range
from nets.int8.fuse import Plan

__all__ = ["centre"]

MOVES = (MaxPool, GlobalAvgPool, Flatten, Dropout)      # move by a constant with their input, whatever it is; some average pools
WORTHWHILE = 0.7                                        # of the range is left at most, half a bit less


def centre(graph: Graph, plan: Plan, ranges: dict[str, Range]) -> tuple[Graph, float]:
    """The network with a constant less in each score, taken from the biases of its last layer, and that constant: 0.0, and
    nothing changed, where zero is in or near the range of the scores. `plan` is the graph's, `ranges` those of its tensors.

    A softmax and the ranking do not change; whoever shows scores adds the constant.
    """
    output = next(step.value for step in plan.steps if step.name == plan.output)
    low, high = float(ranges[output].low.min()), float(ranges[output].high.max())
    last = _last_biases(graph, output)
    if last is None or not (low > 0 or high < 0) or high - low > WORTHWHILE * max(-low, high):
        return graph, 0.0
    offset = float(np.float32((low + high) / 2))
    field = "offset" if isinstance(last, Affine) else "bias"
    moved = replace(last, **{field: (getattr(last, field).astype(np.float64) - offset).astype(np.float32)})
    return replace(graph, layers=tuple(moved if layer is last else layer for layer in graph.layers)), offset


def _last_biases(graph: Graph, output: str) -> Layer | None:
    """The layer whose biases move the output, and nothing else, by as much."""
    layer = graph.by_name[output]
    while not isinstance(layer, Conv | Linear | Affine):
        moves = isinstance(layer, MOVES) or isinstance(layer, AvgPool) and not layer.count_include_pad
        if not moves or len(graph.consumers[layer.inputs[0]]) != 1:
            return None
        layer = graph.by_name[layer.inputs[0]]
    return layer
