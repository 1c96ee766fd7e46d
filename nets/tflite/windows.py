"""TFLite operators with windows: convolutions, pools, and means over whole maps."""
from collections.abc import Callable
import math

import numpy as np

from nets.graph import AvgPool, Clip, Conv, GlobalAvgPool, MaxPool, Relu, Window
from nets.int8.quantised import Weights
from nets.moves import Pad
from nets.onnx.build import View, axes_of
from nets.onnx.layout import along, joined
from nets.tflite.build import Node, seen
from nets.tflite.file import MAX_ELEMENTS

__all__ = ["WINDOW_HANDLERS"]

MAX_WINDOW = 4096       # kernel, stride, dilation; the largest image side of `nets.preprocess`
SAME, VALID = 0, 1      # of Padding
EXACT = 3               # largest average pool that divides integers exactly
Edges = tuple[int, int, int, int]       # top, left, bottom, right


def _window(node: Node, kernel: tuple[int, int], shape: tuple[int, int, int], dilation: tuple[int, int] = (1, 1)) -> Window:
    """Window of a convolution or pool over an image of `shape`; what SAME pads more goes behind."""
    stride = node.option("StrideH"), node.option("StrideW")
    if any(value > MAX_WINDOW for value in (*kernel, *stride, *dilation)):
        raise ValueError(f"kernel, stride and dilation must be at most {MAX_WINDOW}, not {kernel}, {stride} and {dilation}")
    window = Window(kernel=kernel, stride=stride, dilation=dilation)        # checks what came from the file
    if node.option("Padding") == VALID:
        return window
    if node.option("Padding") != SAME:
        raise ValueError(f"padding must be SAME or VALID, not {node.option('Padding')}")
    before, after = [], []
    for axis in range(2):
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        total = max(0, (-(-shape[1 + axis] // stride[axis]) - 1) * stride[axis] + reach - shape[1 + axis])
        before.append(total // 2)
        after.append(total - total // 2)
    if shape[0] * (shape[1] + before[0] + after[0]) * (shape[2] + before[1] + after[1]) > MAX_ELEMENTS:
        raise ValueError(f"padding {(*before, *after)} makes the input larger than {MAX_ELEMENTS} elements")
    return Window(kernel=kernel, stride=stride, padding=(*before, *after), dilation=dilation)


def _unpadded(node: Node, layer: str, window: Window) -> tuple[str, Window]:
    """What a convolution reads if it pads with zeros itself what an operator before it pads."""
    pad = node.net.layers.get(layer)
    if not isinstance(pad, Pad) or pad.before[0] or pad.after[0] or pad.value or not _same_steps(node, pad):
        return layer, window
    edges = (*pad.before[1:], *pad.after[1:])
    padding = tuple(a + b for a, b in zip(window.padding, edges, strict=True))
    return pad.inputs[0], Window(kernel=window.kernel, stride=window.stride, padding=padding, dilation=window.dilation)


def _same_steps(node: Node, pad: Pad) -> bool:
    producer = node.net.layers.get(pad.inputs[0])
    return producer is None or producer.quantised in (None, pad.quantised)


def _convolved(node: Node, weights: Weights, groups: int) -> View:
    """`weights`: (out, in / groups, height, width)."""
    layer, shape = node.image(0)
    window = _window(node, weights.real.shape[2:], shape, (node.option("DilationHFactor"), node.option("DilationWFactor")))
    layer, window = _unpadded(node, layer, window)
    made = node.add(Conv, layer, groups=groups, window=window, **node.parameters(weights))
    return node.activated(seen(node.net, made.layer))


def _four_axes(node: Node, axis: int) -> Weights:
    weights = node.weights(1, axis)
    if weights.real.ndim != 4 or not weights.real.size:
        raise ValueError(f"weight must have four axes, not shape {weights.real.shape}")
    return weights


def _conv(node: Node) -> View:
    weights = _four_axes(node, 0).moved(lambda array: array.transpose(0, 3, 1, 2))
    channels, taken = node.image(0)[1][0], weights.real.shape[1]
    if channels % taken:
        raise ValueError(f"weight of {taken} input channels does not fit an image of {channels}")
    return _convolved(node, weights, channels // taken)


def _depthwise(node: Node) -> View:
    """The weights (1, height, width, out) are of as many outputs for each channel as the channels leave."""
    weights = _four_axes(node, 3)
    channels, shape = node.image(0)[1][0], weights.real.shape
    if shape[0] != 1 or shape[3] % channels:
        raise ValueError(f"weight must be 1 x height x width x a multiple of {channels} channels, not {shape}")
    return _convolved(node, weights.moved(lambda array: array.transpose(3, 0, 1, 2)), channels)


def _pool_window(node: Node, shape: tuple[int, int, int]) -> Window:
    return _window(node, (node.option("FilterHeight"), node.option("FilterWidth")), shape)


def _max_pool(node: Node) -> View:
    layer, shape = node.image(0)
    window = _pool_window(node, shape)
    pad = node.net.layers.get(layer)
    if isinstance(pad, Pad) and not any(window.padding) and _cannot_win(node, pad):
        below, grown = _unpadded_pool(pad, window)
        if all(padding < reach for padding, reach in zip(grown.padding, (*grown.kernel, *grown.kernel), strict=True)):
            layer, window = below, grown
    return node.activated(seen(node.net, node.add(MaxPool, layer, window=window).layer))


def _unpadded_pool(pad: Pad, window: Window) -> tuple[str, Window]:
    return pad.inputs[0], Window(kernel=window.kernel, stride=window.stride, padding=(*pad.before[1:], *pad.after[1:]))


def _cannot_win(node: Node, pad: Pad) -> bool:
    """Whether no maximum is what was padded: all values are at least that."""
    producer = node.net.layers.get(pad.inputs[0])
    floor = 0.0 if isinstance(producer, Relu) else producer.low if isinstance(producer, Clip) else -math.inf
    if producer and producer.quantised:
        floor = max(floor, producer.quantised.range[0])
    lowest = pad.value <= max(floor, float(np.finfo(np.float32).min))
    return lowest and not (pad.before[0] or pad.after[0]) and _same_steps(node, pad)


def _avg_pool(node: Node) -> View:
    """Of a window at the border what is padded does not count."""
    layer, shape = node.image(0)
    window = _pool_window(node, shape)
    whole = window.output_size(*shape[1:]) == (1, 1) and all(
        window.kernel[axis] - window.padding[axis] >= shape[1 + axis] for axis in range(2))
    if whole and node.quantised and max(shape[1:]) <= EXACT:        # the mean of all is multiplied by an approximate factor
        whole, window = False, Window(kernel=shape[1:])
    made = node.add(GlobalAvgPool, layer) if whole else node.add(AvgPool, layer, window=window)
    return node.activated(seen(node.net, made.layer))


def _mean(node: Node) -> View:
    view = node.view(0)
    axes = axes_of(node.integers(1), len(view.shape))
    own = node.net.shapes[view.layer]
    try:
        loops = along(view.loops, view.shape)
    except ValueError:
        loops = None
    size = math.prod(view.shape[axis] for axis in axes)
    area = math.prod(own[1:])
    kept = loops and joined(loop for axis, own_loops in enumerate(loops) if axis not in axes for loop in own_loops)
    if len(own) != 3 or not axes or 0 in axes or size != area or kept != joined([(own[0], area)]):
        raise ValueError(f"mean must be over height and width (axes 1 and 2), not {axes or 'all axes'} of {view.shape}")
    made = node.add(GlobalAvgPool, view.layer)
    shape = tuple(1 if axis in axes else count for axis, count in enumerate(view.shape)
                  if axis not in axes or node.option("KeepDims"))
    return View(made.layer, shape, node.part("flatten") if len(shape) == 2 else made.name, made.loops)


WINDOW_HANDLERS: dict[str, Callable[[Node], View]] = {
    "AVERAGE_POOL_2D": _avg_pool, "CONV_2D": _conv, "DEPTHWISE_CONV_2D": _depthwise, "MAX_POOL_2D": _max_pool, "MEAN": _mean,
}
