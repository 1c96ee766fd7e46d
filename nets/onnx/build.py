"""The network while an ONNX file is being read: values as the file sees them, layers as `nets.graph` knows them."""
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
import math

import numpy as np
import onnx
from onnx import helper

from nets.graph import Affine, ChannelShuffle, Flatten, Layer
from nets.int8.quantised import Quantisation
from nets.moves import Rearrange
from nets.onnx.file import MAX_ELEMENTS, printable
from nets.onnx.layout import Loops, along, joined, own_order, transposed

__all__ = ["Builder", "Meaning", "Node", "Stack", "Steps", "View", "axes_of", "axis_of", "like", "resized", "typed"]


@dataclass(frozen=True)
class View:
    """An activation: elements of the tensor of `layer` in the order of `loops` (`nets.onnx.layout`), under the `shape` that the
    file gives them, batch of 1 included.

    `name` is what the layer is called that makes such a tensor, if a consumer needs one.
    """

    layer: str
    shape: tuple[int, ...]
    name: str
    loops: Loops

    @property
    def in_order(self) -> bool:
        return self.loops == own_order(math.prod(self.shape))


@dataclass(frozen=True)
class Stack:
    """Activations of one shape side by side along a new axis, `axis` of `shape`: only a mean or sum over it can be mapped."""

    views: tuple[View, ...]
    shape: tuple[int, ...]
    axis: int


@dataclass(frozen=True)
class Meaning:
    """What the integers of a computed tensor mean, and their type in the file."""

    kind: Quantisation
    dtype: np.dtype


@dataclass(frozen=True, eq=False)
class Steps:
    """The integers of a constant that is dequantised, less their zero point: value = scale * steps. `scale`, float64, has as many
    axes, of which at most one is longer than 1; `dtype` is the file's type."""

    steps: np.ndarray
    scale: np.ndarray
    dtype: np.dtype


@dataclass
class Builder:
    """Layers so far, in execution order, and their shapes.

    `batch` is the batch that the file was exported with, `taken` the names that its nodes may use for their layers.
    """

    batch: int = 1
    taken: set[str] = field(default_factory=set)
    made: dict[tuple, str] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def add(self, layer: Layer) -> View:
        """The new layer's output. Raises ValueError if it does not fit its inputs."""
        shape = layer.infer(*(self.shapes[name] for name in layer.inputs))
        if 0 in shape:
            raise ValueError(f"output must have positive sizes, not {shape}")
        if math.prod(shape) > MAX_ELEMENTS:
            raise ValueError(f"output {shape} has more than {MAX_ELEMENTS} elements")
        self.layers[layer.name] = layer
        return self.pretend(layer.name, shape)

    def pretend(self, name: str, shape: tuple[int, ...]) -> View:
        """The output of a layer that there is not, for nodes to be checked that read it; `shape` is without the batch."""
        self.shapes[name] = shape
        return View(name, (1, *shape), name, own_order(math.prod(shape)))

    def tensor(self, view: View) -> str:
        """Layer whose tensor has the view's own shape; one that flattens or rearranges is added where that is needed."""
        own, shape = self.shapes[view.layer], view.shape[1:]
        if view.in_order and shape == own:
            return view.layer
        if len(shape) not in (1, 3) or view.shape[0] != 1:
            raise ValueError(f"reads shape {view.shape}, a rearrangement of {own} that is not supported")
        key = (view.layer, view.loops, shape)
        if key not in self.made:
            name = self.fresh(view.name) if view.name in self.shapes else view.name
            self.made[key] = self.add(_rearranged(view, own, name)).layer
        return self.made[key]

    def in_order(self, view: View) -> View:
        """The same view of a tensor in its own order."""
        if view.in_order:
            return view
        flat = self.tensor(replace(view, shape=(1, math.prod(view.shape))))
        return replace(view, layer=flat, loops=own_order(math.prod(view.shape)))

    def permuted(self, view: View, order: Sequence[int]) -> View:
        """The view with its axes in another order. Nothing moves yet: whoever reads it may not mind, or the next transpose brings
        the old order back."""
        try:
            loops = transposed(view.loops, view.shape, order)
        except ValueError:                          # a reshape cut across the axes of an earlier transpose
            view = self.in_order(view)
            loops = transposed(view.loops, view.shape, order)
        return replace(view, shape=tuple(view.shape[axis] for axis in order), loops=loops)

    def channel_axis(self, view: View, axis: int) -> bool:
        """Whether an axis of the view is that of the tensor's channels or features."""
        channels, *rest = self.shapes[view.layer]
        if view.shape[axis] != channels:
            return False
        if channels == 1:
            return axis == (1 if view.in_order and view.shape[1:] == (channels, *rest) else len(view.shape) - 1)
        try:
            return along(view.loops, view.shape)[axis] == ((channels, math.prod(rest)),)
        except ValueError:
            return False

    def fresh(self, name: str) -> str:
        """A layer name that nothing else has, `name` itself if possible; it is taken from now on."""
        number, unique = 1, name
        while unique in self.taken:
            number += 1
            unique = f"{name}_{number}"
        self.taken.add(unique)
        return unique


def _rearranged(view: View, own: tuple[int, ...], name: str) -> Layer:
    """The layer that makes the view's tensor of one of shape `own`."""
    named = {"name": name, "inputs": (view.layer,)}
    shape = view.shape[1:]
    if view.in_order and len(shape) == 1:
        return Flatten(**named)
    if shape == own and len(own) == 3 and len(view.loops) in (2, 3):
        area = own[1] * own[2]
        inner, groups = view.loops[0][0], view.loops[1][0]
        if view.loops == joined([(inner, area), (groups, inner * area), (area, 1)]):
            return ChannelShuffle(**named, groups=groups)
    steps = [step for _, step in view.loops]
    by_step = sorted(range(len(steps)), key=lambda k: -steps[k])
    return Rearrange(**named, sizes=tuple(view.loops[k][0] for k in by_step), shape=shape,
                     order=tuple(by_step.index(k) for k in range(len(steps))))


@dataclass(frozen=True)
class Node:
    """A node with its inputs resolved: activations are `View`, constants arrays, optional ones left out None."""

    proto: onnx.NodeProto
    name: str
    inputs: tuple[View | Stack | np.ndarray | None, ...]
    opset: int
    net: Builder
    meanings: tuple[Meaning | None, ...] = ()       # of inputs that are computed and are integers
    steps: tuple[Steps | None, ...] = ()            # of inputs that are constants and were integers

    def add(self, kind: type[Layer], *inputs: str, name: str | None = None, **fields) -> View:
        """The output of a new layer, named after the node unless `name` is given. Raises ValueError as `Builder.add`."""
        return self.net.add(kind(name=name or self.name, inputs=inputs, origin=self.proto.op_type, **fields))

    def part(self, what: str | int) -> str:
        """Name of one of several layers of the node."""
        return self.net.fresh(f"{self.name}.{what}")

    def attribute(self, name: str, default=None):
        """Value of an attribute; strings are decoded."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return default

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] is not None

    def meaning(self, index: int) -> Meaning | None:
        return self.meanings[index] if index < len(self.meanings) else None

    def called(self, index: int) -> str:
        """The tensor's name in the file, for messages."""
        return printable(self.proto.input[index]) if index < len(self.proto.input) else f"number {index}"

    def computed(self, index: int) -> bool:
        return self.has(index) and isinstance(self.inputs[index], View | Stack)

    def view(self, index: int) -> View:
        """Activation. Raises ValueError for a constant."""
        if self.has(index) and isinstance(self.inputs[index], Stack):
            raise ValueError(f"input {self.called(index)} is a stack of tensors: only their mean or sum is supported")
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

    def each(self, index: int) -> View:
        """An input for an operator that treats all elements alike: in whatever order its tensor has them, if the one that the
        file sees would need more than flattening."""
        view = self.view(index)
        if view.in_order and (view.shape[1:] == self.net.shapes[view.layer] or len(view.shape) == 2):
            return replace(view, layer=self.net.tensor(view))
        return view

    def by_channel(self, index: int, axis: int) -> View:
        """An input for an operator along channels, which must be this axis: as `each` if they are the tensor's channels.
        Raises ValueError if they cannot be."""
        view = self.each(index)
        if self.net.channel_axis(view, axis):
            return view
        layer = self.tensor(index)
        view = replace(view, layer=layer, loops=own_order(math.prod(view.shape)))
        if not self.net.channel_axis(view, axis):
            raise ValueError(f"axis {axis} of {view.shape} is not that of the channels")
        return view

    def constant(self, index: int) -> np.ndarray:
        """Finite float32 values of an input that must be constant."""
        array = self._constant(index)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"input {self.called(index)} must be numbers, not {array.dtype}")
        with np.errstate(over="ignore"):        # a double beyond float32 becomes infinite and is refused below
            array = array.astype(np.float32, copy=False)
        # Through the extremes, not isfinite(array): the array may stand for a gigabyte with one stored element.
        if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
            raise ValueError(f"{self.called(index)} must be finite, but holds NaN or infinity")
        return array

    def _constant(self, index: int) -> np.ndarray:
        if not self.has(index) or self.computed(index):
            raise ValueError(f"input {self.called(index)} must be a constant, not computed from the image")
        return self.inputs[index]

    def integers(self, index: int, most: int = 64) -> list[int]:
        """Values of an input that must be a constant list of at most `most` integers."""
        array = self._constant(index)
        if array.dtype.kind not in "iu" or array.size > most:
            raise ValueError(f"input {self.called(index)} must be a few integers, not {array.dtype} of shape {array.shape}")
        return array.ravel().tolist()

    def number(self, index: int, default: float) -> float:
        """Value of an input that must be one constant number; `default` if it is left out."""
        if not self.has(index):
            return float(default)
        value = self.inputs[index]
        if self.computed(index) or value.size != 1 or value.dtype.kind not in "fiu":
            raise ValueError(f"input {self.called(index)} must be one constant number")
        return float(value.reshape(()))

    def axes(self, index: int, rank: int) -> list[int] | None:
        """Axes given as an attribute or, in later operator sets, as an input; None if neither is there."""
        axes = self.integers(index) if self.has(index) else self.attribute("axes")
        return None if axes is None else axes_of(axes, rank)


def axis_of(axis: int, rank: int) -> int:
    """The axis counted from the front. Raises ValueError if there is no such axis."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis must be {-rank}..{rank - 1}, not {axis}")
    return axis % rank


def axes_of(axes: Sequence[int], rank: int) -> list[int]:
    """The axes counted from the front. Raises ValueError if there is no such axis, or one is named twice."""
    found = [axis_of(axis, rank) for axis in axes]
    if len(set(found)) < len(found):
        raise ValueError(f"axes must be named once each, not {list(axes)}")
    return found


def resized(view: View, axis: int, count: int, layer: View) -> View:
    """The view of a layer made from the view's along its channels, which are `axis`: now of `count` channels."""
    old, area = view.shape[axis], math.prod(view.shape) // view.shape[axis]
    axes: Sequence[Loops] = along(view.loops, view.shape)
    loops = joined(loop for k, own in enumerate(axes) for loop in (((count, area),) if k == axis else own))
    shape = tuple(count if k == axis else size for k, size in enumerate(view.shape))
    return View(layer.layer, shape, view.name if old != count else layer.name, loops)


def like(view: View, made: View) -> View:
    """What an operator on all elements alike makes of a view."""
    return View(made.layer, view.shape, made.layer if view.in_order else view.name, view.loops)


def typed(net: Builder, view: View, kind: Quantisation | None, name: str, origin: str) -> View:
    """The view, of a tensor with these integers: an identity of that name makes them where it has others."""
    layer = net.layers.get(view.layer)          # none of what was refused
    if kind is None or layer is None or layer.quantised == kind:
        return view
    if layer.quantised is None:
        net.layers[view.layer] = replace(layer, quantised=kind)
        return view
    one = np.ones(net.shapes[view.layer][0], np.float32)
    return like(view, net.add(Affine(name=net.fresh(name), inputs=(view.layer,), origin=origin, scale=one, offset=0 * one,
                                     quantised=kind)))
