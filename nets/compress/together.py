"""Several images on their way through a float network, layer by layer."""
from collections import Counter
from collections.abc import Sequence

import numpy as np

from nets.float_run import LAYERS
from nets.graph import Graph, Layer

__all__ = ["Together", "rest_of"]


class Together:
    """The tensors, of every image, that are still to be read. Layers are run and put in execution order."""

    def __init__(self, graph: Graph, images: Sequence[np.ndarray]):
        self._left = Counter(name for layer in graph.layers for name in layer.inputs)
        self.tensors: dict[str, list[np.ndarray]] = {}
        self.put(graph.input, [np.ascontiguousarray(x, np.float32) for x in images])

    def run(self, layer: Layer) -> list[np.ndarray]:
        """What the layer makes of each image."""
        with np.errstate(all="ignore"):
            return [LAYERS[type(layer)](layer, *inputs) for inputs in zip(*(self.tensors[n] for n in layer.inputs), strict=True)]

    def put(self, layer: Layer, outputs: list[np.ndarray]) -> None:
        """The layer is done."""
        if self._left[layer.name]:
            self.tensors[layer.name] = outputs
        self._left.subtract(layer.inputs)
        for name in layer.inputs:
            if not self._left[name]:
                self.tensors.pop(name, None)

    def of(self, image: int) -> dict[str, np.ndarray]:
        return {name: tensors[image] for name, tensors in self.tensors.items()}


def rest_of(graph: Graph, layer: Layer, tensors: dict[str, np.ndarray], last: str) -> np.ndarray:
    """The tensor `last` of a network in which `layer` stands in the place of its namesake, from the tensors in front of it."""
    tensors = dict(tensors)
    place = graph.layers.index(graph.by_name[layer.name])
    with np.errstate(all="ignore"):
        for each in (layer, *graph.layers[place + 1:]):
            if last in tensors:
                break
            tensors[each.name] = LAYERS[type(each)](each, *(tensors[name] for name in each.inputs))
    return tensors[last]
