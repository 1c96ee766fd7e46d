"""Cross-layer equalisation: channels of one tensor get ranges that are alike, and what reads them makes up for it.

A tensor has one scale, so a channel whose values are a hundred times smaller than its neighbours' is left with two bits. But a
convolution may make channel k larger by a factor if every reader has weights smaller by the same factor, with nothing but
positively homogeneous operators between (ReLU, pools, concatenations; a clip whose bound moves along): the network computes
what it did (Nagel and others, "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721).
The branches of a concatenation are channels like others. Here the ranges are measured, not derived from weights; factors are
powers of two, so that the float network stays the same to the last bit.
"""
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from nets import float_run
from nets.graph import (
    Add,
    Affine,
    AvgPool,
    ChannelShuffle,
    Clip,
    Concat,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Graph,
    Layer,
    Linear,
    MaxPool,
    Relu,
)
from nets.int8.blocks import MOST_ELEMENTS, row_blocks
from nets.int8.fuse import Plan, as_conv
from nets.int8.network import OCTAVES_MAX, WEIGHT_MAX

__all__ = ["Range", "equalise", "measure_ranges"]

KEEPS = (Relu, Clip, MaxPool, AvgPool, GlobalAvgPool, Dropout)      # channel k of the output is made of channel k of the input
WEIGHTED = (Conv, Linear, Affine)
FIXED = 0                       # the class of channels whose scale is what it is
POWERS = [(of_range, of_weight) for of_range in (0.25, 0.5, 0.75, 1.0) for of_weight in (0.0, 0.25, 0.5)]
WORTHWHILE = 0.8                # of the noise must be left at most, a decibel less


@dataclass(kw_only=True, eq=False)
class Range:
    """What a tensor's channels held: `low`, `high` and `power` (mean square), float64 (channels,)."""

    low: np.ndarray
    high: np.ndarray
    power: np.ndarray
    images: int = 1

    def add(self, other: "Range") -> None:
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        self.power = (self.images * self.power + other.images * other.power) / (self.images + other.images)
        self.images += other.images


def measure_ranges(graph: Graph, images: Iterable[np.ndarray]) -> dict[str, Range]:
    """The range of every tensor of the float network over prepared images."""
    ranges: dict[str, Range] = {}
    for x in images:
        for layer, tensor in float_run.walk(graph, x):
            flat = tensor.reshape(len(tensor), -1)
            with np.errstate(over="ignore", invalid="ignore"):
                one = Range(low=flat.min(1).astype(np.float64), high=flat.max(1).astype(np.float64),
                            power=np.square(flat).mean(1, dtype=np.float64))
            if layer.name in ranges:
                ranges[layer.name].add(one)
            else:
                ranges[layer.name] = one
    return ranges


def equalise(graph: Graph, plan: Plan, ranges: dict[str, Range]) -> tuple[Graph, dict[str, tuple[int, ...]]]:
    """The network with the factors that lose least to rounding, its output bit for bit the same in floats, and for each tensor
    that has any but 1 their logarithms to base 2; the network as it was where nothing gains a decibel. `plan` is the graph's.
    """
    if not all(np.isfinite(one.power).all() for one in ranges.values()):
        return graph, {}                # calibration will say so
    classes = _classes(graph)
    model = _NoiseModel(graph, plan, ranges, classes)
    factors = np.ones(1 + max(ids.max() for ids in classes.values()))
    for chosen in model.components():
        before = model.noise(factors, chosen)
        best, least = factors, before * WORTHWHILE
        for of_range, of_weight in POWERS:
            tried = model.tried(factors, chosen, of_range, of_weight)
            noise = model.noise(tried, chosen)
            if noise < least and model.allows(tried, chosen):
                best, least = tried, noise
        factors = best
    layers = tuple(_scaled(layer, factors, classes) for layer in graph.layers)
    if not all(np.isfinite(layer.weight).all() for layer in layers if isinstance(layer, Conv | Linear)):
        return graph, {}
    return replace(graph, layers=layers), {name: tuple(np.log2(factors[ids]).astype(int).tolist())
                                           for name, ids in classes.items() if (factors[ids] != 1).any()}


def _classes(graph: Graph) -> dict[str, np.ndarray]:
    """For every tensor the class of each channel; channels of one class must have one factor, those of `FIXED` none."""
    parent = [FIXED]

    def find(k: int) -> int:
        while parent[k] != k:
            parent[k] = k = parent[parent[k]]
        return k

    def join(first: np.ndarray, second: np.ndarray) -> None:
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            low, high = sorted((find(a), find(b)))
            parent[high] = low

    ids: dict[str, np.ndarray] = {}
    for layer in graph.layers:
        count = graph.shapes[layer.name][0]
        sources = [ids[name] for name in layer.inputs]
        match layer:
            case Clip() if np.any(np.asarray(layer.low) > 0) or np.any(np.asarray(layer.high) < 0):
                own = None              # zero is not within: not homogeneous for any bound
            case Relu() | Clip() | MaxPool() | AvgPool() | GlobalAvgPool() | Dropout():
                own = sources[0]
            case Concat():
                own = np.concatenate(sources)
            case ChannelShuffle():
                own = sources[0].reshape(layer.groups, -1).T.ravel()
            case Flatten():
                own = np.repeat(sources[0], count // len(sources[0]))
            case Add():
                join(*sources)
                own = sources[0]
            case Conv() | Linear() | Affine():
                own = np.arange(len(parent), len(parent) + count)
                parent.extend(own.tolist())
            case _:
                own = None
        if own is None:
            own = np.full(count, FIXED)
            for source in sources:
                join(source, np.full(len(source), FIXED))
        ids[layer.name] = own
    join(ids[graph.output], np.full(len(ids[graph.output]), FIXED))
    return {name: np.array([find(k) for k in own.tolist()]) for name, own in ids.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reader:
    """Rows of weights that meet channels of classes `ids` (rows or 1, n) of mean square `power`: of each row and channel the
    `largest` weight and the sum of their `squares` (rows, n), over the `taps` of the kernel."""

    ids: np.ndarray
    power: np.ndarray
    largest: np.ndarray
    squares: np.ndarray
    taps: int


class _NoiseModel:
    """How much of what the convolutions compute is noise, as a function of the factors: an estimate that takes every rounding
    error as uniform and all values as uncorrelated."""

    def __init__(self, graph: Graph, plan: Plan, ranges: dict[str, Range], classes: dict[str, np.ndarray]):
        self.count = 1 + max(ids.max() for ids in classes.values())
        members: dict[str, list[str]] = {}
        for step in plan.steps:
            members.setdefault(plan.leader[step.name], []).append(step.value)
        self.groups = []                # (classes, low, high) of the channels that share a scale
        self.range = np.zeros(self.count)
        for names in members.values():
            ids = np.concatenate([classes[name] for name in names])
            low = np.minimum(np.concatenate([ranges[name].low for name in names]), 0)
            high = np.maximum(np.concatenate([ranges[name].high for name in names]), 0)
            self.groups.append((ids, low, high))
            np.maximum.at(self.range, ids, high - low)
        self.readers = [_reader(layer, classes[layer.inputs[0]], ranges[layer.inputs[0]].power)
                        for layer in graph.layers if isinstance(layer, WEIGHTED)]
        self.clips = []                 # (classes, bound, what was reached), each bound as an upper one
        for layer in (layer for layer in graph.layers if isinstance(layer, Clip)):
            found = ranges[layer.name]
            for bound, reach in ((layer.high, found.high), (-layer.low, -found.low)):
                if np.all(np.isfinite(bound)):
                    self.clips.append((classes[layer.name], np.full(len(reach), bound), reach))
        self.range[self.range == 0] = 1
        self.weight = np.zeros(self.count)
        for reader in self.readers:
            share = reader.largest * self.range[reader.ids]
            share = reader.largest / np.maximum(share.max(1, keepdims=True), np.finfo(np.float64).tiny)
            np.maximum.at(self.weight, np.broadcast_to(reader.ids, share.shape), share)
        self.weight[self.weight == 0] = 1 / self.range[self.weight == 0]

    def components(self) -> list[np.ndarray]:
        """Classes whose factors depend on each other, as masks (classes,)."""
        label = np.arange(self.count)
        groups = [free for ids, *_ in self.groups if len(free := np.unique(ids[ids != FIXED]))]
        changed = True
        while changed:
            changed = False
            for ids in groups:
                if (label[ids] != (least := label[ids].min())).any():
                    label[ids], changed = least, True
        return [label == least for least in np.unique(np.concatenate([label[:0], *(label[ids] for ids in groups)]))]

    def tried(self, factors: np.ndarray, chosen: np.ndarray, of_range: float, of_weight: float) -> np.ndarray:
        """Factors with those of the chosen classes anew: powers of two near range ** -of_range * weight ** of_weight."""
        octaves = of_weight * np.log2(self.weight) - of_range * np.log2(self.range)
        tied = [ids for ids, *_ in self.groups if chosen[ids].any() and (ids == FIXED).any()]
        octaves -= octaves[FIXED] if tied else octaves[chosen].mean()
        tried = factors.copy()
        tried[chosen] = 2.0 ** np.clip(np.rint(octaves[chosen]), -OCTAVES_MAX, OCTAVES_MAX)
        for _ in range(4):
            for ids, bound, reach in self.clips:
                if chosen[ids].any():
                    least = 2.0 ** np.ceil(np.log2(_least(tried, ids, bound, reach)))
                    np.maximum.at(tried, ids, np.where(ids == FIXED, 0, least))
        return tried

    def allows(self, factors: np.ndarray, chosen: np.ndarray) -> bool:
        """Whether the factors are within limits, and no bound of a chosen channel lies within the range of another one: integers
        know one bound a tensor."""
        return np.abs(np.log2(factors)).max() <= OCTAVES_MAX and all(
            (factors[ids] >= _least(factors, ids, bound, reach)).all() for ids, bound, reach in self.clips if chosen[ids].any())

    def noise(self, factors: np.ndarray, chosen: np.ndarray) -> float:
        """The mean share of noise in the rows that read the chosen classes, summed over the readers."""
        power = np.zeros(self.count)            # of the rounding noise of a channel, in units of its unscaled values
        for ids, low, high in self.groups:
            if chosen[ids].any():
                step = ((factors[ids] * high).max() - (factors[ids] * low).min()) / 255
                power[np.unique(ids)] += step ** 2 / 12
        power /= factors ** 2
        total = 0.0
        for reader in self.readers:
            if chosen[reader.ids].any():
                factor = factors[reader.ids]
                step = (reader.largest / factor).max(1) / WEIGHT_MAX
                noise = (reader.squares * power[reader.ids]).sum(1)
                noise += step ** 2 / 12 * reader.taps * (reader.power * factor ** 2).sum(1)
                signal = (reader.squares * reader.power).sum(1)
                total += float((noise / np.maximum(noise + signal, np.finfo(np.float64).tiny)).mean())
        return total


def _least(factors: np.ndarray, ids: np.ndarray, bound: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """For each channel of a clip the factor that lifts its bound to what the largest channel reaches; at least 2**-99."""
    with np.errstate(divide="ignore", invalid="ignore"):
        least = (factors[ids] * reach).max() / bound
    return np.maximum(np.where(bound > 0, least, 0), 2.0 ** -99)


def _reader(layer: Conv | Linear | Affine, ids: np.ndarray, power: np.ndarray) -> _Reader:
    conv = as_conv(layer)
    out, per_group = conv.weight.shape[:2]
    # Of very many rows of a dense layer every n-th is enough for an estimate.
    thin = slice(None, None, -(-conv.weight.size // MOST_ELEMENTS) if conv.groups == 1 else 1)
    taps = conv.weight[thin].astype(np.float64).reshape(-1, per_group, conv.weight[0, 0].size)
    ids, power = (np.repeat(values.reshape(conv.groups, per_group), out // conv.groups if conv.groups > 1 else 1, axis=0)
                  for values in (ids, power))
    return _Reader(ids=ids, power=power, largest=np.abs(taps).max(2), squares=np.square(taps).sum(2), taps=taps.shape[2])


def _scaled(layer: Layer, factors: np.ndarray, classes: dict[str, np.ndarray]) -> Layer:
    """The layer with its channels multiplied by their factors, given inputs that are."""
    if not isinstance(layer, (*WEIGHTED, Clip)):
        return layer
    own, source = factors[classes[layer.name]], factors[classes[layer.inputs[0]]]
    if (own == 1).all() and (source == 1).all():
        return layer
    match layer:
        case Clip():
            low, high = (np.asarray(bound * own, np.float32) for bound in (layer.low, layer.high))
            return replace(layer, low=low, high=high)
        case Affine():
            return replace(layer, scale=_float32(layer.scale * (own / source)), offset=_float32(layer.offset * own))
        case Linear():
            weight = [_float32(layer.weight[rows] * own[rows, None] / source) for rows in row_blocks(*layer.weight.shape)]
            return replace(layer, weight=np.concatenate(weight), bias=_float32(layer.bias * own))
        case Conv():
            per_row = source.reshape(layer.groups, -1).repeat(len(own) // layer.groups, axis=0)
            weight = layer.weight * own[:, None, None, None] / per_row[:, :, None, None]
            return replace(layer, weight=_float32(weight), bias=_float32(layer.bias * own))


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
