"""What the engine computes with weights that are mostly zero: groups of channels, sums of two maps, copies, kernels with holes.

An output block reads only words of a pixel in which it has weights, as far as they move on by as much from block to block
(`compiler.convolution.Own`): one stage is then a whole addition, depthwise convolution or copy.
"""
from dataclasses import dataclass, replace

import numpy as np

from arch.geometry import Geometry
from compiler import costs
from compiler.convolution import EVERYTHING, Own
from nets.graph import Window
from nets.int8.network import QAdd, QConv, Requantise

__all__ = ["POINT", "Spread", "addition", "as_a_pixel", "identity", "some_channels", "spread", "squared",
           "without_holes"]

POINT = Window(kernel=(1, 1))


@dataclass(frozen=True, eq=False)
class Spread:
    """A convolution without groups that makes channels `outputs` of another one's. Its weights are those of whole words of the
    source's pixels: of the words that `own` gives each output block, which all lie in `source`."""

    conv: QConv
    own: Own
    source: range
    outputs: range

    def reads(self, geometry: Geometry) -> int:
        """Words of a tap that all its output blocks read."""
        return -(-len(self.outputs) // geometry.output_lanes) * (self.conv.weight.shape[1] // geometry.input_lanes)


def spread(conv: QConv, channels: np.ndarray, geometry: Geometry, *, apart: bool = False) -> list[Spread]:
    """A convolution of any groups as ones without, for input channel c in byte `channels[c]` of each of the source's pixels: as
    few as read about as few words as one for each word of the output would, or those, if they are to be `apart`."""
    out, per_group = conv.weight.shape[:2]
    inputs = np.arange(out)[:, None] // (out // conv.groups) * per_group + np.arange(per_group)
    places, lanes = channels[inputs], geometry.input_lanes
    if conv.groups == 1 and not apart:
        return [_spread(conv, places, range(out), geometry)]
    parts = [_spread(conv, places, range(first, min(first + lanes, out)), geometry) for first in range(0, out, lanes)]
    if apart:
        return parts
    found, first = [], 0
    while first < len(parts):
        most = costs.SPREAD_READS * np.cumsum([part.reads(geometry) for part in parts[first:]])
        for last in reversed(range(first, len(parts))):
            one = _spread(conv, places, range(parts[first].outputs.start, parts[last].outputs.stop), geometry)
            if one.reads(geometry) <= most[last - first]:
                break
        found.append(one)
        first = last + 1
    return found


def _spread(conv: QConv, places: np.ndarray, outputs: range, geometry: Geometry) -> Spread:
    """Of some output channels; `places`: the bytes of the source's pixels that each output channel reads."""
    lanes, part = geometry.input_lanes, slice(outputs.start, outputs.stop)
    places = places[part]
    blocks = np.arange(len(outputs)) // geometry.output_lanes
    starts = np.flatnonzero(np.diff(blocks, prepend=-1))
    first, count, own = _words_of_blocks(np.minimum.reduceat(places.min(1) // lanes, starts),
                                         np.maximum.reduceat(places.max(1) // lanes, starts))
    weight = np.zeros((len(outputs), count * lanes, *conv.weight.shape[2:]), np.int8)
    begin = first + blocks // own.repeat * own.step
    weight[np.arange(len(outputs))[:, None], places - begin[:, None] * lanes] = conv.weight[part]
    how, all_of = conv.requantise, len(conv.weight)
    multiplier, shift = (np.broadcast_to(values, all_of)[part] for values in (how.multiplier, how.shift))
    return Spread(replace(conv, weight=weight, bias=conv.bias[part], groups=1,
                          requantise=replace(how, multiplier=multiplier, shift=shift)),
                  own, range(first, first + blocks[-1] // own.repeat * own.step + count), outputs)


def _words_of_blocks(low: np.ndarray, high: np.ndarray) -> tuple[int, int, Own]:
    """The fewest words that output blocks can read from a first one on, moving on by as many after every so many blocks, if they
    need words `low` to `high` each: first word, count. None lies outside of what some block needs."""
    blocks, bottom, top = np.arange(len(low)), int(low.min()), int(high.max())
    best = bottom, top + 1 - bottom, EVERYTHING
    for repeat in range(1, len(low)):
        moves = blocks // repeat
        pace = (int(low[-1]) - int(low[0])) / moves[-1]
        for step in {int(np.floor(pace)), int(np.ceil(pace))} - {0}:
            first = int((low - moves * step).min())
            count = int((high - moves * step).max()) + 1 - first
            if count < best[1] and first >= bottom and first + moves[-1] * step + count <= top + 1 and step > 0:
                best = first, count, Own(step=step, repeat=repeat)
    return best


def as_a_pixel(part: Spread, words: int, geometry: Geometry) -> Spread:
    """A convolution whose kernel is as large as the map, of pixels of so many words, as one of a single pixel that holds all."""
    lanes, own, source = geometry.input_lanes, part.own, part.source
    if own.step:
        raise AssertionError("what reads a map as a pixel reads all of it")
    weight = np.zeros((len(part.outputs), *part.conv.window.kernel, words * lanes), np.int8)
    weight[..., source.start * lanes:source.stop * lanes] = part.conv.weight.transpose(0, 2, 3, 1)
    conv = replace(part.conv, weight=weight.reshape(len(weight), -1, 1, 1), window=POINT)
    return replace(part, conv=conv, source=range(words))


def without_holes(conv: QConv) -> QConv:
    """A dilated convolution as one of a larger kernel, zero between its taps."""
    window, (rows, columns) = conv.window, conv.window.dilation
    if (rows, columns) == (1, 1):
        return conv
    kernel = tuple(dilation * (size - 1) + 1 for dilation, size in zip(window.dilation, window.kernel, strict=True))
    weight = np.zeros((*conv.weight.shape[:2], *kernel), np.int8)
    weight[:, :, ::rows, ::columns] = conv.weight
    return replace(conv, weight=weight, window=replace(window, kernel=kernel, dilation=(1, 1)))


def squared(conv: QConv) -> QConv:
    """A convolution of a square kernel that computes the same, with zeros below or on the right of the given one."""
    window = conv.window
    rows, columns = (max(window.kernel) - size for size in window.kernel)
    if (rows, columns) == (0, 0) or window.dilation != (1, 1):
        return conv
    top, left, bottom, right = window.padding
    return replace(conv, weight=np.pad(conv.weight, ((0, 0), (0, 0), (0, rows), (0, columns))),
                   window=replace(window, kernel=(max(window.kernel),) * 2, padding=(top, left, bottom + rows, right + columns)))


def some_channels(conv: QConv, channels: range) -> QConv:
    """A depthwise convolution of some channels alone."""
    part, how, count = slice(channels.start, channels.stop), conv.requantise, len(conv.weight)
    multiplier, shift = (np.broadcast_to(values, count)[part] for values in (how.multiplier, how.shift))
    return replace(conv, weight=conv.weight[part], bias=conv.bias[part], groups=len(channels),
                   requantise=replace(how, multiplier=multiplier, shift=shift))


def addition(layer: QAdd, channels: int, zero_points: tuple[int, int]) -> QConv:
    """The sum of two maps of so many channels as a depthwise convolution: a row of its kernel, which `window` does not count, for
    each map."""
    weight = np.empty((channels, 1, 2, 1), np.int8)
    weight[:] = np.reshape(layer.weights, (2, 1))
    bias = -sum(w * zero for w, zero in zip(layer.weights, zero_points, strict=True))
    return QConv(name=layer.name, inputs=layer.inputs, weight=weight, bias=np.full(channels, bias, np.int32), groups=channels,
                 window=POINT, requantise=layer.requantise)


def identity(name: str, source: str, channels: int, zero_point: int, *, low: int = 0, high: int = 255,
             window: Window = POINT) -> QConv:
    """A depthwise convolution that copies, clamped to low..high, perhaps with padding around it. Weight 1, multiplier 128 and
    shift 7 leave every value as it is."""
    return QConv(name=name, inputs=(source,), weight=np.ones((channels, 1, 1, 1), np.int8),
                 bias=np.full(channels, -zero_point, np.int32), window=window, groups=channels,
                 requantise=Requantise(multiplier=np.array(128), shift=np.array(7), zero_point=zero_point, low=low, high=high))
