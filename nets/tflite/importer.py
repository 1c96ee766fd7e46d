"""TFLite files as `nets.graph` networks.

The operators come in execution order, and each is read once. What only moves values costs nothing; what is left becomes layers,
named after the tensors that they produce in the file.
"""
from collections.abc import Iterable
from dataclasses import replace
import math
from pathlib import Path

from cli import readable
from nets.endings import ENDINGS
from nets.fold_affine import fold_affines
from nets.graph import Graph, GraphError, Input, Layer, Problem
from nets.int8.quantised import Quantisation
from nets.model import ModelError
from nets.onnx.build import Builder, View, typed
from nets.onnx.layout import own_order
from nets.tflite.build import Constant, Node, first_channels, seen
from nets.tflite.file import FLOATS, MAX_ELEMENTS, File, Operator, Tensor, called, read_file
from nets.tflite.ops import HANDLERS, why_unsupported

__all__ = ["import_tflite"]

MAX_SIDE = 4096         # of the input image, as `nets.preprocess`
OFFSETS = {"INT8": 128, "UINT8": 0}             # of our steps to the file's
COMPUTES = frozenset({"DEQUANTIZE"})            # of constants, whose output is one as well

Value = View | Constant | None                  # None: could not be had, and has been reported


def import_tflite(path: str | Path, *, size: tuple[int, int] | None = None) -> Graph:
    """The network in a TFLite file, for one image: the batch of the file does not matter.

    `size`, (height, width), replaces that of the file. Images have their channels first here; an input that is no image is
    one of a single channel: n features are 1 x 1 x n. Weights become float32.

    Raises ModelError if the file cannot be read as a TFLite network, GraphError with every operator that cannot be mapped.
    """
    path = Path(path)
    try:
        return _Import(path, read_file(path), size).graph()
    except MemoryError:
        raise ModelError(f"{path}: there is not enough memory for its weights") from None


class _Import:
    """One import: what is known of each tensor, and the problems so far."""

    def __init__(self, path: Path, file: File, size: tuple[int, int] | None):
        self.path, self.file, self.resized = path, file, size is not None
        self.output = file.outputs[0]
        self.operators = self._needed()
        self.used = {number for operator in self.operators for number in operator.inputs} | {self.output}
        self.input = self._find_input()
        self.net = Builder()
        self.problems: list[Problem] = []
        self.values: dict[int, Value] = {}
        name = self.net.fresh(self._called(self.input))
        self.values[self.input] = self._image(name, size)
        self.names = [self.net.fresh(self._called(operator.outputs[0])) for operator in self.operators]

    def graph(self) -> Graph:
        for operator, name in zip(self.operators, self.names, strict=True):
            self._visit(operator, name)
        result = self.values.get(self.output)
        if not self.problems and not isinstance(result, View):
            self._report(self._called(self.output), "output", "does not depend on the image")
        if self.problems:
            raise GraphError(str(self.path), self.problems)
        output = self._output(result)
        last = self.net.layers[output]
        if last.op in ENDINGS:                  # which the host computes in floats
            self.net.layers[output] = replace(last, quantised=None)
        return fold_affines(Graph(name=readable(self.path.stem), layers=_used(self.net.layers, output), output=output,
                                  notes=tuple(self._notes(result))))

    def _output(self, result: View) -> str:
        """The layer that is the result: a map has its channels first, as all maps here; all else is features."""
        if len(result.shape) == 4:
            return first_channels(self.net, result)
        if len(result.shape) == 2 and result.in_order and set(self.net.shapes[result.layer][1:]) <= {1}:
            return result.layer
        return self.net.tensor(replace(result, shape=(1, math.prod(result.shape))))

    def _notes(self, result: View) -> Iterable[str]:
        name = self.path.name
        if len(result.shape) == 4 and max(result.shape[1:3]) > 1:
            yield f"{name}: output {self._called(self.output)} is given with the channels first"
        if len(self.file.outputs) > 1:
            others = ", ".join(self._called(number) for number in self.file.outputs[1:])
            yield f"{name}: output {self._called(self.output)} is used, not {others}"
        if self.file.others:
            yield f"{name}: the first of {self.file.others + 1} graphs is used"

    def _called(self, number: int) -> str:
        return called(self.file.tensors[number].name)

    def _report(self, name: str, op: str, reason: str) -> None:
        self.problems.append(Problem(name, op, " ".join(reason.split())))

    # Structure: which operators matter, and are they in an order that can be executed?

    def _needed(self) -> list[Operator]:
        """The operators that the output depends on, in the file's order. Raises GraphError if that is none of execution."""
        given, problems = set(self.file.inputs), []
        given |= {number for number, tensor in enumerate(self.file.tensors) if tensor.data is not None}
        made: set[int] = set()
        for operator in self.file.operators:
            for number in operator.outputs:
                if number in made or number in given:
                    problems.append(Problem(self._called(operator.outputs[0]), operator.op,
                                            f"produces {self._called(number)}, which exists already"))
            made.update(operator.outputs)
        needed, kept = {self.output}, []
        for operator in reversed(self.file.operators):
            if needed.intersection(operator.outputs):
                needed.update(operator.inputs[:1] if operator.op == "RESHAPE" else operator.inputs)     # a shape may be computed
                kept.append(operator)
        known = set(given)
        for operator in reversed(kept):
            for number in dict.fromkeys(operator.inputs[:1] if operator.op == "RESHAPE" else operator.inputs):
                if number >= 0 and number not in known:
                    problems.append(Problem(self._called(operator.outputs[0]), operator.op,
                                            f"reads {self._called(number)}, which no earlier operator produces"))
            known.update(operator.outputs)
        if not kept and not problems:
            problems.append(Problem(self._called(self.output), "output", "is produced by no operator"))
        if problems:
            raise GraphError(str(self.path), problems)
        return kept[::-1]

    # The input

    def _find_input(self) -> int:
        inputs = [number for number in dict.fromkeys(self.file.inputs) if number in self.used]
        if len(inputs) != 1:
            found = f"{len(inputs)}: " + ", ".join(map(self._called, inputs)) if inputs else "none"
            raise ModelError(f"{self.path}: must have one input, the image, not {found}")
        return inputs[0]

    def _image(self, name: str, size: tuple[int, int] | None) -> View:
        tensor = self.file.tensors[self.input]
        start = f"{self.path}: input {name!r}"
        try:
            kind = self._kind(self.input)
        except ValueError as error:
            raise ModelError(f"{start} {error}") from None
        batch, *dims = tensor.shape or (0,)
        if not 1 <= len(dims) <= 3:
            raise ModelError(f"{start} must be batch x height x width x channels, or batch x features, "
                             f"not {len(tensor.shape)} axes")
        if min(batch, *dims) < 1:
            raise ModelError(f"{start} must have positive sizes, not {'x'.join(map(str, tensor.shape))}")
        self.net.batch = batch
        if len(dims) == 3:
            shape = dims[2], *(size or dims[:2])
        elif size:
            raise ModelError(f"{start} is no image: it has no other size than {'x'.join(map(str, dims))}")
        else:
            shape = (*(1 for _ in range(3 - len(dims))), *dims)
        if max(shape) > MAX_SIDE:
            raise ModelError(f"{start} must be at most {MAX_SIDE} channels, height and width, not {shape}")
        made = self.net.add(Input(name=name, shape=tuple(shape), quantised=kind, takes_steps=kind is not None, raw_order="HWC",
                                  raw_type="int8" if tensor.type == "INT8" else "uint8"))
        if len(dims) == 3:
            return seen(self.net, made.layer)
        return View(name, (1, *dims), self.net.fresh(f"{name}.flat"), own_order(math.prod(dims)))

    # Operators

    def _visit(self, operator: Operator, name: str) -> None:
        values = [self._value(number) if number >= 0 else None for number in operator.inputs]
        broken = any(value is None and number >= 0 for value, number in zip(values, operator.inputs, strict=True))
        if operator.op == "RESHAPE" and len(values) > 1 and values[1] is None:          # its shape is computed
            broken = values[0] is None
        result = refused = None
        if operator.op not in HANDLERS:
            refused = why_unsupported(operator.op)
        elif not broken:
            try:
                result = self._result(operator, name, tuple(values))
            except ValueError as error:
                refused = str(error)
        if refused:
            self._report(name, operator.op, refused)
        self.values.update(dict.fromkeys(operator.outputs))
        self.values[operator.outputs[0]] = result or self._pretended(operator.outputs[0], name)

    def _pretended(self, number: int, name: str) -> View | None:
        """The output of an operator that was refused, as the file declares it: what reads it is checked all the same."""
        shape = self.file.tensors[number].shape
        if len(shape) not in (2, 4) or min(shape) < 1 or math.prod(shape) > MAX_ELEMENTS or shape[0] != self.net.batch:
            return None
        made = self.net.pretend(self.net.fresh(f"{name}, refused"), (*shape[3:], *shape[1:3]))
        return seen(self.net, made.layer) if len(shape) == 4 else made

    def _result(self, operator: Operator, name: str, values: tuple[Value, ...]) -> Value:
        declared = self.file.tensors[operator.outputs[0]].shape
        shape = (1, *declared[1:]) if declared[:1] == (self.net.batch,) else declared
        if operator.op in COMPUTES and isinstance(values[0] if values else None, Constant):
            return Constant(values[0].real)
        if self.used.intersection(operator.outputs[1:]):
            raise ValueError("only the first output can be used")
        names = tuple(self._called(number) if number >= 0 else "none" for number in operator.inputs)
        kinds = tuple(self._kind(number) if isinstance(value, View) else None
                      for number, value in zip(operator.inputs, values, strict=True))
        kind = self._kind(operator.outputs[0])
        result = HANDLERS[operator.op](Node(operator, name, values, names, shape, self.net, kinds, kind))
        if shape and result.shape != shape and not self.resized:
            raise ValueError(f"output is declared as {declared}, but is {result.shape}")
        return typed(self.net, result, kind, f"{name}.quantised", "QUANTIZE")

    def _kind(self, number: int) -> Quantisation | None:
        """What the integers of a computed tensor mean; None for floats. Raises ValueError for others."""
        tensor = self.file.tensors[number]
        if tensor.type in FLOATS:
            return None
        if tensor.type not in OFFSETS:
            raise ValueError(f"{self._called(number)} must be of floats or of 8 bits, not {tensor.type}")
        found = tensor.quantised
        if found is None or found.scale.size != 1 or found.zero_point.size != 1:
            raise ValueError(f"{self._called(number)} must have one scale, not {0 if found is None else found.scale.size}")
        try:
            return Quantisation(scale=float(found.scale[0]), zero_point=int(found.zero_point[0]) + OFFSETS[tensor.type])
        except ValueError as error:
            raise ValueError(f"{self._called(number)}: {error}") from None

    def _value(self, number: int) -> Value:
        """Value of a tensor; constants are read when they are first needed."""
        if number not in self.values:
            tensor: Tensor = self.file.tensors[number]
            self.values[number] = None
            if tensor.data is not None:
                try:
                    self.values[number] = Constant(tensor.array(), tensor.quantised)
                except ValueError as error:
                    self._report(self._called(number), "tensor", str(error))
        return self.values[number]


def _used(layers: dict[str, Layer], output: str) -> tuple[Layer, ...]:
    """The layers that the output depends on, and the input."""
    used, waiting = {name for name, layer in layers.items() if isinstance(layer, Input)}, [output]
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            waiting += layers[name].inputs
    return tuple(layer for name, layer in layers.items() if name in used)
