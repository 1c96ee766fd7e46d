"""QuantizeLinear and DequantizeLinear: what the integers of a file mean, those of constants and those of computed tensors.

Between them a computed tensor is a view of a layer that is `quantised`, and operators may move its integers; behind a
DequantizeLinear it is the same view. Of constants the integers are kept beside the floats (`Steps`), for layers to take as they
are. Operators: https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html.
"""
from dataclasses import replace
import math
from typing import Any

import numpy as np
from onnx import helper

from nets.graph import Affine, AvgPool, Clip, Input, Relu
from nets.int8.fuse import ONE_SCALE
from nets.int8.quantised import Integers, Quantisation, Weights
from nets.onnx.build import Builder, Meaning, Node, Steps, View, axis_of, like, typed
from nets.onnx.fold import fold

__all__ = ["CARRIED", "LINEAR", "carried", "counted", "dequantise", "dequantised", "kind_of", "meant", "parameters", "quantise",
           "weights_of", "with_real_constants"]

LINEAR = ("QuantizeLinear", "DequantizeLinear")
OFFSETS = {"uint8": 0, "int8": 128}             # of our steps to the file's
CARRIED = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})        # of constants
NUMBERS = {"Clip": (1, 2), "Max": None, "Min": None, "Pad": (2,)}       # constants that are steps; None: all
MOVERS = frozenset({"Concat", "Gather", "GlobalMaxPool", "MaxPool", "ReduceMax", "Slice", "Split", *CARRIED, *NUMBERS})
SUB_STEPS = 256             # of a step, that scores of 16 bits have
SAME_UNIT = 1e-5            # of scales: floats of 32 bits that were multiplied once or twice
MOST = 1 << 40              # of a bias, beyond 32 bits, which nets.int8.check tells


def _linear(node: Node) -> None:
    """Raises ValueError for inputs that the operator does not have. (Older operator sets lack what is read here all the same.)"""
    if not 2 <= len(node.inputs) <= 3 or not node.has(0) or not node.has(1):
        raise ValueError(f"must have a tensor, a scale and perhaps a zero point, not {len(node.inputs)} inputs")
    if node.attribute("block_size", 0):
        raise ValueError("scales of blocks are not supported: quantise per tensor, or weights per channel")


def _scale(node: Node) -> np.ndarray:
    array = node.constant(1)
    if array.dtype.kind != "f" or node.inputs[1].dtype.kind != "f":
        raise ValueError(f"scale {node.called(1)} must be floats, not {node.inputs[1].dtype}")
    return array.astype(np.float64)


def _zero_point(node: Node, default: np.dtype | None) -> np.ndarray:
    """The zero point, of the type that says what the integers are."""
    if not node.has(2):
        return np.zeros((), default or _output_type(node))
    if node.computed(2):
        raise ValueError(f"zero point {node.called(2)} must be a constant, not computed from the image")
    zero = node.inputs[2]
    if zero.dtype.kind not in "iu" or default is not None and zero.dtype != default:
        raise ValueError(f"zero point {node.called(2)} must be {default or 'of integers'}, not {zero.dtype}")
    return zero


def _output_type(node: Node) -> np.dtype:
    number = node.attribute("output_dtype", 0)
    try:
        return helper.tensor_dtype_to_np_dtype(number) if number else np.dtype(np.uint8)
    except (KeyError, ValueError):
        raise ValueError(f"output_dtype {number} is not supported") from None


def _kind(node: Node, default: np.dtype | None) -> tuple[Quantisation, np.dtype]:
    """What the integers of a computed tensor mean, and their type."""
    _linear(node)
    scale, zero = _scale(node), _zero_point(node, default)
    if scale.size != 1 or zero.size != 1:
        raise ValueError(f"scale {node.called(1)} must be one number, not {scale.size if scale.size != 1 else zero.size}: "
                         f"scales of channels are for weights")
    fraction = zero.dtype == np.uint16 and zero.reshape(()) % SUB_STEPS == 0
    if zero.dtype.name not in OFFSETS and not fraction:
        raise ValueError(f"integers must be of 8 bits, not {zero.dtype}")
    unit, start = float(scale.reshape(())), int(zero.reshape(()))
    try:
        if fraction:
            return Quantisation(scale=unit * SUB_STEPS, zero_point=start // SUB_STEPS, fraction=True), zero.dtype
        return Quantisation(scale=unit, zero_point=start + OFFSETS[zero.dtype.name]), zero.dtype
    except ValueError as error:
        raise ValueError(f"{node.called(1)}: {error}") from None


def quantise(node: Node) -> tuple[View, Meaning]:
    """A QuantizeLinear of a tensor that is computed, and what its integers mean."""
    view = node.view(0)
    if node.meaning(0):
        raise ValueError(f"input {node.called(0)} must be floats, not integers")
    kind, dtype = _kind(node, None)
    view = replace(view, layer=_without_nudge(node.net, view.layer, kind))
    return typed(node.net, view, kind, node.name, node.proto.op_type), Meaning(kind, dtype)


def _without_nudge(net: Builder, name: str, kind: Quantisation) -> str:
    """The mean of windows of that scale, if what is added to it before it is rounded is less than any fraction of a step that it
    can have: then halves go up, as they do here."""
    layer = net.layers.get(name)
    pool = net.layers.get(layer.inputs[0]) if isinstance(layer, Affine) else None
    if not isinstance(pool, AvgPool) or kind_of(net, pool.name) != kind or (layer.scale != 1).any():
        return name
    count = 2 * math.prod(pool.window.kernel)
    return pool.name if 0 < layer.offset.min() and layer.offset.max() * count < kind.scale else name


def dequantise(node: Node) -> View:
    """A DequantizeLinear of a tensor that is computed. Another scale than it was quantised with gives its integers another
    meaning."""
    view, found = node.view(0), node.meaning(0)
    if found is None:
        raise ValueError(f"input {node.called(0)} must be integers, not floats")
    kind, _ = _kind(node, found.dtype)
    if kind == found.kind or view.layer not in node.net.layers:
        return view
    factor = kind.scale / found.kind.scale
    offset = kind.scale * (found.kind.zero_point - kind.zero_point)
    channels = node.net.shapes[view.layer][0]
    return like(view, node.add(Affine, view.layer, scale=np.full(channels, factor, np.float32),
                               offset=np.full(channels, offset, np.float32), quantised=kind))


def counted(net: Builder, name: str) -> tuple[str, float]:
    """What a sum reads, and how often it counts: integers may have been given another scale for it, and a sign."""
    factor, start = 1.0, name
    while isinstance(layer := net.layers.get(name), Affine) and np.ptp(layer.scale) == 0 and not layer.offset.any():
        name, kind = layer.inputs[0], layer.quantised
        source = kind_of(net, name)
        same = kind and source and kind.zero_point == source.zero_point
        if same and math.isclose(kind.scale, source.scale * layer.scale[0], rel_tol=SAME_UNIT):
            return name, factor * kind.scale / source.scale
        if kind:
            break
        factor *= float(layer.scale[0])
    return start, 1.0


def dequantised(node: Node) -> tuple[np.ndarray, Steps]:
    """Floats and integers of a constant that is dequantised."""
    _linear(node)
    stored = node.inputs[0]
    if stored.dtype.kind not in "iu":
        raise ValueError(f"input {node.called(0)} must be integers, not {stored.dtype}")
    scale, zero = (_beside(node, stored, array) for array in (_scale(node), _zero_point(node, stored.dtype)))
    if scale.min() < 0:
        raise ValueError(f"scale {node.called(1)} must not be negative, but is {scale.min():.4g}")
    wide = np.int16 if stored.itemsize == 1 else np.int64
    steps = stored.astype(wide) - zero.astype(wide)
    with np.errstate(over="ignore"):
        real = (steps * scale.astype(np.float32)).astype(np.float32)
    return real, Steps(steps=steps, scale=scale, dtype=stored.dtype)


def _beside(node: Node, stored: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Scales or zero points so that they stand beside the elements of a constant."""
    if array.size == 1:
        return array.reshape((1,) * stored.ndim)
    axis = axis_of(node.attribute("axis", 1), stored.ndim)
    if array.shape != stored.shape[axis:axis + 1]:
        raise ValueError(f"{node.called(0)} of shape {stored.shape} must have one scale and zero point, or one for each of axis "
                         f"{axis}, not {array.shape}")
    return array.reshape(tuple(-1 if k == axis else 1 for k in range(stored.ndim)))


def carried(node: Node, steps: Steps) -> Steps | None:
    """The integers of a constant that an operator of `CARRIED` moves; None where they can no longer be told."""
    op, others = node.proto.op_type, node.inputs[1:]
    if op == "Transpose":
        moved, scale = (fold(node.proto, (array, *others), node.opset)[0] for array in (steps.steps, steps.scale))
        return replace(steps, steps=moved, scale=scale)
    if op != "Identity" and steps.scale.size > 1:
        return None
    moved = fold(node.proto, (steps.steps, *others), node.opset)[0]
    return replace(steps, steps=moved, scale=steps.scale if op == "Identity" else steps.scale.reshape((1,) * moved.ndim))


def meant(node: Node) -> Meaning | None:
    """What the integers mean that an operator makes of others; None for floats. Raises ValueError for one that does not move
    integers but computes with them."""
    meanings = [node.meaning(k) for k in range(len(node.inputs)) if node.computed(k)]
    if not any(meanings):
        return None
    if node.proto.op_type not in MOVERS:
        raise ValueError("reads integers, which must go through DequantizeLinear first")
    if len(set(meanings)) > 1:
        raise ValueError("inputs must all be integers of one scale and zero point")
    return meanings[0]


def with_real_constants(node: Node, meaning: Meaning) -> Node:
    """The node with the numbers that its constants mean, where these are integers as those of its tensor are."""
    op, inputs = node.proto.op_type, list(node.inputs)
    if op not in NUMBERS:
        return node
    if op == "Pad" and not node.has(2):
        inputs += [None] * (3 - len(inputs))
        inputs[2] = np.zeros((), meaning.dtype)
    for k in range(len(inputs)) if NUMBERS[op] is None else NUMBERS[op]:
        if k < len(inputs) and isinstance(inputs[k], np.ndarray):
            if inputs[k].dtype != meaning.dtype:
                raise ValueError(f"input {node.called(k)} must be {meaning.dtype}, as the tensor is, not {inputs[k].dtype}")
            steps = inputs[k].astype(np.int64) + OFFSETS[meaning.dtype.name] - meaning.kind.zero_point
            inputs[k] = (steps * meaning.kind.scale).astype(np.float32)
    return replace(node, inputs=tuple(inputs))


def kind_of(net: Builder, layer: str) -> Quantisation | None:
    """What the integers of a layer's tensor mean: what only moves values has those of what it reads."""
    while layer in net.layers:
        found = net.layers[layer]
        if found.quantised or isinstance(found, Input) or not isinstance(found, ONE_SCALE) or isinstance(found, Clip | Relu):
            return found.quantised
        layer = found.inputs[0]
    return None


def weights_of(node: Node, index: int, axis: int) -> Weights:
    """An input that must be constant weights, whose output channels are this axis. Of what computes on floats they are these."""
    real, steps = node.constant(index), node.steps[index] if index < len(node.steps) else None
    if steps is None or steps.dtype.itemsize != 1 or kind_of(node.net, node.view(0).layer) is None:
        return Weights(real)
    along = [k for k, size in enumerate(steps.scale.shape) if size != 1]
    if along not in ([], [axis]):
        raise ValueError(f"scales of {node.called(index)} must be along axis {axis}, its output channels, not {along[0]}")
    return Weights(real, steps.steps, np.broadcast_to(steps.scale.ravel(), real.shape[axis:axis + 1]))


def parameters(node: Node, layer: str, weights: Weights, bias: np.ndarray, index: int) -> dict[str, Any]:
    """Fields of a layer that reads that tensor, of weights (out, ...) and biases, which are the input `index`: as floats, and
    where the file has integers also these. Biases of other scales are rounded to the accumulator's."""
    fields = {"weight": weights.real, "bias": bias}
    kind = kind_of(node.net, layer)
    if weights.steps is None or kind is None:
        return fields
    unit = kind.scale * weights.scale
    if not unit.all():                  # of channels without weights, whose biases nothing could count
        return fields
    steps = node.steps[index] if index < len(node.steps) else None
    if steps is not None and np.allclose(steps.scale.ravel(), unit, rtol=SAME_UNIT, atol=0):
        counted = np.broadcast_to(steps.steps.ravel(), unit.shape)
    else:
        counted = np.rint(np.clip(bias / unit, -MOST, MOST)).astype(np.int64)
    return fields | {"integers": Integers(weight=weights.steps, scale=weights.scale, bias=counted)}
