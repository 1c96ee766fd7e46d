"""Folding of ONNX nodes whose inputs are constants: weights that are computed, and shape arithmetic.

The values come from ONNX's own reference evaluator; this module decides what may be evaluated and how large it may become.
"""
from collections.abc import Callable, Sequence
import math
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, helper
from onnx.reference import ReferenceEvaluator

from nets.onnx.file import MAX_ELEMENTS, sparse_array, tensor_array

__all__ = ["FOLDABLE", "constant_value", "fold"]

NEWER = 19      # the evaluator has no older (de)quantisation; what it adds to the older ones, they do not use

Arrays = Sequence[np.ndarray | None]        # None: an optional input left out


def _largest(arrays: Arrays) -> int:
    return max(array.size for array in arrays if array is not None)


def _total(arrays: Arrays) -> int:
    return sum(array.size for array in arrays if array is not None)


def _broadcast(arrays: Arrays) -> int:
    return math.prod(np.broadcast_shapes(*(array.shape for array in arrays if array is not None)))


def _expand(arrays: Arrays) -> int:
    return math.prod(np.broadcast_shapes(arrays[0].shape, tuple(_sizes(arrays[1]))))


def _gather(arrays: Arrays) -> int:
    return arrays[0].size * max(1, arrays[1].size)


def _tile(arrays: Arrays) -> int:
    return arrays[0].size * math.prod(_sizes(arrays[1]))


def _range(arrays: Arrays) -> int:
    start, limit, delta = (float(array) for array in arrays)
    if not math.isfinite(start + limit + delta) or delta == 0:
        raise ValueError(f"range must be finite with a step, not {start}, {limit}, {delta}")
    return max(0, math.ceil((limit - start) / delta))


def _sizes(array: np.ndarray) -> list[int]:
    if array.dtype.kind not in "iu" or array.ndim != 1 or array.size > 16 or (array < 0).any():
        raise ValueError("shape must be a list of at most 16 sizes")
    return array.tolist()


# What may be folded, each with an upper bound of the elements that it produces.
FOLDABLE: dict[str, Callable[[Arrays], int]] = {
    **dict.fromkeys(("Abs", "Cast", "Ceil", "DequantizeLinear", "Exp", "Flatten", "Floor", "Identity", "Neg", "Not",
                     "QuantizeLinear", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
                     "ReduceSum", "ReduceSumSquare", "Reshape", "Round", "Shape", "Size", "Slice", "Split", "Sqrt", "Squeeze",
                     "Transpose", "Unsqueeze"), _largest),
    **dict.fromkeys(("Add", "And", "Clip", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min",
                     "Mod", "Mul", "Or", "Pow", "Sub", "Sum", "Where"), _broadcast),
    "Concat": _total, "Expand": _expand, "Gather": _gather, "Range": _range, "Tile": _tile,
}


def fold(node: onnx.NodeProto, arrays: Arrays, opset: int) -> list[np.ndarray]:
    """Outputs of a node of constant inputs. Raises ValueError if they cannot be had."""
    if node.op_type == "ConstantOfShape":
        return [_constant_of_shape(node, arrays[0])]
    if _bound(node, arrays) > MAX_ELEMENTS:
        raise ValueError(f"would compute a constant of more than {MAX_ELEMENTS} elements")
    if node.op_type in ("DequantizeLinear", "QuantizeLinear"):
        opset = max(opset, NEWER)
    feeds = {name: array for name, array in zip(node.input, arrays, strict=True) if name}
    values = [[onnx.ValueInfoProto(name=name) for name in names if name] for names in (feeds, node.output)]
    try:
        graph = helper.make_graph([node], "fold", *values)
        with np.errstate(all="ignore"):
            return [np.asarray(array) for array in ReferenceEvaluator(graph, opsets={"": opset}).run(None, feeds)]
    except MemoryError:
        raise ValueError("there is not enough memory to compute it") from None
    except Exception as error:      # the evaluator runs what a file says: whatever it raises is the node's fault
        raise ValueError(f"cannot be computed from its constants: {_first_line(error)}") from None


def _bound(node: onnx.NodeProto, arrays: Arrays) -> int:
    try:
        return FOLDABLE[node.op_type](arrays)
    except (IndexError, AttributeError, TypeError):         # inputs left out, or of another kind
        raise ValueError("inputs are missing or not of the right kind") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _constant_of_shape(node: onnx.NodeProto, shape: np.ndarray) -> np.ndarray:
    """One stored element however large the tensor: large networks come as benchmarks without weights."""
    sizes = _sizes(shape)
    if math.prod(sizes) > MAX_ELEMENTS:
        raise ValueError(f"shape {tuple(sizes)} has more than {MAX_ELEMENTS} elements")
    value = np.zeros(1, np.float32)
    for attribute in node.attribute:
        if attribute.name == "value":
            value = tensor_array(attribute.t, Path())
    if value.size != 1:
        raise ValueError(f"value must be one element, not {value.size}")
    return np.broadcast_to(value.reshape(()), sizes)


def constant_value(node: onnx.NodeProto, folder: Path) -> np.ndarray:
    """Value of a Constant node. Raises ValueError if it has none that can be read."""
    if len(node.attribute) != 1:
        raise ValueError(f"must have one value, not {len(node.attribute)}")
    attribute = node.attribute[0]
    if attribute.type == AttributeProto.TENSOR:
        return tensor_array(attribute.t, folder)
    if attribute.type == AttributeProto.SPARSE_TENSOR:
        return sparse_array(attribute.sparse_tensor, folder)
    if attribute.type in (AttributeProto.FLOAT, AttributeProto.FLOATS):
        return np.array(helper.get_attribute_value(attribute), np.float32)
    if attribute.type in (AttributeProto.INT, AttributeProto.INTS):
        return np.array(helper.get_attribute_value(attribute), np.int64)
    raise ValueError(f"value {attribute.name!r} is not supported")
