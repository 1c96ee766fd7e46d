"""Which options of the engine the layers of a network need, and what is said of an engine that lacks one."""
from collections.abc import Callable, Mapping
import math

from arch.geometry import OPTION_WORDS, Geometry
from arch.unit.window import WindowConfig
from nets.int8.network import QLRN, QConv, QFlatten, QLayer, QNetwork, QTable

__all__ = ["NEEDS", "comes_flat", "filters", "in_portions", "lacking", "needed"]

KERNEL, MOST_STRIDE, MOST_PADDING = 3, 2, 2         # of a depthwise convolution in the stream


def filters(network: QNetwork, layer: QLayer, geometry: Geometry) -> bool:
    """Whether a layer is a depthwise convolution that an engine's unit computes: in bands that each complete a row, and with
    constants that come as parameters do."""
    if not isinstance(layer, QConv):
        return False
    window, (channels, _, width) = layer.window, network.tensors[layer.inputs[0]].shape
    return (layer.groups == channels == len(layer.weight) > 1 and window.kernel == (KERNEL, KERNEL) and window.dilation == (1, 1)
            and max(window.stride) <= MOST_STRIDE and max(window.padding) <= MOST_PADDING
            and width >= KERNEL and KERNEL * width <= geometry.band_pixels
            and 3 * geometry.parameter_words == OPTION_WORDS["depthwise"] and not layer.requantise.fraction)


def comes_flat(network: QNetwork, geometry: Geometry) -> bool:
    """Whether the input is a row of features, as fully connected layers alone read it: then it comes as a single pixel."""
    name = network.input.name
    flat = [layer for layer in network.layers if name in layer.inputs]
    names = {layer.name for layer in flat}
    readers = [layer for layer in network.layers if names.intersection(layer.inputs)]
    words = -(-math.prod(network.tensors[name].shape) // geometry.input_lanes)
    return (bool(readers) and network.output not in names and all(isinstance(layer, QFlatten) for layer in flat)
            and all(isinstance(layer, QConv) for layer in readers) and words <= WindowConfig.most("pixel_words"))


def in_portions(geometry: Geometry, block_words: int, blocks: int, pixels: int) -> bool:
    """Whether sums should go on from command to command where an output block has so many weight words.

    They must where the memory does not hold them. They should where it does not hold those of the next output block beside them:
    of a fully connected layer, where these come more slowly than they are used.
    """
    late = blocks > 1 and pixels <= 2 and 2 * block_words > geometry.weight_words
    return block_words > geometry.weight_words or late


def _carries(network: QNetwork, layer: QLayer, geometry: Geometry) -> bool:
    if not isinstance(layer, QConv) or layer.groups != 1:
        return False
    source, positions = layer.inputs[0], math.prod(layer.window.kernel)
    while isinstance(network.by_name[source], QFlatten):
        source = network.by_name[source].inputs[0]
        positions = math.prod(network.tensors[source].shape[1:])
    channels = network.tensors[source].shape[0]
    if source == network.input.name and comes_flat(network, geometry):
        channels, positions = channels * positions, 1
    words = -(-channels // geometry.input_lanes) * positions
    channels, *size = network.tensors[layer.name].shape
    return in_portions(geometry, words * geometry.pairs, -(-channels // geometry.output_lanes), math.prod(size))


# By option: whether it is a layer's in an engine. A network is compiled for a board's engine with all that its layers have here.
NEEDS: Mapping[str, Callable[[QNetwork, QLayer, Geometry], bool]] = {
    "carry": _carries,
    # Weights may be plain: it is for whoever wants them shorter.
    "decoder": lambda network, layer, geometry: False,
    # Without it they take several times as long. Small chips have no room for it.
    "depthwise": lambda network, layer, geometry: geometry.output_lanes == 16 and filters(network, layer, geometry),
    "lrn": lambda network, layer, geometry: isinstance(layer, QLRN),
    "table": lambda network, layer, geometry: isinstance(layer, QTable),
}


def needed(network: QNetwork, geometry: Geometry) -> tuple[str, ...]:
    """Names of the options that its layers need in an engine like this, in alphabetical order: also those that they need because
    memories are smaller beside others."""
    names: set[str] = set()
    while more := {name for name, need in NEEDS.items()
                   if name not in names and any(need(network, layer, geometry) for layer in network.layers)}:
        names |= more
        geometry = geometry.with_options(names)
    return tuple(sorted(names))


def lacking(name: str, geometry: Geometry) -> str:
    """What is said of an engine that has not the option of this name, which something needs; empty if it has."""
    if name in geometry.options:
        return ""
    return f'the engine has no unit "{name}": --units {name} adds it, and hw.build --units {name} makes such a chip'
