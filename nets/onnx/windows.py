"""ONNX operators with windows: convolutions, pools, and means over whole maps."""
from collections.abc import Callable
import math

import numpy as np

from nets.graph import AvgPool, Clip, Conv, GlobalAvgPool, MaxPool, Relu, Window
from nets.moves import Pad
from nets.onnx.build import Node, View
from nets.onnx.file import MAX_ELEMENTS
from nets.onnx.layout import along, joined
from nets.onnx.quantised import parameters, weights_of

__all__ = ["WINDOW_HANDLERS"]

MAX_WINDOW = 4096       # kernel, stride, dilation, padding; the largest image side of `nets.preprocess`
Edges = tuple[int, int, int, int]       # top, left, bottom, right
NONE: Edges = (0, 0, 0, 0)


def _window(node: Node, kernel: tuple[int, ...], shape: tuple[int, int, int]) -> Window:
    """Window of a convolution or pool over an image of `shape`."""
    kernel = tuple(node.attribute("kernel_shape", kernel))
    stride, dilation = (tuple(node.attribute(what, (1, 1))) for what in ("strides", "dilations"))
    padding = tuple(node.attribute("pads", NONE))
    auto = node.attribute("auto_pad", "NOTSET")
    if any(not -MAX_WINDOW <= v <= MAX_WINDOW for v in (*kernel, *stride, *dilation, *padding)):
        raise ValueError(f"kernel, stride, dilation and padding must be at most {MAX_WINDOW}")
    if auto == "VALID":
        padding = NONE
    window = Window(kernel=kernel, stride=stride, padding=padding, dilation=dilation)       # checks what came from the file
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [], []
        for axis in range(2):
            reach = dilation[axis] * (kernel[axis] - 1) + 1
            total = max(0, (-(-shape[1 + axis] // stride[axis]) - 1) * stride[axis] + reach - shape[1 + axis])
            before.append(total // 2 if auto == "SAME_UPPER" else total - total // 2)
            after.append(total - before[-1])
        padding = (*before, *after)
    elif auto not in ("NOTSET", "VALID"):
        raise ValueError(f"auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, not {auto!r}")
    channels, height, width = shape
    if channels * (height + padding[0] + padding[2]) * (width + padding[1] + padding[3]) > MAX_ELEMENTS:
        raise ValueError(f"padding {padding} makes the input larger than {MAX_ELEMENTS} elements")
    return Window(kernel=window.kernel, stride=window.stride, padding=padding, dilation=window.dilation)


def _grown(window: Window, edges: Edges) -> Window:
    padding = tuple(a + b for a, b in zip(window.padding, edges, strict=True))
    return Window(kernel=window.kernel, stride=window.stride, padding=padding, dilation=window.dilation)


def _padding(node: Node, layer: str) -> tuple[str, Edges, float] | None:
    """What the layer pads, how far, and with what, if it is one that pads height and width."""
    pad = node.net.layers.get(layer)
    if not isinstance(pad, Pad) or pad.before[0] or pad.after[0]:
        return None
    return pad.inputs[0], (*pad.before[1:], *pad.after[1:]), pad.value


def _conv(node: Node) -> View:
    layer, shape = node.image(0)
    weights = weights_of(node, 1, 0)
    if weights.real.ndim != 4:
        raise ValueError(f"weight must be out x in x height x width, not {weights.real.shape}")
    count = len(weights.real)
    bias = node.constant(2) if node.has(2) else np.zeros(count, np.float32)
    if bias.shape != (count,):
        raise ValueError(f"bias must have {count} values, not shape {bias.shape}")
    window = _window(node, weights.real.shape[2:], shape)
    while (found := _padding(node, layer)) and not found[2]:        # a convolution pads with zeros itself
        layer, window = found[0], _grown(window, found[1])
    return node.add(Conv, layer, groups=node.attribute("group", 1), window=window, **parameters(node, layer, weights, bias, 2))


def _max_pool(node: Node) -> View:
    layer, shape = node.image(0)
    window, ceil_mode = _window(node, (), shape), _ceil_mode(node)
    while (found := _padding(node, layer)) and _cannot_win(node, found[0], found[2]):
        grown = _grown(window, found[1])
        if not _same_windows(window, grown, node.net.shapes[layer], node.net.shapes[found[0]], ceil_mode):
            break
        layer, window = found[0], grown
    height, width = node.net.shapes[layer][1:]
    if window.output_size(height, width, ceil_mode=ceil_mode) == (1, 1) and _covers(window, height, width):
        window, ceil_mode = Window(kernel=(height, width)), False
    return node.add(MaxPool, layer, window=window, ceil_mode=ceil_mode)


def _cannot_win(node: Node, layer: str, value: float) -> bool:
    if value <= np.finfo(np.float32).min:
        return True
    producer = node.net.layers.get(layer)
    return value <= 0 and isinstance(producer, Relu) or isinstance(producer, Clip) and value <= producer.low


def _same_windows(window: Window, grown: Window, padded: tuple[int, ...], bare: tuple[int, ...], ceil_mode: bool) -> bool:
    """Whether a pool can take over padding: ceil mode drops windows that begin in a pool's own padding, but not those that
    begin in what an operator before it has padded; and no window may hold padding alone."""
    reach = [d * (k - 1) + 1 for d, k in zip(grown.dilation, grown.kernel, strict=True)]
    if any(padding >= reach[k % 2] for k, padding in enumerate(grown.padding)):
        return False
    if any(max(grown.padding[k::2]) and grown.dilation[k] > bare[1 + k] for k in range(2)):
        return False
    return (window.output_size(*padded[1:], ceil_mode=ceil_mode) == grown.output_size(*bare[1:], ceil_mode=ceil_mode))


def _ceil_mode(node: Node) -> bool:
    """With automatic padding both modes agree by definition, yet the formula of ceil mode may give one window more."""
    return bool(node.attribute("ceil_mode", 0)) and node.attribute("auto_pad", "NOTSET") not in ("SAME_UPPER", "SAME_LOWER")


def _covers(window: Window, height: int, width: int) -> bool:
    """Whether the first window holds the whole map."""
    return window.dilation == (1, 1) and all(kernel - window.padding[axis] >= size for axis, (kernel, size) in
                                             enumerate(zip(window.kernel, (height, width), strict=True)))


def _avg_pool(node: Node) -> View:
    layer, shape = node.image(0)
    window, ceil_mode = _window(node, (), shape), _ceil_mode(node)
    include = bool(node.attribute("count_include_pad", 0))
    while (found := _padding(node, layer)) and not found[2] and (include or not any(window.padding)):
        grown = _grown(window, found[1])
        if not _same_windows(window, grown, node.net.shapes[layer], node.net.shapes[found[0]], ceil_mode):
            break
        layer, window, include = found[0], grown, True
    height, width = node.net.shapes[layer][1:]
    counted = include and any(window.padding)
    if (not counted and window.output_size(height, width, ceil_mode=ceil_mode) == (1, 1) and _covers(window, height, width)):
        return node.add(GlobalAvgPool, layer)
    return node.add(AvgPool, layer, window=window, ceil_mode=ceil_mode, count_include_pad=include)


def _global_avg_pool(node: Node) -> View:
    return node.add(GlobalAvgPool, node.image(0)[0])


def _global_max_pool(node: Node) -> View:
    layer, shape = node.image(0)
    return node.add(MaxPool, layer, window=Window(kernel=shape[1:]))


def whole_map(node: Node, axes: list[int] | None) -> View | None:
    """The input, if these axes are together its height and width, and the others its channels."""
    view = node.view(0)
    own = node.net.shapes[view.layer]
    if len(own) != 3 or not axes:
        return None
    try:
        loops = along(view.loops, view.shape)
    except ValueError:
        return None
    area = own[1] * own[2]
    kept = joined(loop for axis, own_loops in enumerate(loops) if axis not in axes for loop in own_loops)
    size = math.prod(view.shape[axis] for axis in axes)
    return view if size == area and 0 not in axes and kept == joined([(own[0], area)]) else None


def reduced(node: Node, view: View, axes: list[int], made: View) -> View:
    """The output of a node that reduces those axes of a view to the one value a channel that `made` has."""
    keep = node.attribute("keepdims", 1)
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(view.shape) if keep or axis not in axes)
    if shape == made.shape:
        return made
    return View(made.layer, shape, node.part("flatten"), made.loops)


def _reduce_max(node: Node) -> View:
    axes = node.axes(1, len(node.view(0).shape))
    view = whole_map(node, axes)
    if view is None:
        raise ValueError(f"maximum must be over height and width (axes 2 and 3), not {axes or 'all axes'}")
    kernel = node.net.shapes[view.layer][1:]
    return reduced(node, view, axes, node.add(MaxPool, view.layer, window=Window(kernel=kernel)))


WINDOW_HANDLERS: dict[str, Callable[[Node], View]] = {
    "AveragePool": _avg_pool, "Conv": _conv, "GlobalAveragePool": _global_avg_pool, "GlobalMaxPool": _global_max_pool,
    "MaxPool": _max_pool, "ReduceMax": _reduce_max,
}
