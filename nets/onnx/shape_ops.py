"""ONNX operators that move values: reshapes, transposes, padding, selections of channels, and what does nothing at all."""
from collections.abc import Callable, Sequence
from dataclasses import replace
import math

import numpy as np

from nets.graph import Concat, Conv, Window
from nets.moves import Pad, Select
from nets.onnx.build import Node, Stack, View, axes_of, axis_of, resized
from nets.onnx.layout import along, channels_last
from nets.onnx.shapes import FLOATS

__all__ = ["SHAPE_HANDLERS"]

MOST_PICKED = 4096      # channels of a convolution that only takes some pixels and channels


def _reshaped(node: Node, shape: tuple[int, ...]) -> View:
    view = node.view(0)
    if math.prod(shape) != math.prod(view.shape):
        raise ValueError(f"cannot reshape {view.shape} to {shape}")
    return replace(view, shape=tuple(shape), name=node.name if view.in_order else view.name)


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
    for axis in sorted(axes_of(given, len(shape) + len(given))):
        shape.insert(axis, 1)
    return _reshaped(node, tuple(shape))


def _transpose(node: Node) -> View:
    view = node.view(0)
    rank = len(view.shape)
    order = node.attribute("perm", list(range(rank))[::-1])
    if sorted(order) != list(range(rank)):
        raise ValueError(f"perm must hold each of the {rank} axes once, not {order}")
    return replace(node.net.permuted(view, order), name=node.name)


def _pad(node: Node) -> View:
    view = node.view(0)
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
    if any(size < 0 for size in pads) or rank != 4 or before.get(0) or after.get(0):
        raise ValueError(f"pads must add to channels, height and width, not {pads}")
    if not value < np.inf:
        raise ValueError(f"value must be a number or minus infinity, not {value}")
    own = node.net.shapes[view.layer]
    last = len(own) == 3 and view.shape[1:] != own and view.shape == (1, *own[1:], own[0]) and view.loops == channels_last(own)
    layer, order = (view.layer, (3, 1, 2)) if last else (node.image(0)[0], (1, 2, 3))
    channels = before.get(1, 0), after.get(1, 0)
    if sum(channels) == sum(pads) and not value and not last and view.shape[1] + sum(channels) <= MOST_PICKED:
        return _picked(node, view, [-1] * channels[0] + list(range(view.shape[1])) + [-1] * channels[1], (1, 1))
    value = max(value, float(np.finfo(np.float32).min))         # minus infinity serves a maximum, and a number does as well
    made = node.add(Pad, layer, value=value, before=tuple(before.get(axis, 0) for axis in order),
                    after=tuple(after.get(axis, 0) for axis in order))
    channels, height, width = made.shape[1:]
    return View(made.layer, (1, height, width, channels), node.name, channels_last(made.shape[1:])) if last else made


def _picked(node: Node, view: View, taken: Sequence[int], stride: tuple[int, int]) -> View:
    """Every `stride`-th pixel of an image, from the first, and of those the channels `taken`, -1 for one of zeros: a convolution,
    and one together with such a convolution before it."""
    layer, (channels, _, _) = replace(node, inputs=(view,)).image(0)
    if channels > MOST_PICKED:
        raise ValueError(f"rows and columns can be taken of at most {MOST_PICKED} channels, not {channels}")
    weight = (np.array(taken)[:, None] == np.arange(channels)).astype(np.float32)
    before = node.net.layers.get(layer)
    if isinstance(before, Conv) and _picks(before):
        layer, weight = before.inputs[0], weight @ before.weight[:, :, 0, 0]
        stride = stride[0] * before.window.stride[0], stride[1] * before.window.stride[1]
    name = node.part("pixels") if node.name in node.net.layers else node.name
    return node.add(Conv, layer, weight=weight[:, :, None, None], bias=np.zeros(len(weight), np.float32), name=name,
                    window=Window(kernel=(1, 1), stride=stride))


def _picks(conv: Conv) -> bool:
    """Whether a convolution only takes pixels and channels as they are."""
    ones = np.count_nonzero(conv.weight, axis=(1, 2, 3))
    return (conv.weight.shape[2:] == (1, 1) and conv.groups == 1 and not any(conv.window.padding) and not conv.bias.any()
            and ones.max() <= 1 and set(np.unique(conv.weight)) <= {0, 1})


def _selected(node: Node, view: View, axis: int, channels: Sequence[int], name: str) -> View:
    """Those channels of a view whose channels are `axis`."""
    if list(channels) == list(range(view.shape[axis])):
        return view
    made = node.add(Select, view.layer, name=name, channels=np.array(channels, np.int64))
    return resized(view, axis, len(channels), made)


def _gather(node: Node) -> View:
    view = node.view(0)
    axis = axis_of(node.attribute("axis", 0), len(view.shape))
    size = view.shape[axis]
    index = node.integers(1, most=size * 16)
    rank = node.inputs[1].ndim
    if rank > 1 or not index or not all(-size <= k < size for k in index):
        raise ValueError(f"must gather channels by one list of numbers from {-size} to {size - 1}")
    if size == 1 and len(index) == 1:           # the batch, or another axis of which there is but one
        return view if rank else replace(view, shape=(*view.shape[:axis], *view.shape[axis + 1:]))
    view, index = node.by_channel(0, axis), [k % size for k in index]
    twice = len(set(index)) < len(index) <= MOST_PICKED and axis == 1 and view.shape == (1, *node.net.shapes[view.layer])
    # The chip reads channels in any order, but a channel that is there twice must be written twice.
    found = _picked(node, view, index, (1, 1)) if twice else _selected(node, view, axis, index, node.name)
    return found if rank else replace(found, shape=(*found.shape[:axis], *found.shape[axis + 1:]))


def _slice(node: Node) -> View:
    view = node.view(0)
    rank = len(view.shape)
    if node.opset < 10:
        starts, ends, axes, steps = (node.attribute(what) for what in ("starts", "ends", "axes", "steps"))
    else:
        starts, ends = node.integers(1), node.integers(2)
        axes, steps = (node.integers(k) if node.has(k) else None for k in (3, 4))
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ValueError("starts, ends, axes and steps must be as many, and no step 0")
    strides = [1] * rank
    for start, end, axis, step in zip(starts, ends, axes_of(axes, rank), steps, strict=True):
        chosen = range(view.shape[axis])[slice(start, end, step)]
        if chosen == range(view.shape[axis]):
            continue
        if not chosen:
            raise ValueError(f"selects nothing of axis {axis} of {view.shape}")
        held = replace(node, inputs=(view, *node.inputs[1:]))
        try:
            view = held.by_channel(0, axis)
            view = _selected(node, view, axis, chosen, node.name)
        except ValueError:
            if rank != 4 or axis < 2 or chosen != range(0, view.shape[axis], max(step, 1)):
                raise ValueError(f"slice must be of channels, or of every n-th row and column from the first to the last, not "
                                 f"of {chosen.start}:{chosen.stop}:{step} of axis {axis} of {view.shape}") from None
            strides[axis] = step
    if max(strides) == 1:
        return view
    return _picked(node, view, range(view.shape[1]), (strides[2], strides[3]))


def _split(node: Node) -> list[View]:
    view = node.view(0)
    axis = axis_of(node.attribute("axis", 0), len(view.shape))
    count, size = len(node.proto.output), view.shape[axis]
    sizes = node.integers(1, most=size) if node.has(1) else node.attribute("split")
    if sizes is None:
        part = -(-size // count)
        sizes = [max(0, min(part, size - k * part)) for k in range(count)]
    if len(sizes) != count or sum(sizes) != size or min(sizes) < 1:
        raise ValueError(f"cannot split {size} channels into {count} parts of {list(sizes)}")
    if count == 1:
        return [view]
    view = node.by_channel(0, axis)
    ends = np.cumsum(sizes).tolist()
    return [_selected(node, view, axis, range(end - part, end), node.part(k)) for k, (part, end) in
            enumerate(zip(sizes, ends, strict=True))]


def _concat(node: Node) -> View | Stack:
    views = [node.view(k) for k in range(len(node.inputs))]
    rank = len(views[0].shape)
    axis = axis_of(node.attribute("axis"), rank)
    if any(len(view.shape) != rank for view in views):
        raise ValueError(f"inputs must have one rank, not shapes {', '.join(str(view.shape) for view in views)}")
    shape = tuple(sum(view.shape[axis] for view in views) if k == axis else size for k, size in enumerate(views[0].shape))
    if all(view.shape == views[0].shape and view.shape[axis] == 1 and not node.net.channel_axis(view, axis) for view in views):
        return Stack(tuple(replace(view, shape=(*view.shape[:axis], *view.shape[axis + 1:])) for view in views), shape, axis)
    try:
        parts = [node.by_channel(k, axis) for k in range(len(views))]
    except ValueError:
        raise ValueError(f"axis must be 1, the channels, not {node.attribute('axis')}") from None
    if not _alike(node, parts, axis):
        parts = [node.net.in_order(view) for view in views]
        parts = [replace(view, layer=node.net.tensor(view)) for view in parts]
        if axis != 1:
            raise ValueError(f"axis must be 1, the channels, not {node.attribute('axis')}")
    made = node.add(Concat, *(part.layer for part in parts))
    return made if shape == made.shape and axis == 1 and parts[0].in_order else resized(parts[0], axis, shape[axis], made)


def _alike(node: Node, views: list[View], axis: int) -> bool:
    """Whether the views order all but their channels alike, and so do their tensors."""
    orders = {(tuple(own for k, own in enumerate(along(view.loops, view.shape)) if k != axis), node.net.shapes[view.layer][1:])
              for view in views}
    return len(orders) == 1


SHAPE_HANDLERS: dict[str, Callable[[Node], View | Stack | list[View]]] = {
    "Cast": _cast, "Concat": _concat, "Flatten": _flatten, "Gather": _gather, "Identity": _identity, "Pad": _pad,
    "Reshape": _reshape, "Slice": _slice, "Split": _split, "Squeeze": _squeeze, "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
