"""Layers of a quantised network as ONNX nodes: what does not depend on how arithmetic is said.

What only moves or compares values runs on uint8, tables run on integers; an average pool runs on floats, where a nudge smaller
than any other fraction decides its halves.
"""
from abc import ABC, abstractmethod

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nets.graph import Window
from nets.int8.network import (
    FRACTION_BITS,
    LRN_EXACT,
    LRN_PARTS,
    LRN_REST_BITS,
    QLRN,
    QAdd,
    QAvgPool,
    QChannelShuffle,
    QClamp,
    QConcat,
    QConv,
    QFlatten,
    QGlobalAvgPool,
    QInput,
    QLayer,
    QMaxPool,
    QNetwork,
    QPad,
    QRearrange,
    QSelect,
    QSoftmax,
    QTable,
    Requantise,
)

__all__ = ["Exporter", "window_of"]

OPSET, IR_VERSION = 13, 8               # the first opset with scales per channel


def window_of(window: Window) -> dict:
    """The attributes of a node with this window, but for its dilation."""
    return {"kernel_shape": window.kernel, "strides": window.stride, "pads": window.padding}


def _free_name(network: QNetwork, name: str) -> str:
    while name in network.by_name:
        name += "_"
    return name


class Exporter(ABC):
    """ONNX nodes and initialisers of a network's layers; tensor names are those of the layers, inputs and outputs uint8, scores
    perhaps uint16.

    The prepared image and the scores are called `image` and `scores`, with `_` appended where a layer has that name.
    """

    def __init__(self, network: QNetwork):
        self.network = network
        self.image, self.scores = (_free_name(network, name) for name in ("image", "scores"))
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, onnx.TensorProto] = {}

    @abstractmethod
    def input(self, layer: QInput) -> None:
        """From the prepared image."""

    @abstractmethod
    def conv(self, layer: QConv) -> None:
        """A convolution, requantised and clamped."""

    @abstractmethod
    def average(self, layer: QGlobalAvgPool) -> None:
        """The mean of each channel, requantised and clamped."""

    @abstractmethod
    def addition(self, layer: QAdd) -> None:
        """The sum of two tensors, requantised and clamped."""

    def add(self, layer: QLayer) -> None:
        """Appends the layer."""
        match layer:
            case QInput():
                self.input(layer)
            case QConv():
                self.conv(layer)
            case QGlobalAvgPool():
                self.average(layer)
            case QAdd():
                self.addition(layer)
            case QMaxPool():
                self.node("MaxPool", list(layer.inputs), layer.name, ceil_mode=int(layer.ceil_mode), **window_of(layer.window),
                          dilations=layer.window.dilation)
            case QAvgPool():
                self._average_pool(layer)
            case QConcat():
                self.node("Concat", list(layer.inputs), layer.name, axis=1)
            case QChannelShuffle():
                self._shuffle(layer)
            case QClamp():
                bounds = [self.array(f"{layer.name}/{what}", np.uint8(getattr(layer, what))) for what in ("low", "high")]
                self.node("Clip", [*layer.inputs, *bounds], layer.name)
            case QFlatten():
                self.node("Reshape", [*layer.inputs, self._shape(layer)], layer.name)
            case QPad():
                pads = self.array(f"{layer.name}/pads", np.array([0, *layer.before, 0, *layer.after], np.int64))
                self.node("Pad", [*layer.inputs, pads, self.array(f"{layer.name}/value", np.uint8(layer.value))], layer.name)
            case QSelect():
                self.node("Gather", [*layer.inputs, self.array(f"{layer.name}/channels", layer.channels)], layer.name, axis=1)
            case QRearrange():
                self._rearrange(layer)
            case QLRN():
                self._lrn(layer)
            case QTable():
                entry = self.node("Cast", [*layer.inputs], f"{layer.name}/entry", to=TensorProto.INT64)
                self.node("Gather", [self.array(f"{layer.name}/table", layer.table), entry], layer.name)
            case QSoftmax():
                self._softmax(layer)

    # Nodes and initialisers

    def node(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        """Appends a node with one output, and gives its name back."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}/{op}", **attributes))
        return output

    def array(self, name: str, values: np.ndarray) -> str:
        """Adds an initialiser, and gives its name back."""
        self.arrays[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def scale(self, name: str, scale: float | np.ndarray, zero_point: np.ndarray) -> list[str]:
        """Initialisers of a scale and a zero point."""
        return [self.array(f"{name}/scale", np.asarray(scale, np.float32)), self.array(f"{name}/zero_point", zero_point)]

    def steps(self, name: str, value: str, *steps: tuple[str, int | float | np.ndarray, type]) -> str:
        """Binary operators with constants, one after the other."""
        for number, (op, constant, dtype) in enumerate(steps):
            output = f"{name}/{op}{number}"
            value = self.node(op, [value, self.array(f"{output}_by", np.array(constant, dtype))], output)
        return value

    def floats(self, layer: QLayer, index: int = 0, scale: float | None = None) -> str:
        """The layer's input as floats, with its own scale or another."""
        source = self.network.tensors[layer.inputs[index]]
        name = f"{layer.name}/input_{index}"
        return self.node("DequantizeLinear", [layer.inputs[index], *self.scale(
            name, source.scale if scale is None else scale, np.uint8(source.zero_point))], name)

    def quantise(self, layer: QLayer, value: str, low: int = 0, high: int = 255) -> None:
        """The layer's output from floats, clamped."""
        kind = self.network.tensors[layer.name]
        if (low, high) == (0, 255):
            pass                                # QuantizeLinear saturates there
        elif (low, high) == (kind.zero_point, 255):
            value = self.node("Relu", [value], f"{layer.name}/clamped")
        else:
            bounds = [self.array(f"{layer.name}/{what}", np.float32((q - kind.zero_point) * kind.scale))
                      for what, q in (("low", low), ("high", high))]
            value = self.node("Clip", [value, *bounds], f"{layer.name}/clamped")
        self.node("QuantizeLinear", [value, *self.scale(layer.name, kind.scale, np.uint8(kind.zero_point))], layer.name)

    def requantise(self, layer: QConv | QGlobalAvgPool | QAdd, value: str) -> None:
        """The layer's output from floats, as its `requantise` says. The operators of opset 13 do not quantise to 16 bits."""
        how, kind = layer.requantise, self.network.tensors[layer.name]
        if not how.fraction:
            self.quantise(layer, value, how.low, how.high)
            return
        value = self.steps(f"{layer.name}/fine", value, ("Div", kind.scale, np.float32))
        self._cut_off(layer, self.node("Floor", [value], f"{layer.name}/floor"), np.float32)

    def _cut_off(self, layer: QConv | QGlobalAvgPool | QAdd, value: str, number: type) -> None:
        """The layer's output of 16 bits from whole numbers of sub-steps."""
        how, kind = layer.requantise, self.network.tensors[layer.name]
        value = self.steps(f"{layer.name}/limited", value, ("Add", kind.zero_point, number),
                           ("Max", how.low << FRACTION_BITS, number), ("Min", how.high << FRACTION_BITS, number))
        self.node("Cast", [value], layer.name, to=TensorProto.UINT16)

    def values(self, name: str) -> str:
        """The floats that a tensor stands for."""
        kind, value = self.network.tensors[name], f"{self.scores}/value"
        if kind.bits == 8:
            return self.node("DequantizeLinear", [name, *self.scale(self.scores, kind.scale, np.uint8(kind.zero_point))], value)
        wide = self.node("Cast", [name], f"{self.scores}/wide", to=TensorProto.FLOAT)
        return self.steps(value, wide, ("Sub", kind.zero_point, np.float32), ("Mul", kind.scale, np.float32))

    def less_zero(self, layer: QLayer, index: int) -> str:
        """The layer's input as int64, less its zero point."""
        source = self.network.tensors[layer.inputs[index]]
        wide = self.node("Cast", [layer.inputs[index]], f"{layer.name}/wide{index}", to=TensorProto.INT64)
        return self.steps(f"{layer.name}/value{index}", wide, ("Sub", source.zero_point, np.int64))

    def requantise_integers(self, layer: QConv | QGlobalAvgPool | QAdd, value: str, how: Requantise) -> None:
        """The layer's output from int64, as `how` says, whose arrays are of shapes that fit."""
        factor = how.multiplier * 2.0 ** -how.shift
        if not how.fraction:
            self.round(layer, value, factor, how.low, how.high)
            return
        name = f"{layer.name}/fine"
        value = self.node("Cast", [value], f"{name}/double", to=TensorProto.DOUBLE)
        value = self.steps(name, value, ("Mul", factor * (1 << FRACTION_BITS), np.float64))
        self._cut_off(layer, self.node("Floor", [value], f"{name}/floor"), np.float64)

    def round(self, layer: QLayer, value: str, factor: float | np.ndarray, low: int, high: int) -> None:
        """The layer's output from int64: times a factor, halves up, clamped. Doubles hold the products exactly."""
        name = f"{layer.name}/rounded"
        value = self.node("Cast", [value], f"{name}/double", to=TensorProto.DOUBLE)
        self._nearest(layer, self.steps(f"{name}/scaled", value, ("Mul", factor, np.float64)), low, high)

    def _nearest(self, layer: QLayer, value: str, low: int, high: int) -> None:
        """The layer's output from doubles, halves up, clamped."""
        name = f"{layer.name}/rounded"
        value = self.node("Floor", [self.steps(f"{name}/up", value, ("Add", 0.5, np.float64))], f"{name}/floor")
        value = self.steps(name, value, ("Add", self.network.tensors[layer.name].zero_point, np.float64),
                            ("Max", low, np.float64), ("Min", high, np.float64))
        self.node("Cast", [value], layer.name, to=TensorProto.UINT8)

    # Layers

    def _shape(self, layer: QLayer) -> str:
        return self.array(f"{layer.name}/shape", np.array([1, *self.network.tensors[layer.name].shape], np.int64))

    def _average_pool(self, layer: QAvgPool) -> None:
        mean = self.node("AveragePool", [self.floats(layer)], f"{layer.name}/mean", ceil_mode=int(layer.ceil_mode),
                         count_include_pad=int(layer.count_include_pad), **window_of(layer.window))
        # halves are common here and go up, not to even: a nudge smaller than any other fraction decides them
        scale = self.network.tensors[layer.name].scale
        nudge = scale / (4 * layer.window.kernel[0] * layer.window.kernel[1])
        mean = self.node("Add", [mean, self.array(f"{layer.name}/nudge", np.float32(nudge))], f"{layer.name}/nudged")
        self.quantise(layer, mean)

    def _shuffle(self, layer: QChannelShuffle) -> None:
        channels, height, width = self.network.tensors[layer.name].shape
        name = layer.name
        split = self.array(f"{name}/split", np.array([1, layer.groups, channels // layer.groups, height, width], np.int64))
        value = self.node("Reshape", [*layer.inputs, split], f"{name}/grouped")
        value = self.node("Transpose", [value], f"{name}/swapped", perm=[0, 2, 1, 3, 4])
        self.node("Reshape", [value, self._shape(layer)], name)

    def _rearrange(self, layer: QRearrange) -> None:
        sizes = self.array(f"{layer.name}/sizes", np.array([1, *layer.sizes], np.int64))
        value = self.node("Reshape", [*layer.inputs, sizes], f"{layer.name}/split")
        value = self.node("Transpose", [value], f"{layer.name}/moved", perm=[0, *(1 + axis for axis in layer.order)])
        self.node("Reshape", [value, self._shape(layer)], layer.name)

    def _lrn(self, layer: QLRN) -> None:
        name, channels = layer.name, self.network.tensors[layer.inputs[0]].shape[0]
        value = self.less_zero(layer, 0)
        square = self.node("Mul", [value, value], f"{name}/square")
        below = (layer.size - 1) // 2
        pads = self.array(f"{name}/pads", np.array([0, below, 0, 0, 0, layer.size - 1 - below, 0, 0], np.int64))
        square = self.node("Pad", [square, pads], f"{name}/padded")
        parts = [self.node("Slice", [square, *(self.array(f"{name}/{what}{k}", np.array([n], np.int64)) for what, n in (
            ("from", k), ("to", k + channels), ("axis", 1)))], f"{name}/part{k}") for k in range(layer.size)]
        total = parts[0]
        for k, part in enumerate(parts[1:]):
            total = self.node("Add", [total, part], f"{name}/total{k}")
        octaves = len(layer.base) // LRN_PARTS - 2
        reached = [self.node("Cast", [self.node("GreaterOrEqual", [total, self.array(
            f"{name}/octave{n}", np.int64(LRN_EXACT << n))], f"{name}/reached{n}")], f"{name}/counted{n}", to=TensorProto.INT64)
            for n in range(octaves)]
        octave = reached[0]
        for n, one in enumerate(reached[1:]):
            octave = self.node("Add", [octave, one], f"{name}/octaves{n}")
        width = self._looked_up(name, "width", 1 << np.arange(octaves + 1), octave)
        part = self.node("Div", [total, width], f"{name}/whole")
        rest = self.node("Sub", [total, self.node("Mul", [part, width], f"{name}/first")], f"{name}/left")
        rest = self.node("Div", [self.steps(f"{name}/fine", rest, ("Mul", 1 << LRN_REST_BITS, np.int64)), width], f"{name}/rest")
        entry = self.node("Add", [self.steps(f"{name}/parts", octave, ("Mul", LRN_PARTS, np.int64)), part], f"{name}/entry")
        base, drop = (self._looked_up(name, what, getattr(layer, what), entry) for what in ("base", "drop"))
        less = self.steps(f"{name}/less", self.node("Mul", [drop, rest], f"{name}/lower"),
                          ("Add", 1 << LRN_REST_BITS - 1, np.int64), ("Div", 1 << LRN_REST_BITS, np.int64))
        product = self.node("Mul", [value, self.node("Sub", [base, less], f"{name}/factor")], f"{name}/product")
        product = self.node("Cast", [product], f"{name}/wide", to=TensorProto.DOUBLE)
        steps = self._looked_up(name, "steps", 2.0 ** -layer.shift.astype(np.float64), entry)
        self._nearest(layer, self.node("Mul", [product, steps], f"{name}/scaled"), 0, 255)

    def _looked_up(self, name: str, what: str, table: np.ndarray, entry: str) -> str:
        """An int64, or double, of a table."""
        wide = table if table.dtype == np.float64 else table.astype(np.int64)
        return self.node("Gather", [self.array(f"{name}/{what}_table", wide), entry], f"{name}/{what}")

    def _softmax(self, layer: QSoftmax) -> None:
        name = layer.name
        wide = self.node("Cast", [*layer.inputs], f"{name}/wide", to=TensorProto.INT64)
        top = self.node("ReduceMax", [wide], f"{name}/top", axes=[1], keepdims=1)
        power = self.node("Gather", [self.array(f"{name}/table", layer.table.astype(np.int64)),
                                     self.node("Sub", [top, wide], f"{name}/below")], f"{name}/power")
        total = self.node("ReduceSum", [power, self.array(f"{name}/axes", np.array([1], np.int64))], f"{name}/total", keepdims=1)
        above = self.node("Add", [self.steps(f"{name}/above", power, ("Mul", 512, np.int64)), total], f"{name}/dividend")
        value = self.node("Div", [above, self.steps(f"{name}/twice", total, ("Mul", 2, np.int64))], f"{name}/quotient")
        self.node("Cast", [self.steps(f"{name}/clamp", value, ("Min", 255, np.int64))], name, to=TensorProto.UINT8)

    def model(self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        """The checked model of all nodes."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, list(self.arrays.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="fireline",
                                  ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model
