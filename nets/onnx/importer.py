"""ONNX files as `nets.graph` networks: torchvision's exports, the ONNX zoo, operator sets 7 to current.

The nodes are read once, in the file's order. What depends on constants and shapes alone is folded on the way; what is left
becomes layers, named after their nodes, or after the tensors that these produce where nodes have no names of their own.
"""
from collections import Counter
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from google.protobuf.message import DecodeError
import numpy as np
import onnx
from onnx import TensorProto, checker

from nets.fold_affine import fold_affines
from nets.graph import Graph, GraphError, Input, Problem
from nets.model import ModelError
from nets.onnx.build import Builder, Node, View
from nets.onnx.file import MAX_ELEMENTS, opset_version, printable, read_model, tensor_array
from nets.onnx.fold import FOLDABLE, constant_value, fold
from nets.onnx.ops import HANDLERS, why_unsupported

__all__ = ["import_onnx"]

MAX_SIDE = 4096         # of the input image, as `nets.preprocess`
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
CONSTANTS = frozenset({"Constant", "ConstantOfShape", *FOLDABLE})

Value = View | np.ndarray | None        # None: could not be had, and has been reported


def import_onnx(path: str | Path, *, size: tuple[int, int] | None = None,
                open_shape: tuple[int, int, int] | None = None) -> Graph:
    """The network in an ONNX file, for one image: the batch of the file does not matter.

    `size`, (height, width), replaces that of the file; `open_shape`, (channels, height, width), is used where the file leaves
    its input open. Weights become float32. A batch normalisation or a product or sum with constants per channel is folded into
    the convolution or linear layer before it, if nothing else reads that.

    Raises ModelError if the file cannot be read as an ONNX network, GraphError with every node that cannot be mapped.
    """
    path = Path(path)
    model = read_model(path)
    try:
        return _Import(path, model, size, open_shape).graph()
    except (DecodeError, UnicodeDecodeError, checker.ValidationError) as error:
        # protobuf decodes texts when they are read, so that damaged ones come to light late
        raise ModelError(f"{path}: is damaged: {printable(_first_line(error))}") from None
    except MemoryError:
        raise ModelError(f"{path}: there is not enough memory for its weights") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class _Import:
    """One import: what is known of each tensor, and the problems so far."""

    def __init__(self, path: Path, model: onnx.ModelProto, size: tuple[int, int] | None,
                 open_shape: tuple[int, int, int] | None):
        self.path, self.proto = path, model.graph
        try:
            self.opset = opset_version(model)
        except ValueError as error:
            raise ModelError(f"{path}: {error}") from None
        self.context = checker.C.CheckerContext()
        self.context.ir_version = model.ir_version
        self.context.opset_imports = {"": self.opset}
        self.initializers = {tensor.name: tensor for tensor in self.proto.initializer}
        if len(self.initializers) != len(self.proto.initializer):
            raise ModelError(f"{path}: two initializers have one name")
        self.output = self.proto.output[0].name
        self.nodes = self._ordered()
        self.input = self._find_input()
        self.net = Builder(batch=1, taken={printable(self.input.name)})
        self.names = self._layer_names()
        self.readers = Counter(name for node in self.nodes for name in node.input)
        self.values: dict[str, Value] = {}
        self.problems: list[Problem] = []
        first = self._channels_last()
        shape = self._input_shape(size, open_shape or (None,) * 3, channels_last=first is not None)
        image = self.net.add(Input(name=printable(self.input.name), shape=shape))
        self.values[first.output[0] if first else self.input.name] = image

    def graph(self) -> Graph:
        for node, name in zip(self.nodes, self.names, strict=True):
            if not any(output in self.values for output in node.output):        # the image, channels first, is there already
                self._visit(node, name)
        result = self.values.get(self.output)
        if not self.problems and not isinstance(result, View):
            self._report(printable(self.output), "output", "does not depend on the image")
        if self.problems:
            raise GraphError(str(self.path), self.problems)
        output = self.net.tensor(result) if len(result.shape) == 2 else result.layer
        layers, output = fold_affines(self.net.layers, output)
        return Graph(name=self.path.stem, layers=tuple(layers), output=output, notes=tuple(self._notes()))

    def _notes(self) -> Iterable[str]:
        if len(self.proto.output) > 1:
            others = ", ".join(printable(value.name) for value in self.proto.output[1:])
            yield f"{self.path.name}: output {printable(self.output)} is used, {others} are not"

    def _report(self, name: str, op: str, reason: str) -> None:
        self.problems.append(Problem(name, printable(op), printable(" ".join(reason.split()))))

    # Structure: which nodes matter, and is their order one that can be executed?

    def _ordered(self) -> list[onnx.NodeProto]:
        """The nodes that the output depends on, in file order. Raises GraphError if that is no order of execution."""
        producers: dict[str, int] = {}
        problems = []
        given = {value.name for value in self.proto.input} | set(self.initializers)
        nodes = self.proto.node

        def blame(index: int, reason: str) -> None:
            problems.append(Problem(_label(nodes[index]), printable(nodes[index].op_type), reason))

        for index, node in enumerate(nodes):
            for name in filter(None, node.output):
                if name in producers or name in given:
                    blame(index, f"produces {printable(name)}, which exists already")
                producers.setdefault(name, index)
        needed, stack = set(), [producers[self.output]] if self.output in producers else []
        while stack:
            index = stack.pop()
            if index not in needed:
                needed.add(index)
                stack += [producers[name] for name in nodes[index].input if name in producers]
        if not needed and not problems:
            problems.append(Problem(printable(self.output), "output", "is produced by no node"))
        reads = {index: [producers[name] for name in nodes[index].input if name in producers] for index in needed}
        try:
            TopologicalSorter(reads).prepare()
        except CycleError as error:
            cycle = error.args[1][:-1]
            around = " -> ".join(_label(nodes[index]) for index in cycle[:8]) + (" ..." if len(cycle) > 8 else "")
            blame(min(cycle), f"is part of a cycle of {len(cycle)} nodes: {around}")
            raise GraphError(str(self.path), problems) from None
        for index in sorted(needed):
            for name in dict.fromkeys(filter(None, nodes[index].input)):
                if name not in producers and name not in given:
                    blame(index, f"reads {printable(name)}, which nothing produces")
                elif producers.get(name, -1) >= index:
                    blame(index, f"reads {printable(name)} before {_label(nodes[producers[name]])} produces it: "
                                 f"nodes must be in order of execution")
        if problems:
            raise GraphError(str(self.path), problems)
        return [nodes[index] for index in sorted(needed)]

    def _layer_names(self) -> list[str]:
        """A name for each node: its own if no other node has it, else that of its output."""
        own = Counter(printable(node.name) for node in self.nodes)
        unique = {name for name, count in own.items() if count == 1 and name.strip() and name not in self.net.taken}
        self.net.taken |= unique
        return [name if (name := printable(node.name)) in unique
                else self.net.fresh(printable(next(filter(None, node.output)))) for node in self.nodes]

    # The input

    def _find_input(self) -> onnx.ValueInfoProto:
        read = {name for node in self.nodes for name in node.input}
        inputs = [value for value in self.proto.input if value.name in read and value.name not in self.initializers]
        if len(inputs) != 1:
            found = f"{len(inputs)}: " + ", ".join(printable(value.name) for value in inputs) if inputs else "none"
            raise ModelError(f"{self.path}: must have one input, the image, not {found}")
        return inputs[0]

    def _channels_last(self) -> onnx.NodeProto | None:
        """The transpose that a network of TensorFlow begins with; we feed what comes after it."""
        readers = [node for node in self.nodes if self.input.name in node.input]
        if self.readers[self.input.name] != 1 or (readers[0].domain, readers[0].op_type) != ("", "Transpose"):
            return None
        orders = [list(attribute.ints) for attribute in readers[0].attribute if attribute.name == "perm"]
        return readers[0] if orders == [[0, 3, 1, 2]] and len(readers[0].output) == 1 else None

    def _input_shape(self, size: tuple[int, int] | None, open_shape: tuple[int | None, ...],
                     channels_last: bool) -> tuple[int, ...]:
        tensor = self.input.type.tensor_type
        start = f"{self.path}: input {printable(self.input.name)!r}"
        if tensor.elem_type not in FLOATS:
            known = tensor.elem_type in TensorProto.DataType.values()
            kind = TensorProto.DataType.Name(tensor.elem_type) if known else str(tensor.elem_type)
            raise ModelError(f"{start} must be a float tensor, not {kind}")
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        if len(dims) != 4:
            raise ModelError(f"{start} must be batch x channels x height x width, not {len(dims)} axes")
        if channels_last:
            dims = [dims[0], dims[3], *dims[1:3]]
        if any(dim is not None and not 1 <= dim <= MAX_ELEMENTS for dim in dims[1:]) or (dims[0] or 0) < 0:
            sizes = "x".join("?" if dim is None else str(dim) for dim in dims)
            raise ModelError(f"{start} must have positive sizes, not {sizes}")
        self.net.batch = dims[0] or 1
        shape = tuple(dim or default for dim, default in zip((dims[1], *(size or dims[2:])), open_shape, strict=True))
        if shape[0] is None:
            raise ModelError(f"{start} has an open number of channels: give --channels")
        if None in shape:
            raise ModelError(f"{start} has an open height or width: give --size")
        if max(shape[1:]) > MAX_SIDE or shape[0] > MAX_SIDE:
            raise ModelError(f"{start} must be at most {MAX_SIDE} channels, height and width, not {shape}")
        return shape

    # Nodes

    def _visit(self, node: onnx.NodeProto, name: str) -> None:
        op, domain = node.op_type, node.domain
        standard = domain in ("", "ai.onnx")
        values = [self._value(tensor) for tensor in node.input]
        constant = not any(isinstance(value, View) for value in values)
        supported = standard and (op in HANDLERS or op in ("Shape", "Size") or constant and op in CONSTANTS)
        broken = any(tensor and value is None for tensor, value in zip(node.input, values, strict=True))
        outputs: list[Value] = [None] * len(node.output)
        if not supported:
            self._report(name, op, why_unsupported(op, domain))
        elif not broken:
            try:
                results = self._results(node, name, tuple(values))
                outputs[:len(results)] = results
                self._refuse_others(node, len(results))
            except (ValueError, checker.ValidationError) as error:
                outputs = [None] * len(node.output)
                self._report(name, op, _first_line(error))
        self.values.update((tensor, value) for tensor, value in zip(node.output, outputs, strict=True) if tensor)

    def _results(self, node: onnx.NodeProto, name: str, values: tuple[Value, ...]) -> list[Value]:
        if node.op_type == "Constant":
            return [constant_value(node, self.path.parent)]
        checker.check_node(node, self.context)
        if node.op_type in ("Shape", "Size"):       # the batch of the file is 1 from here on
            values = tuple(np.broadcast_to(np.float32(0), value.shape) if isinstance(value, View) else value for value in values)
        if not any(isinstance(value, View) for value in values) and node.op_type in CONSTANTS:
            return fold(node, values, self.opset)
        return [HANDLERS[node.op_type](Node(node, name, values, self.opset, self.net))]

    def _refuse_others(self, node: onnx.NodeProto, count: int) -> None:
        for extra in filter(None, node.output[count:]):
            if self.readers[extra] or extra == self.output:
                raise ValueError(f"only the first output can be used, not {printable(extra)}")

    def _value(self, name: str) -> Value:
        """Value of a tensor; initializers are read when they are first needed."""
        if name and name not in self.values:
            try:
                self.values[name] = tensor_array(self.initializers[name], self.path.parent)
            except ValueError as error:
                self.values[name] = None
                self._report(printable(name), "initializer", str(error))
        return self.values[name] if name else None


def _label(node: onnx.NodeProto) -> str:
    return printable(node.name or next(filter(None, node.output), "?"))
