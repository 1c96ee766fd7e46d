"""Reads an ONNX file: the protobuf, its tensors, and the checks that need no knowledge of operators.

Format: ONNX IR, https://onnx.ai/onnx/repo-docs/IR.html; its container is protobuf,
https://protobuf.dev/programming-guides/encoding/.
"""
from collections.abc import Iterable
import math
from pathlib import Path

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
import numpy as np
import onnx
from onnx import SparseTensorProto, TensorProto, numpy_helper

from nets.model import ModelError, read_bytes

__all__ = ["MAX_ELEMENTS", "OLDEST_OPSET", "opset_version", "printable", "read_model", "sparse_array",
           "tensor_array"]

OLDEST_OPSET = 7            # the first with today's broadcasting
MAX_ELEMENTS = 1 << 28      # of one tensor: 1 GiB of float32; a file that declares more is damaged or hostile
MAX_DEPTH = 100             # of nested messages, as protobuf itself

ELEMENT_TYPES = frozenset(TensorProto.DataType.Value(name) for name in (
    "FLOAT", "FLOAT16", "DOUBLE", "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"))


def printable(name: str) -> str:
    """The name of a node or tensor as an error line can hold it."""
    return "".join(c if c.isprintable() else "?" for c in name)


def read_model(path: str | Path) -> onnx.ModelProto:
    """The file's protobuf; it holds a graph with nodes and outputs. Raises ModelError, with the byte where one is known."""
    path = Path(path)
    data = read_bytes(path, "an ONNX file", larger=": keep its weights as external data")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError(f"{path}: {_damage(data)}") from None
    if not model.HasField("graph"):
        raise ModelError(f"{path}: is not an ONNX file: it holds no graph")
    if not model.graph.node:
        raise ModelError(f"{path}: its graph has no nodes")
    if not model.graph.output:
        raise ModelError(f"{path}: its graph has no outputs")
    for what, texts in _texts(model.graph):
        if not all(isinstance(text, str) for text in texts):        # protobuf gives bytes if they are not UTF-8
            raise ModelError(f"{path}: is damaged: {what} has a name that is not text")
    return model


def _texts(graph: onnx.GraphProto) -> Iterable[tuple[str, tuple[str | bytes, ...]]]:
    for index, node in enumerate(graph.node):
        yield f"node {index}", (node.name, node.op_type, node.domain, *node.input, *node.output)
    for index, tensor in enumerate(graph.initializer):
        texts = (text for entry in tensor.external_data for text in (entry.key, entry.value))
        yield f"initializer {index}", (tensor.name, *texts)
    for index, tensor in enumerate(graph.sparse_initializer):
        yield f"sparse initializer {index}", (tensor.values.name,)
    for what, values in (("input", graph.input), ("output", graph.output)):
        yield from ((f"{what} {index}", (value.name,)) for index, value in enumerate(values))


def opset_version(model: onnx.ModelProto) -> int:
    """Version of the standard operators. Raises ValueError if it is missing or not one that can be read."""
    versions = {entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")}
    newest = onnx.defs.onnx_opset_version()
    if len(versions) != 1:
        raise ValueError(f"must import one version of the standard operators, not {sorted(versions) or 'none'}")
    version = versions.pop()
    if not OLDEST_OPSET <= version <= newest:
        raise ValueError(f"operator set must be version {OLDEST_OPSET} to {newest}, not {version}")
    return version


def tensor_array(tensor: TensorProto, folder: Path) -> np.ndarray:
    """The tensor's values, to be read, not written. `folder` is where external data lies. Raises ValueError with the reason."""
    if tensor.data_type not in ELEMENT_TYPES:
        known = tensor.data_type in TensorProto.DataType.values()
        raise ValueError(f"element type {TensorProto.DataType.Name(tensor.data_type) if known else tensor.data_type} "
                         f"is not supported")
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise ValueError(f"shape must not be negative, not {shape}")
    count = math.prod(shape)
    if count > MAX_ELEMENTS:
        raise ValueError(f"shape {shape} has more than {MAX_ELEMENTS} elements")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if tensor.data_location == TensorProto.EXTERNAL:
        inline = TensorProto(data_type=tensor.data_type, dims=shape,
                             raw_data=_external_bytes(tensor, folder, count * dtype.itemsize))
        return numpy_helper.to_array(inline)
    if tensor.HasField("raw_data"):
        held, wanted, unit = len(tensor.raw_data), count * dtype.itemsize, "bytes"
    else:
        field = getattr(tensor, onnx.helper.tensor_dtype_to_field(tensor.data_type))
        held, wanted, unit = len(field), count, "values"
    if held != wanted:
        raise ValueError(f"shape {shape} needs {wanted} {unit}, but {held} are stored")
    return numpy_helper.to_array(tensor)


def sparse_array(tensor: SparseTensorProto, folder: Path) -> np.ndarray:
    """The values of a sparse tensor, with the zeros between them. Raises ValueError with the reason."""
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"shape {shape} must not be negative, nor have more than {MAX_ELEMENTS} elements")
    values, places = tensor_array(tensor.values, folder), tensor_array(tensor.indices, folder)
    count = values.size
    if values.ndim != 1 or places.dtype != np.int64 or places.shape not in ((count,), (count, len(shape))):
        raise ValueError(f"sparse tensor of shape {shape} must have one index, or {len(shape)}, for each of its {count} values, "
                         f"not {places.dtype} {places.shape}")
    limits = np.array([math.prod(shape)] if places.ndim == 1 else shape)
    if count and ((places < 0).any() or (places.reshape(count, -1) >= limits).any()):
        raise ValueError(f"sparse tensor of shape {shape} has values beyond it")
    dense = np.zeros(shape, values.dtype)
    if places.ndim == 1:
        dense.reshape(-1)[places] = values
    else:
        dense[tuple(places.T)] = values
    return dense


def _external_bytes(tensor: TensorProto, folder: Path, count: int) -> bytes:
    entries = {str(entry.key): str(entry.value) for entry in tensor.external_data}
    location = entries.get("location", "")
    relative = Path(location)
    if not location or "\0" in location or relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"external data must lie beside the model, not in {printable(location)!r}")
    numbers = {}
    for key, default in (("offset", 0), ("length", count)):
        text = entries.get(key, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise ValueError(f"{key} of external data must be a number of bytes, not {printable(text)!r}")
        numbers[key] = int(text)
    if numbers["length"] != count:
        raise ValueError(f"shape {tuple(tensor.dims)} needs {count} bytes of external data, not {numbers['length']}")
    path = folder / relative
    try:
        if not path.is_file():
            raise ValueError(f"external data {printable(location)!r} is missing")
        if numbers["offset"] + count > path.stat().st_size:
            raise ValueError(f"external data {printable(location)!r} ends at byte {path.stat().st_size}, "
                             f"before byte {numbers['offset'] + count}")
        with path.open("rb") as stream:
            stream.seek(numbers["offset"])
            return stream.read(count)
    except OSError as error:
        raise ValueError(f"external data {printable(location)!r} cannot be read: {error.strerror}") from None


def _damage(data: bytes) -> str:
    """Why the bytes are not a ModelProto: the first place where they contradict the format."""
    first = data[0] >> 3
    if first not in onnx.ModelProto.DESCRIPTOR.fields_by_number:
        return "is not an ONNX file"
    return _damage_in(data, 0, len(data), onnx.ModelProto.DESCRIPTOR, 0) or "is damaged: protobuf refuses it"


def _damage_in(data: bytes, start: int, end: int, message: Descriptor, depth: int) -> str | None:
    position = start
    while position < end:
        begin = position
        tag, position = _varint(data, position, end)
        field = None if tag is None else message.fields_by_number.get(tag >> 3)
        place = f"at byte {begin}, in {message.name}.{field.name if field else '?'}"
        kind = None if tag is None else tag & 7
        if kind == 0:
            value, position = _varint(data, position, end)
            damaged = value is None
        elif kind == 2:
            length, position = _varint(data, position, end)
            if length is not None and position + length > end:
                cause = "is truncated" if end == len(data) else "is damaged"
                return f"{cause} {place}: {length} bytes are announced, {end - position} are left"
            damaged = length is None
            if not damaged:
                if field is not None and field.message_type is not None and depth < MAX_DEPTH:
                    inner = _damage_in(data, position, position + length, field.message_type, depth + 1)
                    if inner:
                        return inner
                position += length
        else:
            position += {1: 8, 5: 4}.get(kind, 0)
            damaged = kind not in (1, 5) or position > end
        if damaged:
            return f"is {'truncated' if position >= len(data) else 'damaged'} {place}"
    return None


def _varint(data: bytes, position: int, end: int) -> tuple[int | None, int]:
    """Value, or None where there is none, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            return None, position
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return None, position
