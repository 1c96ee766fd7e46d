"""Arithmetic between DequantizeLinear and QuantizeLinear, with the scales that the integers mean exactly.

Only the rounding of floats can tell it from the integer network: about one element in 100 million is off by one step, and the
layers after it follow.
"""
import numpy as np

from nets.export.nodes import Exporter, window_of
from nets.int8.network import QAdd, QConv, QGlobalAvgPool, QInput, step_scale

__all__ = ["QdqExporter"]

INT32 = np.iinfo(np.int32)


def _weight_scale(factor: np.ndarray, source: float, own: float) -> np.ndarray:
    """float32 weight scales w for which the float32 value of source * w / own, which runtimes compute, is the factor.

    Where no float32 does, the least above it: ties then go up, as in `nets.int8.network`.
    """
    x, y, wanted = np.float32(source), np.float32(own), factor.astype(np.float32)
    near = (factor * own / source).astype(np.float32)
    tried = (near.view(np.int32)[:, None] + np.arange(-4, 5, dtype=np.int32)).view(np.float32)        # neighbours in order
    reached = x * tried / y
    return tried[np.arange(len(tried)), np.where(reached >= wanted[:, None], reached, np.float32(np.inf)).argmin(1)]


class QdqExporter(Exporter):
    """Layers as other tools write quantised networks."""

    def input(self, layer: QInput) -> None:
        self.quantise(layer, self.image)

    def conv(self, layer: QConv) -> None:
        how, name = layer.requantise, layer.name
        source, scale = self.network.tensors[layer.inputs[0]], step_scale(layer, self.network)
        factor = np.broadcast_to(how.multiplier * 2.0 ** -how.shift, len(layer.bias))       # x_scale * w_scale / y_scale
        zeros = np.zeros(len(layer.bias), np.int8)
        weight = self.node("DequantizeLinear", [self.array(f"{name}/weight_q", layer.weight), *self.scale(
            f"{name}/weight", _weight_scale(factor, source.scale, scale), zeros)], f"{name}/weight", axis=0)
        flat = layer.weight.reshape(len(layer.bias), -1)
        bias_q = layer.bias + source.zero_point * flat.sum(1, dtype=np.int64)
        bias = f"{name}/bias"
        if bias_q.min() < INT32.min or bias_q.max() > INT32.max:        # fits only with the zero point folded in
            self.array(bias, (bias_q * factor * scale).astype(np.float32))
        else:
            self.node("DequantizeLinear", [self.array(f"{bias}_q", bias_q.astype(np.int32)), *self.scale(
                bias, factor * scale, zeros.astype(np.int32))], bias, axis=0)
        value = self.node("Conv", [self.floats(layer), weight, bias], f"{name}/sum", group=layer.groups,
                          **window_of(layer.window), dilations=layer.window.dilation)
        self.requantise(layer, value)

    def average(self, layer: QGlobalAvgPool) -> None:
        mean = self.node("GlobalAveragePool", [self.floats(layer)], f"{layer.name}/mean")
        self.requantise(layer, mean)

    def addition(self, layer: QAdd) -> None:
        how = layer.requantise
        unit = float(how.multiplier[0] * 2.0 ** -how.shift[0]) * step_scale(layer, self.network)
        parts = []
        for index, weight in enumerate(layer.weights):
            value = self.floats(layer, index, abs(weight) * unit or 1.0)            # a scale must be positive
            if weight <= 0:
                sign = self.array(f"{value}/sign", np.float32(np.sign(weight)))
                value = self.node("Mul", [value, sign], f"{value}/signed")
            parts.append(value)
        self.requantise(layer, self.node("Add", parts, f"{layer.name}/sum"))
