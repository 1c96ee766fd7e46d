"""Which layers run together, and which bytes of a pixel each tensor gets: parts of a concatenation share the pixels of one
buffer."""
from dataclasses import dataclass
import math

from arch.geometry import Geometry
from compiler.convolution import Pool, picks
from compiler.lowering.needs import filters
from compiler.stages import Buffer, Origin
from nets.int8.network import (
    QLRN,
    QAdd,
    QAvgPool,
    QConcat,
    QConv,
    QFlatten,
    QGlobalAvgPool,
    QInput,
    QLayer,
    QMaxPool,
    QNetwork,
    QSelect,
    QTable,
)

__all__ = ["Arrangement", "Part"]

FUSED_WEIGHTS = 0.75    # of the weight memory, that a convolution with a normalisation behind it may take at most
VIEWS = QInput | QFlatten | QSelect         # no stage writes them: they are seen in another's pixels


@dataclass(frozen=True)
class Part:
    """An input of a concatenation: bytes of a pixel from `start` on. `copied` if a stage of its own must write it there."""

    name: str
    start: int
    copied: bool


class Arrangement:
    """What is fused and where tensors lie, for a network on an engine. `output`: the tensor that leaves the chip."""

    def __init__(self, network: QNetwork, geometry: Geometry, output: str):
        self.network, self.geometry, self.output = network, geometry, output
        self.places: dict[str, tuple[Buffer, int]] = {}     # tensor, or branch of a pushed pool -> buffer, byte in its pixels
        self.parts: dict[str, list[Part]] = {}              # of each concatenation, and of each pool that went into its branches
        self.fused: dict[str, QLayer] = {}                  # convolution or addition -> pool or filter behind it
        self.filtered: set[str] = set()                     # depthwise convolutions that the unit computes
        self.tables: dict[str, QTable] = {}                 # convolution or addition -> table behind it, before the pool
        self.normalised: dict[str, QLRN] = {}               # convolution -> normalisation behind it, and behind its pool
        self.pushed: dict[str, QConcat] = {}                # pool -> concatenation into whose branches it went
        self.readers = {name: [layer for layer in network.layers if name in layer.inputs] for name in network.by_name}
        self._fuse()
        for layer in reversed(network.layers):
            if self._joins(layer.name) and layer.name not in self.places:
                buffer = self.buffer(layer.name, 1)
                buffer.pixel_words = self._place(layer.name, buffer, 0) // geometry.input_lanes
                self.places[layer.name] = buffer, 0

    def aligned(self, channels: int) -> int:
        """Channels, rounded up to whole words."""
        return -(-channels // self.geometry.input_lanes) * self.geometry.input_lanes

    def buffer(self, tensor: str, channels: int, origin: Origin = Origin.STAGES) -> Buffer:
        """A new buffer of a tensor's height and width; the two bytes of scores are pixels side by side."""
        kind = self.network.tensors[tensor]
        _, height, width = kind.shape
        return Buffer(name=tensor, height=height, width=width * kind.bits // 8, origin=origin,
                      pixel_words=self.aligned(channels) // self.geometry.input_lanes)

    def _sole_reader(self, name: str) -> QLayer | None:
        found = self.readers[name]
        return found[0] if len(found) == 1 and found[0].inputs.count(name) == 1 and name != self.output else None

    def _fuse(self):
        """Which convolutions and additions get a table or a pool behind them, or both, or a depthwise convolution, and which
        convolutions a normalisation."""
        by_name = self.network.by_name
        for layer in self.network.layers:
            if "depthwise" in self.geometry.options and filters(self.network, layer, self.geometry):
                self._fuse_filter(layer)
                continue
            if not isinstance(layer, Pool | QTable | QLRN) or picks(layer):
                continue
            before = by_name[layer.inputs[0]]
            if self._sole_reader(before.name) is not layer or before.name in self.filtered:
                continue
            if isinstance(layer, QLRN):
                self._fuse_lrn(layer)
                continue
            if isinstance(layer, QTable):
                if isinstance(before, QConv | QAdd):
                    self.tables[before.name] = layer
                continue
            if isinstance(before, QTable) and self.tables.get(before.inputs[0]) is before:
                before = by_name[before.inputs[0]]
            if isinstance(layer, QGlobalAvgPool) and not self._fits_whole(before):
                continue
            if isinstance(before, QConv) or isinstance(before, QAdd) and not isinstance(layer, QGlobalAvgPool):
                self.fused[before.name] = layer
            elif isinstance(before, QConcat):
                branches = [by_name[name] for name in before.inputs]
                if all(isinstance(branch, QConv) and branch.name not in self.filtered and self._sole_reader(branch.name) is before
                       for branch in branches):
                    self.fused |= {branch.name: layer for branch in branches}
                    self.pushed[layer.name] = before

    def _fuse_lrn(self, layer: QLRN):
        """A normalisation behind a convolution, and perhaps its pool, if commands can have all its output blocks: its weights
        leave room for others. Bytes of a block that are no channels must be zero, as they are unless a clamp forbids it."""
        before = self.network.by_name[layer.inputs[0]]
        if isinstance(before, QMaxPool | QAvgPool) and before.name not in self.pushed:
            before = next((self.network.by_name[name] for name, pool in self.fused.items() if pool is before), before)
        if not isinstance(before, QConv) or before.groups != 1 or before.name in self.tables:
            return
        source, how, geometry = self.network.by_name[before.inputs[0]], before.requantise, self.geometry
        channels, taps = before.weight.shape[1], math.prod(before.window.kernel)
        inputs = self.aligned(channels * taps) if source is self.network.input else self.aligned(channels) * taps
        words = -(-len(before.weight) // geometry.output_lanes) * geometry.pairs
        small = words * inputs // geometry.input_lanes <= FUSED_WEIGHTS * geometry.weight_words
        if (small and 2 * words <= geometry.parameter_words and how.low <= how.zero_point <= how.high
                and before.window.dilation == (1, 1) and not isinstance(source, QConcat | QFlatten)):
            self.normalised[before.name] = layer

    def _fuse_filter(self, layer: QConv):
        """A depthwise convolution behind what writes its input, if it alone reads that; otherwise it will be behind a copy."""
        self.filtered.add(layer.name)
        before = self.network.by_name[layer.inputs[0]]
        if self._sole_reader(before.name) is not layer:
            return
        if isinstance(before, QTable) and self.tables.get(before.inputs[0]) is before:
            before = self.network.by_name[before.inputs[0]]
        if isinstance(before, QConv | QAdd) and before.name not in self.filtered:
            self.fused[before.name] = layer

    def tensor_of(self, name: str) -> str:
        """The tensor that a convolution or addition writes, with what is fused behind it."""
        last = self.normalised.get(name) or self.fused.get(name) or self.tables.get(name)
        return last.name if last else name

    @property
    def inside(self) -> set[str]:
        """Tensors that are never written, because the stage that computes them goes on."""
        return ({*self.fused, *self.tables, *self.normalised}
                | {table.name for name, table in self.tables.items() if name in self.fused}
                | {self.fused[name].name for name in self.normalised if name in self.fused})

    def _fits_whole(self, layer: QLayer) -> bool:
        """Whether the inputs of convolutions fit activation memory: a global average has but one sum, and wants all pixels of
        a block in a row, so a fused one would have to load its input again for each block."""
        for conv in [layer] if isinstance(layer, QConv) else [self.network.by_name[name] for name in layer.inputs]:
            if isinstance(conv, QConv):
                channels, height, width = self.network.tensors[conv.inputs[0]].shape
                if conv.inputs == (self.network.input.name,):       # the windows that the gather makes lie there, not the image
                    channels *= math.prod(conv.window.kernel)
                    height, width = conv.window.output_size(height, width)
                words = height * width * self.aligned(channels) // self.geometry.input_lanes
                if words + self.aligned(len(conv.weight)) // self.geometry.input_lanes > self.geometry.activation_words:
                    return False
        return True

    def _joins(self, name: str) -> bool:
        """Whether a layer's tensor is made of several parts."""
        return (isinstance(self.network.by_name[name], QConcat) and all(c.name != name for c in self.pushed.values())
                or name in self.pushed)

    def _place(self, name: str, buffer: Buffer, at: int) -> int:
        """Gives the inputs of a concatenation, and of those inside it, their bytes in the pixels of one buffer."""
        by_name, parts = self.network.by_name, []
        inputs = self.pushed[name].inputs if name in self.pushed else by_name[name].inputs
        for part in inputs:
            free = part not in self.places and inputs.count(part) == 1 and part != self.output
            copied = name not in self.pushed and (not free or isinstance(by_name[part], VIEWS))
            parts.append(Part(part, at, copied))
            if not copied:
                self.places[part] = buffer, at
            if not copied and self._joins(part):
                at = self._place(part, buffer, at)
            else:
                at += self.aligned(self.network.tensors[part].shape[0])
        self.parts[name] = parts
        return at
