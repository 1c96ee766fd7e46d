"""Clamps of integers, as PyTorch writes ranges of 7 bits behind each QuantizeLinear, and normalisations that nobody folded."""
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
import math

import numpy as np

from nets.graph import Affine, AvgPool, ChannelShuffle, Clip, Concat, Conv, Flatten, GlobalAvgPool, Layer, Linear, MaxPool, Relu
from nets.int8.quantised import Integers, Quantisation
from nets.moves import Rearrange, Select
from nets.onnx.build import Builder, Node, View, like, typed
from nets.onnx.layout import own_order
from nets.onnx.quantised import kind_of

__all__ = ["clamped", "with_normalisations"]

MOVES = (AvgPool, ChannelShuffle, Concat, Flatten, GlobalAvgPool, MaxPool, Rearrange, Select)       # within what they read
MOST = 1 << 40              # of a bias, beyond 32 bits, which nets.int8.check tells


def clamped(node: Node, handler: Callable[[Node], View], kind: Quantisation) -> View:
    """What a clamp makes of a tensor of integers, in whatever order and shape its layer has them: the tensor itself, if all of it
    lies within the bounds anyway."""
    net, index = node.net, next(k for k in range(len(node.inputs)) if node.computed(k))
    source = node.view(index)
    own = net.shapes[source.layer]
    plain = View(source.layer, (1, *own), source.layer, own_order(math.prod(own)))
    made = handler(replace(node, inputs=tuple(plain if k == index else one for k, one in enumerate(node.inputs))))
    clip = net.layers.get(made.layer)
    low, high = (0.0, math.inf) if isinstance(clip, Relu) else (clip.low, clip.high) if isinstance(clip, Clip) else (math.inf, 0)
    least, most = _reach(net, source.layer, kind)
    room = kind.scale / 2                           # bounds are whole steps
    if low <= least + room and high >= most - room:
        return source
    return like(source, typed(net, made, kind, made.name, "Clip"))


def _reach(net: Builder, name: str, kind: Quantisation) -> tuple[float, float]:
    """Between what the values of a tensor of integers lie."""
    layer = net.layers.get(name)
    least, most = kind.range
    if isinstance(layer, Clip):
        return max(least, float(np.max(layer.low))), min(most, float(np.min(layer.high)))
    if isinstance(layer, MOVES) and layer.quantised in (None, kind) and all(kind_of(net, one) == kind for one in layer.inputs):
        ends = [_reach(net, one, kind) for one in layer.inputs]
        return min(low for low, _ in ends), max(high for _, high in ends)
    return least, most


def with_normalisations(net: Builder, output: str) -> tuple[dict[str, Layer], str]:
    """The layers, and the output, with what scales and shifts the floats of a convolution or linear layer alone folded into that:
    its integers stay, with other scales and biases."""
    count = Counter(name for layer in net.layers.values() for name in layer.inputs)
    layers: dict[str, Layer] = {}
    now: dict[str, str] = {}
    for name, layer in net.layers.items():
        layer = replace(layer, inputs=tuple(now.get(one, one) for one in layer.inputs))
        before = layers.get(layer.inputs[0]) if isinstance(layer, Affine) else None
        if isinstance(before, Conv | Linear) and before.quantised is None and count[net.layers[name].inputs[0]] == 1 and \
                net.layers[name].inputs[0] != output and (made := _folded(net, before, layer)):
            layers[before.name] = made
            now[name] = before.name
        else:
            layers[name] = layer
    return layers, now.get(output, output)


def _folded(net: Builder, layer: Conv | Linear, affine: Affine) -> Conv | Linear | None:
    """The layer that computes both; None if it would leave float32."""
    scale, offset = affine.scale.astype(np.float64), affine.offset.astype(np.float64)
    shape = (-1, *(1,) * (layer.weight.ndim - 1))
    with np.errstate(over="ignore"):
        weight = (layer.weight * scale.reshape(shape)).astype(np.float32)
        bias = (layer.bias * scale + offset).astype(np.float32)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return None
    found, kind = layer.integers, kind_of(net, layer.inputs[0])
    if found and kind and scale.all():
        sign, unit = np.sign(scale).astype(np.int16), found.scale * np.abs(scale)
        steps = np.rint(np.clip(offset / (unit * kind.scale), -MOST, MOST)).astype(np.int64)
        found = Integers(weight=found.weight * sign.reshape(shape), scale=unit, bias=found.bias * sign + steps)
    else:
        found = None
    return replace(layer, weight=weight, bias=bias, integers=found, quantised=affine.quantised)
