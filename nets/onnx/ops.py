"""What each ONNX operator becomes. Operator reference: https://onnx.ai/onnx/operators/.

A handler gets a node, adds layers to the node's network and returns the node's output. It raises ValueError with the reason
if the node is one that cannot be mapped.
"""
from collections.abc import Callable
from dataclasses import replace
import math

import numpy as np

from nets.endings import ArgMax, LogSoftmax
from nets.functions import Elu, HardSigmoid, HardSwish, LeakyRelu, Selu, Sigmoid, Silu, Tanh
from nets.graph import (
    LRN,
    Add,
    Affine,
    Clip,
    Conv,
    Dropout,
    GlobalAvgPool,
    Layer,
    Linear,
    Relu,
    Softmax,
    Window,
)
from nets.int8.quantised import Weights
from nets.onnx.build import Node, Stack, View, axis_of, like, resized
from nets.onnx.layout import own_order, positions
from nets.onnx.qoperators import QOPERATORS
from nets.onnx.quantised import counted, parameters, weights_of
from nets.onnx.shape_ops import SHAPE_HANDLERS
from nets.onnx.windows import WINDOW_HANDLERS, reduced, whole_map

__all__ = ["HANDLERS", "why_unsupported"]


def _each(kind: type[Layer]) -> Callable[[Node], View]:
    """The handler of an operator that has no parameters and treats all elements alike."""
    def handler(node: Node) -> View:
        view = node.each(0)
        return like(view, node.add(kind, view.layer))
    return handler


def _function(kind: type[Layer], **defaults: float) -> Callable[[Node], View]:
    """The handler of a function of each element, with its attributes, numbers, and what they are if they are left out."""
    def handler(node: Node) -> View:
        numbers = {what: float(node.attribute(what, default)) for what, default in defaults.items()}
        if not all(map(math.isfinite, numbers.values())):
            raise ValueError(f"{' and '.join(numbers)} must be finite, not {numbers}")
        view = node.each(0)
        return like(view, node.add(kind, view.layer, **numbers))
    return handler


def _reduce_mean(node: Node) -> View:
    if node.computed(0) and isinstance(node.inputs[0], Stack):
        return _unstacked(node, node.inputs[0])
    axes = node.axes(1, len(node.view(0).shape))
    view = whole_map(node, axes)
    if view is None:
        raise ValueError(f"mean must be over height and width (axes 2 and 3), not {axes or 'all axes'}")
    return reduced(node, view, axes, node.add(GlobalAvgPool, view.layer))


def _reduce_sum(node: Node) -> View:
    if node.computed(0) and isinstance(node.inputs[0], Stack):
        return _unstacked(node, node.inputs[0])
    axes = node.axes(1, len(node.view(0).shape))
    view = whole_map(node, axes)
    if view is None:
        raise ValueError(f"sum must be over height and width (axes 2 and 3), not {axes or 'all axes'}")
    mean = node.add(GlobalAvgPool, view.layer, name=node.part("mean"))
    area = math.prod(node.net.shapes[view.layer][1:])
    return reduced(node, view, axes, _affine(node, mean, np.full(mean.shape[1], area), np.zeros(mean.shape[1])))


def _unstacked(node: Node, stack: Stack) -> View:
    """The sum of stacked tensors, or their mean."""
    axes = node.axes(1, len(stack.shape))
    if axes != [stack.axis]:
        raise ValueError(f"must be over the axis that was stacked, {stack.axis}, not {axes}")
    mean = node.proto.op_type == "ReduceMean"
    total = _total(node, list(stack.views), node.part("sum") if mean else node.name)
    if mean:
        channels, count = node.net.shapes[total.layer][0], len(stack.views)
        total = like(total, _affine(node, total, np.full(channels, 1 / count), np.zeros(channels)))
    shape = stack.shape
    keep = (1,) if node.attribute("keepdims", 1) else ()
    return replace(total, shape=(*shape[:stack.axis], *keep, *shape[stack.axis + 1:]))


def _linear(node: Node, weights: Weights, bias: np.ndarray | None) -> View:
    """`weights`: (out, in). A tensor that is flattened in another order than its own moves the order into the weights."""
    view = node.view(0)
    if len(view.shape) != 2 or view.shape[0] != 1:
        raise ValueError(f"input {node.called(0)} must be batch x features, not {view.shape}")
    count = len(weights.real)
    bias = np.zeros(1, np.float32) if bias is None else bias
    if bias.size not in (1, count) or bias.shape[-1:] not in ((), (1,), (count,)) or math.prod(bias.shape[:-1]) != 1:
        raise ValueError(f"bias must have 1 or {count} values, not shape {bias.shape}")
    size = view.shape[1]
    if weights.real.shape[1] == size and not view.in_order:
        order = np.empty(size, np.int64)
        order[positions(view.loops)] = np.arange(size)
        view, weights = replace(view, loops=own_order(size)), weights.moved(lambda array: array[:, order])
    layer = node.net.tensor(view)
    bias = np.broadcast_to(bias.ravel(), (count,)).astype(np.float32)
    return node.add(Linear, layer, **parameters(node, layer, weights, bias, 2))


def _two_axes(node: Node, axis: int) -> Weights:
    """The weights (out, in) of a node whose second input has its outputs along this axis."""
    shape = node.constant(1).shape
    if len(shape) != 2:
        raise ValueError(f"weight must have two axes, not shape {shape}")
    weights = weights_of(node, 1, axis)
    return weights.moved(np.transpose) if axis else weights


def _gemm(node: Node) -> View:
    if node.attribute("transA", 0):
        raise ValueError("transA must be 0")
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    if not (math.isfinite(alpha) and math.isfinite(beta)):
        raise ValueError(f"alpha and beta must be finite, not {alpha} and {beta}")
    weights = _two_axes(node, 0 if node.attribute("transB", 0) else 1)
    bias = node.constant(2) if node.has(2) else None
    if alpha != 1:
        weights = Weights(weights.real * np.float32(alpha), weights.steps if alpha > 0 else None,
                          None if weights.scale is None else weights.scale * alpha)
    return _linear(node, weights, bias if bias is None or beta == 1 else bias * np.float32(beta))


def _mat_mul(node: Node) -> View:
    view, weights = node.view(0), _two_axes(node, 1)
    last = len(view.shape) - 1
    own = node.net.shapes[view.layer]
    if last > 1 and len(own) == 3 and node.net.channel_axis(view, last):       # a dense layer of each pixel
        count = len(weights.real)
        weights = weights.moved(lambda array: array[:, :, None, None])
        fields = parameters(node, view.layer, weights, np.zeros(count, np.float32), 2)
        return resized(view, last, count, node.add(Conv, view.layer, window=Window(kernel=(1, 1)), **fields))
    return _linear(node, weights, None)


def _affine(node: Node, view: View, scale: np.ndarray, offset: np.ndarray) -> View:
    with np.errstate(over="ignore"):
        scale, offset = (np.asarray(array).astype(np.float32) for array in (scale, offset))
    if not (np.isfinite(scale).all() and np.isfinite(offset).all()):
        raise ValueError("scale and offset must be finite: the constants overflow or divide by zero")
    return like(view, node.add(Affine, view.layer, scale=scale, offset=offset))


def _batch_norm(node: Node) -> View:
    view = node.by_channel(0, 1)
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
    return _affine(node, view, scale, bias - mean * scale)


def _arithmetic(node: Node) -> View:
    """Add, Sub, Mul, Div, Sum: of an activation and a constant per channel, or the sum of two activations."""
    op = node.proto.op_type
    first, second = (node.computed(k) for k in range(2))
    if first and second:
        if op == "Mul" and (gated := _gated(node)):
            return gated
        if op not in ("Add", "Sum"):
            raise ValueError(f"{op} of two computed tensors is not supported")
        return _total(node, [node.view(0), node.view(1)], node.name)
    view, value = _per_channel(node, 0 if first else 1)
    if getattr(node.net.layers.get(view.layer), "op", "") == "ArgMax":      # of one that was refused there is no layer
        raise ValueError("arithmetic on whole numbers, as an ArgMax has them, is not supported")
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
    return _affine(node, view, scale, offset)


def _p_relu(node: Node) -> View:
    """A slope of each channel for what is negative: relu(x) - slope * relu(-x). One slope for all channels is a leaky ReLU."""
    view, slope = _per_channel(node, 0)
    if np.ptp(slope) == 0:
        return like(view, node.add(LeakyRelu, view.layer, alpha=float(slope[0])))
    one = np.ones(len(slope), np.float32)
    above = node.add(Relu, view.layer, name=node.part("above"))
    turned = node.add(Affine, view.layer, name=node.part("turned"), scale=-one, offset=0 * one)
    below = node.add(Relu, turned.layer, name=node.part("below"))
    sloped = node.add(Affine, below.layer, name=node.part("sloped"), scale=-slope.astype(np.float32), offset=0 * one)
    return like(view, node.add(Add, above.layer, sloped.layer))


def _gated(node: Node) -> View | None:
    """The product of a tensor and a sigmoid of itself, if a node is that: SiLU, or with a hard one of slope 1/6 hard-swish."""
    for view, gate in ((node.view(0), node.view(1)), (node.view(1), node.view(0))):
        layer = node.net.layers.get(gate.layer)
        if layer and layer.inputs == (view.layer,) and (gate.shape, gate.loops) == (view.shape, view.loops):
            if isinstance(layer, Sigmoid):
                return like(view, node.add(Silu, view.layer))
            if isinstance(layer, HardSigmoid) and np.allclose((layer.alpha, layer.beta), (1 / 6, 0.5), rtol=0, atol=1e-4):
                return like(view, node.add(HardSwish, view.layer))
    return None


def _total(node: Node, views: list[View], name: str) -> View:
    """The sum of tensors, two at a time: as they lie if all lie alike."""
    alike = len({(view.loops, view.shape, node.net.shapes[view.layer]) for view in views}) == 1
    view = views[0]
    layers = [one.layer for one in views] if alike and not view.in_order else [node.net.tensor(one) for one in views]
    for k, other in enumerate(layers[1:], 1):
        last = k == len(layers) - 1
        sources, factors = zip(*(counted(node.net, one) for one in (layers[0], other)), strict=True)
        layers[0] = node.add(Add, *sources, name=name if last else node.part(k), factors=factors).layer
    return View(layers[0], view.shape, name if view.in_order or not alike else view.name,
                view.loops if alike else own_order(math.prod(view.shape)))


def _per_channel(node: Node, index: int) -> tuple[View, np.ndarray]:
    """The input `index`, and the other one, a constant that varies with its channels alone, as float64 (channels,)."""
    view, array = node.each(index), node.constant(1 - index)
    rank = len(view.shape)
    full = (1,) * (rank - array.ndim) + array.shape
    varying = [axis for axis, size in enumerate(full) if size != 1]
    channels = node.net.shapes[view.layer][0]
    reason = f"constant {node.called(1 - index)} must be one value or one for each of the {channels} channels, not {array.shape}"
    if len(varying) == 1 and array.size == channels:
        reason += f", which varies along axis {varying[0]}: make its shape ({channels}, {', '.join('1' * (rank - 2))})"
    if len(full) != rank or len(varying) > 1 or any(full[axis] != view.shape[axis] for axis in varying):
        raise ValueError(reason)
    if varying:
        try:
            view = node.by_channel(index, varying[0])
        except ValueError:
            raise ValueError(reason) from None
    channels = node.net.shapes[view.layer][:1]
    return view, np.broadcast_to(array.astype(np.float64).ravel(), channels).copy()


def _sum(node: Node) -> View:
    views = [node.view(k) for k in range(len(node.inputs)) if node.computed(k)]
    if len(node.inputs) == 1:
        return node.view(0)
    if len(node.inputs) == 2:
        return _arithmetic(node)
    if len(views) != len(node.inputs):
        raise ValueError("a sum of more than two must be of computed tensors")
    return _total(node, views, node.name)


def _mean(node: Node) -> View:
    views = [node.view(k) for k in range(len(node.inputs))]
    if len(views) == 1:
        return views[0]
    total = _total(node, views, node.part("sum"))
    channels = node.net.shapes[total.layer][0]
    return _affine(node, total, np.full(channels, 1 / len(views)), np.zeros(channels))


def _clamp(node: Node, low: float, high: float) -> View:
    view = node.each(0)
    if low == 0 and high >= np.finfo(np.float32).max:
        return like(view, node.add(Relu, view.layer))
    return like(view, node.add(Clip, view.layer, low=low, high=high))


def _clip(node: Node) -> View:
    return _clamp(node, *(node.number(index, node.attribute(what, default))
                          for index, what, default in ((1, "min", -math.inf), (2, "max", math.inf))))


def _extreme(node: Node) -> View:
    """Min and Max of an activation and constants, each one number, are clamps."""
    op = node.proto.op_type
    computed = [k for k in range(len(node.inputs)) if node.computed(k)]
    if len(computed) > 1:
        raise ValueError(f"{op} of two computed tensors is not supported")
    limits = [node.number(k, 0.0) for k in range(len(node.inputs)) if k not in computed]
    if any(np.ndim(node.inputs[k]) > len(node.view(computed[0]).shape) for k in range(len(node.inputs)) if k not in computed):
        raise ValueError("constants must not have more axes than the tensor")
    if not limits:
        return node.view(0)
    if any(map(math.isnan, limits)):
        raise ValueError(f"limit must be a number, not {limits}")
    node = replace(node, inputs=(node.inputs[computed[0]],))
    return _clamp(node, max(limits), math.inf) if op == "Max" else _clamp(node, -math.inf, min(limits))


def _lrn(node: Node) -> View:
    numbers = {what: node.attribute(what, default) for what, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))}
    if not all(map(math.isfinite, numbers.values())):
        raise ValueError(f"alpha, beta and bias must be finite, not {numbers}")
    return node.add(LRN, node.image(0)[0], size=node.attribute("size"), **numbers)


def _softmax(node: Node) -> View:
    """Softmax and LogSoftmax."""
    op, shape = node.proto.op_type, node.view(0).shape
    axis = axis_of(node.attribute("axis", 1 if node.opset < 13 else -1), len(shape))
    taken = shape[axis:] if node.opset < 13 else shape[axis:axis + 1]       # up to opset 12 all axes from `axis` on
    wrong = f"{op.lower()} must be over the channels, not over axis {axis} of {shape}"
    if math.prod(taken) != shape[axis]:
        raise ValueError(wrong)
    try:
        view = node.by_channel(0, axis)
    except ValueError:
        raise ValueError(wrong) from None
    return like(view, node.add(Softmax if op == "Softmax" else LogSoftmax, view.layer))


def _arg_max(node: Node) -> View:
    shape = node.view(0).shape
    axis = axis_of(node.attribute("axis", 0), len(shape))
    if node.attribute("select_last_index", 0):
        raise ValueError("select_last_index must be 0")
    try:
        view = node.by_channel(0, axis)
    except ValueError:
        raise ValueError(f"the largest must be sought among the channels, not over axis {axis} of {shape}") from None
    made = node.add(ArgMax, view.layer)
    view = resized(view, axis, 1, made)
    if not node.attribute("keepdims", 1):
        view = replace(view, shape=(*view.shape[:axis], *view.shape[axis + 1:]))
    return view


def _dropout(node: Node) -> View:
    if node.has(2) and not node.computed(2) and node.inputs[2].any():
        raise ValueError("is in training mode: export the model in evaluation mode")
    return _each(Dropout)(node)


HANDLERS: dict[str, Callable[[Node], View | Stack | list[View]]] = {
    "Add": _arithmetic, "ArgMax": _arg_max, "BatchNormalization": _batch_norm, "Clip": _clip, "Div": _arithmetic,
    "Dropout": _dropout, "Elu": _function(Elu, alpha=1.0), "Gemm": _gemm,
    "HardSigmoid": _function(HardSigmoid, alpha=0.2, beta=0.5), "HardSwish": _function(HardSwish), "LRN": _lrn,
    "LeakyRelu": _function(LeakyRelu, alpha=0.01), "LogSoftmax": _softmax, "MatMul": _mat_mul, "Max": _extreme, "Mean": _mean,
    "Min": _extreme, "Mul": _arithmetic, "PRelu": _p_relu, "ReduceMean": _reduce_mean, "ReduceSum": _reduce_sum,
    "Relu": _each(Relu), "Selu": _function(Selu, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "Sigmoid": _function(Sigmoid),
    "Softmax": _softmax, "Sub": _arithmetic, "Sum": _sum, "Tanh": _function(Tanh), **SHAPE_HANDLERS, **WINDOW_HANDLERS,
}

DYNAMIC = frozenset({"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger"})


def why_unsupported(op: str, domain: str) -> str:
    """Why there is no layer for an operator."""
    if op in QOPERATORS and domain in ("", "com.microsoft"):
        return "has other inputs than its operator, or its channels last, which is not supported"
    if domain not in ("", "ai.onnx"):
        return f"operator of domain {domain!r} is not supported"
    if op in DYNAMIC:
        return "scales are found anew for each image: quantise statically, or give the float model"
    return "operator is not supported"
