"""How fast an engine could run a network at best: its compute, and the weights that storage must bring, layer by layer.

Compute is counted in passes of the array: an output block of a pixel, over the words of input channels that it needs and the taps
of the kernel. What runs with weights that are mostly zero counts as what it is there: a depthwise convolution has a pass for each
tap of each block, an addition two for each block. What runs in the stream, as pools and what the unit `depthwise` computes,
costs nothing. Maps that leave the chip and come back do not count.
"""
from dataclasses import dataclass
import math

import numpy as np

from arch.geometry import Geometry
from compiler.lowering.needs import filters
from nets.int8.network import QAdd, QAvgPool, QConv, QFlatten, QInput, QLayer, QMaxPool, QNetwork

__all__ = ["Bounds", "LayerBound", "bounds"]

STREAMED = 3            # kernels of pools up to here run in the stream, at no cost


@dataclass(frozen=True, kw_only=True)
class LayerBound:
    """Cycles that a layer takes at least: of the array, and of storage, which brings 2 bytes of weights a cycle."""

    layer: str
    compute: int
    storage: int

    @property
    def larger(self) -> int:
        return max(self.compute, self.storage)


@dataclass(frozen=True)
class Bounds:
    """Of a whole frame."""

    layers: tuple[LayerBound, ...]

    @property
    def compute(self) -> int:
        return sum(layer.compute for layer in self.layers)

    @property
    def storage(self) -> int:
        return sum(layer.storage for layer in self.layers)

    @property
    def overlapped(self) -> int:
        """Cycles of a frame whose weights all come while others are used."""
        return max(self.compute, self.storage)

    @property
    def layer_by_layer(self) -> int:
        """Cycles of a frame each of whose layers brings its own weights while it computes."""
        return sum(layer.larger for layer in self.layers)

    @property
    def bound_by(self) -> str:
        """What most of the layers' cycles are bound by: "compute", "weights", or "both" where neither has nine tenths."""
        computing = sum(layer.larger for layer in self.layers if layer.compute >= layer.storage) / max(self.layer_by_layer, 1)
        return "compute" if computing > 0.9 else "weights" if computing < 0.1 else "both"


def bounds(network: QNetwork, geometry: Geometry) -> Bounds:
    """What an engine of this geometry needs at least for a frame of the network."""
    found = [(layer.name, *_passes(network, layer, geometry)) for layer in network.layers]
    weight_bytes = geometry.macs        # of a pass: one weight for each pair of lanes
    return Bounds(tuple(LayerBound(layer=name, compute=passes * pixels, storage=passes * weight_bytes // 2)
                        for name, passes, pixels in found if passes))


def _passes(network: QNetwork, layer: QLayer, geometry: Geometry) -> tuple[int, int]:
    """Passes of a pixel over all output blocks, and pixels."""
    channels, height, width = network.tensors[layer.name].shape
    blocks = -(-channels // geometry.output_lanes)
    match layer:
        case QConv() if "depthwise" in geometry.options and filters(network, layer, geometry):
            return 0, 0
        case QConv():
            source = network.by_name[layer.inputs[0]]
            return _convolution(network, layer, source, geometry), height * width
        case QAdd():
            return 2 * blocks, height * width
        case QAvgPool() | QMaxPool() if max(layer.window.kernel) > STREAMED:
            return blocks * math.prod(layer.window.kernel), height * width
    return 0, 0


def _convolution(network: QNetwork, conv: QConv, source: QLayer, geometry: Geometry) -> int:
    out, per_group, *kernel = conv.weight.shape
    taps, lanes = math.prod(kernel), geometry.input_lanes
    if isinstance(source, QInput) and conv.groups == 1:         # the gather makes whole windows
        return -(-out // geometry.output_lanes) * -(-per_group * taps // lanes)
    if isinstance(source, QFlatten):                            # a convolution as large as the map
        per_group, *map_size = network.tensors[source.inputs[0]].shape
        taps = math.prod(map_size)
    firsts = np.arange(0, out, geometry.output_lanes)
    lasts = np.minimum(firsts + geometry.output_lanes, out) - 1
    made = out // conv.groups
    start, end = firsts // made * per_group, (lasts // made + 1) * per_group         # input channels of each block's groups
    return taps * int((-(-end // lanes) - start // lanes).sum())
