"""Small ONNX files made for tests, and their judge, ONNX Runtime."""
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import onnxruntime

from nets.float_run import run
from nets.graph import Graph
from nets.onnx.importer import import_onnx

__all__ = ["agree", "model", "node", "runtime", "save", "weights"]

IR_VERSION = 8      # the oldest Runtime we allow reads it, and it serves operator sets 7 to 22 alike


def node(op: str, inputs: str, outputs: str = "y", **attributes) -> onnx.NodeProto:
    """Node with its tensors as words; "-" is an optional input left out; without a name of its own unless given."""
    return helper.make_node(op, ["" if word == "-" else word for word in inputs.split()], outputs.split(), **attributes)


def weights(seed: int = 0, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Random float32 constants by name."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray | list[int]] | None = None, *, shape=(1, 4, 7, 9),
          opset: int = 13, output: str = "y", inputs_too: bool = False, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """A network from `x` to `output`; lists are int64 constants; `inputs_too`: constants are graph inputs as well."""
    arrays = {name: np.array(value, np.int64) if isinstance(value, list) else np.asarray(value)
              for name, value in (constants or {}).items()}
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    if inputs_too:
        inputs += [helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in tensors]
    graph = helper.make_graph(nodes, "test", inputs, [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)


def save(folder: Path, proto: onnx.ModelProto, name: str = "net.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def runtime(path: Path | bytes, x: np.ndarray, name: str = "x") -> np.ndarray:
    """First output of ONNX Runtime, without its batch axis; `x` without it too."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    source = path if isinstance(path, bytes) else str(path)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return session.run([session.get_outputs()[0].name], {name: x[None]})[0]


def agree(path: Path, *, seed: int = 0, tolerance: float = 1e-5, size: tuple[int, int] | None = None) -> Graph:
    """Imports a file and asserts that our float reference computes what ONNX Runtime does, relative to the output's range."""
    graph = import_onnx(path, size=size)
    x = np.random.default_rng(seed).normal(size=graph.input.shape).astype(np.float32)
    got, wanted = run(graph, x)[graph.output], runtime(path, x, graph.input.name)
    assert got.size == wanted.size, f"{got.shape} against {wanted.shape}"
    assert got.dtype == np.float32
    wanted = wanted.reshape(got.shape)
    span = float(np.ptp(wanted)) or float(np.abs(wanted).max()) or 1.0
    assert np.isfinite(got).all() and np.abs(got - wanted).max() <= tolerance * span, f"seed {seed}: {np.abs(got - wanted).max()}"
    return graph
