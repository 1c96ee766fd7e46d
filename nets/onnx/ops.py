"""What each ONNX operator becomes. Operator reference: https://onnx.ai/onnx/operators/.

A handler gets a node, adds layers to the node's network and returns the node's output. It raises ValueError with the reason
if the node is one that cannot be mapped.
"""
from collections.abc import Callable
import math

import numpy as np

from nets.graph import (
    LRN,
    Add,
    Affine,
    AvgPool,
    Clip,
    Concat,
    Conv,
    Dropout,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Relu,
    Softmax,
    Window,
)
from nets.onnx.build import Node, View, axis_of
from nets.onnx.file import MAX_ELEMENTS
from nets.onnx.shape_ops import SHAPE_HANDLERS

__all__ = ["HANDLERS", "why_unsupported"]

MAX_WINDOW = 4096       # kernel, stride, dilation, padding; the largest image side of `nets.preprocess`


def _window(node: Node, kernel: tuple[int, ...], shape: tuple[int, int, int], extra: tuple[int, int, int, int]) -> Window:
    """Window of a convolution or pool over an image of `shape`; `extra` is padding taken over from a Pad node."""
    kernel = tuple(node.attribute("kernel_shape", kernel))
    stride, dilation = (tuple(node.attribute(what, (1, 1))) for what in ("strides", "dilations"))
    padding = tuple(node.attribute("pads", (0, 0, 0, 0)))
    auto = node.attribute("auto_pad", "NOTSET")
    if any(not -MAX_WINDOW <= v <= MAX_WINDOW for v in (*kernel, *stride, *dilation, *padding)):
        raise ValueError(f"kernel, stride, dilation and padding must be at most {MAX_WINDOW}")
    if auto == "VALID":
        padding = (0, 0, 0, 0)
    window = Window(kernel=kernel, stride=stride, padding=padding, dilation=dilation)       # checks what came from the file
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [], []
        for axis in range(2):
            size = shape[1 + axis] + extra[axis] + extra[axis + 2]
            reach = dilation[axis] * (kernel[axis] - 1) + 1
            total = max(0, (-(-size // stride[axis]) - 1) * stride[axis] + reach - size)
            before.append(total // 2 if auto == "SAME_UPPER" else total - total // 2)
            after.append(total - before[-1])
        padding = (*before, *after)
    elif auto not in ("NOTSET", "VALID"):
        raise ValueError(f"auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, not {auto!r}")
    padding = tuple(a + b for a, b in zip(padding, extra, strict=True))
    channels, height, width = shape
    if channels * (height + padding[0] + padding[2]) * (width + padding[1] + padding[3]) > MAX_ELEMENTS:
        raise ValueError(f"padding {padding} makes the input larger than {MAX_ELEMENTS} elements")
    return Window(kernel=window.kernel, stride=window.stride, padding=padding, dilation=window.dilation)


def _conv(node: Node) -> View:
    layer, shape, padding = node.padded_image(0)
    if padding.value:
        raise ValueError(f"{padding.node} pads with {padding.value}, which is not zero")
    weight = node.constant(1)
    if weight.ndim != 4:
        raise ValueError(f"weight must be out x in x height x width, not {weight.shape}")
    bias = node.constant(2) if node.has(2) else np.zeros(weight.shape[0], np.float32)
    return node.net.add(Conv(name=node.name, inputs=(layer,), weight=weight, bias=bias, groups=node.attribute("group", 1),
                             window=_window(node, weight.shape[2:], shape, padding.edges)))


def _max_pool(node: Node) -> View:
    layer, shape, padding = node.padded_image(0)
    if any(padding.edges) and not _cannot_win(node, layer, padding.value):
        raise ValueError(f"{padding.node} pads with {padding.value}, which could be the maximum")
    return node.net.add(MaxPool(name=node.name, inputs=(layer,), window=_window(node, (), shape, padding.edges),
                                ceil_mode=_ceil_mode(node)))


def _cannot_win(node: Node, layer: str, value: float) -> bool:
    if value <= np.finfo(np.float32).min:
        return True
    producer = next(one for one in node.net.layers if one.name == layer)
    return value <= 0 and isinstance(producer, Relu) or isinstance(producer, Clip) and value <= producer.low


def _ceil_mode(node: Node) -> bool:
    """With automatic padding both modes agree by definition, yet the formula of ceil mode may give one window more."""
    return bool(node.attribute("ceil_mode", 0)) and node.attribute("auto_pad", "NOTSET") not in ("SAME_UPPER", "SAME_LOWER")


def _avg_pool(node: Node) -> View:
    layer, shape, padding = node.padded_image(0)
    window = _window(node, (), shape, padding.edges)
    include = bool(node.attribute("count_include_pad", 0))
    if any(padding.edges):
        if padding.value:
            raise ValueError(f"{padding.node} pads with {padding.value}, which is not zero")
        if not include and window.padding != padding.edges:
            raise ValueError(f"counts the padding of {padding.node}, but not its own")
        include = True
    return node.net.add(AvgPool(name=node.name, inputs=(layer,), window=window, ceil_mode=_ceil_mode(node),
                                count_include_pad=include))


def _global_avg_pool(node: Node) -> View:
    return node.net.add(GlobalAvgPool(name=node.name, inputs=(node.image(0)[0],)))


def _global_max_pool(node: Node) -> View:
    layer, shape = node.image(0)
    return node.net.add(MaxPool(name=node.name, inputs=(layer,), window=Window(kernel=shape[1:])))


def _reduce_mean(node: Node) -> View:
    layer, shape = node.image(0)
    axes = node.axes(1, 4)
    if axes is None or sorted(axes) != [2, 3]:
        raise ValueError(f"mean must be over height and width (axes 2 and 3), not {'all axes' if axes is None else axes}")
    view = node.net.add(GlobalAvgPool(name=node.name, inputs=(layer,)))
    if node.attribute("keepdims", 1):
        return view
    return View(view.layer, (1, shape[0]), node.net.fresh(f"{node.name}.flatten"))


def _linear(node: Node, weight: np.ndarray, bias: np.ndarray | None) -> View:
    """`weight`: (in, out)."""
    layer = node.tensor(0)
    if len(node.net.shapes[layer]) != 1:
        raise ValueError(f"input {node.called(0)} must be batch x features, not {node.view(0).shape}")
    if weight.ndim != 2:
        raise ValueError(f"weight must have two axes, not shape {weight.shape}")
    count = weight.shape[1]
    bias = np.zeros(1, np.float32) if bias is None else bias
    if bias.size not in (1, count) or bias.shape[-1:] not in ((), (1,), (count,)):
        raise ValueError(f"bias must have 1 or {count} values, not shape {bias.shape}")
    return node.net.add(Linear(name=node.name, inputs=(layer,), weight=weight.T,
                               bias=np.broadcast_to(bias.ravel(), (count,)).astype(np.float32)))


def _gemm(node: Node) -> View:
    if node.attribute("transA", 0):
        raise ValueError("transA must be 0")
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    if not (math.isfinite(alpha) and math.isfinite(beta)):
        raise ValueError(f"alpha and beta must be finite, not {alpha} and {beta}")
    weight = node.constant(1)
    weight = weight.T if node.attribute("transB", 0) else weight
    bias = node.constant(2) if node.has(2) else None
    return _linear(node, weight if alpha == 1 else weight * np.float32(alpha),
                   bias if bias is None or beta == 1 else bias * np.float32(beta))


def _mat_mul(node: Node) -> View:
    return _linear(node, node.constant(1), None)


def _affine(node: Node, layer: str, scale: np.ndarray, offset: np.ndarray) -> View:
    with np.errstate(over="ignore"):
        scale, offset = (np.asarray(array).astype(np.float32) for array in (scale, offset))
    if not (np.isfinite(scale).all() and np.isfinite(offset).all()):
        raise ValueError("scale and offset must be finite: the constants overflow or divide by zero")
    return node.net.add(Affine(name=node.name, inputs=(layer,), scale=scale, offset=offset))


def _batch_norm(node: Node) -> View:
    layer = node.tensor(0)
    if node.attribute("training_mode", 0):
        raise ValueError("is in training mode: export the model in evaluation mode")
    if not node.attribute("spatial", 1):
        raise ValueError("spatial must be 1: statistics per position are not supported")
    scale, bias, mean, variance = (node.constant(k).astype(np.float64) for k in range(1, 5))
    if len({scale.shape, bias.shape, mean.shape, variance.shape}) != 1:
        raise ValueError(f"scale, bias, mean and variance must have one shape, not {scale.shape}, {bias.shape}, {mean.shape} "
                         f"and {variance.shape}")
    spread = variance + node.attribute("epsilon", 1e-5)
    if not (spread > 0).all():
        raise ValueError("variance must be positive")
    scale = scale / np.sqrt(spread)
    return _affine(node, layer, scale, bias - mean * scale)


def _arithmetic(node: Node) -> View:
    """Add, Sub, Mul, Div, Sum: of an activation and a constant per channel, or the sum of two activations."""
    op = node.proto.op_type
    first, second = (isinstance(value, View) for value in node.inputs)
    if first and second:
        if op not in ("Add", "Sum"):
            raise ValueError(f"{op} of two computed tensors is not supported")
        return node.net.add(Add(name=node.name, inputs=(node.tensor(0), node.tensor(1))))
    index = 0 if first else 1
    layer = node.tensor(index)
    value = _per_channel(node, 1 - index, node.net.shapes[layer])
    one, zero = np.ones_like(value), np.zeros_like(value)
    with np.errstate(divide="ignore"):          # found out by _affine
        if op in ("Add", "Sum"):
            scale, offset = one, value
        elif op == "Mul":
            scale, offset = value, zero
        elif op == "Sub":
            scale, offset = (one, -value) if first else (-one, value)
        elif first:
            scale, offset = 1 / value, zero
        else:
            raise ValueError("division by a computed tensor is not supported")
    return _affine(node, layer, scale, offset)


def _per_channel(node: Node, index: int, shape: tuple[int, ...]) -> np.ndarray:
    """float64 (channels,) from a constant that broadcasts to (1, *shape) and varies with the channel alone."""
    array = node.constant(index)
    rank = len(shape) + 1
    full = (1,) * (rank - array.ndim) + array.shape
    if len(full) != rank or full[1] not in (1, shape[0]) or any(size != 1 for k, size in enumerate(full) if k != 1):
        raise ValueError(f"constant {node.called(index)} must be one value or one for each of the {shape[0]} channels, "
                         f"not shape {array.shape}")
    return np.broadcast_to(array.astype(np.float64).ravel(), shape[:1]).copy()


def _sum(node: Node) -> View:
    if len(node.inputs) == 1:
        return node.view(0)
    if len(node.inputs) == 2:
        return _arithmetic(node)
    total, *others = (node.tensor(k) for k in range(len(node.inputs)))
    for k, other in enumerate(others[:-1], 1):
        total = node.net.add(Add(name=node.net.fresh(f"{node.name}.{k}"), inputs=(total, other))).layer
    return node.net.add(Add(name=node.name, inputs=(total, others[-1])))


def _concat(node: Node) -> View:
    rank = len(node.view(0).shape)
    if axis_of(node.attribute("axis"), rank) != 1:
        raise ValueError(f"axis must be 1, the channels, not {node.attribute('axis')}")
    return node.net.add(Concat(name=node.name, inputs=tuple(node.tensor(k) for k in range(len(node.inputs)))))


def _relu(node: Node) -> View:
    return node.net.add(Relu(name=node.name, inputs=(node.tensor(0),)))


def _clip(node: Node) -> View:
    low, high = (node.number(index, node.attribute(what, default))
                 for index, what, default in ((1, "min", -math.inf), (2, "max", math.inf)))
    if low == 0 and high >= np.finfo(np.float32).max:
        return _relu(node)
    return node.net.add(Clip(name=node.name, inputs=(node.tensor(0),), low=low, high=high))


def _lrn(node: Node) -> View:
    numbers = {what: node.attribute(what, default) for what, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))}
    if not all(map(math.isfinite, numbers.values())):
        raise ValueError(f"alpha, beta and bias must be finite, not {numbers}")
    return node.net.add(LRN(name=node.name, inputs=(node.image(0)[0],), size=node.attribute("size"), **numbers))


def _softmax(node: Node) -> View:
    layer = node.tensor(0)
    shape = node.view(0).shape
    axis = axis_of(node.attribute("axis", 1 if node.opset < 13 else -1), len(shape))
    # Up to opset 12 all axes from `axis` on are taken together.
    taken = shape[axis:] if node.opset < 13 else shape[axis:axis + 1]
    if axis != 1 or math.prod(taken) != shape[1]:
        raise ValueError(f"softmax must be over the channels, not over axis {axis} of {shape}")
    return node.net.add(Softmax(name=node.name, inputs=(layer,)))


def _dropout(node: Node) -> View:
    if node.has(2) and not isinstance(node.inputs[2], View) and node.inputs[2].any():
        raise ValueError("is in training mode: export the model in evaluation mode")
    return node.net.add(Dropout(name=node.name, inputs=(node.tensor(0),)))


HANDLERS: dict[str, Callable[[Node], View]] = {
    "Add": _arithmetic, "AveragePool": _avg_pool, "BatchNormalization": _batch_norm, "Clip": _clip, "Concat": _concat,
    "Conv": _conv, "Div": _arithmetic, "Dropout": _dropout, "Gemm": _gemm, "GlobalAveragePool": _global_avg_pool,
    "GlobalMaxPool": _global_max_pool, "LRN": _lrn, "MatMul": _mat_mul, "MaxPool": _max_pool, "Mul": _arithmetic,
    "ReduceMean": _reduce_mean, "Relu": _relu, "Softmax": _softmax, "Sub": _arithmetic, "Sum": _sum, **SHAPE_HANDLERS,
}

QUANTISED = frozenset({"ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv",
                       "QLinearMatMul", "QuantizeLinear"})


def why_unsupported(op: str, domain: str) -> str:
    """Why there is no layer for an operator."""
    if domain not in ("", "ai.onnx"):
        return f"operator of domain {domain!r} is not supported"
    if op in QUANTISED:
        return "network is already quantised: give the float model"
    return "operator is not supported"
