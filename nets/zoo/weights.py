"""Weights of the zoo's networks: drawn by a seed, or those of a trained network."""
from collections.abc import Mapping, Sequence
from dataclasses import replace
import math

import numpy as np

from cli import progress
from nets.float_run import LAYERS
from nets.graph import Add, Affine, Conv, Graph, GraphError, Layer, Linear, Problem

__all__ = ["convolutions", "initialise", "normalised", "with_weights", "with_weights_of"]

EPSILON = 1e-5          # beside the variance, as PyTorch has it
SCALE, OFFSET = (0.5, 1.5), 0.25        # of a trained batch normalisation: range of its scale, deviation of its offset
# Its scale at the end of a residual branch, which training leaves small: where branches count as much as what they are added to,
# rounding errors grow from block to block until a deep network's values are noise.
BRANCH = 0.1, 0.4


def convolutions(graph: Graph) -> tuple[Conv, ...]:
    """The convolutions of a graph in execution order."""
    return tuple(layer for layer in graph.layers if isinstance(layer, Conv))


def initialise(graph: Graph, seed: int) -> Graph:
    """The graph with random weights, the same ones for the same seed, and a note that says so. Weights that the builder gave
    stay.

    Normal with variance 2 / fan-in (He, arXiv:1502.01852); 2 / (fan-in + fan-out) for the last layer (Glorot and Bengio, AISTATS
    2010). Biases are 0. Raises ValueError for a seed below 0 or over 2**63 - 1.
    """
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be 0..2**63 - 1, not {seed}")
    random = np.random.default_rng(seed)
    drawn = [layer for layer in graph.layers if isinstance(layer, Conv | Linear) and not layer.weight.any()]

    def draw(layer: Layer) -> Layer:
        out, fan_in = len(layer.weight), math.prod(layer.weight.shape[1:])
        deviation = math.sqrt(2 / (fan_in + out * (layer is drawn[-1])))
        weight = random.standard_normal(layer.weight.shape, np.float32)
        weight *= np.float32(deviation)
        return replace(layer, weight=weight, bias=np.zeros(out, np.float32))
    blank = set(map(id, drawn))
    return replace(graph, layers=tuple(draw(layer) if id(layer) in blank else layer for layer in graph.layers),
                   notes=(*graph.notes, f"weights are not trained: seeded initialisation {seed}"))


def normalised(graph: Graph, inputs: Sequence[np.ndarray], seed: int) -> Graph:
    """The graph with the statistics of its batch normalisations (`Affine` layers whose scales are all 1) measured on `inputs`,
    float32 of the input's shape, layer by layer as each sees what those before make; their trained scale and offset are drawn."""
    random = np.random.default_rng(seed)
    tensors: dict[str, list[np.ndarray]] = {}
    branches = _ends_of_branches(graph)
    last = {name: n for n, layer in enumerate(graph.layers) for name in layer.inputs}
    layers = []
    for n, layer in enumerate(progress(graph.layers, "statistics of batch normalisations")):
        if layer is graph.input:
            tensors[layer.name] = [np.ascontiguousarray(x, np.float32) for x in inputs]
        else:
            sources = [tensors[name] for name in layer.inputs]
            if isinstance(layer, Affine) and (layer.scale == 1).all():
                layer = _measured(layer, sources[0], random, BRANCH if layer.name in branches else SCALE)
            tensors[layer.name] = [LAYERS[type(layer)](layer, *each) for each in zip(*sources, strict=True)]
        layers.append(layer)
        for name in {*layer.inputs, layer.name}:
            if last.get(name, -1) <= n:
                del tensors[name]
    return replace(graph, layers=tuple(layers))


def _ends_of_branches(graph: Graph) -> set[str]:
    """The input of each addition that most layers lie before: the other one is its shortcut."""
    depth: dict[str, int] = {}
    for layer in graph.layers:
        depth[layer.name] = 1 + max((depth[name] for name in layer.inputs), default=0)
    return {max(layer.inputs, key=depth.__getitem__) for layer in graph.layers if isinstance(layer, Add)}


def _measured(layer: Affine, inputs: Sequence[np.ndarray], random: np.random.Generator, scales: tuple[float, float]) -> Affine:
    values = np.concatenate([x.reshape(len(x), -1) for x in inputs], axis=1)
    mean, variance = values.mean(axis=1, dtype=np.float64), values.var(axis=1, dtype=np.float64)
    scale = random.uniform(*scales, len(mean)) / np.sqrt(variance + EPSILON)
    offset = random.normal(0, OFFSET, len(mean)) - mean * scale
    return replace(layer, scale=scale.astype(np.float32), offset=offset.astype(np.float32))


def with_weights(graph: Graph, weights: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Graph:
    """The graph with the (weight, bias) of every convolution replaced, by the convolution's name.

    Raises GraphError naming each convolution that is missing, unknown, of another shape or not
    finite.
    """
    shapes = {conv.name: conv.weight.shape for conv in convolutions(graph)}
    problems = [Problem(name, "Conv", "is not in the network") for name in weights.keys() - shapes]
    for name, shape in shapes.items():
        weight, bias = weights.get(name, (None, None))
        if weight is None or bias is None:
            problems.append(Problem(name, "Conv", "has no weights"))
        elif weight.shape != shape or bias.shape != shape[:1]:
            problems.append(Problem(name, "Conv", f"weight and bias must be {shape} and "
                                    f"{shape[:1]}, not {weight.shape} and {bias.shape}"))
        elif not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            problems.append(Problem(name, "Conv", "weight and bias must be finite"))
    if problems:
        raise GraphError(graph.name, sorted(problems, key=str))

    def attach(layer: Layer) -> Layer:
        if not isinstance(layer, Conv):
            return layer
        weight, bias = (np.ascontiguousarray(v, np.float32) for v in weights[layer.name])
        return replace(layer, weight=weight, bias=bias)

    return replace(graph, layers=tuple(map(attach, graph.layers)))


def with_weights_of(graph: Graph, trained: Graph) -> Graph:
    """The graph with the weights of another whose convolutions have the same shapes in the same
    order, whatever their names. Raises GraphError where they do not."""
    ours, theirs = convolutions(graph), convolutions(trained)
    if len(ours) != len(theirs):
        raise GraphError(graph.name, [Problem(trained.name, "Graph", f"must have {len(ours)} "
                                              f"convolutions, not {len(theirs)}")])
    return with_weights(graph, {own.name: (other.weight, other.bias)
                                for own, other in zip(ours, theirs, strict=True)})
