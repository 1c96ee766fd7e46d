"""ONNX files as `nets.graph` networks: torchvision's exports, the ONNX zoo, operator sets 7 to current.

The nodes are read once, each after those that it reads. What depends on constants and shapes alone is folded on the way; what is
left becomes layers, named after their nodes, or after the tensors that these produce where nodes have no names of their own.
"""
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from heapq import heapify, heappop, heappush
from pathlib import Path

from google.protobuf.message import DecodeError
import numpy as np
import onnx
from onnx import TensorProto, checker

from cli import readable
from nets.endings import ENDINGS
from nets.fold_affine import fold_affines
from nets.graph import Graph, GraphError, Input, Layer, Problem
from nets.int8.quantised import Quantisation
from nets.model import ModelError
from nets.onnx.build import Builder, Meaning, Node, Stack, Steps, View
from nets.onnx.clamps import clamped, with_normalisations
from nets.onnx.file import MAX_ELEMENTS, opset_version, printable, read_model, sparse_array, tensor_array
from nets.onnx.fold import FOLDABLE, constant_value, fold
from nets.onnx.layout import channels_last
from nets.onnx.ops import HANDLERS, why_unsupported
from nets.onnx.patterns import join_normalisations, join_scores
from nets.onnx.qoperators import spell_out
from nets.onnx.quantised import CARRIED, LINEAR, carried, dequantise, dequantised, meant, quantise, with_real_constants
from nets.onnx.shapes import FLOATS, ShapeGuess

__all__ = ["import_onnx"]

MAX_SIDE = 4096         # of the input image, as `nets.preprocess`
CLAMPS = frozenset({"Clip", "Max", "Min"})
CONSTANTS = frozenset({"Constant", "ConstantOfShape", *FOLDABLE})
ALIKE = frozenset({"Add", "Cast", "Clip", "Div", "Identity", "Max", "Min", "Mul", "Pad", "Relu", "Sub", *LINEAR})   # in any order

UNKNOWN = Meaning(Quantisation(scale=1.0, zero_point=0), np.dtype(np.uint8))    # of integers whose quantisation was refused

Value = View | Stack | np.ndarray | None        # None: could not be had, and has been reported


def import_onnx(path: str | Path, *, size: tuple[int, int] | None = None,
                open_shape: tuple[int, int, int] | None = None) -> Graph:
    """The network in an ONNX file, for one image: the batch of the file does not matter.

    `size`, (height, width), replaces that of the file; `open_shape`, (channels, height, width), is used where the file leaves
    its input open. Weights become float32. A batch normalisation or a product or sum with constants per channel is folded into
    its neighbours where that is exact (`nets.fold_affine`); one of the image itself stays, for `nets.load` to see.

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
        join_scores(model, path.parent, self.opset)
        # What stood in place of nodes that were spelt out, by their outputs.
        self.origins = spell_out(model.graph)
        # Of the tensors that a normalisation made of several nodes gives: the channels that it must have.
        self.normalised = join_normalisations(model, path.parent, self.opset)
        self.context = checker.C.CheckerContext()
        self.context.ir_version = model.ir_version
        self.context.opset_imports = {"": self.opset}
        self.initializers = {tensor.name: (tensor_array, tensor) for tensor in self.proto.initializer}
        self.initializers |= {tensor.values.name: (sparse_array, tensor) for tensor in self.proto.sparse_initializer}
        if len(self.initializers) != len(self.proto.initializer) + len(self.proto.sparse_initializer):
            raise ModelError(f"{path}: two initializers have one name")
        self.output = self.proto.output[0].name
        self.nodes = self._ordered()
        self.input = self._find_input()
        self.net = Builder(batch=1, taken={printable(self.input.name)})
        self.names = self._layer_names()
        self.readers = Counter(name for node in self.nodes for name in node.input)
        self.values: dict[str, Value] = {}
        self.steps: dict[str, Steps] = {}               # of constants that were integers
        self.meanings: dict[str, Meaning] = {}          # of computed tensors that are integers
        self.problems: list[Problem] = []
        last = self._channels_last()
        shape = self._input_shape(size, open_shape or (None,) * 3, channels_last=last)
        image = self.net.add(Input(name=printable(self.input.name), shape=shape))
        if last:
            channels, height, width = shape
            image = View(image.layer, (1, height, width, channels), image.name, channels_last(shape))
        self.values[self.input.name] = image
        self.guess = ShapeGuess(model, self.input.name, image.shape)

    def graph(self) -> Graph:
        for node, name in zip(self.nodes, self.names, strict=True):
            self._visit(node, name)
        result = self.values.get(self.output)
        if not self.problems and not isinstance(result, View):
            self._report(printable(self.output), "output",
                         "is a stack of tensors" if isinstance(result, Stack) else "does not depend on the image")
        output = self._output(result) if not self.problems else ""
        if self.problems:
            raise GraphError(str(self.path), self.problems)
        last = self.net.layers[output]
        if last.op in ENDINGS:                  # which the host computes in floats
            self.net.layers[output] = replace(last, quantised=None)
        layers = self.net.layers
        if any(layer.quantised for layer in layers.values()):
            layers, output = with_normalisations(self.net, output)
        graph = Graph(name=readable(self.path.stem), layers=_used(layers, output), output=output,
                      notes=tuple(self._notes(result)))
        return fold_affines(graph)

    def _output(self, result: View) -> str:
        """The layer that is the result. A map with its channels last is given as it lies here, and a note says so."""
        if result.in_order and len(result.shape) != 2 or self._turned(result):
            return result.layer
        try:
            return self.net.tensor(result) if len(result.shape) in (2, 4) else self.net.in_order(result).layer
        except ValueError as error:
            self._report(printable(self.output), "output", str(error))
            return ""

    def _turned(self, result: View) -> bool:
        own = self.net.shapes[result.layer]
        return len(own) == 3 and not result.in_order and result.shape == (1, *own[1:], own[0]) and \
            result.loops == channels_last(own)

    def _notes(self, result: View) -> Iterable[str]:
        if self._turned(result):
            yield f"{self.path.name}: output {printable(self.output)} is given with the channels first"
        if len(self.proto.output) > 1:
            others = [printable(value.name) for value in self.proto.output[1:]]
            yield f"{self.path.name}: output {printable(self.output)} is used, not {', '.join(others)}"

    def _report(self, name: str, op: str, reason: str) -> None:
        self.problems.append(Problem(name, printable(op), printable(" ".join(reason.split()))))

    # Structure: which nodes matter, and is their order one that can be executed?

    def _ordered(self) -> list[onnx.NodeProto]:
        """The nodes that the output depends on, each after those that it reads, else in file order. Raises GraphError if there
        is no such order."""
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
        for index in sorted(needed):
            for name in dict.fromkeys(filter(None, nodes[index].input)):
                if name not in producers and name not in given:
                    blame(index, f"reads {printable(name)}, which nothing produces")
        try:
            order = _execution_order(reads)
        except CycleError as error:
            cycle = error.args[1][:-1]
            around = " -> ".join(_label(nodes[index]) for index in cycle[:8]) + (" ..." if len(cycle) > 8 else "")
            blame(min(cycle), f"is part of a cycle of {len(cycle)} nodes: {around}")
        if problems:
            raise GraphError(str(self.path), problems)
        return [nodes[index] for index in order]

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

    def _channels_last(self) -> bool:
        """Whether the file takes its image with the channels last, as TensorFlow does: the first node that minds the order of
        axes moves them to the front, or reshapes a grey image so."""
        tensor, dims = self.input.name, self.input.type.tensor_type.shape.dim
        grey = len(dims) == 4 and dims[3].dim_value == 1 and dims[1].dim_value != 1
        for node in self.nodes:
            if tensor not in node.input:
                continue
            if self.readers[tensor] != 1 or node.domain not in ("", "ai.onnx"):
                return False
            if node.op_type == "Transpose":
                return [list(one.ints) for one in node.attribute if one.name == "perm"] == [[0, 3, 1, 2]]
            if node.op_type == "Reshape":
                return grey
            if node.op_type not in ALIKE:
                return False
            tensor = node.output[0]
        return False

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
        constant = not any(isinstance(value, View | Stack) for value in values)
        supported = standard and (op in HANDLERS or op in ("Shape", "Size", *LINEAR) or constant and op in CONSTANTS)
        broken = any(tensor and value is None for tensor, value in zip(node.input, values, strict=True))
        outputs: list[Value] = [None] * len(node.output)
        refused = None
        if not supported:
            refused = why_unsupported(op, domain)
        elif not broken:
            try:
                results = self._results(node, name, tuple(values))
                outputs[:len(results)] = results
                self._refuse_others(node, len(results))
                self._check_channels(node, results)
            except (ValueError, checker.ValidationError) as error:
                refused = _first_line(error)
        if refused:
            self._report(*self.origins.get(node.output[0], (name, op)), refused)
        if refused or broken:       # what reads it is checked all the same
            if op in LINEAR:
                outputs = [values[0] if values and isinstance(values[0], View) else None] * len(node.output)
                self.meanings |= {tensor: UNKNOWN for tensor in node.output if op == "QuantizeLinear"}
            else:
                outputs = [self._pretended(tensor, name) if tensor else None for tensor in node.output]
        self.values.update((tensor, value) for tensor, value in zip(node.output, outputs, strict=True) if tensor)

    def _pretended(self, tensor: str, name: str) -> View | None:
        shape = self.guess.shape(tensor)
        return self.net.pretend(self.net.fresh(f"{name}, refused"), shape[1:]) if shape else None

    def _results(self, node: onnx.NodeProto, name: str, values: tuple[Value, ...]) -> list[Value]:
        if node.op_type == "Constant":
            return [constant_value(node, self.path.parent)]
        if node.op_type in LINEAR and len(node.output) == 1:
            return self._linear(Node(node, name, values, self.opset, self.net, *self._integers(node)))
        checker.check_node(node, self.context)
        if node.op_type in ("Shape", "Size"):       # the batch of the file is 1 from here on
            values = tuple(np.broadcast_to(np.float32(0), value.shape) if isinstance(value, View | Stack) else value
                           for value in values)
        read = Node(node, name, values, self.opset, self.net, *self._integers(node))
        if not any(isinstance(value, View | Stack) for value in values) and node.op_type in CONSTANTS:
            if node.op_type in CARRIED and read.steps[0] and (steps := carried(read, read.steps[0])):
                self.steps[node.output[0]] = steps
            return fold(node, values, self.opset)
        if meaning := meant(read):
            read = with_real_constants(read, meaning)
            self.meanings |= {tensor: meaning for tensor in node.output if tensor}
        if meaning and node.op_type in CLAMPS:
            return [clamped(read, HANDLERS[node.op_type], meaning.kind)]
        result = HANDLERS[node.op_type](read)
        return result if isinstance(result, list) else [result]

    def _integers(self, node: onnx.NodeProto) -> tuple[tuple[Meaning | None, ...], tuple[Steps | None, ...]]:
        return tuple(map(self.meanings.get, node.input)), tuple(map(self.steps.get, node.input))

    def _linear(self, node: Node) -> list[Value]:
        """A QuantizeLinear or DequantizeLinear, of constants or not."""
        name = node.proto.output[0]
        if node.proto.op_type == "QuantizeLinear":
            if not node.computed(0):
                return fold(node.proto, node.inputs, self.opset)
            view, self.meanings[name] = quantise(node)
            return [view]
        if node.computed(0):
            return [dequantise(node)]
        real, self.steps[name] = dequantised(node)
        return [real]

    def _refuse_others(self, node: onnx.NodeProto, count: int) -> None:
        for extra in filter(None, node.output[count:]):
            if self.readers[extra] or extra == self.output:
                raise ValueError(f"only the first output can be used, not {printable(extra)}")

    def _check_channels(self, node: onnx.NodeProto, results: list[Value]) -> None:
        channels = self.normalised.get(node.output[0])
        if channels and results[0].shape[1] != channels:
            raise ValueError(f"squares must be summed over all {results[0].shape[1]} channels, not {channels}")

    def _value(self, name: str) -> Value:
        """Value of a tensor; initializers are read when they are first needed."""
        if name and name not in self.values:
            try:
                read, tensor = self.initializers[name]
                self.values[name] = read(tensor, self.path.parent)
            except ValueError as error:
                self.values[name] = None
                self._report(printable(name), "initializer", str(error))
        return self.values[name] if name else None


def _label(node: onnx.NodeProto) -> str:
    return printable(node.name or next(filter(None, node.output), "?"))


def _execution_order(reads: dict[int, list[int]]) -> list[int]:
    """The nodes, each after those that it reads, and as early in the file's order as that allows. Raises CycleError."""
    sorter = TopologicalSorter(reads)
    sorter.prepare()
    order, ready = [], list(sorter.get_ready())
    heapify(ready)
    while ready:
        order.append(heappop(ready))
        sorter.done(order[-1])
        for index in sorter.get_ready():
            heappush(ready, index)
    return order


def _used(layers: dict[str, Layer], output: str) -> tuple[Layer, ...]:
    """The layers that the output depends on, and the input."""
    used, waiting = {name for name, layer in layers.items() if isinstance(layer, Input)}, [output]
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            waiting += layers[name].inputs
    return tuple(layer for name, layer in layers.items() if name in used)
