"""The network while an ONNX file is being read: values as the file sees them, layers as `nets.graph` knows them."""
from dataclasses import dataclass, field, replace
import math

import numpy as np
import onnx
from onnx import helper

from nets.graph import Flatten, Layer
from nets.onnx.file import MAX_ELEMENTS, printable

__all__ = ["Builder", "Node", "Padding", "View"]


@dataclass(frozen=True)
class Padding:
    """A Pad node whose padding the next convolution or pool takes over: (top, left, bottom, right) of `value`."""

    node: str
    edges: tuple[int, int, int, int]
    value: float


@dataclass(frozen=True)
class View:
    """An activation: the tensor of `layer`, in C order, under the `shape` that the file gives it, batch of 1 included.

    `name` is what a Flatten layer is called if a consumer needs one.
    """

    layer: str
    shape: tuple[int, ...]
    name: str
    padding: Padding | None = None


@dataclass
class Builder:
    """Layers so far, in execution order, and their shapes.

    `batch` is the batch that the file was exported with, `taken` the names that its nodes may use for their layers.
    """

    batch: int = 1
    taken: set[str] = field(default_factory=set)
    flattened: dict[str, str] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def add(self, layer: Layer) -> View:
        """The new layer's output. Raises ValueError if it does not fit its inputs."""
        shape = layer.infer(*(self.shapes[name] for name in layer.inputs))
        if math.prod(shape) > MAX_ELEMENTS:
            raise ValueError(f"output {shape} has more than {MAX_ELEMENTS} elements")
        self.layers.append(layer)
        self.shapes[layer.name] = shape
        return View(layer.name, (1, *shape), layer.name)

    def tensor(self, view: View) -> str:
        """Layer whose tensor has the view's own shape; a Flatten is added where that is needed."""
        if view.padding:
            raise ValueError(f"reads the padding of {view.padding.node}, which only a convolution or pool can take over")
        shape = self.shapes[view.layer]
        if view.shape[1:] == shape:
            return view.layer
        if len(view.shape) != 2:
            raise ValueError(f"reads shape {view.shape}, a rearrangement of {shape} that is not supported")
        if view.layer not in self.flattened:
            self.flattened[view.layer] = self.add(Flatten(name=view.name, inputs=(view.layer,))).layer
        return self.flattened[view.layer]

    def fresh(self, name: str) -> str:
        """A layer name that nothing else has, `name` itself if possible; it is taken from now on."""
        number, unique = 1, name
        while unique in self.taken:
            number += 1
            unique = f"{name}_{number}"
        self.taken.add(unique)
        return unique


@dataclass(frozen=True)
class Node:
    """A node with its inputs resolved: activations are `View`, constants arrays, optional ones left out None."""

    proto: onnx.NodeProto
    name: str
    inputs: tuple[View | np.ndarray | None, ...]
    opset: int
    net: Builder

    def attribute(self, name: str, default=None):
        """Value of an attribute; strings are decoded."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return default

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] is not None

    def called(self, index: int) -> str:
        """The tensor's name in the file, for messages."""
        return printable(self.proto.input[index]) if index < len(self.proto.input) else f"number {index}"

    def view(self, index: int) -> View:
        """Activation. Raises ValueError for a constant."""
        if not self.has(index) or not isinstance(self.inputs[index], View):
            raise ValueError(f"input {self.called(index)} must be computed from the image, not a constant")
        return self.inputs[index]

    def tensor(self, index: int) -> str:
        """Name of the layer whose tensor is the input, as it is."""
        return self.net.tensor(self.view(index))

    def image(self, index: int) -> tuple[str, tuple[int, int, int]]:
        """Layer and (channels, height, width) of an input that must be an image."""
        layer = self.tensor(index)
        shape = self.net.shapes[layer]
        if len(shape) != 3:
            raise ValueError(f"input {self.called(index)} must be batch x channels x height x width, "
                             f"not {self.view(index).shape}")
        return layer, shape

    def padded_image(self, index: int) -> tuple[str, tuple[int, int, int], Padding]:
        """As `image`, with the padding that a Pad node before this one asks for; the shape is without it."""
        view = self.view(index)
        padding = view.padding or Padding("", (0, 0, 0, 0), 0.0)
        bare = replace(self, inputs=(*self.inputs[:index], replace(view, padding=None, shape=(1, *self.net.shapes[view.layer])),
                                     *self.inputs[index + 1:])) if view.padding else self
        return (*bare.image(index), padding)

    def constant(self, index: int) -> np.ndarray:
        """Finite float32 values of an input that must be constant."""
        if not self.has(index) or isinstance(self.inputs[index], View):
            raise ValueError(f"input {self.called(index)} must be a constant, not computed from the image")
        array = self.inputs[index]
        if array.dtype.kind not in "fiu":
            raise ValueError(f"input {self.called(index)} must be numbers, not {array.dtype}")
        with np.errstate(over="ignore"):        # a double beyond float32 becomes infinite and is refused below
            array = array.astype(np.float32, copy=False)
        # Through the extremes, not isfinite(array): the array may stand for a gigabyte with one stored element.
        if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
            raise ValueError(f"{self.called(index)} must be finite, but holds NaN or infinity")
        return array

    def integers(self, index: int) -> list[int]:
        """Values of an input that must be a constant list of integers."""
        if not self.has(index) or isinstance(self.inputs[index], View):
            raise ValueError(f"input {self.called(index)} must be a constant, not computed from the image")
        array = self.inputs[index]
        if array.dtype.kind not in "iu" or array.size > 64:
            raise ValueError(f"input {self.called(index)} must be a few integers, not {array.dtype} of shape {array.shape}")
        return array.ravel().tolist()

    def number(self, index: int, default: float) -> float:
        """Value of an input that must be one constant number; `default` if it is left out."""
        if not self.has(index):
            return float(default)
        value = self.inputs[index]
        if isinstance(value, View) or value.size != 1 or value.dtype.kind not in "fiu":
            raise ValueError(f"input {self.called(index)} must be one constant number")
        return float(value.reshape(()))

    def axes(self, index: int, rank: int) -> list[int] | None:
        """Axes given as an attribute or, in later operator sets, as an input; None if neither is there."""
        axes = self.integers(index) if self.has(index) else self.attribute("axes")
        return None if axes is None else [axis_of(axis, rank) for axis in axes]


def axis_of(axis: int, rank: int) -> int:
    """The axis counted from the front. Raises ValueError if there is no such axis."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis must be {-rank}..{rank - 1}, not {axis}")
    return axis % rank
