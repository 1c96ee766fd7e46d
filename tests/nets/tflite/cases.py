"""Small TFLite files made for tests, and their judge, LiteRT's reference kernels."""
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter, OpResolverType
import flatbuffers
import numpy as np
import tflite

from nets.float_run import run
from nets.graph import Graph
from nets.tflite.importer import import_tflite

__all__ = ["agree", "interpreter", "model", "normalised", "op", "save", "weights"]

KINDS = {np.dtype(numpy): getattr(tflite.TensorType, name) for numpy, name in (
    ("f4", "FLOAT32"), ("f2", "FLOAT16"), ("i1", "INT8"), ("u1", "UINT8"), ("i4", "INT32"), ("i8", "INT64"), ("?", "BOOL"))}
USUAL = {"Conv2DOptions": {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1, "Padding": 1},
         "Pool2DOptions": {"StrideH": 1, "StrideW": 1, "FilterHeight": 2, "FilterWidth": 2, "Padding": 1},
         "DepthwiseConv2DOptions": {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1, "Padding": 1,
                                    "DepthMultiplier": 1},
         "SoftmaxOptions": {"Beta": 1.0}}
OPTIONS = {"CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions", "FULLY_CONNECTED": "FullyConnectedOptions",
           "AVERAGE_POOL_2D": "Pool2DOptions", "MAX_POOL_2D": "Pool2DOptions", "ADD": "AddOptions", "SUB": "SubOptions",
           "MUL": "MulOptions", "DIV": "DivOptions", "CONCATENATION": "ConcatenationOptions", "RESHAPE": "ReshapeOptions",
           "SQUEEZE": "SqueezeOptions", "SOFTMAX": "SoftmaxOptions", "MEAN": "ReducerOptions", "LEAKY_RELU": "LeakyReluOptions"}


def op(code: str, inputs: str, output: str = "y", *, shape: tuple[int, ...] = (), kind: str | None = None, **fields: Any) -> dict:
    """Operator with its tensors as words; "-" is an optional input left out. `shape`: what the output is declared with."""
    kind = OPTIONS.get(code, "") if kind is None else kind
    return {"code": code, "inputs": inputs.split(), "output": output, "shape": shape, "kind": kind,
            "fields": USUAL.get(kind, {}) | fields}


def weights(seed: int = 0, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Random float32 constants by name."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def model(ops: list[dict], constants: dict[str, Any] | None = None, *, shape=(1, 7, 9, 4), dtype: str = "f4",
          types: dict[str, tuple[float | list[float], int | list[int], int]] | None = None, output: str = "y",
          dtypes: dict[str, str] | None = None, metadata: bytes = b"") -> bytes:
    """A network from `x` to `output`; lists are int32 constants. `types`: scale, zero point and axis of tensors by name; all that
    are no constants are of `dtype`, unless `dtypes` names them."""
    arrays = {name: np.array(value, np.int32) if isinstance(value, list) else np.asarray(value)
              for name, value in (constants or {}).items()}
    b = flatbuffers.Builder(1024)
    names = ["x", *arrays, *(one["output"] for one in ops)]
    number = {name: k for k, name in enumerate(names)}
    shapes = {"x": shape, **{name: array.shape for name, array in arrays.items()}, **{one["output"]: one["shape"] for one in ops}}
    buffers = [_buffer(b, b""), *(_buffer(b, array.tobytes()) for array in arrays.values())]
    place = {name: k + 1 for k, name in enumerate(arrays)}
    tensors = [_tensor(b, name, shapes[name], KINDS[arrays[name].dtype if name in arrays else
                                                    np.dtype((dtypes or {}).get(name, dtype))],
                       place.get(name, 0), (types or {}).get(name)) for name in names]
    codes = list(dict.fromkeys(one["code"] for one in ops))
    operators = [_operator(b, one, codes, [number.get(name, -1) for name in one["inputs"]], number[one["output"]]) for one in ops]
    parts = {"Tensors": _offsets(b, tensors), "Operators": _offsets(b, operators), "Inputs": _ints(b, [number["x"]]),
             "Outputs": _ints(b, [number[output]])}
    graph = _table(b, "SubGraph", **parts)
    parts = {"Version": 3, "OperatorCodes": _offsets(b, [_code(b, code) for code in codes]), "Subgraphs": _offsets(b, [graph]),
             "Buffers": _offsets(b, buffers)}
    if metadata:
        entries = _offsets(b, [_table(b, "Metadata", Name=b.CreateString("TFLITE_METADATA"), Buffer=len(buffers))])
        parts |= {"Metadata": entries, "Buffers": _offsets(b, [*buffers, _buffer(b, metadata)])}
    b.Finish(_table(b, "Model", **parts), file_identifier=b"TFL3")
    return bytes(b.Output())


def normalised(mean: list[float], std: list[float], *, kind: int = 1) -> bytes:
    """Metadata with one process unit for the first input, of this kind; fields by their places in metadata_schema.fbs."""
    b = flatbuffers.Builder(256)
    options = _slots(b, 2, {0: _ints(b, mean, "f4"), 1: _ints(b, std, "f4")})
    b.StartObject(2)
    b.PrependUint8Slot(0, kind, 0)
    b.PrependUOffsetTRelativeSlot(1, options, 0)
    unit = b.EndObject()
    image = _slots(b, 7, {0: b.CreateString("image"), 4: _offsets(b, [unit])})
    graph = _slots(b, 7, {2: _offsets(b, [image])})
    b.Finish(_slots(b, 8, {0: b.CreateString("a network"), 3: _offsets(b, [graph])}), file_identifier=b"M001")
    return bytes(b.Output())


def _slots(b: flatbuffers.Builder, count: int, offsets: dict[int, int]) -> int:
    b.StartObject(count)
    for place, offset in offsets.items():
        b.PrependUOffsetTRelativeSlot(place, offset, 0)
    return b.EndObject()


def _table(b: flatbuffers.Builder, kind: str, **fields) -> int:
    getattr(tflite, f"{kind}Start")(b)
    for field, value in fields.items():
        getattr(tflite, f"{kind}Add{field}")(b, value)
    return getattr(tflite, f"{kind}End")(b)


def _ints(b: flatbuffers.Builder, values, dtype="i4") -> int:
    return b.CreateNumpyVector(np.array(values, dtype))


def _offsets(b: flatbuffers.Builder, offsets: list[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def _buffer(b: flatbuffers.Builder, data: bytes) -> int:
    if not data:
        return _table(b, "Buffer")
    b.StartVector(1, len(data), 16)
    b.head -= len(data)
    b.Bytes[b.head:b.head + len(data)] = data
    return _table(b, "Buffer", Data=b.EndVector())


def _tensor(b: flatbuffers.Builder, name: str, shape: tuple[int, ...], kind: int, buffer: int, quantised) -> int:
    parts = {"Name": b.CreateString(name), "Shape": _ints(b, shape), "Type": kind, "Buffer": buffer}
    if quantised:
        scale, zero_point, axis = quantised
        record = {"Scale": _ints(b, np.atleast_1d(scale), "f4"), "ZeroPoint": _ints(b, np.atleast_1d(zero_point), "i8")}
        parts["Quantization"] = _table(b, "QuantizationParameters", **record, QuantizedDimension=axis)
    return _table(b, "Tensor", **parts)


def _code(b: flatbuffers.Builder, code: str) -> int:
    number = getattr(tflite.BuiltinOperator, code)
    if code == "CUSTOM":
        return _table(b, "OperatorCode", DeprecatedBuiltinCode=number, BuiltinCode=number, CustomCode=b.CreateString("Own"),
                      Version=1)
    return _table(b, "OperatorCode", DeprecatedBuiltinCode=min(number, 127), BuiltinCode=number, Version=1)


def _operator(b: flatbuffers.Builder, one: dict, codes: list[str], inputs: list[int], output: int) -> int:
    fields = {name: _ints(b, value) if isinstance(value, list) else value for name, value in one["fields"].items()}
    parts = {"OpcodeIndex": codes.index(one["code"]), "Inputs": _ints(b, inputs), "Outputs": _ints(b, [output])}
    if one["kind"]:
        parts["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, one["kind"])
        parts["BuiltinOptions"] = _table(b, one["kind"], **fields)
    return _table(b, "Operator", **parts)


def save(folder: Path, data: bytes, name: str = "net.tflite") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def interpreter(path: Path, kernels: OpResolverType = OpResolverType.BUILTIN_REF, *, keep: bool = False) -> Interpreter:
    """LiteRT on one thread; `keep`: tensors between operators stay."""
    found = Interpreter(str(path), experimental_op_resolver_type=kernels, num_threads=1, experimental_preserve_all_tensors=keep)
    found.allocate_tensors()
    return found


def litert(judge: Interpreter, x: np.ndarray) -> np.ndarray:
    """Output of LiteRT for an input (channels, height, width), maps with the channels first too."""
    source, result = judge.get_input_details()[0], judge.get_output_details()[0]
    judge.set_tensor(source["index"], (x.transpose(1, 2, 0) if len(source["shape"]) == 4 else x).reshape(source["shape"]))
    judge.invoke()
    y = judge.get_tensor(result["index"])[0]
    return y.transpose(2, 0, 1) if y.ndim == 3 else y


def agree(path: Path, *, seed: int = 0, tolerance: float = 1e-5,
          kernels: OpResolverType = OpResolverType.BUILTIN_REF) -> Graph:
    """Imports a file and asserts that our float reference computes what LiteRT does, relative to the output's range."""
    graph = import_tflite(path)
    x = np.random.default_rng(seed).normal(size=graph.input.shape).astype(np.float32)
    got, wanted = run(graph, x)[graph.output], litert(interpreter(path, kernels), x)
    assert got.size == wanted.size, f"{got.shape} against {wanted.shape}"
    wanted = wanted.reshape(got.shape)
    span = float(np.ptp(wanted)) or float(np.abs(wanted).max()) or 1.0
    assert np.isfinite(got).all() and np.abs(got - wanted).max() <= tolerance * span, f"seed {seed}: {np.abs(got - wanted).max()}"
    return graph
