"""The float reference: executes a `nets.graph` network in float32 with NumPy, one image at a time.

Tensors that a quantised file has as integers are rounded to what these mean, so that the reference says what the file computes.
"""
from collections import Counter
from collections.abc import Callable, Collection, Iterator
import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from nets.endings import ArgMax, LogSoftmax
from nets.functions import FUNCTIONS
from nets.graph import (
    LRN,
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
    Softmax,
    Window,
)
from nets.moves import Pad, Rearrange, Select

__all__ = ["run", "walk"]

PATCH_ELEMENTS = 1 << 22    # of one block of convolution patches: 16 MB, larger ones gain no speed


def run(graph: Graph, x: np.ndarray, *, keep: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Tensors by layer name: the output, and those of the layers named in `keep` (`keep=graph.by_name`: of all).

    `x`: float32 of the graph's input shape. Other tensors are freed as soon as nothing reads them any more. Raises ValueError
    if `x` has another shape. Values that overflow become infinite or NaN without a warning.
    """
    wanted = {graph.output, *(keep or ())}
    return {layer.name: tensor for layer, tensor in walk(graph, x) if layer.name in wanted}


def walk(graph: Graph, x: np.ndarray) -> Iterator[tuple[Layer, np.ndarray]]:
    """Every layer with its tensor, in execution order. The tensors are to be read, not written."""
    if x.shape != graph.input.shape:
        raise ValueError(f"image must have shape {graph.input.shape}, not {x.shape}")
    readers = Counter(name for layer in graph.layers for name in layer.inputs)
    tensors: dict[str, np.ndarray] = {}
    for layer in graph.layers:
        if layer is graph.input:
            tensor = np.ascontiguousarray(x, np.float32)
        else:
            with np.errstate(all="ignore"):
                tensor = LAYERS[type(layer)](layer, *(tensors[name] for name in layer.inputs))
        if layer.quantised:
            with np.errstate(all="ignore"):
                tensor = layer.quantised.rounded(tensor)
        if readers[layer.name]:
            tensors[layer.name] = tensor
        readers.subtract(layer.inputs)
        for name in layer.inputs:
            if not readers[name]:
                tensors.pop(name, None)
        yield layer, tensor


def _padded(x: np.ndarray, window: Window, output: tuple[int, int], value: float) -> np.ndarray:
    """`x` with its padding, and with what ceil mode's last windows reach beyond that."""
    top, left, bottom, right = window.padding
    reach = [window.stride[k] * (output[k] - 1) + window.dilation[k] * (window.kernel[k] - 1) + 1 for k in range(2)]
    bottom = max(bottom, reach[0] - x.shape[1] - top)
    right = max(right, reach[1] - x.shape[2] - left)
    if not (top or left or bottom or right):
        return x
    return np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=value)


def _taps(x: np.ndarray, window: Window, output: tuple[int, int]) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """For each position of the kernel its (row, column) and the elements of padded `x` that it meets: (C, *output)."""
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            slices = [slice(start := place * dilation, start + stride * (size - 1) + 1, stride) for place, dilation, stride, size
                      in zip((row, column), window.dilation, window.stride, output, strict=True)]
            yield (row, column), x[:, slices[0], slices[1]]


def _conv(layer: Conv, x: np.ndarray) -> np.ndarray:
    window, groups = layer.window, layer.groups
    out, per_group = layer.weight.shape[:2]
    output = window.output_size(*x.shape[1:])
    x = _padded(x, window, output, 0.0)
    if per_group == 1 and groups > 1:
        y = _depthwise(layer, x, output)
    else:
        y = np.empty((out, *output), np.float32)
        weight = np.ascontiguousarray(layer.weight, np.float32).reshape(groups, out // groups, -1)
        patches = _patches(x, window)
        elements = x.shape[0] * math.prod(window.kernel) * output[1]
        rows = max(1, PATCH_ELEMENTS // elements)
        for start in range(0, output[0], rows):
            block = patches[:, start:start + rows].transpose(0, 3, 4, 1, 2).reshape(groups, weight.shape[2], -1)
            y[:, start:start + rows] = np.matmul(weight, block).reshape(out, -1, output[1])
    y += layer.bias[:, None, None]
    return y


def _patches(x: np.ndarray, window: Window) -> np.ndarray:
    """View (C, output height, output width, kernel height, kernel width) of padded `x`."""
    reach = tuple(d * (k - 1) + 1 for d, k in zip(window.dilation, window.kernel, strict=True))
    view = sliding_window_view(x, reach, axis=(1, 2))
    return view[:, ::window.stride[0], ::window.stride[1], ::window.dilation[0], ::window.dilation[1]]


def _depthwise(layer: Conv, x: np.ndarray, output: tuple[int, int]) -> np.ndarray:
    """One input channel an output channel: no matrix to multiply, so one multiply and add of whole planes per tap."""
    out, groups = layer.weight.shape[0], layer.groups
    y = np.zeros((groups, out // groups, *output), np.float32)
    weight = layer.weight.reshape(groups, out // groups, *layer.window.kernel)
    for (row, column), values in _taps(x, layer.window, output):
        y += weight[:, :, row, column, None, None] * values[:, None]
    return y.reshape(out, *output)


def _max_pool(layer: MaxPool, x: np.ndarray) -> np.ndarray:
    output = layer.window.output_size(*x.shape[1:], ceil_mode=layer.ceil_mode)
    y = np.full((x.shape[0], *output), -np.inf, np.float32)
    for _, values in _taps(_padded(x, layer.window, output, -np.inf), layer.window, output):
        np.maximum(y, values, out=y)
    return y


def _avg_pool(layer: AvgPool, x: np.ndarray) -> np.ndarray:
    window = layer.window
    output = window.output_size(*x.shape[1:], ceil_mode=layer.ceil_mode)
    y = np.zeros((x.shape[0], *output), np.float32)
    for _, values in _taps(_padded(x, window, output, 0.0), window, output):
        y += values
    counts = []
    for axis in range(2):
        before, after = (window.padding[axis], window.padding[axis + 2]) if layer.count_include_pad else (0, 0)
        first = window.stride[axis] * np.arange(output[axis]) - window.padding[axis]
        last = np.minimum(first + window.kernel[axis], x.shape[1 + axis] + after)
        counts.append(last - np.maximum(first, -before))
    return y / np.outer(*counts).astype(np.float32)


def _lrn(layer: LRN, x: np.ndarray) -> np.ndarray:
    before, after = (layer.size - 1) // 2, layer.size // 2
    total = np.cumsum(np.pad(np.square(x, dtype=np.float64), ((before + 1, after), (0, 0), (0, 0))), axis=0)
    squares = total[layer.size:] - total[:-layer.size]
    return (x / (layer.bias + layer.alpha / layer.size * squares) ** layer.beta).astype(np.float32)


def _softmax(layer: Softmax, x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=0))
    return powers / powers.sum(axis=0)


def _log_softmax(layer: LogSoftmax, x: np.ndarray) -> np.ndarray:
    below = x - x.max(axis=0)
    return below - np.log(np.exp(below).sum(axis=0))


def _pad(layer: Pad, x: np.ndarray) -> np.ndarray:
    return np.pad(x, tuple(zip(layer.before, layer.after, strict=True)), constant_values=np.float32(layer.value))


def _linear(layer: Linear, x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(layer.weight, np.float32) @ x + layer.bias


def _add(layer: Add, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    first, second = map(np.float32, layer.factors)
    return a + b if first == second == 1 else a * first + b * second


def _affine(layer: Affine, x: np.ndarray) -> np.ndarray:
    shape = (-1, *(1,) * (x.ndim - 1))
    return x * layer.scale.reshape(shape) + layer.offset.reshape(shape)


def _clip(layer: Clip, x: np.ndarray) -> np.ndarray:
    low, high = (np.reshape(np.asarray(bound, np.float32), (-1, *(1,) * (x.ndim - 1))) for bound in (layer.low, layer.high))
    return np.clip(x, low, high)


def _shuffle(layer: ChannelShuffle, x: np.ndarray) -> np.ndarray:
    return x.reshape(layer.groups, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)


LAYERS: dict[type[Layer], Callable[..., np.ndarray]] = {
    Add: _add,
    Affine: _affine,
    ArgMax: lambda layer, x: x.argmax(axis=0, keepdims=True).astype(np.float32),
    AvgPool: _avg_pool,
    ChannelShuffle: _shuffle,
    Clip: _clip,
    Concat: lambda layer, *parts: np.concatenate(parts),
    Conv: _conv,
    Dropout: lambda layer, x: x,
    Flatten: lambda layer, x: x.reshape(-1),
    GlobalAvgPool: lambda layer, x: x.mean(axis=(1, 2), keepdims=True),
    LRN: _lrn,
    Linear: _linear,
    LogSoftmax: _log_softmax,
    MaxPool: _max_pool,
    Pad: _pad,
    Rearrange: lambda layer, x: x.reshape(layer.sizes).transpose(layer.order).reshape(layer.shape),
    Relu: lambda layer, x: np.maximum(x, np.float32(0)),
    Select: lambda layer, x: x[layer.channels],
    Softmax: _softmax,
    **dict.fromkeys(FUNCTIONS, lambda layer, x: layer.of(x)),
}
