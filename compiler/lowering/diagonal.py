"""What the engine computes with weights that are mostly zero: groups of channels, sums of two maps, and kernels with holes.

Each is given as dense convolutions of few input words: a stage for each word of the target's pixels, or for several that read the
same words.
"""
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from nets.graph import Window
from nets.int8.network import QAdd, QConv

__all__ = ["Dense", "addition", "dense", "without_holes"]


@dataclass(frozen=True, eq=False)
class Dense:
    """A convolution without groups that makes channels `outputs` of another one's from its channels `inputs`."""

    conv: QConv
    inputs: range
    outputs: range


def without_holes(conv: QConv) -> QConv:
    """A dilated convolution as one of a larger kernel, zero between its taps."""
    window, (rows, columns) = conv.window, conv.window.dilation
    if (rows, columns) == (1, 1):
        return conv
    kernel = tuple(dilation * (size - 1) + 1 for dilation, size in zip(window.dilation, window.kernel, strict=True))
    weight = np.zeros((*conv.weight.shape[:2], *kernel), np.int8)
    weight[:, :, ::rows, ::columns] = conv.weight
    return replace(conv, weight=weight, window=replace(window, kernel=kernel, dilation=(1, 1)))


def dense(conv: QConv, lanes: int) -> Iterator[Dense]:
    """The parts of a grouped convolution, for words of `lanes` channels: each makes whole words of its output, but for the last,
    and reads the channels of all groups that it has a part in. A convolution of one group is its only part."""
    out, per_group = conv.weight.shape[:2]
    if conv.groups == 1:
        yield Dense(conv, range(per_group), range(out))
        return
    made = out // conv.groups                               # channels that a group makes
    step = made if made % lanes == 0 else lanes             # so that no two parts write one word
    for first in range(0, out, step):
        outputs = range(first, min(first + step, out))
        groups = range(outputs.start // made, (outputs.stop - 1) // made + 1)
        inputs = range(groups.start * per_group, groups.stop * per_group)
        weight = np.zeros((len(outputs), len(inputs), *conv.window.kernel), np.int8)
        for n, channel in enumerate(outputs):
            start = channel // made * per_group - inputs.start
            weight[n, start:start + per_group] = conv.weight[channel]
        yield Dense(_part(conv, weight, outputs), inputs, outputs)


def _part(conv: QConv, weight: np.ndarray, outputs: range) -> QConv:
    """The convolution of some output channels with other weights."""
    how, channels, out = conv.requantise, slice(outputs.start, outputs.stop), len(conv.weight)
    multiplier, shift = (np.broadcast_to(values, out)[channels] for values in (how.multiplier, how.shift))
    return replace(conv, weight=weight, bias=conv.bias[channels], groups=1,
                   requantise=replace(how, multiplier=multiplier, shift=shift))


def addition(layer: QAdd, channels: int, zero_points: tuple[int, int]) -> QConv:
    """The sum of two maps that lie side by side in each pixel, of so many channels, as a convolution whose kernel has a tap for
    each map. Its window pads one column, which no tap reads."""
    weight = np.zeros((channels, channels, 1, 2), np.int8)
    weight[np.arange(channels), np.arange(channels), 0] = layer.weights
    bias = -sum(w * zero for w, zero in zip(layer.weights, zero_points, strict=True))
    return QConv(name=layer.name, inputs=layer.inputs, weight=weight, bias=np.full(channels, bias, np.int32), groups=1,
                 window=Window(kernel=(1, 2), padding=(0, 0, 0, 1)), requantise=layer.requantise)
