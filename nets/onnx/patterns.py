"""Nodes that together are one operator, as exporters write what ONNX has no node for, or what they do not translate."""
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nets.onnx.file import tensor_array
from nets.onnx.fold import FOLDABLE, constant_value, fold

__all__ = ["join_normalisations", "join_scores"]

DEEPEST, MOST_INPUTS = 12, 5        # of nodes that compute a padding, as the older exporter of PyTorch does


class _Reader:
    """What produces each tensor of a graph, and the constants among them."""

    def __init__(self, graph: onnx.GraphProto, folder: Path, opset: int):
        self.folder, self.opset = folder, opset
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.nodes = {name: node for node in graph.node for name in node.output if name}

    def of(self, name: str, *ops: str) -> onnx.NodeProto | None:
        """The node that produces a tensor, if it is one of these operators."""
        node = self.nodes.get(name)
        return node if node is not None and node.op_type in ops and node.domain in ("", "ai.onnx") else None

    def constant(self, name: str, depth: int = DEEPEST) -> np.ndarray | None:
        """A constant, perhaps computed; None if it is none, or is made in more steps than that."""
        if name in self.initializers:
            return tensor_array(self.initializers[name], self.folder)
        node = self.nodes.get(name)
        if node is None or not depth:
            return None
        if node.op_type == "Constant":
            return constant_value(node, self.folder)
        arrays = [self.constant(one, depth - 1) if one else None for one in node.input[:MOST_INPUTS]]
        if node.op_type not in (*FOLDABLE, "ConstantOfShape") or any(
                array is None for array, one in zip(arrays, node.input, strict=False) if one) or len(arrays) < len(node.input):
            return None
        return fold(node, arrays, self.opset)[0]

    def with_number(self, node: onnx.NodeProto) -> tuple[str, float] | None:
        """The other input of a node of two, and the number that is one of them; the second one, of a power."""
        for number, other in ((1, 0), (0, 1))[:1 if node.op_type == "Pow" or len(node.input) != 2 else 2]:
            if (value := self.constant(node.input[number])) is not None and value.size == 1 and value.dtype.kind == "f":
                return node.input[other], float(value.reshape(()))
        return None

    def axes(self, node: onnx.NodeProto) -> list[int]:
        """The axes of a Squeeze."""
        array = self.constant(node.input[1]) if len(node.input) > 1 else None
        return _attribute(node, "axes", []) if array is None else array.ravel().tolist()


def _attribute(node: onnx.NodeProto, name: str, default):
    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


def join_normalisations(model: onnx.ModelProto, folder: Path, opset: int) -> dict[str, int]:
    """Replaces PyTorch's `LocalResponseNorm`, x / (k + alpha * mean of x^2 over channels) ** beta, by an LRN node each: the mean
    is an average pool along an axis of its own, in between reshapes. Gives the channels that x must have (0: any), by output.

    Only windows of an odd number of channels: of an even number, PyTorch's and ONNX's lie differently.
    """
    reader, channels = _Reader(model.graph, folder, opset), {}
    for index, node in enumerate(model.graph.node):
        if node.op_type != "Div" or node.domain not in ("", "ai.onnx") or len(node.input) != 2:
            continue
        try:
            found = _normalisation(reader, node)
        except (ValueError, IndexError):    # inputs that lack or cannot be read: told when their node is
            continue
        if found:
            channels[node.output[0]], numbers = found
            joined = helper.make_node("LRN", [node.input[0]], list(node.output), name=node.name, **numbers)
            model.graph.node[index].CopyFrom(joined)
    return channels


def _normalisation(reader: _Reader, node: onnx.NodeProto) -> tuple[int, dict[str, float]] | None:
    """Channels (0: any) and attributes of the LRN that ends in a division, if it is one."""
    numbers, tensor = {}, node.input[1]
    for what, op in (("beta", "Pow"), ("bias", "Add"), ("alpha", "Mul")):
        step = reader.of(tensor, op)
        found = reader.with_number(step) if step else None
        if not found:
            return None
        tensor, numbers[what] = found
    pool = _pooled(reader, tensor)
    pad = reader.of(pool.input[0], "Pad") if pool else None
    planes = reader.of(pad.input[0], "Reshape") if pad else None
    square = reader.of(planes.input[0], "Mul") if planes else None
    if not square or list(square.input) != [node.input[0]] * 2:
        return None
    size, *flat = _attribute(pool, "kernel_shape", [0])
    pads = reader.constant(pad.input[1]) if len(pad.input) > 1 else np.array(_attribute(pad, "pads", []))
    channels, side = _channels(reader, planes.input[1], node.input[0]), (size - 1) // 2
    plain = (flat == [1, 1] and size % 2 and list(_attribute(pool, "strides", [1, 1, 1])) == [1, 1, 1]
             and not any(_attribute(pool, "pads", [])) and _attribute(pad, "mode", b"constant") == b"constant"
             and (len(pad.input) < 3 or not pad.input[2] or not reader.constant(pad.input[2]).any()))
    if not plain or channels is None or pads is None or pads.ravel().tolist() != [0, 0, side, 0, 0, 0, 0, side, 0, 0]:
        return None
    return channels, numbers | {"size": size}


def _channels(reader: _Reader, shape: str, x: str) -> int | None:
    """Channels in a shape of five axes, of which they are the third, behind one of 1; 0 if it is made of the axes of `x`, as an
    exporter does that has lost sight of shapes. None for another shape."""
    if (known := reader.constant(shape)) is not None:
        return int(known.ravel()[2]) if known.size == 5 and known.ravel()[1] == 1 else None
    joined = reader.of(shape, "Concat")
    whole = ["axis 0", "1", "axis 1", "axis 2", "-1"]
    return 0 if joined and [_length(reader, part, x) for part in joined.input] == whole else None


def _length(reader: _Reader, part: str, x: str) -> str | None:
    """A number, or the axis of `x` that it is the length of."""
    index, name = reader.constant(part), ""
    if index is None:
        picked = reader.of(part, "Unsqueeze")
        picked = reader.of(picked.input[0], "Gather") if picked else None
        shape = reader.of(picked.input[0], "Shape") if picked else None
        if not shape or list(shape.input) != [x]:
            return None
        index, name = reader.constant(picked.input[1]), "axis "
    return None if index is None or index.size != 1 else f"{name}{int(index.reshape(()))}"


def _pooled(reader: _Reader, tensor: str) -> onnx.NodeProto | None:
    """The average pool whose output a tensor is, without the second of its axes."""
    if step := reader.of(tensor, "Squeeze"):
        return reader.of(step.input[0], "AveragePool") if reader.axes(step) == [1] else None
    step = reader.of(tensor, "Reshape")
    choice = reader.of(step.input[0], "If") if step else None
    if not choice:
        return None
    pools = set()
    for branch in (one.g for one in choice.attribute):
        (last,) = [one for one in branch.node if branch.output[0].name in one.output]
        if last.op_type not in ("Squeeze", "Identity"):
            return None
        pools.add(last.input[0])
    return reader.of(pools.pop(), "AveragePool") if len(pools) == 1 else None


def join_scores(model: onnx.ModelProto, folder: Path, opset: int) -> None:
    """Replaces what `nets.export_qdq` writes for scores of 16 bits, for which older operator sets have no quantisation, by
    QuantizeLinear and DequantizeLinear: floor(x / scale) + zero point within bounds, and what it means."""
    reader, scores = _Reader(model.graph, folder, opset), set()
    for node in list(model.graph.node):
        try:
            found = _whole_sub_steps(reader, node)
        except (ValueError, IndexError):    # told when their node is
            continue
        if found:
            x, scale, zero, low, high = found
            name = node.output[0]
            bounds = _constants(model.graph, name, low=np.float32((low - zero) * scale), high=np.float32((high - zero) * scale))
            model.graph.node.append(helper.make_node("Clip", [x, *bounds], [f"{name}/bounded"]))
            by = _constants(model.graph, name, unit=np.float32(scale), start=np.uint16(zero))
            node.CopyFrom(helper.make_node("QuantizeLinear", [f"{name}/bounded", *by], [name], name=node.name))
            scores.add(name)
    for node in model.graph.node if scores else ():
        if node.op_type in ("Flatten", "Reshape") and node.input[0] in scores:
            scores.add(node.output[0])
        try:
            found = _meant(reader, node)
        except (ValueError, IndexError):
            continue
        if found and found[0] in scores:
            by = _constants(model.graph, node.output[0], unit=np.float32(found[1]), start=np.uint16(found[2]))
            node.CopyFrom(helper.make_node("DequantizeLinear", [found[0], *by], list(node.output), name=node.name))


def _constants(graph: onnx.GraphProto, name: str, **arrays: np.ndarray) -> list[str]:
    names = [f"{name}/{what}" for what in arrays]
    graph.initializer.extend(numpy_helper.from_array(array, one) for one, array in zip(names, arrays.values(), strict=True))
    return names


def _whole_sub_steps(reader: _Reader, node: onnx.NodeProto) -> tuple[str, float, int, int, int] | None:
    """x, scale, zero point and bounds, if a node casts such a sum to 16 bits."""
    if node.op_type != "Cast" or _attribute(node, "to", 0) != TensorProto.UINT16:
        return None
    tensor, numbers = node.input[0], []
    for op in ("Min", "Max", "Add"):
        step = reader.of(tensor, op)
        found = reader.with_number(step) if step else None
        if not found or not 0 <= found[1] <= np.iinfo(np.uint16).max:
            return None
        tensor = found[0]
        numbers.append(int(found[1]))
    floor = reader.of(tensor, "Floor")
    div = reader.of(floor.input[0], "Div") if floor else None
    scale = reader.constant(div.input[1]) if div else None
    if scale is None or scale.size != 1 or scale.dtype.kind != "f":
        return None
    high, low, zero = numbers
    return div.input[0], float(scale.reshape(())), zero, low, high


def _meant(reader: _Reader, node: onnx.NodeProto) -> tuple[str, float, int] | None:
    """Integers, scale and zero point, if a node says what they mean."""
    found = reader.with_number(node) if node.op_type == "Mul" and len(node.input) == 2 else None
    less = reader.of(found[0], "Sub") if found else None
    zero = reader.constant(less.input[1]) if less else None
    wide = reader.of(less.input[0], "Cast") if less else None
    if zero is None or zero.size != 1 or not wide or not 0 <= zero.reshape(()) <= np.iinfo(np.uint16).max:
        return None
    return wide.input[0], found[1], int(zero.reshape(()))
