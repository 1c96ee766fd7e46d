"""A quantised network as ONNX, for other tools and as an independent judge of `golden.values`.

Every layer's uint8 tensor keeps its name. Arithmetic runs between DequantizeLinear and QuantizeLinear with the scales that the
integers mean exactly; what only moves or compares values runs on uint8; tables run on integers. Only the rounding of floats
can tell it from the integer network: about one element in 100 million is off by one step, and the layers after it follow.
With `--integers` convolutions are ConvInteger and rounding is spelt out in doubles, which hold every product: bit for bit the
same, but slower.
"""
import argparse
from pathlib import Path
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cli import print_notes, run_command, write_bytes, write_json
from nets.graph import Window
from nets.int8.network import (
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
    QSoftmax,
    TensorType,
)
from nets.network import add_network_arguments, network_from_arguments

__all__ = ["get_parser", "layer_model", "main", "network_model"]

OPSET, IR_VERSION = 13, 8               # the first opset with scales per channel
INT32 = np.iinfo(np.int32)


class _Builder:
    """ONNX nodes and initialisers of a network's layers; tensor names are those of the layers."""

    def __init__(self, network: QNetwork, *, integers: bool = False):
        self.network, self.integers = network, integers
        self.image, self.scores = (_free_name(network, name) for name in ("image", "scores"))
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, onnx.TensorProto] = {}

    def node(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}/{op}", **attributes))
        return output

    def array(self, name: str, values: np.ndarray) -> str:
        self.arrays[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def scale(self, name: str, scale: float | np.ndarray, zero_point: np.ndarray) -> list[str]:
        return [self.array(f"{name}/scale", np.asarray(scale, np.float32)), self.array(f"{name}/zero_point", zero_point)]

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

    def add(self, layer: QLayer) -> None:
        """Appends the layer; its inputs are uint8 tensors named as in the network."""
        tensors = self.network.tensors
        source, kind = [tensors[name] for name in layer.inputs], tensors[layer.name]
        match layer:
            case QInput() if self.integers:             # the float32 steps of QNetwork.quantise_input
                value = self._steps(f"{layer.name}/level", self.image, ("Div", kind.scale, np.float32), ("Add", 0.5, np.float32))
                value = self.node("Floor", [value], f"{layer.name}/floor")
                value = self._steps(f"{layer.name}/clamp", value, ("Add", kind.zero_point, np.float32), ("Max", 0, np.float32),
                                    ("Min", 255, np.float32))
                self.node("Cast", [value], layer.name, to=TensorProto.UINT8)
            case QInput():
                self.quantise(layer, self.image)
            case QConv() if self.integers:
                self._integer_conv(layer, source[0])
            case QGlobalAvgPool() if self.integers:
                total = self.node("ReduceSum", [self._less_zero(layer, 0), self.array(f"{layer.name}/axes", np.array([2, 3]))],
                                  f"{layer.name}/total", keepdims=1)
                how = layer.requantise
                self._round(layer, total, (how.multiplier * 2.0 ** -how.shift)[:, None, None], how.low, how.high)
            case QAdd() if self.integers:
                parts = [self._steps(f"{layer.name}/{index}", self._less_zero(layer, index), ("Mul", multiplier, np.int64))
                         for index, multiplier in enumerate(layer.multipliers)]
                self._round(layer, self.node("Add", parts, f"{layer.name}/total"), 2.0 ** -layer.shift, layer.low, layer.high)
            case QConv():
                self._conv(layer, source[0], kind)
            case QMaxPool():
                self.node("MaxPool", list(layer.inputs), layer.name, ceil_mode=int(layer.ceil_mode), **_window(layer.window),
                          dilations=layer.window.dilation)
            case QAvgPool():
                mean = self.node("AveragePool", [self.floats(layer)], f"{layer.name}/mean", ceil_mode=int(layer.ceil_mode),
                                 count_include_pad=int(layer.count_include_pad), **_window(layer.window))
                # halves are common here and go up, not to even: a nudge smaller than any other fraction decides them
                nudge = kind.scale / (4 * layer.window.kernel[0] * layer.window.kernel[1])
                mean = self.node("Add", [mean, self.array(f"{layer.name}/nudge", np.float32(nudge))], f"{layer.name}/nudged")
                self.quantise(layer, mean)
            case QGlobalAvgPool():
                mean = self.node("GlobalAveragePool", [self.floats(layer)], f"{layer.name}/mean")
                self.quantise(layer, mean, layer.requantise.low, layer.requantise.high)
            case QAdd():
                parts = [self.floats(layer, index, multiplier * 2.0 ** -layer.shift * kind.scale)
                         for index, multiplier in enumerate(layer.multipliers)]
                self.quantise(layer, self.node("Add", parts, f"{layer.name}/sum"), layer.low, layer.high)
            case QConcat():
                self.node("Concat", list(layer.inputs), layer.name, axis=1)
            case QChannelShuffle():
                self._shuffle(layer, kind)
            case QClamp():
                bounds = [self.array(f"{layer.name}/{what}", np.uint8(getattr(layer, what))) for what in ("low", "high")]
                self.node("Clip", [*layer.inputs, *bounds], layer.name)
            case QFlatten():
                shape = self.array(f"{layer.name}/shape", np.array([1, *kind.shape], np.int64))
                self.node("Reshape", [*layer.inputs, shape], layer.name)
            case QLRN():
                self._lrn(layer, source[0])
            case QSoftmax():
                self._softmax(layer)

    def _conv(self, layer: QConv, source: TensorType, kind: TensorType) -> None:
        how, name = layer.requantise, layer.name
        factor = np.broadcast_to(how.multiplier * 2.0 ** -how.shift, len(layer.bias))       # x_scale * w_scale / y_scale
        zeros = np.zeros(len(layer.bias), np.int8)
        weight = self.node("DequantizeLinear", [self.array(f"{name}/weight_q", layer.weight), *self.scale(
            f"{name}/weight", _weight_scale(factor, source.scale, kind.scale), zeros)], f"{name}/weight", axis=0)
        flat = layer.weight.reshape(len(layer.bias), -1)
        bias_q = layer.bias + source.zero_point * flat.sum(1, dtype=np.int64)
        bias = f"{name}/bias"
        if bias_q.min() < INT32.min or bias_q.max() > INT32.max:        # fits only with the zero point folded in
            self.array(bias, (bias_q * factor * kind.scale).astype(np.float32))
        else:
            self.node("DequantizeLinear", [self.array(f"{bias}_q", bias_q.astype(np.int32)), *self.scale(
                bias, factor * kind.scale, zeros.astype(np.int32))], bias, axis=0)
        value = self.node("Conv", [self.floats(layer), weight, bias], f"{name}/sum", group=layer.groups,
                          **_window(layer.window), dilations=layer.window.dilation)
        self.quantise(layer, value, how.low, how.high)

    def _integer_conv(self, layer: QConv, source: TensorType) -> None:
        name = layer.name
        folded = source.zero_point * layer.weight.reshape(len(layer.bias), -1).sum(1, dtype=np.int64)
        total = self.node("ConvInteger", [*layer.inputs, self.array(f"{name}/weight", layer.weight),
                                          self.array(f"{name}/input_zero_point", np.uint8(source.zero_point))],
                          f"{name}/sum", group=layer.groups, **_window(layer.window), dilations=layer.window.dilation)
        total = self.node("Cast", [total], f"{name}/wide", to=TensorProto.INT64)
        total = self._steps(name, total, ("Add", (layer.bias + folded)[:, None, None], np.int64))
        how = layer.requantise
        self._round(layer, total, (how.multiplier * 2.0 ** -how.shift)[:, None, None], how.low, how.high)

    def _less_zero(self, layer: QLayer, index: int) -> str:
        """The layer's input as int64, less its zero point."""
        source = self.network.tensors[layer.inputs[index]]
        wide = self.node("Cast", [layer.inputs[index]], f"{layer.name}/wide{index}", to=TensorProto.INT64)
        return self._steps(f"{layer.name}/value{index}", wide, ("Sub", source.zero_point, np.int64))

    def _round(self, layer: QLayer, value: str, factor: float | np.ndarray, low: int, high: int) -> None:
        """The layer's output from int64: times a factor, halves up, clamped. Doubles hold the products exactly."""
        name = f"{layer.name}/rounded"
        value = self.node("Cast", [value], f"{name}/double", to=TensorProto.DOUBLE)
        value = self._steps(f"{name}/scaled", value, ("Mul", factor, np.float64), ("Add", 0.5, np.float64))
        value = self.node("Floor", [value], f"{name}/floor")
        value = self._steps(name, value, ("Add", self.network.tensors[layer.name].zero_point, np.float64),
                            ("Max", low, np.float64), ("Min", high, np.float64))
        self.node("Cast", [value], layer.name, to=TensorProto.UINT8)

    def _shuffle(self, layer: QChannelShuffle, kind: TensorType) -> None:
        channels, height, width = kind.shape
        name = layer.name
        split = self.array(f"{name}/split", np.array([1, layer.groups, channels // layer.groups, height, width], np.int64))
        value = self.node("Reshape", [*layer.inputs, split], f"{name}/grouped")
        value = self.node("Transpose", [value], f"{name}/swapped", perm=[0, 2, 1, 3, 4])
        self.node("Reshape", [value, self.array(f"{name}/shape", np.array([1, *kind.shape], np.int64))], name)

    def _steps(self, name: str, value: str, *steps: tuple[str, int | float | np.ndarray, type]) -> str:
        """Binary operators with constants, one after the other."""
        for number, (op, constant, dtype) in enumerate(steps):
            output = f"{name}/{op}{number}"
            value = self.node(op, [value, self.array(f"{output}_by", np.array(constant, dtype))], output)
        return value

    def _lrn(self, layer: QLRN, source: TensorType) -> None:
        name, channels = layer.name, source.shape[0]
        value = self._less_zero(layer, 0)
        square = self.node("Mul", [value, value], f"{name}/square")
        below = (layer.size - 1) // 2
        pads = self.array(f"{name}/pads", np.array([0, below, 0, 0, 0, layer.size - 1 - below, 0, 0], np.int64))
        square = self.node("Pad", [square, pads], f"{name}/padded")
        parts = [self.node("Slice", [square, *(self.array(f"{name}/{what}{k}", np.array([n], np.int64)) for what, n in (
            ("from", k), ("to", k + channels), ("axis", 1)))], f"{name}/part{k}") for k in range(layer.size)]
        total = parts[0]
        for k, part in enumerate(parts[1:]):
            total = self.node("Add", [total, part], f"{name}/total{k}")
        entry = self._steps(f"{name}/entry", total, ("Div", 1 << layer.table_shift, np.int64))
        last = self.array(f"{name}/last", np.int64(len(layer.table) - 1))
        entry = self.node("Min", [entry, last], f"{name}/limited")
        factor = self.node("Gather", [self.array(f"{name}/table", layer.table.astype(np.int64)), entry], f"{name}/factor")
        product = self.node("Mul", [value, factor], f"{name}/product")
        self._round(layer, product, 2.0 ** -layer.shift, 0, 255)

    def _softmax(self, layer: QSoftmax) -> None:
        name = layer.name
        wide = self.node("Cast", [*layer.inputs], f"{name}/wide", to=TensorProto.INT64)
        top = self.node("ReduceMax", [wide], f"{name}/top", axes=[1], keepdims=1)
        power = self.node("Gather", [self.array(f"{name}/table", layer.table.astype(np.int64)),
                                     self.node("Sub", [top, wide], f"{name}/below")], f"{name}/power")
        total = self.node("ReduceSum", [power, self.array(f"{name}/axes", np.array([1], np.int64))], f"{name}/total", keepdims=1)
        above = self.node("Add", [self._steps(f"{name}/above", power, ("Mul", 512, np.int64)), total], f"{name}/dividend")
        value = self.node("Div", [above, self._steps(f"{name}/twice", total, ("Mul", 2, np.int64))], f"{name}/quotient")
        self.node("Cast", [self._steps(f"{name}/clamp", value, ("Min", 255, np.int64))], name, to=TensorProto.UINT8)

    def model(self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, inputs, outputs, list(self.arrays.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="fireline",
                                  ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


def _weight_scale(factor: np.ndarray, source: float, own: float) -> np.ndarray:
    """float32 weight scales w for which the float32 value of source * w / own, which runtimes compute, is the factor.

    Where no float32 does, the least above it: ties then go up, as in `nets.int8.network`.
    """
    x, y, wanted = np.float32(source), np.float32(own), factor.astype(np.float32)
    near = (factor * own / source).astype(np.float32)
    tried = (near.view(np.int32)[:, None] + np.arange(-4, 5, dtype=np.int32)).view(np.float32)        # neighbours in order
    reached = x * tried / y
    return tried[np.arange(len(tried)), np.where(reached >= wanted[:, None], reached, np.float32(np.inf)).argmin(1)]


def _window(window: Window) -> dict:
    return {"kernel_shape": window.kernel, "strides": window.stride, "pads": window.padding}


def _free_name(network: QNetwork, name: str) -> str:
    while name in network.by_name:
        name += "_"
    return name


def _bytes(network: QNetwork, name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.UINT8, [1, *network.tensors[name].shape])


def network_model(network: QNetwork, *, every_layer: bool = False, integers: bool = False) -> onnx.ModelProto:
    """The whole network, from the prepared image, float (1, channels, height, width), to the scores, float (1, classes).

    They are called `image` and `scores`, with `_` appended where a layer has that name. With `every_layer` every layer's
    uint8 tensor is an output too; with `integers` nothing is rounded but as the network says.
    """
    builder = _Builder(network, integers=integers)
    for layer in network.layers:
        builder.add(layer)
    final = network.tensors[network.output]
    meaning = builder.scale(builder.scores, final.scale, np.uint8(final.zero_point))
    value = builder.node("DequantizeLinear", [network.output, *meaning], f"{builder.scores}/value")
    builder.node("Flatten", [value], builder.scores, axis=1)
    shape = network.tensors[network.input.name].shape
    outputs = [helper.make_tensor_value_info(builder.scores, TensorProto.FLOAT, [1, int(np.prod(final.shape))])]
    if every_layer:
        outputs += [_bytes(network, layer.name) for layer in network.layers]
    return builder.model(network.name, [helper.make_tensor_value_info(builder.image, TensorProto.FLOAT, [1, *shape])], outputs)


def layer_model(network: QNetwork, layer: QLayer, *, integers: bool = False) -> onnx.ModelProto:
    """One layer alone, other than the input: from the uint8 tensors that it reads to its own."""
    builder = _Builder(network, integers=integers)
    builder.add(layer)
    return builder.model(layer.name, [_bytes(network, name) for name in dict.fromkeys(layer.inputs)],
                         [_bytes(network, layer.name)])


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nets.export_qdq", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_network_arguments(parser)
    parser.add_argument("--integers", action="store_true", help="integer convolutions: bit for bit the same, but slower")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the network, FILE.onnx")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was written as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    network = network_from_arguments(args)
    print_notes(network.notes)
    write_bytes(args.out, network_model(network, integers=args.integers).SerializeToString(deterministic=True))
    if args.json:
        write_json(args.json, {"model": network.name, "file": str(args.out), "integers": args.integers, "notes": network.notes})
    print(args.out)


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return run_command(run, (parser or get_parser()).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
