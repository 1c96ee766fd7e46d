"""A float network with fewer and fewer different weights, and what becomes of it in integers."""
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nets.compress.biases import corrected
from nets.compress.memory import Memory
from nets.compress.pruning import WEIGHTED, pruned, zeros
from nets.compress.sensitivity import Sensitivity, chosen_shares, measure_sensitivity
from nets.compress.sharing import all_levels, codebook
from nets.compress.size import weight_bytes
from nets.graph import Conv, Graph, GraphError, Layer, Linear, Problem
from nets.int8.calibrate import Statistics, measure
from nets.int8.check import check
from nets.int8.dead_channels import without_dead_channels
from nets.int8.fuse import plan
from nets.int8.network import QConv, QNetwork, step_scale
from nets.model import Model
from nets.quantise import quantise, spread

__all__ = ["Compressed", "Compressor", "integers_of_a_layer", "meant", "refuse_quantised"]

SENSITIVITY_IMAGES = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Compressed:
    """A network in integers, and the float network with the weights that these mean."""

    network: QNetwork
    model: Model

    @property
    def record(self) -> dict:
        """What `--json` says of it: `weights` that are not 0, the share of `zeros` among those of the float network, the
        different `integers` of the layer that has most, and the `bytes` of all (`nets.compress.size`)."""
        counted = {layer.name: layer.weight.size for layer in self.model.graph.layers if isinstance(layer, WEIGHTED)}
        left = sum(int(np.count_nonzero(layer.weight)) for layer in self.network.layers if layer.name in counted)
        return {"weights": left, "zeros": 1 - left / max(sum(counted.values()), 1),
                "integers": integers_of_a_layer(self.network), "bytes": round(weight_bytes(self.network))}


class Compressor:
    """Compresses one model, calibrated on `images`: uint8 pixels as `InputSpec.pixels` makes them, one at least.

    What the layers bear is measured once, when the first pruned network is asked for, and kept in the file `memory`. The same
    images always give the same networks. Raises GraphError for a network that comes quantised, or that integers cannot compute,
    RequestError for a `memory` that is something else (`nets.compress.memory`).
    """

    def __init__(self, model: Model, images: Sequence[np.ndarray], memory: Path | None = None):
        refuse_quantised(model)
        self.model, self.images = model, images
        self._memory = Memory(memory, model.graph, images) if memory else None
        self.prepared = [model.spec.normalise(pixels) for pixels in images]
        self._sensitivity: dict[str, Sensitivity] | None = None
        self._statistics: Statistics | None = None

    @property
    def statistics(self) -> Statistics:
        if self._statistics is None:
            self._statistics = measure(self.model.graph, plan(self.model.graph), self.prepared)
        return self._statistics

    @property
    def zeros(self) -> float:
        """The share of the weights that are 0 as the network comes."""
        weights = [layer for layer in self.model.graph.layers if isinstance(layer, WEIGHTED)]
        return sum(zeros(layer) * layer.weight.size for layer in weights) / max(sum(layer.weight.size for layer in weights), 1)

    @property
    def sensitivity(self) -> dict[str, Sensitivity]:
        if self._sensitivity is None:
            kept = {"known": self._memory.layers, "keep": self._memory.keep} if self._memory else {}
            self._sensitivity = measure_sensitivity(self.model.graph, self.statistics,
                                                    spread(self.prepared, SENSITIVITY_IMAGES), **kept)
        return self._sensitivity

    def before(self) -> Compressed:
        """The network as it is."""
        return Compressed(network=quantise(self.model, self.images), model=self.model)

    def at(self, sparsity: float, size: int | None) -> Compressed:
        """The network of which at least that share of weights is 0, and of which each layer's are at most `size` different
        integers. Where the network is as sparse already, nothing is pruned. Raises WorkError where scikit-learn is needed and
        absent."""
        graph, palette = self.model.graph, codebook(size) if size else all_levels
        if sparsity > self.zeros:
            less = pruned(graph, self.statistics, chosen_shares(self.sensitivity, sparsity))
            graph = corrected(less, graph, self.prepared)
        whole = quantise(replace(self.model, graph=graph), self.images, dead_channels=True, palette=palette)
        network = without_dead_channels(whole)
        made = Compressed(network=network, model=replace(self.model, graph=meant(graph, whole)))
        note = (f"{self.model.name}: compressed: {made.record['zeros']:.1%} of its weights are 0, "
                f"a layer has at most {made.record['integers']} different ones")
        asked = {"sparsity": sparsity, "codebook": size or 0}
        network = replace(network, notes=(*network.notes, note), provenance=network.provenance | asked)
        check(network)
        return replace(made, network=network)


def refuse_quantised(model: Model) -> None:
    """Raises GraphError for a network that comes quantised."""
    if model.graph.quantised:
        reason = "comes quantised, but only a float network can be compressed: name the one that it was made from"
        raise GraphError(model.name, [Problem(model.name, "network", reason)])


def integers_of_a_layer(network: QNetwork) -> int:
    """How many different weights the layer has that has most."""
    return max((len(np.unique(layer.weight)) for layer in network.layers if isinstance(layer, QConv)), default=0)


def meant(graph: Graph, network: QNetwork) -> Graph:
    """The float network with the weights and biases that the integers mean: scores may all be less by `network.offset`.

    `network` was made of this graph and still has all channels.
    """
    def exact(layer: Layer) -> Layer:
        q = network.by_name.get(layer.name)
        return _meant(layer, q, network) if isinstance(layer, WEIGHTED) and isinstance(q, QConv) else layer
    return replace(graph, layers=tuple(map(exact, graph.layers)))


def _meant(layer: Conv | Linear, q: QConv, network: QNetwork) -> Conv | Linear:
    source = network.tensors[q.inputs[0]]
    unit = q.requantise.multiplier * 2.0 ** -q.requantise.shift * step_scale(q, network)        # of the accumulator
    own, read = (np.exp2(network.octaves.get(name, (0,) * network.tensors[name].shape[0])) for name in (q.name, q.inputs[0]))
    unit = np.broadcast_to(unit, own.shape) / own
    read = read.reshape(q.groups, -1).repeat(len(own) // q.groups, axis=0)
    weight = q.weight * (unit / source.scale)[:, None, None, None] * read[:, :, None, None]
    bias = (q.bias + source.zero_point * q.weight.reshape(len(own), -1).sum(1, dtype=np.int64)) * unit
    return replace(layer, weight=weight.reshape(layer.weight.shape).astype(np.float32), bias=bias.astype(np.float32))
