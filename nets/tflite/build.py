"""An operator while a TFLite file is being read: its inputs as the file sees them, layers as `nets.graph` knows them.

The file has its images with the channels last, layers have them first: views (`nets.onnx.build`) say in which order a tensor is
seen, so that this costs nothing, nor do reshapes and transposes until someone minds.
"""
from dataclasses import dataclass
import math
from typing import Any

import numpy as np

from nets.graph import Clip, Layer, Relu
from nets.int8.quantised import Integers, Quantisation, Weights
from nets.onnx.build import Builder, View, like
from nets.onnx.layout import channels_last, own_order
from nets.tflite.file import Operator, Quantised

__all__ = ["Constant", "Node", "first_channels", "seen"]

NONE, RELU, RELU_N1_TO_1, RELU6 = range(4)          # of ActivationFunctionType; kernels know no others


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that does not depend on the image: what is stored, and what that means if it is quantised."""

    stored: np.ndarray
    quantised: Quantised | None = None

    @property
    def real(self) -> np.ndarray:
        """float32 values. Raises ValueError for what holds no numbers."""
        if self.stored.dtype.kind not in "fiu":
            raise ValueError(f"must be numbers, not {self.stored.dtype}")
        if self.quantised is None:
            with np.errstate(over="ignore"):        # a double beyond float32 is told by who reads it
                return self.stored.astype(np.float32)
        scale, zero_point = (self.along(values) for values in (self.quantised.scale, self.quantised.zero_point))
        with np.errstate(over="ignore", invalid="ignore"):
            return ((self.stored.astype(np.int64) - zero_point) * scale).astype(np.float32)

    def along(self, values: np.ndarray) -> np.ndarray:
        """Numbers of the quantisation so that they stand beside the elements. Raises ValueError where they do not fit."""
        axis, rank = self.quantised.axis, self.stored.ndim
        if values.size == 1:
            return values.reshape(())
        if not 0 <= axis < rank or values.shape != (self.stored.shape[axis],):
            raise ValueError(f"has {values.size} scales along axis {axis} of {self.stored.shape}")
        return values.reshape(*(-1 if k == axis else 1 for k in range(rank)))


@dataclass(frozen=True, eq=False)
class Node:
    """An operator with its inputs resolved: what is computed from the image is a `View`, optional ones left out are None."""

    operator: Operator
    name: str
    inputs: tuple[View | Constant | None, ...]
    called: tuple[str, ...]             # names of the inputs in the file, for messages
    declared: tuple[int, ...]           # shape of the output, as the file says it
    net: Builder
    kinds: tuple[Quantisation | None, ...] = ()         # of the inputs that are computed, and
    kind: Quantisation | None = None                    # of the output, where they are integers

    @property
    def op(self) -> str:
        return self.operator.op

    def option(self, name: str) -> Any:
        """Raises ValueError if the file has no options of the operator's kind."""
        if self.operator.options is None:
            raise ValueError("has no options")
        return self.operator.options[name]

    def add(self, kind: type[Layer], *inputs: str, name: str | None = None, **fields) -> View:
        """The output of a new layer, named after the operator unless `name` is given. Raises ValueError as `Builder.add`."""
        return self.net.add(kind(name=name or self.name, inputs=inputs, origin=self.op, **fields))

    def part(self, what: str) -> str:
        """Name of one of several layers of the operator."""
        return self.net.fresh(f"{self.name}.{what}")

    def input(self, index: int) -> View | Constant | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def label(self, index: int) -> str:
        return self.called[index] if index < len(self.called) else f"number {index}"

    def view(self, index: int) -> View:
        """Raises ValueError for a constant."""
        if self.computed(index):
            return self.inputs[index]
        raise ValueError(f"input {self.label(index)} must be computed from the image, not " +
                         ("left out" if self.input(index) is None else "a constant"))

    def image(self, index: int) -> tuple[str, tuple[int, int, int]]:
        """Layer and (channels, height, width) of an input that must be an image."""
        view = self.view(index)
        if len(view.shape) != 4:
            raise ValueError(f"input {self.label(index)} must be batch x height x width x channels, not {view.shape}")
        layer = self.tensor(view)
        return layer, self.net.shapes[layer]

    def tensor(self, view: View) -> str:
        """The layer whose tensor is the view, with the channels first where it has four axes."""
        return first_channels(self.net, view)

    def channels(self, view: View) -> View:
        """The view of a tensor whose channels are the last axis. Raises ValueError where it cannot be had."""
        if self.net.channel_axis(view, len(view.shape) - 1):
            return view
        turned = seen(self.net, self.tensor(view), view)
        if turned.shape != view.shape or not self.net.channel_axis(turned, len(view.shape) - 1):
            raise ValueError(f"last axis of {view.shape} is not that of the channels")
        return turned

    def computed(self, index: int) -> bool:
        return isinstance(self.input(index), View)

    def constant(self, index: int) -> Constant:
        """Raises ValueError for what is computed from the image, or left out."""
        if isinstance(self.input(index), Constant):
            return self.inputs[index]
        raise ValueError(f"input {self.label(index)} must be a constant, not " +
                         ("left out" if self.input(index) is None else "computed from the image"))

    def numbers(self, index: int) -> np.ndarray:
        """Finite float32 values of an input that must be constant."""
        try:
            array = self.constant(index).real
        except ValueError as error:
            text = str(error)
            raise ValueError(text if text.startswith("input ") else f"{self.label(index)} {text}") from None
        if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
            raise ValueError(f"{self.label(index)} must be finite, but holds NaN or infinity")
        return array

    @property
    def quantised(self) -> bool:
        """Whether the operator computes integers of integers."""
        return self.kind is not None and any(self.kinds)

    def weights(self, index: int, axis: int) -> Weights:
        """An input that must be constant weights, whose output channels are this axis."""
        real, constant = self.numbers(index), self.constant(index)
        if not self.quantised or constant.quantised is None or constant.stored.dtype.itemsize != 1:
            return Weights(real)
        scale, zero_point, limits = constant.quantised.scale, constant.quantised.zero_point, np.iinfo(constant.stored.dtype)
        if scale.size > 1 and constant.quantised.axis != axis:
            raise ValueError(f"scales of {self.label(index)} must be along axis {axis}, not {constant.quantised.axis}")
        if scale.min() < 0 or zero_point.min() < limits.min or zero_point.max() > limits.max:
            raise ValueError(f"scales of {self.label(index)} must be at least 0, zero points {limits.min}..{limits.max}, not "
                             f"{scale.min()} and {zero_point.min()}..{zero_point.max()}")
        steps = constant.stored.astype(np.int16) - constant.along(zero_point).astype(np.int16)
        return Weights(real, steps, np.broadcast_to(scale, real.shape[axis:axis + 1] or 1))

    def parameters(self, weights: Weights) -> dict[str, Any]:
        """Fields of a layer of weights (out, ...): those, biases, and the integers of both."""
        count = len(weights.real)
        bias = None if self.input(2) is None else self.constant(2).stored
        if bias is not None and bias.size != count:
            raise ValueError(f"bias must have {count} values, not shape {bias.shape}")
        if weights.steps is None or bias is not None and bias.dtype.kind != "i":
            real = np.zeros(count, np.float32) if bias is None else self.numbers(2).reshape(count)
            return {"weight": np.ascontiguousarray(weights.real), "bias": real}
        steps = np.zeros(count, np.int64) if bias is None else bias.astype(np.int64).reshape(count)
        integers = Integers(weight=np.ascontiguousarray(weights.steps), scale=weights.scale, bias=steps)
        with np.errstate(over="ignore"):
            real = (steps * weights.scale * self.kinds[0].scale).astype(np.float32)
        if not np.isfinite(real).all():
            raise ValueError(f"{self.label(2)} must be finite, but its scales are beyond float32")
        return {"weight": np.ascontiguousarray(weights.real), "bias": real, "integers": integers}

    def integers(self, index: int, most: int = 64) -> list[int]:
        """Values of an input that must be a constant list of at most `most` integers."""
        array = self.constant(index).stored
        if array.dtype.kind not in "iu" or array.size > most:
            raise ValueError(f"input {self.label(index)} must be a few integers, not {array.dtype} of shape {array.shape}")
        return array.ravel().tolist()

    def activated(self, view: View) -> View:
        """The view behind the operator's fused activation."""
        code = self.option("FusedActivationFunction")
        if code == NONE:
            return view
        if code == RELU:
            made = self.add(Relu, view.layer, name=self.part("relu"))
        elif code == RELU6:
            made = self.add(Clip, view.layer, name=self.part("relu6"), low=0.0, high=6.0)
        elif code == RELU_N1_TO_1:
            made = self.add(Clip, view.layer, name=self.part("clip"), low=-1.0, high=1.0)
        else:
            raise ValueError(f"fused activation {code} is not supported")
        return like(view, made)


def first_channels(net: Builder, view: View) -> str:
    """The layer whose tensor is the view, with the channels first where it has four axes."""
    if len(view.shape) == 4:
        view = net.permuted(view, (0, 3, 1, 2))
    return net.tensor(view)


def seen(net: Builder, layer: str, like: View | None = None) -> View:
    """A layer's tensor as the file sees it: an image with the channels last, or features; of the shape of `like`, if its elements
    lie so."""
    own = net.shapes[layer]
    if len(own) == 3 and (like is None or len(like.shape) == 4):
        return View(layer, (1, *own[1:], own[0]), layer, channels_last(own))
    return View(layer, (1, *own) if like is None else like.shape, layer, own_order(math.prod(own)))
