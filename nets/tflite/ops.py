"""What each TFLite operator becomes.

Operators: https://ai.google.dev/edge/litert/models/op_select_allowlist and the kernels beside
https://github.com/tensorflow/tensorflow/tree/master/tensorflow/lite/kernels. A handler gets a node, adds layers to the node's
network and returns the node's output. It raises ValueError with the reason if the node is one that cannot be mapped.
"""
from collections.abc import Callable
from dataclasses import replace
import math

import numpy as np

from nets.endings import LogSoftmax
from nets.functions import Elu, HardSwish, LeakyRelu, Sigmoid, Tanh
from nets.graph import Add, Affine, Clip, Concat, Conv, Layer, Linear, Relu, Softmax, Window
from nets.int8.quantised import Integers
from nets.moves import Pad
from nets.onnx.build import View, axis_of, like
from nets.onnx.layout import own_order, positions
from nets.tflite.build import Node, seen
from nets.tflite.windows import WINDOW_HANDLERS

__all__ = ["HANDLERS", "why_unsupported"]

DEFAULT_WEIGHTS = 0         # of FullyConnectedOptionsWeightsFormat: (out, in)


def _each(kind: type[Layer], **fields: float) -> Callable[[Node], View]:
    """The handler of an operator that has no options and treats all elements alike."""
    def handler(node: Node) -> View:
        view = node.view(0)
        return like(view, node.add(kind, view.layer, **fields))
    return handler


def _same(node: Node) -> View:
    return node.view(0)


def _leaky_relu(node: Node) -> View:
    alpha = node.option("Alpha")
    if not math.isfinite(alpha):
        raise ValueError(f"alpha must be finite, not {alpha}")
    view = node.view(0)
    return like(view, node.add(LeakyRelu, view.layer, alpha=alpha))


# Shapes

def _reshaped(node: Node, shape: tuple[int, ...]) -> View:
    view = node.view(0)
    if any(size < 1 for size in shape) or math.prod(shape) != math.prod(view.shape):
        raise ValueError(f"cannot reshape {view.shape} to {shape}")
    return replace(view, shape=shape, name=node.name)


def _reshape(node: Node) -> View:
    """The shape is a constant, or an option; where it is computed, as from the batch, the output is declared with it."""
    shape = node.view(0).shape
    if node.input(1) is not None and not node.computed(1):
        target = node.integers(1)
    else:
        target = list(node.operator.options["NewShape[]"] if node.operator.options and node.input(1) is None else ())
        target = target or list(node.declared)
    if target and target[0] == node.net.batch:
        target[0] = 1
    if target.count(-1) == 1:
        known = -math.prod(target)
        target[target.index(-1)] = math.prod(shape) // known if known else -1
    return _reshaped(node, tuple(target))


def _squeeze(node: Node) -> View:
    shape = node.view(0).shape
    axes = [axis_of(axis, len(shape)) for axis in node.option("SqueezeDims[]")]
    axes = axes or [axis for axis, size in enumerate(shape) if size == 1]
    if any(shape[axis] != 1 for axis in axes):
        raise ValueError(f"cannot squeeze axes {axes} of {shape}")
    return _reshaped(node, tuple(size for axis, size in enumerate(shape) if axis not in axes))


def _expand(node: Node) -> View:
    shape = list(node.view(0).shape)
    axis = node.integers(1, most=1)
    if len(axis) != 1:
        raise ValueError(f"axis must be one number, not {axis}")
    shape.insert(axis_of(axis[0], len(shape) + 1), 1)
    return _reshaped(node, tuple(shape))


def _transpose(node: Node) -> View:
    view, order = node.view(0), node.integers(1)
    rank = len(view.shape)
    if sorted(order) != list(range(rank)):
        raise ValueError(f"order must hold each of the {rank} axes once, not {order}")
    return replace(node.net.permuted(view, order), name=node.name)


def _pad(node: Node) -> View:
    """PAD with zeros, PADV2 with a value."""
    layer, shape = node.image(0)
    pads = np.array(node.integers(1), np.int64)
    if pads.shape != (8,) or pads.min() < 0 or pads[:2].any():
        raise ValueError(f"paddings must be 4 pairs of at least 0, none of the batch, not {pads.tolist()}")
    value = node.numbers(2) if node.input(2) is not None else np.zeros(1)
    if value.size != 1:
        raise ValueError(f"value must be one number, not {value.size}")
    if not pads.any():
        return node.view(0)
    before, after = (tuple(pads.reshape(4, 2)[[3, 1, 2], side].tolist()) for side in range(2))
    return seen(node.net, node.add(Pad, layer, before=before, after=after, value=float(value.reshape(()))).layer)


def _concat(node: Node) -> View:
    views = [node.view(k) for k in range(len(node.inputs))]
    shapes = [view.shape for view in views]
    if not views or len(set(map(len, shapes))) != 1 or len({shape[:-1] for shape in shapes}) != 1:
        raise ValueError(f"inputs must agree in all axes but the last, not be {', '.join(map(str, shapes)) or 'none'}")
    rank = len(shapes[0])
    if axis_of(node.option("Axis"), rank) != rank - 1:
        raise ValueError(f"axis must be the channels, {rank - 1}, not {node.option('Axis')}")
    made = node.add(Concat, *(node.tensor(view) for view in views))
    return node.activated(seen(node.net, made.layer, replace(views[0], shape=(*shapes[0][:-1], sum(s[-1] for s in shapes)))))


# Arithmetic

def _linear(node: Node) -> View:
    """A tensor that is flattened in another order than its own moves the order into the weights."""
    view, weights = node.view(0), node.weights(1, 0)
    size, shape = math.prod(view.shape), weights.real.shape
    if node.option("WeightsFormat") != DEFAULT_WEIGHTS:
        raise ValueError("shuffled weights are not supported")
    if len(shape) != 2:
        raise ValueError(f"weight must be out x in, not {shape}")
    keep = node.option("KeepNumDims")
    if shape[1] == size and (not keep or view.shape[-1] == size):
        if not view.in_order:
            order = np.empty(size, np.int64)
            order[positions(view.loops)] = np.arange(size)
            view, weights = replace(view, loops=own_order(size)), weights.moved(lambda array: array[:, order])
        layer = node.net.tensor(replace(view, shape=(1, size)))
        made = node.add(Linear, layer, **node.parameters(weights))
        return node.activated(replace(made, shape=(*(1 for _ in view.shape[:-1]), shape[0]) if keep else (1, shape[0])))
    if not keep or len(view.shape) != 4 or view.shape[-1] != shape[1]:
        raise ValueError(f"weight {shape} does not fit input {view.shape}")
    fields = node.parameters(weights.moved(lambda array: array[:, :, None, None]))
    made = node.add(Conv, node.image(0)[0], window=Window(kernel=(1, 1)), **fields)
    return node.activated(seen(node.net, made.layer))


def _arithmetic(node: Node) -> View:
    """ADD, SUB, MUL, DIV: of an activation and a constant per channel, or the sum of two activations."""
    first, second = (node.computed(k) for k in range(2))
    if first and second:
        return node.activated(_sum(node))
    view, value = _per_channel(node, 0 if first else 1)
    one, zero = np.ones_like(value), np.zeros_like(value)
    with np.errstate(divide="ignore", over="ignore"):
        match node.op:
            case "ADD":
                scale, offset = one, value
            case "MUL":
                scale, offset = value, zero
            case "SUB":
                scale, offset = (one, -value) if first else (-one, value)
            case _ if first:
                scale, offset = 1 / value, zero
            case _:
                raise ValueError("division by a computed tensor is not supported")
        scale, offset = scale.astype(np.float32), offset.astype(np.float32)
    if not (np.isfinite(scale).all() and np.isfinite(offset).all()):
        raise ValueError("scale and offset must be finite: the constants overflow or divide by zero")
    integers = _factors(node, 1 if first else 0, len(scale)) if node.op == "MUL" else None
    return node.activated(like(view, node.add(Affine, view.layer, scale=scale, offset=offset, integers=integers)))


def _factors(node: Node, index: int, channels: int) -> Integers | None:
    """The integers of a constant that channels are multiplied by."""
    rank = max(node.constant(index).stored.ndim, 1)
    weights = node.weights(index, rank - 1)
    if weights.steps is None or weights.scale.size not in (1, channels):
        return None
    return Integers(weight=np.broadcast_to(weights.steps.ravel(), (channels,)), bias=np.zeros(channels, np.int64),
                    scale=np.broadcast_to(weights.scale, (channels,)))


def _sum(node: Node) -> View:
    if node.op != "ADD":
        raise ValueError(f"{node.op} of two computed tensors is not supported")
    views = node.view(0), node.view(1)
    if views[0].shape != views[1].shape:
        raise ValueError(f"inputs must have one shape, not {views[0].shape} and {views[1].shape}")
    if len({(view.loops, node.net.shapes[view.layer]) for view in views}) == 1:         # as they lie
        return like(views[0], node.add(Add, *(view.layer for view in views)))
    made = node.add(Add, *(node.tensor(view) for view in views))
    return seen(node.net, made.layer, views[0])


def _per_channel(node: Node, index: int) -> tuple[View, np.ndarray]:
    """The input `index`, and the other one, a constant that varies with its channels alone, as float64 (channels,)."""
    view, array = node.view(index), node.numbers(1 - index)
    if array.ndim > len(view.shape) or array.size not in (1, view.shape[-1]) or array.shape[-1:] not in ((), (1,), (array.size,)):
        raise ValueError(f"constant {node.label(1 - index)} must be one value or one for each of the {view.shape[-1]} channels, "
                         f"not {array.shape}")
    if array.size > 1:
        view = node.channels(view)
    return view, np.broadcast_to(array.astype(np.float64).ravel(), node.net.shapes[view.layer][:1]).copy()


def _softmax(node: Node) -> View:
    """SOFTMAX and LOG_SOFTMAX, over the last axis."""
    if node.op == "SOFTMAX" and node.option("Beta") != 1:
        raise ValueError(f"beta must be 1, not {node.option('Beta')}")
    view = node.channels(node.view(0))
    return like(view, node.add(Softmax if node.op == "SOFTMAX" else LogSoftmax, view.layer))


HANDLERS: dict[str, Callable[[Node], View]] = {
    "ADD": _arithmetic, "CONCATENATION": _concat, "DEQUANTIZE": _same, "DIV": _arithmetic, "ELU": _each(Elu),
    "EXPAND_DIMS": _expand, "FULLY_CONNECTED": _linear, "HARD_SWISH": _each(HardSwish), "LEAKY_RELU": _leaky_relu,
    "LOGISTIC": _each(Sigmoid), "LOG_SOFTMAX": _softmax, "MUL": _arithmetic, "PAD": _pad, "PADV2": _pad, "QUANTIZE": _same,
    "RELU": _each(Relu), "RELU6": _each(Clip, low=0.0, high=6.0), "RELU_N1_TO_1": _each(Clip, low=-1.0, high=1.0),
    "RESHAPE": _reshape, "SOFTMAX": _softmax, "SQUEEZE": _squeeze, "SUB": _arithmetic, "TANH": _each(Tanh),
    "TRANSPOSE": _transpose, **WINDOW_HANDLERS,
}


def why_unsupported(op: str) -> str:
    """Why there is no layer for an operator."""
    if op.startswith("CUSTOM "):
        return "operators of one's own are not supported"
    return "operator is not supported"
