"""Arithmetic on integers, with rounding spelt out in doubles, which hold every product: bit for bit the integer network."""
from dataclasses import replace

import numpy as np
from onnx import TensorProto

from nets.export.nodes import Exporter, window_of
from nets.int8.network import QAdd, QConv, QGlobalAvgPool, QInput, Requantise

__all__ = ["IntegerExporter"]


def _of_channels(how: Requantise) -> Requantise:
    return replace(how, multiplier=how.multiplier[:, None, None], shift=how.shift[:, None, None])


class IntegerExporter(Exporter):
    """Layers exactly as `golden.values` computes them."""

    def input(self, layer: QInput) -> None:
        """The float32 steps of `QNetwork.quantise_input`."""
        kind = self.network.tensors[layer.name]
        value = self.steps(f"{layer.name}/level", self.image, ("Div", kind.scale, np.float32), ("Add", 0.5, np.float32))
        value = self.node("Floor", [value], f"{layer.name}/floor")
        value = self.steps(f"{layer.name}/clamp", value, ("Add", kind.zero_point, np.float32), ("Max", 0, np.float32),
                           ("Min", 255, np.float32))
        self.node("Cast", [value], layer.name, to=TensorProto.UINT8)

    def conv(self, layer: QConv) -> None:
        name, source = layer.name, self.network.tensors[layer.inputs[0]]
        folded = source.zero_point * layer.weight.reshape(len(layer.bias), -1).sum(1, dtype=np.int64)
        total = self.node("ConvInteger", [*layer.inputs, self.array(f"{name}/weight", layer.weight),
                                          self.array(f"{name}/input_zero_point", np.uint8(source.zero_point))],
                          f"{name}/sum", group=layer.groups, **window_of(layer.window), dilations=layer.window.dilation)
        total = self.node("Cast", [total], f"{name}/wide", to=TensorProto.INT64)
        total = self.steps(name, total, ("Add", (layer.bias + folded)[:, None, None], np.int64))
        self.requantise_integers(layer, total, _of_channels(layer.requantise))

    def average(self, layer: QGlobalAvgPool) -> None:
        total = self.node("ReduceSum", [self.less_zero(layer, 0), self.array(f"{layer.name}/axes", np.array([2, 3]))],
                          f"{layer.name}/total", keepdims=1)
        self.requantise_integers(layer, total, _of_channels(layer.requantise))

    def addition(self, layer: QAdd) -> None:
        parts = [self.steps(f"{layer.name}/{index}", self.less_zero(layer, index), ("Mul", weight, np.int64))
                 for index, weight in enumerate(layer.weights)]
        self.requantise_integers(layer, self.node("Add", parts, f"{layer.name}/total"), layer.requantise)
