"""Reads a TFLite file: the flatbuffer, its tensors and operators, and the checks that need no knowledge of operators.

Format: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs; its container is
FlatBuffers, https://flatbuffers.dev/internals. Offsets of a damaged file may point anywhere, many of them to one place: what is
read, all together, is bounded by the size of the file.
"""
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import math
from pathlib import Path
import struct
from typing import Any

import numpy as np
import tflite

from nets.model import ModelError, read_bytes

__all__ = ["FLOATS", "MAX_ELEMENTS", "File", "Operator", "Quantised", "Tensor", "called", "read_file"]

IDENTIFIER = b"TFL3"        # at byte 4 of the file
VERSION = 3                 # of the schema
MAX_ELEMENTS = 1 << 28      # of one tensor: 1 GiB of float32; a file that declares more is damaged or hostile
MAX_ENTRIES = 1 << 16       # operators, tensors, buffers; the largest networks have a few thousand
MAX_AXES = 8                # of a tensor
LONGEST_NAME = 200          # that is shown: names of fused operators are long lists
DAMAGE = (struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError)    # what wrong offsets lead to

TYPES = {code: name for name, code in vars(tflite.TensorType).items() if not name.startswith("_")}
DTYPES = {"FLOAT32": "<f4", "FLOAT16": "<f2", "FLOAT64": "<f8", "INT8": "i1", "UINT8": "u1", "INT16": "<i2", "UINT16": "<u2",
          "INT32": "<i4", "UINT32": "<u4", "INT64": "<i8", "BOOL": "?"}
FLOATS = ("FLOAT32", "FLOAT16", "FLOAT64")

WINDOW = ("Padding", "StrideH", "StrideW", "FusedActivationFunction")
DILATION = ("DilationHFactor", "DilationWFactor")
POOL = ("Pool2DOptions", (*WINDOW, "FilterHeight", "FilterWidth"))
FUSED = ("FusedActivationFunction",)
# The table of options of each operator that has one, and the fields that are read; vectors end in [].
OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ADD": ("AddOptions", FUSED), "AVERAGE_POOL_2D": POOL, "CONCATENATION": ("ConcatenationOptions", (*FUSED, "Axis")),
    "CONV_2D": ("Conv2DOptions", (*WINDOW, *DILATION)), "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", (*WINDOW, *DILATION)),
    "DIV": ("DivOptions", FUSED), "FULLY_CONNECTED": ("FullyConnectedOptions", (*FUSED, "WeightsFormat", "KeepNumDims")),
    "LEAKY_RELU": ("LeakyReluOptions", ("Alpha",)), "MAX_POOL_2D": POOL, "MEAN": ("ReducerOptions", ("KeepDims",)),
    "MUL": ("MulOptions", FUSED), "RESHAPE": ("ReshapeOptions", ("NewShape[]",)), "SOFTMAX": ("SoftmaxOptions", ("Beta",)),
    "SQUEEZE": ("SqueezeOptions", ("SqueezeDims[]",)), "SUB": ("SubOptions", FUSED),
}
OPTIONAL = frozenset({"RESHAPE"})       # of these the table may be missing


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantised:
    """What the integers of a tensor mean: value = scale * (q - zero point), a number each for all, or one for each place along
    `axis`."""

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensor:
    """A tensor as it is declared. `data`: its bytes, if it is a constant; `start`: where in the file they begin."""

    name: str
    shape: tuple[int, ...]
    type: str
    data: np.ndarray | None = None
    start: int = 0
    quantised: Quantised | None = None
    sparse: bool = False

    def array(self) -> np.ndarray:
        """The constant, to be read, not written. Raises ValueError with the reason."""
        if self.sparse:
            raise ValueError("is stored sparsely, which is not supported")
        if self.type not in DTYPES:
            raise ValueError(f"element type {self.type} is not supported")
        if any(size < 0 for size in self.shape) or math.prod(self.shape) > MAX_ELEMENTS:
            raise ValueError(f"shape {self.shape} must not be negative, nor have more than {MAX_ELEMENTS} elements")
        dtype = np.dtype(DTYPES[self.type])
        wanted = math.prod(self.shape) * dtype.itemsize
        if self.data.size != wanted:
            raise ValueError(f"shape {self.shape} of {self.type} needs {wanted} bytes, but {self.data.size} are stored at byte "
                             f"{self.start}")
        return self.data.view(dtype).reshape(self.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Operator:
    """An operator: `inputs` and `outputs` are numbers of tensors, -1 for an optional one left out; `options` None if the file
    has none of its kind."""

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class File:
    """The first subgraph of a file. `others`: how many more there are."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    others: int


def called(name: str) -> str:
    """A tensor's name as a line can hold it: of the names of operators that were fused, the last."""
    text = "".join(c if c.isprintable() else "?" for c in name).strip(";").rpartition(";")[2] or "?"
    return text if len(text) <= LONGEST_NAME else f"...{text[-LONGEST_NAME:]}"


def read_file(path: str | Path) -> File:
    """The file's tensors and operators. Raises ModelError, with the byte where one is known."""
    path = Path(path)
    data = read_bytes(path, "a TFLite file")
    if data[4:8] != IDENTIFIER:
        raise ModelError(f"{path}: is not a TFLite file: bytes 4 to 7 are not {IDENTIFIER.decode()}")
    try:
        return _Reader(data).file()
    except _Damage as error:
        raise ModelError(f"{path}: {error}") from None


class _Damage(Exception):
    """Why the bytes are not a model."""


class _Reader:
    """Reads the tables of a flatbuffer; whatever is not where an offset says is damage, and told with the table's place."""

    def __init__(self, data: bytes):
        self.data = data
        self.left = 2 * len(data) + (1 << 16)       # bytes of vectors and names still to be read; sound files never share them

    @contextmanager
    def at(self, what: str, place: int) -> Iterator[None]:
        try:
            yield
        except DAMAGE:
            raise _Damage(f"is damaged or truncated at byte {place}, in {what}" if 0 <= place < len(self.data) else
                          f"is damaged or truncated: {what} lies at byte {place} of {len(self.data)}") from None

    def file(self) -> File:
        with self.at("the model", 0):
            model = tflite.Model.GetRootAs(self.data)
        with self.at("the model", model._tab.Pos):
            if model.Version() != VERSION:
                raise _Damage(f"schema must be version {VERSION}, not {model.Version()}")
            if not model.SubgraphsLength():
                raise _Damage("holds no graph")
            buffers = [self.buffer(k, model.Buffers(k)) for k in self.count("buffers", model.BuffersLength())]
            codes = [self.code(model.OperatorCodes(k)) for k in self.count("operator codes", model.OperatorCodesLength())]
            graph, others = model.Subgraphs(0), model.SubgraphsLength() - 1
        with self.at("the graph", graph._tab.Pos):
            tensors = [self.tensor(k, graph.Tensors(k), buffers) for k in self.count("tensors", graph.TensorsLength())]
            operators = [self.operator(k, graph.Operators(k), codes, len(tensors))
                         for k in self.count("operators", graph.OperatorsLength())]
            inputs, outputs = (self.numbers(read, len(tensors)) for read in (graph.InputsAsNumpy, graph.OutputsAsNumpy))
            if not operators or not outputs:
                raise _Damage(f"its graph has no {'outputs' if operators else 'operators'}")
        return File(tensors=tuple(tensors), operators=tuple(operators), inputs=inputs, outputs=outputs, others=others)

    def count(self, what: str, number: int) -> range:
        if number > MAX_ENTRIES:
            raise _Damage(f"is damaged: it would have {number} {what}, more than {MAX_ENTRIES}")
        return range(number)

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _Damage("is damaged: more vectors and names are announced than there are bytes")

    def vector(self, read: Callable[[], np.ndarray | int]) -> np.ndarray:
        """A vector by one of the readers that give it as an array, or 0 where there is none."""
        array = read()
        if not isinstance(array, np.ndarray):
            return np.zeros(0, np.int32)
        self.spend(array.nbytes)
        return array

    def numbers(self, read: Callable[[], np.ndarray | int], count: int, *, least: int = 0) -> tuple[int, ...]:
        """A vector of numbers of tensors."""
        found = self.vector(read)
        if found.size and not least <= found.min() <= found.max() < count:
            raise ValueError
        return tuple(found.tolist())

    def name(self, text: bytes | None) -> str:
        self.spend(len(text or b""))
        return (text or b"").decode("utf-8", "replace")

    def buffer(self, number: int, buffer: tflite.Buffer) -> tuple[np.ndarray, int]:
        """Bytes of a buffer, none if it is empty, and where they begin."""
        with self.at(f"buffer {number}", buffer._tab.Pos):
            if buffer.Offset() > 1:
                raise _Damage(f"buffer {number} lies behind the flatbuffer, at byte {buffer.Offset()}, which is not supported")
            if not buffer.DataLength():
                return np.zeros(0, np.uint8), 0
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            end = start + buffer.DataLength()
            if end > len(self.data):
                raise _Damage(f"is damaged or truncated: buffer {number} reaches from byte {start} to {end}, "
                              f"the file ends at byte {len(self.data)}")
            return buffer.DataAsNumpy(), start

    def code(self, code: tflite.OperatorCode) -> str:
        with self.at("the operator codes", code._tab.Pos):
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())      # the older field holds 127 for later operators
            name = tflite.BUILTIN_OPCODE2NAME.get(number, f"operator {number}")
            return f"CUSTOM {called(self.name(code.CustomCode()))}" if name == "CUSTOM" else name

    def tensor(self, number: int, tensor: tflite.Tensor, buffers: list[tuple[np.ndarray, int]]) -> Tensor:
        with self.at(f"tensor {number}", tensor._tab.Pos):
            shape = tuple(self.vector(tensor.ShapeAsNumpy).tolist())
            if len(shape) > MAX_AXES or tensor.IsVariable():
                raise _Damage(f"tensor {number} has {len(shape)} axes" if len(shape) > MAX_AXES else
                              f"tensor {number} keeps a state from one run to the next, which is not supported")
            data, start = buffers[tensor.Buffer()] if tensor.Buffer() else (np.zeros(0, np.uint8), 0)
            kind = TYPES.get(tensor.Type(), f"number {tensor.Type()}")
            return Tensor(name=self.name(tensor.Name()) or f"tensor {number}", shape=shape, type=kind,
                          data=data if data.size else None, start=start, quantised=self.quantised(tensor.Quantization()),
                          sparse=tensor.Sparsity() is not None)

    def quantised(self, record: tflite.QuantizationParameters | None) -> Quantised | None:
        scale = np.zeros(0) if record is None else self.vector(record.ScaleAsNumpy)
        if not scale.size:
            return None
        zero_point = self.vector(record.ZeroPointAsNumpy)
        zero_point = zero_point if zero_point.size else np.zeros(scale.size, np.int64)
        return Quantised(scale=scale.astype(np.float64), zero_point=zero_point, axis=record.QuantizedDimension())

    def operator(self, number: int, operator: tflite.Operator, codes: list[str], tensors: int) -> Operator:
        with self.at(f"operator {number}", operator._tab.Pos):
            op = codes[operator.OpcodeIndex()]
            inputs, outputs = (self.numbers(read, tensors, least=-1)
                               for read in (operator.InputsAsNumpy, operator.OutputsAsNumpy))
            if not outputs or min(outputs) < 0:
                raise _Damage(f"is damaged: operator {number} ({op}) has no output")
            return Operator(op=op, inputs=inputs, outputs=outputs, options=self.options(op, operator))

    def options(self, op: str, operator: tflite.Operator) -> dict[str, Any] | None:
        kind, fields = OPTIONS.get(op, ("", ()))
        table = operator.BuiltinOptions()
        if not kind or table is None or operator.BuiltinOptionsType() != getattr(tflite.BuiltinOptions, kind):
            return {} if not kind or op in OPTIONAL else None
        record = getattr(tflite, kind)()
        record.Init(table.Bytes, table.Pos)
        return {field: tuple(self.vector(getattr(record, f"{field[:-2]}AsNumpy")).tolist()) if field.endswith("[]")
                else getattr(record, field)() for field in fields}
