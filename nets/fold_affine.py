"""Folds what scales and shifts channels into the neighbours that can take it, where that computes the same.

y = scale * x + offset, a number a channel each. Towards the image a convolution or linear layer takes it into its weights;
what lies between must let it pass: a ReLU or a maximum lets no negative scale through, an average no offset if it counts
padding. Towards the output the weights of all readers can take it, unless they pad an offset with zeros.
"""
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
import math

import numpy as np

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
    Input,
    Layer,
    Linear,
    MaxPool,
    Relu,
)
from nets.moves import Pad, Select
from nets.preprocess import InputSpec

__all__ = ["fold_affines", "fold_into_preparation"]

Changes = dict[str, Layer]      # layers by name, in place of those of that name


def fold_affines(graph: Graph, *, of_image: bool = False) -> Graph:
    """The same network without the `Affine` layers that neighbours can take, computed in float64; layers keep their names.

    A fold that would leave float32 is not done. One that reads the image goes with `of_image` only: `fold_into_preparation` can
    take it, too. A network that brings integers is left alone.
    """
    if graph.quantised:
        return graph
    folding = _Folding(graph)
    for layer in graph.layers:
        if isinstance(layer, Concat):
            folding.select(layer.name)
        folding.fold(layer.name, of_image)
    return replace(graph, layers=tuple(folding.layers.values()), output=folding.output)


def fold_into_preparation(graph: Graph, spec: InputSpec) -> tuple[Graph, InputSpec]:
    """A network that begins by scaling and shifting its image, with a preparation that does so instead, if one can.

    One that brings integers is left alone.
    """
    if graph.quantised:
        return graph, spec
    readers = graph.consumers[graph.input.name]
    first = readers[0] if readers else None
    if len(readers) != 1 or not isinstance(first, Affine) or first.name == graph.output:
        return fold_affines(graph, of_image=True), spec
    scale, offset, std = (np.asarray(values, np.float64) for values in (first.scale, first.offset, spec.std))
    if not scale.all():
        return fold_affines(graph, of_image=True), spec
    std = std / scale
    mean = np.asarray(spec.mean) - offset * std
    folding = _Folding(graph)
    folding.remove(first.name)
    changed = replace(spec, mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    return fold_affines(replace(graph, layers=tuple(folding.layers.values()), output=folding.output), of_image=True), changed


class _Folding:
    """A network in the course of it: `layers` by name, in order of execution."""

    def __init__(self, graph: Graph):
        self.shapes = graph.shapes
        self.layers = dict(graph.by_name)
        self.output = graph.output
        self.count = Counter(name for layer in graph.layers for name in layer.inputs)
        self.count[graph.output] += 1

    def readers(self, name: str) -> list[Layer]:
        return [layer for layer in self.layers.values() if name in layer.inputs]

    def remove(self, name: str) -> None:
        """Takes out a layer of one input; its readers read that."""
        gone = self.layers.pop(name)
        source = gone.inputs[0]
        for reader in self.readers(name):
            self.layers[reader.name] = replace(reader, inputs=tuple(source if one == name else one for one in reader.inputs))
        self.output = source if self.output == name else self.output
        self.count[source] += self.count.pop(name) - 1

    def fold(self, name: str, of_image: bool) -> None:
        """Folds the layer, if it is an affine one and that can be done."""
        affine = self.layers.get(name)
        if not isinstance(affine, Affine):
            return
        scale, offset = affine.scale.astype(np.float64), affine.offset.astype(np.float64)
        changes = self.before(affine.inputs[0], scale, offset)
        if changes is None and (of_image or not isinstance(self.layers[affine.inputs[0]], Input)):
            changes = self.behind(name, scale, offset)
        if changes is not None:
            self.layers.update(changes)
            self.remove(name)

    def before(self, name: str, scale: np.ndarray, offset: np.ndarray) -> Changes | None:
        """What must change for a layer's tensor to become scale * x + offset; None if it cannot, or others read it, too."""
        layer = self.layers[name]
        if self.count[name] != 1:
            return None
        match layer:
            case Conv() | Linear() | Affine():
                return _times(layer, scale, offset)
            case Concat():
                ends = np.cumsum([self.shapes[source][0] for source in layer.inputs])[:-1]
                return self._all(zip(layer.inputs, np.split(scale, ends), np.split(offset, ends), strict=True))
            case Add() if layer.factors == (1, 1):
                return self._all([(layer.inputs[0], scale, offset), (layer.inputs[1], scale, np.zeros_like(offset))])
            case Relu() | Clip():
                return self._before_clamp(layer, scale, offset)
        inward = self._inward(layer, scale, offset)
        return None if inward is None else self.before(layer.inputs[0], *inward)

    def _all(self, parts) -> Changes | None:
        changes: Changes = {}
        for part in parts:
            found = self.before(*part)
            if found is None:
                return None
            changes |= found
        return changes

    def _before_clamp(self, layer: Relu | Clip, scale: np.ndarray, offset: np.ndarray) -> Changes | None:
        low, high = (0.0, math.inf) if isinstance(layer, Relu) else (layer.low, layer.high)
        if (scale <= 0).any():
            return None
        lows, highs = np.unique(low * scale + offset), np.unique(high * scale + offset)
        if len(lows) > 1 or len(highs) > 1:         # a clamp has one limit for all channels
            return None
        found = self.before(layer.inputs[0], scale, offset)
        if found is None or (lows[0], highs[0]) == (low, high):
            return found
        clip = Clip(name=layer.name, inputs=layer.inputs, origin=layer.origin, low=float(lows[0]), high=float(highs[0]))
        return found | {layer.name: clip}

    def _inward(self, layer: Layer, scale: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Scale and offset of the input that make those of the output, for a layer that lets them pass."""
        channels = self.shapes[layer.inputs[0]][0] if layer.inputs else 0
        match layer:
            case Dropout() | GlobalAvgPool():
                return scale, offset
            case MaxPool() | AvgPool() | Pad():
                return _through_window(layer, scale, offset)
            case ChannelShuffle():
                order = np.arange(channels).reshape(layer.groups, -1).T.ravel()
                return tuple(_scattered(values, order, channels) for values in (scale, offset))
            case Flatten():
                rows = [values.reshape(channels, -1) for values in (scale, offset)]
                if all((row == row[:, :1]).all() for row in rows):
                    return rows[0][:, 0], rows[1][:, 0]
        return None

    def behind(self, name: str, scale: np.ndarray, offset: np.ndarray) -> Changes | None:
        """What must change for the readers of a tensor to take x and mean scale * x + offset; None if one cannot."""
        if name == self.output:
            return None
        changes: Changes = {}
        for reader in self.readers(name):
            found = self._taken(reader, name, scale, offset)
            if found is None:
                return None
            changes |= found
        return changes

    def _taken(self, layer: Layer, name: str, scale: np.ndarray, offset: np.ndarray) -> Changes | None:
        match layer:
            case Conv() if not (offset.any() and any(layer.window.padding)):
                return _of_inputs(layer, scale, offset)
            case Linear():
                return _of_inputs(layer, scale, offset)
            case Affine():
                slope, shift = layer.scale.astype(np.float64), layer.offset.astype(np.float64)
                return _times(replace(layer, scale=scale, offset=offset), slope, shift)
            case Relu() if (scale >= 0).all() and not offset.any():
                return self.behind(layer.name, scale, offset)
            case Dropout() | GlobalAvgPool():
                return self.behind(layer.name, scale, offset)
            case MaxPool() | AvgPool() if _through_window(layer, scale, offset) is not None:
                return self.behind(layer.name, scale, offset)
            case ChannelShuffle():
                order = np.arange(len(scale)).reshape(layer.groups, -1).T.ravel()
                return self.behind(layer.name, scale[order], offset[order])
            case Select():
                return self.behind(layer.name, scale[layer.channels], offset[layer.channels])
            case Flatten():
                each = math.prod(self.shapes[layer.inputs[0]][1:])
                return self.behind(layer.name, np.repeat(scale, each), np.repeat(offset, each))
        return None

    def select(self, name: str) -> None:
        """A concatenation of selections of one tensor, each perhaps scaled and shifted, is one selection of it, scaled and
        shifted: so torchvision's GoogLeNet prepares its image."""
        concat = self.layers[name]
        channels, scales, offsets, sources = [], [], [], set()
        for source in concat.inputs:
            layer, scale, offset = self.layers[source], 1.0, 0.0
            if isinstance(layer, Affine) and self.count[source] == 1:
                scale, offset, layer = layer.scale, layer.offset, self.layers[layer.inputs[0]]
            if not isinstance(layer, Select) or self.count[layer.name] != 1:
                return
            sources.add(layer.inputs[0])
            channels.append(layer.channels)
            scales.append(np.broadcast_to(np.float32(scale), len(layer.channels)))
            offsets.append(np.broadcast_to(np.float32(offset), len(layer.channels)))
        order = np.concatenate(channels)
        if len(sources) != 1 or not np.array_equal(order, np.arange(self.shapes[(source := sources.pop())][0])):
            return
        between = {one for part in concat.inputs for one in self.layers[part].inputs} - {source}
        for part in [*concat.inputs, *between]:
            self._forget(part)
        self.layers[name] = Affine(name=name, inputs=(source,), scale=np.concatenate(scales), offset=np.concatenate(offsets),
                                   origin=concat.origin)
        self.count[source] += 1

    def _forget(self, name: str) -> None:
        self.count.subtract(self.layers.pop(name).inputs)
        del self.count[name]


def _through_window(layer: MaxPool | AvgPool | Pad, scale: np.ndarray, offset: np.ndarray) -> \
        tuple[np.ndarray, np.ndarray] | None:
    """Scale and offset, if it is one whether they come before or behind the layer."""
    match layer:
        case MaxPool():
            return (scale, offset) if (scale >= 0).all() else None
        case AvgPool():
            counted = layer.count_include_pad and any(layer.window.padding)
            return None if counted and offset.any() else (scale, offset)
    plain = not layer.value and not offset.any() and layer.before[0] == layer.after[0] == 0
    return (scale, offset) if plain else None


def _scattered(values: np.ndarray, places: Sequence[int], size: int) -> np.ndarray:
    result = np.zeros(size)
    result[places] = values
    return result


def _times(layer: Conv | Linear | Affine, scale: np.ndarray, offset: np.ndarray) -> Changes | None:
    """scale * (W x + b) + offset = (scale * W) x + (scale * b + offset)."""
    slope, constant = ("scale", "offset") if isinstance(layer, Affine) else ("weight", "bias")
    weight = getattr(layer, slope)
    with np.errstate(over="ignore"):
        values = {slope: (weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))).astype(np.float32),
                  constant: (getattr(layer, constant) * scale + offset).astype(np.float32)}
    return _finite(layer, values)


def _of_inputs(layer: Conv | Linear, scale: np.ndarray, offset: np.ndarray) -> Changes | None:
    """W (scale * x + offset) + b = (W * scale) x + (W offset + b)."""
    groups = layer.groups if isinstance(layer, Conv) else 1
    weight = layer.weight.astype(np.float64).reshape(groups, len(layer.weight) // groups, layer.weight.shape[1], -1)
    scale, offset = (values.reshape(groups, 1, -1, 1) for values in (scale, offset))
    with np.errstate(over="ignore"):
        values = {"weight": (weight * scale).astype(np.float32).reshape(layer.weight.shape),
                  "bias": (layer.bias + (weight * offset).sum((2, 3)).ravel()).astype(np.float32)}
    return _finite(layer, values)


def _finite(layer: Layer, values: dict[str, np.ndarray]) -> Changes | None:
    return {layer.name: replace(layer, **values)} if all(np.isfinite(array).all() for array in values.values()) else None
