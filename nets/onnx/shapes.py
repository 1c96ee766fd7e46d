"""Shapes of tensors that could not be mapped, by ONNX's own inference, so that what reads them can be checked all the same."""
from collections.abc import Sequence
from functools import cached_property
import subprocess
import sys

import onnx
from onnx import TensorProto

__all__ = ["FLOATS", "ShapeGuess"]

VALUES_BYTES = 4096         # shapes and axes that a file computes with are smaller
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


class ShapeGuess:
    """Shapes of a model's tensors for an image of shape `shape` at its input `name`; asked for when something is refused."""

    def __init__(self, model: onnx.ModelProto, name: str, shape: Sequence[int]):
        self._model, self._name, self._shape = model, name, tuple(shape)

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """The shape of a float tensor, batch of 1 first; None where it cannot be known."""
        return self._known.get(tensor)

    @cached_property
    def _known(self) -> dict[str, tuple[int, ...]]:
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        for value in model.graph.input:
            if value.name == self._name:
                for dim, size in zip(value.type.tensor_type.shape.dim, self._shape, strict=True):
                    dim.dim_value = size
        for value in model.graph.output:                # what they declare may be of the file's own batch
            value.type.tensor_type.ClearField("shape")
        del model.graph.value_info[:]
        for constant in model.graph.initializer:        # of weights their shapes are enough
            if constant.ByteSize() > VALUES_BYTES:
                constant.ClearField("raw_data")
        try:
            inferred = onnx.load_from_string(_inferred(model.SerializeToString())).graph
        except Exception:       # it runs on what a file says; what it cannot tell is not checked
            return {}
        known = {}
        for value in (*inferred.value_info, *inferred.output):
            sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            if value.type.tensor_type.elem_type in FLOATS and len(sizes) > 1 and sizes[0] == 1 and min(sizes) > 0:
                known[value.name] = tuple(sizes)
        return known


def _inferred(model: bytes) -> bytes:
    """A model with shapes inferred, in a process of its own: ONNX's inference aborts its process on some invalid files, as on a
    slice of an axis that a convolution made negative. Raises CalledProcessError then."""
    code = ("import sys, onnx; sys.stdout.buffer.write(onnx.shape_inference.infer_shapes(onnx.load_from_string("
            "sys.stdin.buffer.read()), data_prop=True).SerializeToString())")
    return subprocess.run([sys.executable, "-c", code], input=model, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=True).stdout
