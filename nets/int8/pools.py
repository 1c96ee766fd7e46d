"""Pools that are larger than what integers compute in one: split into smaller ones, before the network is quantised.

A maximum is split exactly, into a chain of maxima of at most 3x3. An average whose windows all hold as many values becomes a
depthwise convolution with constant weights, so its output has a scale of its own; a long one a chain of several. What is left as
it is: dilated pools, averages whose windows hold different numbers of values at the border, and long ones that overlap by no
divisor of their kernel and stride.
"""
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from nets.graph import AvgPool, Conv, Graph, Layer, MaxPool, Shape, Window
from nets.int8.network import CONV_KERNEL_MAX, CONV_STRIDE_MAX, POOL_KERNEL_MAX, POOL_PADDING_MAX, POOL_STRIDE_MAX
from nets.moves import Pad

__all__ = ["split_pools"]

LONGEST = 128               # side of a maximum that is split, if there are several: one of stride 1 takes half as many layers


def split_pools(graph: Graph) -> Graph:
    """The network with pools that integers can compute: each is at most `POOL_KERNEL_MAX` large, or the last of several layers
    that compute the same. Names of the layers that there were stay."""
    layers: list[Layer] = []
    for layer in graph.layers:
        parts = None
        if isinstance(layer, MaxPool | AvgPool) and _is_large(layer.window):
            split = _split_max if isinstance(layer, MaxPool) else _split_average
            parts = split(layer, graph.shapes[layer.inputs[0]])
        layers += [layer] if parts is None else _chained(layer, parts, set(graph.by_name))
    return replace(graph, layers=tuple(layers))


def _is_large(window: Window) -> bool:
    return (max(window.kernel) > POOL_KERNEL_MAX or max(window.stride) > POOL_STRIDE_MAX
            or max(window.padding) > POOL_PADDING_MAX)


def _chained(layer: Layer, parts: Iterable[Layer], taken: set[str]) -> Iterator[Layer]:
    """The parts one behind the other, with names of their own; the last one has the layer's."""
    source, (*before, last) = layer.inputs[0], parts
    for number, part in enumerate(before):
        name = f"{layer.name}/{number}"
        while name in taken:
            name += "'"
        yield replace(part, name=name, inputs=(source,), quantised=layer.quantised)
        source = name
    yield replace(last, name=layer.name, inputs=(source,), quantised=layer.quantised)


# Maxima

@dataclass(frozen=True)
class _Axis:
    """Windows over one axis of `size` values: number o of `count` covers `kernel` values from o * stride - before on."""

    size: int
    kernel: int
    stride: int
    before: int
    count: int

    @classmethod
    def of(cls, window: Window, axis: int, size: int, count: int) -> "_Axis":
        """Those of a window, as far as they matter: a single one has no stride, and begins where the values do."""
        kernel, before = window.kernel[axis], window.padding[axis]
        if count == 1:
            return cls(size, min(kernel - before, size), 1, 0, 1)
        return cls(size, kernel, window.stride[axis], before, count)

    @property
    def over(self) -> bool:
        """Whether every value is a window."""
        return self == _Axis(self.size, 1, 1, 0, self.size)

    @property
    def after(self) -> int:
        """Places beyond the last value that the last window covers; negative: values that none does."""
        return (self.count - 1) * self.stride - self.before + self.kernel - self.size


@dataclass(frozen=True)
class _Level:
    """One small pool along an axis, and what is left to do of its output."""

    kernel: int
    stride: int
    before: int
    after: int
    left: _Axis


def _split_max(pool: MaxPool, shape: Shape) -> list[MaxPool] | None:
    if pool.window.dilation != (1, 1):
        return None
    counts = pool.window.output_size(*shape[1:], ceil_mode=pool.ceil_mode)
    axes = tuple(_Axis.of(pool.window, axis, shape[1 + axis], counts[axis]) for axis in range(2))
    windows = None if any(axis.count > 1 and axis.kernel > LONGEST for axis in axes) else _chain(axes, set())
    if windows is None:
        return None
    return [MaxPool(name="", inputs=(), origin=pool.origin, window=window, ceil_mode=ceil_mode)
            for window, ceil_mode in windows or [(Window(kernel=(1, 1)), False)]]


def _chain(axes: tuple[_Axis, _Axis], dead: set[tuple[_Axis, _Axis]]) -> list[tuple[Window, bool]] | None:
    """Windows, each with its ceil mode, of small pools one behind the other; None where there are none. `dead`: ends found."""
    if all(axis.over for axis in axes):
        return []
    if axes in dead:
        return None
    for ceil_mode in (True, False):
        for y, x in product(*(tuple(_levels(axis, ceil_mode)) for axis in axes)):
            window = Window(kernel=(y.kernel, x.kernel), stride=(y.stride, x.stride),
                            padding=(y.before, x.before, y.after, x.after))
            picks = window.kernel == (1, 1)             # which a copy does, in any steps, when no maximum is left to find
            if max(window.stride) > POOL_STRIDE_MAX and not picks or picks and (
                    max(window.stride) == 1 or max(axis.kernel for axis in axes) > 1):
                continue
            behind = _chain((y.left, x.left), dead)
            if behind is not None:
                return [(window, ceil_mode), *behind]
    dead.add(axes)
    return None


def _levels(axis: _Axis, ceil_mode: bool) -> Iterator[_Level]:
    """Small pools that can come first, those that leave least to do before others; the last one waits for the other axis."""
    strides = [axis.stride] if axis.kernel == 1 and axis.stride > POOL_STRIDE_MAX else []
    strides += [s for s in range(POOL_STRIDE_MAX, 0, -1) if axis.count == 1 or axis.stride % s == 0]
    edges = [sorted(range(POOL_PADDING_MAX + 1), reverse=edge > 0) for edge in (axis.before, axis.after)]
    for stride, kernel, before, after in product(() if axis.over else strides, range(POOL_KERNEL_MAX, 0, -1), *edges):
        fits = kernel > max(before, after) and kernel <= axis.size + before + after and (kernel, stride) != (1, 1)
        left = _behind(axis, kernel, stride, before, axis.size + before + after, ceil_mode) if fits else None
        if left:
            yield _Level(kernel, stride, before, after, left)
    yield _Level(1, 1, 0, 0, axis)


def _behind(axis: _Axis, kernel: int, stride: int, before: int, padded: int, ceil_mode: bool) -> _Axis | None:
    """What is left to do behind a first pool, if what it makes is enough for all windows, and no window needs part of it."""
    window = Window(kernel=(kernel, 1), stride=(stride, 1), padding=(before, 0, padded - before - axis.size, 0))
    made, _ = window.output_size(axis.size, 1, ceil_mode=ceil_mode)
    reached = (made - 1) * stride - before + kernel
    if axis.count == 1 and axis.kernel == axis.size:            # all values: how far its windows reach beyond does not matter
        return _Axis(made, made, 1, 0, 1) if kernel >= stride and reached >= axis.size > made else None
    if kernel > axis.kernel or (axis.kernel - kernel) % stride or before > axis.before or (axis.before - before) % stride:
        return None
    left = _Axis(made, (axis.kernel - kernel) // stride + 1, 1 if axis.count == 1 else axis.stride // stride,
                 (axis.before - before) // stride, axis.count)
    apart = left.kernel > 1 and kernel < stride                 # values between the small windows
    empty = max(left.before, left.after) >= left.kernel         # windows of padding alone
    short = reached < min(axis.size, axis.size + axis.after)
    return None if apart or empty or short else left


# Averages

@dataclass(frozen=True)
class _Sums:
    """Windows along one axis before a convolution: `before` and `after` are padding."""

    kernel: int
    stride: int
    before: int = 0
    after: int = 0


def _split_average(pool: AvgPool, shape: Shape) -> list[Layer] | None:
    counts = pool.window.output_size(*shape[1:], ceil_mode=pool.ceil_mode)
    axes = [_sums(pool, axis, shape[1 + axis], counts[axis]) for axis in range(2)]
    if None in axes:
        return None
    (own_y, number_y), (own_x, number_x) = axes
    most, divisor, layers = max(len(own_y), len(own_x)), number_y * number_x, []
    for n, (y, x) in enumerate(zip(*([_Sums(1, 1)] * (most - len(own)) + own for own in (own_y, own_x)), strict=True)):
        own = divisor if n + 1 == most else y.kernel * x.kernel
        divisor /= own
        window = Window(kernel=(y.kernel, x.kernel), stride=(y.stride, x.stride))
        if any(one.stride > CONV_STRIDE_MAX and one.before + one.after for one in (y, x)):
            layers.append(Pad(name="", inputs=(), origin=pool.origin, before=(0, y.before, x.before),
                              after=(0, y.after, x.after)))
        else:
            window = replace(window, padding=(y.before, x.before, y.after, x.after))
        layers.append(Conv(name="", inputs=(), origin=pool.origin, bias=np.zeros(shape[0], np.float32), window=window,
                           weight=np.full((shape[0], 1, *window.kernel), 1 / own, np.float32), groups=shape[0]))
    return layers


def _sums(pool: AvgPool, axis: int, size: int, count: int) -> tuple[list[_Sums], int] | None:
    """Along one axis the windows of each convolution, and the number by which the sum of a pool's window is divided; None where
    that differs from window to window, or kernels would be too large."""
    kernel, stride, before, end = (pool.window.kernel[axis], pool.window.stride[axis], pool.window.padding[axis],
                                   pool.window.padding[axis + 2])
    starts = np.arange(count) * stride - before
    counted = (before, end) if pool.count_include_pad else (0, 0)
    numbers = np.minimum(starts + kernel, size + counted[1]) - np.maximum(starts, -counted[0])
    if (numbers != numbers[0]).any():
        return None
    after = max(0, int(starts[-1]) + kernel - size)
    if count == 1:              # only what it covers of the values, and no second one
        kernel, before, after = min(kernel - before, size), 0, 0
        stride = size - kernel + 1
    found = []
    while kernel > CONV_KERNEL_MAX:
        first = next((k for k in range(CONV_KERNEL_MAX, 1, -1) if kernel % k == 0 and (count == 1 or stride % k == 0)), 0)
        if count == 1 and kernel == size and (not first or kernel // first > CONV_KERNEL_MAX):
            first = -(-kernel // -(-kernel // CONV_KERNEL_MAX))         # zeros behind the values add nothing
        if not first or before or after:
            return None
        zeros = -kernel % first
        found.append(_Sums(first, first, after=zeros))
        size, kernel = (size + zeros) // first, (kernel + zeros) // first
        stride = size - kernel + 1 if count == 1 else stride // first
    return [*found, _Sums(kernel, stride, before, after)], int(numbers[0])
