"""The integer network in NumPy: one function per operator of `nets.int8.network`, integers only, bit-exact.

Tensors are uint8 (channels, height, width), scores uint16. Products are summed by the float BLAS where a bound proves every
partial sum exact (see `exact_float`); everything else is int32 or int64.
"""
from collections import Counter
from collections.abc import Collection, Iterator

import numpy as np

from nets.graph import Window
from nets.int8.blocks import row_blocks
from nets.int8.network import (
    FRACTION_BITS,
    LRN_EXACT,
    LRN_PARTS,
    LRN_REST_BITS,
    QLRN,
    QAdd,
    QAvgPool,
    QChannelShuffle,
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
    QRearrange,
    QSelect,
    QSoftmax,
    QTable,
    Requantise,
)

__all__ = ["accumulate", "add", "avg_pool", "channel_shuffle", "clamp", "concat", "conv", "exact_float", "flatten",
           "global_avg_pool", "lrn", "max_pool", "pad", "requantise", "run", "select", "softmax", "step", "table", "walk"]

BLOCK = 1 << 16             # elements requantised at a time: their int64 products stay in the cache


def requantise(acc: np.ndarray, how: Requantise) -> np.ndarray:
    """uint8, with a fraction uint16, (channels, ...) from integer accumulators of that shape, within int32."""
    rows = acc.reshape(len(acc), -1)
    multiplier, shift = (np.broadcast_to(np.asarray(v, np.int64), len(rows))[:, None] for v in (how.multiplier, how.shift))
    steps, half, out = 1, np.left_shift(np.int64(1), shift - 1), np.empty(rows.shape, np.uint8)
    if how.fraction:
        steps, shift, half, out = 1 << FRACTION_BITS, shift - FRACTION_BITS, np.zeros_like(shift), out.astype(np.uint16)
    block = max(1, BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        product = rows[part].astype(np.int64)
        product *= multiplier[part]
        product += half[part]
        product >>= shift[part]
        product += how.zero_point * steps
        out[part] = np.clip(product, how.low * steps, how.high * steps, out=product)
    return out.reshape(acc.shape)


def conv(q: np.ndarray, layer: QConv, zero_point: int) -> np.ndarray:
    """Convolution of any window and grouping; `zero_point` is the input's, and fills the padding."""
    return requantise(accumulate(q, layer, zero_point), layer.requantise)


def accumulate(q: np.ndarray, layer: QConv, zero_point: int) -> np.ndarray:
    """The accumulators of a convolution, bias included: int32 (out channels, height, width)."""
    size = layer.window.output_size(*q.shape[1:])
    if layer.groups == len(q) == len(layer.weight):
        acc = _depthwise(q, layer, zero_point, size)
    else:
        number = exact_float(layer.weight)
        columns = _columns(q, layer, zero_point, size, number)
        weight = layer.weight.reshape(layer.groups, -1, columns.shape[1])
        parts = [np.matmul(weight[:, rows].astype(number), columns).astype(np.int32)
                 for rows in row_blocks(weight.shape[1], weight[:, 0].size)]
        acc = (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)).reshape(-1, *size)
    acc += layer.bias.astype(np.int32)[:, None, None]
    return acc


def exact_float(weight: np.ndarray) -> type:
    """The float type whose BLAS sums this layer's products exactly.

    With q in 0..255, every partial sum, in any order, lies between 255 * (sum of negative weights) and 255 * (sum of positive
    ones), so float32 holds each exactly up to 2**24; beyond, float64 does (accumulators stay in int32).
    """
    flat = weight.reshape(len(weight), -1)
    largest = max(np.maximum(flat, 0).sum(1, dtype=np.int64).max(), -np.minimum(flat, 0).sum(1, dtype=np.int64).min())
    return np.float32 if 255 * largest <= 1 << 24 else np.float64


def _columns(q: np.ndarray, layer: QConv, zero_point: int, size: tuple[int, int], number: type) -> np.ndarray:
    """(groups, in / groups * kernel, pixels): each output pixel's window as a column."""
    height, width = layer.window.kernel
    if (height, width) == layer.window.stride == (1, 1) and not any(layer.window.padding):
        return q.reshape(layer.groups, len(q) // layer.groups, -1).astype(number)
    columns = np.empty((len(q), height * width, *size), number)
    for tap, view in enumerate(_taps(_pad(q, layer.window, zero_point, size), layer.window, size)):
        columns[:, tap] = view
    return columns.reshape(layer.groups, len(q) // layer.groups * height * width, -1)


def _depthwise(q: np.ndarray, layer: QConv, zero_point: int, size: tuple[int, int]) -> np.ndarray:
    padded = _pad(q, layer.window, zero_point, size)
    weight = layer.weight.reshape(len(q), -1).astype(np.int32)
    acc = np.zeros((len(q), *size), np.int32)
    for tap, view in enumerate(_taps(padded, layer.window, size)):
        acc += view * weight[:, tap, None, None]
    return acc


def _pad(q: np.ndarray, window: Window, value: int, size: tuple[int, int]) -> np.ndarray:
    """The input with `value` around it, as far as the windows of an output of `size` reach (ceil mode overhangs)."""
    top, left, bottom, right = window.padding
    reach = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(size, window.stride, window.dilation, window.kernel,
                                                               strict=True)]
    bottom, right = max(bottom, reach[0] - top - q.shape[1]), max(right, reach[1] - left - q.shape[2])
    if not (top or left or bottom or right):
        return q
    return np.pad(q, ((0, 0), (top, bottom), (left, right)), constant_values=value)


def _taps(padded: np.ndarray, window: Window, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """For each kernel position in C order, the (channels, height, width) values that it meets."""
    for y in range(window.kernel[0]):
        for x in range(window.kernel[1]):
            top, left = y * window.dilation[0], x * window.dilation[1]
            yield padded[:, top:top + (size[0] - 1) * window.stride[0] + 1:window.stride[0],
                         left:left + (size[1] - 1) * window.stride[1] + 1:window.stride[1]]


def max_pool(q: np.ndarray, layer: QMaxPool) -> np.ndarray:
    """Padding as 0 never wins: there is no smaller value, and every window holds an input value."""
    size = layer.window.output_size(*q.shape[1:], ceil_mode=layer.ceil_mode)
    out = np.zeros((len(q), *size), np.uint8)
    for view in _taps(_pad(q, layer.window, 0, size), layer.window, size):
        np.maximum(out, view, out=out)
    return out


def avg_pool(q: np.ndarray, layer: QAvgPool, zero_point: int) -> np.ndarray:
    """Mean of a window, halves rounded up; which positions count is as in `nets.graph.AvgPool`."""
    window = layer.window
    size = window.output_size(*q.shape[1:], ceil_mode=layer.ceil_mode)
    counted = np.ones((1, *q.shape[1:]), np.int32)
    values = q.astype(np.int32)
    if layer.count_include_pad:                 # explicit padding counts, what ceil mode adds beyond it does not
        top, left, bottom, right = window.padding
        around = ((0, 0), (top, bottom), (left, right))
        counted, values = np.pad(counted, around, constant_values=1), np.pad(values, around, constant_values=zero_point)
        window = Window(kernel=window.kernel, stride=window.stride)
    total, count = np.zeros((len(q), *size), np.int32), np.zeros((1, *size), np.int32)
    for out, source in ((total, values), (count, counted)):
        for view in _taps(_pad(source, window, 0, size), window, size):
            out += view
    return ((2 * total + count) // (2 * count)).astype(np.uint8)


def global_avg_pool(q: np.ndarray, layer: QGlobalAvgPool, zero_point: int) -> np.ndarray:
    """Sum over the image less the zero point, requantised: (channels, 1, 1)."""
    acc = q.sum((1, 2), dtype=np.int64, keepdims=True) - zero_point * q[0].size
    return requantise(acc, layer.requantise)


def add(a: np.ndarray, b: np.ndarray, layer: QAdd, zero_points: tuple[int, int]) -> np.ndarray:
    """Sum of two tensors of their own scales; `zero_points` are the inputs'."""
    acc = sum((q.astype(np.int32) - zero) * weight for q, weight, zero in zip((a, b), layer.weights, zero_points, strict=True))
    return requantise(acc, layer.requantise)


def concat(parts: list[np.ndarray]) -> np.ndarray:
    """One after the other along the channels."""
    return np.concatenate(parts)


def channel_shuffle(q: np.ndarray, layer: QChannelShuffle) -> np.ndarray:
    """Channel g * (C / groups) + k moves to k * groups + g."""
    return q.reshape(layer.groups, -1, *q.shape[1:]).swapaxes(0, 1).reshape(q.shape)


def clamp(q: np.ndarray, layer: QClamp) -> np.ndarray:
    """min(max(q, low), high)."""
    return np.clip(q, np.uint8(layer.low), np.uint8(layer.high))


def flatten(q: np.ndarray) -> np.ndarray:
    """(features, 1, 1), in C order."""
    return q.reshape(-1, 1, 1)


def pad(q: np.ndarray, layer: QPad) -> np.ndarray:
    """The layer's value around the tensor."""
    return np.pad(q, tuple(zip(layer.before, layer.after, strict=True)), constant_values=layer.value)


def select(q: np.ndarray, layer: QSelect) -> np.ndarray:
    """Some channels."""
    return q[layer.channels]


def lrn(q: np.ndarray, layer: QLRN, zero_point: int, zero_point_out: int) -> np.ndarray:
    """Local response normalisation by the layer's table."""
    value = q.astype(np.int64) - zero_point
    below = (layer.size - 1) // 2
    squares = np.pad(value * value, ((below, layer.size - 1 - below), (0, 0), (0, 0)))
    total = sum(squares[k:k + len(q)] for k in range(layer.size))
    octave = np.maximum(np.frexp(total.astype(np.float64))[1].astype(np.int64) - LRN_EXACT.bit_length() + 1, 0)
    part = total >> octave
    entry, rest = LRN_PARTS * octave + part, (total - (part << octave) << LRN_REST_BITS) >> octave
    base, drop, shift = (values.astype(np.int64)[entry] for values in (layer.base, layer.drop, layer.shift))
    factor = base - ((drop * rest + (1 << LRN_REST_BITS - 1)) >> LRN_REST_BITS)
    scaled = (value * factor + (1 << shift - 1)) >> shift
    return np.clip(zero_point_out + scaled, 0, 255).astype(np.uint8)


def table(q: np.ndarray, layer: QTable) -> np.ndarray:
    """The table's entry for each value."""
    return layer.table[q]


def softmax(q: np.ndarray, layer: QSoftmax) -> np.ndarray:
    """Softmax over the channels by the layer's table of exponentials: scale 1/256, zero point 0."""
    powers = layer.table.astype(np.int64)[q.max(0, keepdims=True).astype(np.int64) - q]
    total = powers.sum(0, keepdims=True)
    return np.minimum((512 * powers + total) // (2 * total), 255).astype(np.uint8)


def step(network: QNetwork, layer: QLayer, inputs: list[np.ndarray]) -> np.ndarray:
    """One layer's output from its input tensors, in the order of `layer.inputs`. The input layer has no inputs to step from."""
    zeros = [network.tensors[name].zero_point for name in layer.inputs]
    match layer:
        case QConv():
            return conv(inputs[0], layer, zeros[0])
        case QMaxPool():
            return max_pool(inputs[0], layer)
        case QAvgPool():
            return avg_pool(inputs[0], layer, zeros[0])
        case QGlobalAvgPool():
            return global_avg_pool(inputs[0], layer, zeros[0])
        case QAdd():
            return add(*inputs, layer, tuple(zeros))
        case QConcat():
            return concat(inputs)
        case QChannelShuffle():
            return channel_shuffle(inputs[0], layer)
        case QClamp():
            return clamp(inputs[0], layer)
        case QFlatten():
            return flatten(inputs[0])
        case QPad():
            return pad(inputs[0], layer)
        case QSelect():
            return select(inputs[0], layer)
        case QRearrange():
            return inputs[0].reshape(layer.sizes).transpose(layer.order).reshape(network.tensors[layer.name].shape)
        case QLRN():
            return lrn(inputs[0], layer, zeros[0], network.tensors[layer.name].zero_point)
        case QTable():
            return table(inputs[0], layer)
        case QSoftmax():
            return softmax(inputs[0], layer)
    raise TypeError(f"layer must be an integer operator of nets.int8.network, not {type(layer).__name__}")


def walk(network: QNetwork, q_input: np.ndarray) -> Iterator[tuple[QLayer, np.ndarray]]:
    """Every layer with its tensor, in execution order; a tensor is freed once its last reader has run.

    `q_input`: uint8 of the input's shape, else ValueError. The tensors are to be read, not written.
    """
    shape = network.tensors[network.input.name].shape
    if q_input.dtype != np.uint8 or q_input.shape != shape:
        raise ValueError(f"input must be uint8 {shape}, not {q_input.dtype} {q_input.shape}")
    readers = Counter(name for layer in network.layers for name in layer.inputs)
    tensors: dict[str, np.ndarray] = {}
    for layer in network.layers:
        tensor = q_input if isinstance(layer, QInput) else step(network, layer, [tensors[name] for name in layer.inputs])
        if readers[layer.name]:
            tensors[layer.name] = tensor
        readers.subtract(layer.inputs)
        for name in layer.inputs:
            if not readers[name]:
                tensors.pop(name, None)
        yield layer, tensor


def run(network: QNetwork, q_input: np.ndarray, *, keep: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Tensors by layer name: the output, and those of the layers named in `keep` (`keep=network.by_name`: of all)."""
    wanted = {network.output, *(keep or ())}
    return {layer.name: tensor for layer, tensor in walk(network, q_input) if layer.name in wanted}
