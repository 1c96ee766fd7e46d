"""Takes channels out of an integer network that do nothing for its result.

A channel that is constant, as one of a filter whose weights are all zero, goes where every reader can have its effect in the
biases instead: a convolution can unless it pads with something else. A channel that no reader weighs goes, too. The network's
output stays what it is, value by value, and so does every channel that is left.
"""
from collections.abc import Iterator
from dataclasses import replace
import math

import numpy as np

from nets.int8.network import (
    QAdd,
    QAvgPool,
    QClamp,
    QConcat,
    QConv,
    QFlatten,
    QGlobalAvgPool,
    QInput,
    QLayer,
    QMaxPool,
    QNetwork,
    QPad,
    QTable,
    Requantise,
)

__all__ = ["without_dead_channels"]

VARIES = -1                     # in place of a constant
ALIKE = (QAdd, QAvgPool, QClamp, QGlobalAvgPool, QMaxPool, QTable)      # channel c of the output is of channel c of the inputs


def without_dead_channels(network: QNetwork) -> QNetwork:
    """The network without channels that do nothing, and with a note of how many those were; itself, if there are none."""
    constants = _constants(network)
    keep = _needed(network, constants)
    if all(kept.all() for kept in keep.values()):
        return network
    layers = tuple(_reduced(layer, keep, constants) for layer in network.layers)
    tensors = {name: replace(kind, shape=(int(keep[name].sum()), *kind.shape[1:])) for name, kind in network.tensors.items()}
    octaves = {name: tuple(np.array(values)[keep[name]].tolist()) for name, values in network.octaves.items()}
    filters = [keep[layer.name] for layer in network.layers if isinstance(layer, QConv)]
    gone, all_of = sum(int((~kept).sum()) for kept in filters), sum(map(len, filters))
    note = f"{network.name}: {gone:,} of {all_of:,} filters were taken out, whose channels are constant or read by none"
    return replace(network, layers=layers, tensors=tensors, octaves=octaves, notes=(*network.notes, note))


def _constants(network: QNetwork) -> dict[str, np.ndarray]:
    """Of each tensor's channels the value, int64, if it is the same for every image at every place; `VARIES` otherwise."""
    found: dict[str, np.ndarray] = {}
    for layer in network.layers:
        channels = network.tensors[layer.name].shape[0]
        sources = [found[name] for name in layer.inputs]
        if isinstance(layer, QInput) or network.tensors[layer.name].bits != 8:
            values = None
        else:
            values = _values(layer, sources, [network.tensors[name] for name in layer.inputs])
        found[layer.name] = np.full(channels, VARIES) if values is None else values
    return found


def _values(layer: QLayer, sources: list[np.ndarray], kinds) -> np.ndarray | None:
    """The constants of a layer's channels from those of its inputs; None: all vary."""
    first, kind = (sources[0], kinds[0]) if sources else (None, None)
    match layer:
        case QConv():
            return _of_conv(layer, _fit(layer, first, kind.zero_point))
        case QAvgPool() if layer.count_include_pad:
            return _fit(layer, first, kind.zero_point)
        case QMaxPool() | QAvgPool():
            return first
        case QGlobalAvgPool():
            area = math.prod(kind.shape[1:])
            return np.where(first == VARIES, VARIES, _requantised(area * (first - kind.zero_point), layer.requantise))
        case QAdd():
            parts = zip(layer.weights, sources, kinds, strict=True)
            total = sum(weight * (values - one.zero_point) for weight, values, one in parts)
            return np.where((np.array(sources) == VARIES).any(0), VARIES, _requantised(total, layer.requantise))
        case QConcat():
            return np.concatenate(sources)
        case QClamp():
            return np.where(first == VARIES, VARIES, np.clip(first, layer.low, layer.high))
        case QTable():
            return np.where(first == VARIES, VARIES, layer.table.astype(np.int64)[first])
        case QFlatten():
            return np.repeat(first, math.prod(kind.shape[1:]))
    return None


def _fit(layer: QConv | QAvgPool, constants: np.ndarray, zero_point: int) -> np.ndarray:
    """The constants that are the same in every window: padding holds the zero point."""
    return np.where(constants == zero_point, constants, VARIES) if any(layer.window.padding) else constants


def _of_conv(layer: QConv, constants: np.ndarray) -> np.ndarray:
    used = layer.weight.any((2, 3))
    groups = constants.reshape(layer.groups, -1)
    read = np.arange(len(used)) // (len(used) // layer.groups)         # the group of each output channel
    varies = (used & (groups == VARIES)[read]).any(1)
    total = layer.bias.astype(np.int64)
    for channel in np.flatnonzero(~varies):         # few: not a copy of all weights in 64 bits
        sums = layer.weight[channel].sum((1, 2), dtype=np.int64)
        total[channel] += (sums * np.where(used[channel], groups[read[channel]], 0)).sum()
    return np.where(varies, VARIES, _requantised(total, layer.requantise))


def _requantised(acc: np.ndarray, how: Requantise) -> np.ndarray:
    return np.clip(how.zero_point + ((acc * how.multiplier + (1 << (how.shift - 1))) >> how.shift), how.low, how.high)


def _needed(network: QNetwork, constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Which channels of each tensor must stay: those that readers ask for; and both sides of a layer that changes neither number
    nor order of channels ask for those of the other."""
    keep = {name: np.zeros(kind.shape[0], bool) for name, kind in network.tensors.items()}
    for name in (network.output, network.input.name):
        keep[name][:] = True
    changed = True
    while changed:
        changed = False
        for layer in reversed(network.layers):
            if not keep[layer.name].any():
                keep[layer.name][0] = changed = True            # a tensor has a channel at least
            for name, channels in _asked(layer, keep, constants, network):
                more = channels & ~keep[name]
                keep[name] |= more
                changed |= bool(more.any())
    return keep


def _asked(layer: QLayer, keep: dict[str, np.ndarray], constants: dict[str, np.ndarray], network: QNetwork) -> \
        Iterator[tuple[str, np.ndarray]]:
    """Tensors and the channels of them that must stay, because of this layer."""
    own, sources = keep[layer.name], [keep[name] for name in layer.inputs]
    match layer:
        case QInput():
            pass
        case QConv(groups=1):
            name = layer.inputs[0]
            varies = _fit(layer, constants[name], network.tensors[name].zero_point) == VARIES
            yield name, layer.weight[own].any((0, 2, 3)) & varies
        case QConv() if layer.groups == len(sources[0]):
            both = own.reshape(len(sources[0]), -1).any(1) | sources[0]
            yield layer.inputs[0], both
            yield layer.name, both.repeat(len(own) // len(both))
        case QConcat():
            ends = np.cumsum([len(channels) for channels in sources])[:-1]
            yield layer.name, np.concatenate(sources)
            yield from zip(layer.inputs, np.split(own, ends), strict=True)
        case QFlatten():
            both = own.reshape(len(sources[0]), -1).any(1) | sources[0]
            yield layer.inputs[0], both
            yield layer.name, both.repeat(len(own) // len(both))
        case QPad() if layer.before[0] == layer.after[0] == 0:
            yield from ((name, own | sources[0]) for name in (layer.name, *layer.inputs))
        case _ if isinstance(layer, ALIKE):
            both = np.any([own, *sources], 0)
            yield from ((name, both) for name in (layer.name, *layer.inputs))
        case _:
            yield from ((name, np.ones_like(keep[name])) for name in (layer.name, *layer.inputs))


def _reduced(layer: QLayer, keep: dict[str, np.ndarray], constants: dict[str, np.ndarray]) -> QLayer:
    """The layer between the channels that stay."""
    own = keep[layer.name]
    if isinstance(layer, QGlobalAvgPool):
        return replace(layer, requantise=_part(layer.requantise, own))
    if not isinstance(layer, QConv):
        return layer
    weight, bias, groups = layer.weight[own], layer.bias[own], 1
    if layer.groups == 1:
        name = layer.inputs[0]
        gone, known = ~keep[name], constants[name]
        # Of those that go, what varies is weighed by none.
        added = (weight[:, gone].sum((2, 3), dtype=np.int64) * np.maximum(known[gone], 0)).sum(1)
        weight, bias = weight[:, keep[name]], (bias + added).astype(np.int32)
    else:
        groups = int(keep[layer.inputs[0]].sum()) if layer.groups == len(keep[layer.inputs[0]]) else layer.groups
    return replace(layer, weight=weight, bias=bias, groups=groups, requantise=_part(layer.requantise, own))


def _part(how: Requantise, keep: np.ndarray) -> Requantise:
    multiplier, shift = (values[keep] if len(np.atleast_1d(values)) == len(keep) > 1 else values
                         for values in (how.multiplier, how.shift))
    return replace(how, multiplier=multiplier, shift=shift)
