"""ONNX operators that move no data, or channels only: reshapes, transposes, padding, and what does nothing at all."""
from collections.abc import Callable
from dataclasses import replace
import math

from onnx import TensorProto

from nets.graph import ChannelShuffle
from nets.onnx.build import Node, Padding, View, axis_of

__all__ = ["SHAPE_HANDLERS"]

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def _bare(node: Node) -> View:
    """The input, which must not wait for a convolution to take over its padding."""
    view = node.view(0)
    if view.padding:
        node.net.tensor(view)       # raises
    return view


def _reshaped(node: Node, shape: tuple[int, ...]) -> View:
    view = _bare(node)
    if math.prod(shape) != math.prod(view.shape):
        raise ValueError(f"cannot reshape {view.shape} to {shape}")
    return View(view.layer, tuple(shape), node.name)


def _identity(node: Node) -> View:
    return node.view(0)


def _cast(node: Node) -> View:
    if node.attribute("to") not in FLOATS:
        raise ValueError("a computed tensor can be cast to a float type only")
    return node.view(0)


def _flatten(node: Node) -> View:
    shape = node.view(0).shape
    axis = node.attribute("axis", 1)
    axis = len(shape) if axis == len(shape) else axis_of(axis, len(shape))
    return _reshaped(node, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _reshape(node: Node) -> View:
    shape = node.view(0).shape
    target = node.integers(1)
    if target and target[0] == node.net.batch:
        target[0] = 1
    if not node.attribute("allowzero", 0):
        if any(size == 0 and axis >= len(shape) for axis, size in enumerate(target)):
            raise ValueError(f"cannot reshape {shape} to {tuple(target)}: no axis to copy a size from")
        target = [size or shape[axis] for axis, size in enumerate(target)]
    if target.count(-1) == 1:
        known = -math.prod(target)
        target[target.index(-1)] = math.prod(shape) // known if known else -1
    return _reshaped(node, tuple(target))


def _squeeze(node: Node) -> View:
    shape = node.view(0).shape
    axes = node.axes(1, len(shape))
    if axes is None:
        axes = [axis for axis, size in enumerate(shape) if size == 1]
    if any(shape[axis] != 1 for axis in axes):
        raise ValueError(f"cannot squeeze axes {axes} of {shape}")
    return _reshaped(node, tuple(size for axis, size in enumerate(shape) if axis not in axes))


def _unsqueeze(node: Node) -> View:
    shape = list(node.view(0).shape)
    given = node.integers(1) if node.has(1) else node.attribute("axes", ())
    for axis in sorted(axis_of(axis, len(shape) + len(given)) for axis in given):
        shape.insert(axis, 1)
    return _reshaped(node, tuple(shape))


def _transpose(node: Node) -> View:
    """Nothing, if only axes of one element move; a channel shuffle, if the two axes that make up the channels swap."""
    view = _bare(node)
    rank = len(view.shape)
    order = node.attribute("perm", list(range(rank))[::-1])
    if sorted(order) != list(range(rank)):
        raise ValueError(f"perm must hold each of the {rank} axes once, not {order}")
    shape = tuple(view.shape[axis] for axis in order)
    moved = [axis for axis in order if view.shape[axis] != 1]
    if moved == sorted(moved):
        return View(view.layer, shape, node.name)
    tensor = node.net.shapes[view.layer]
    swapped = [moved[1], moved[0], *moved[2:]]
    groups, size = view.shape[moved[1]], view.shape[moved[0]]
    if swapped != sorted(moved) or len(tensor) != 3 or groups * size != tensor[0]:
        raise ValueError(f"order {tuple(order)} of {view.shape} is not a channel shuffle")
    return replace(node.net.add(ChannelShuffle(name=node.name, inputs=(view.layer,), groups=groups)), shape=shape)


def _pad(node: Node) -> View:
    view = _bare(node)
    rank = len(view.shape)
    mode = node.attribute("mode", "constant")
    pads = node.integers(1) if node.opset >= 11 else node.attribute("pads", ())
    axes = node.axes(3, rank)
    axes = list(range(rank)) if axes is None else axes
    if mode != "constant":
        raise ValueError(f"padding must be constant, not {mode!r}")
    if len(pads) != 2 * len(axes):
        raise ValueError(f"pads must be {2 * len(axes)} numbers, not {len(pads)}")
    value = node.attribute("value", 0.0) if node.opset < 11 else node.number(2, 0.0)
    before, after = ({axis: pads[k + start] for k, axis in enumerate(axes)} for start in (0, len(axes)))
    if not any(pads):
        return view
    if any(size < 0 for size in pads) or rank != 4 or any(edge.get(axis) for edge in (before, after) for axis in (0, 1)):
        raise ValueError(f"pads must add to height and width only, not {pads}")
    edges = tuple(edge.get(axis, 0) for edge in (before, after) for axis in (2, 3))
    top, left, bottom, right = edges
    count, channels, height, width = view.shape
    node.net.tensor(view)           # the padding is understood only around the layer's own shape
    return View(view.layer, (count, channels, height + top + bottom, width + left + right), node.name,
                Padding(node.name, edges, value))


SHAPE_HANDLERS: dict[str, Callable[[Node], View]] = {
    "Cast": _cast, "Flatten": _flatten, "Identity": _identity, "Pad": _pad, "Reshape": _reshape, "Squeeze": _squeeze,
    "Transpose": _transpose, "Unsqueeze": _unsqueeze,
}
