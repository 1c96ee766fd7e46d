"""From a quantised network to stages (`compiler.stages`).

What the engine has no operator for, an addition, a pool alone or a copy, is a convolution (`compiler.lowering.sparse`).
"""
from dataclasses import dataclass, replace
import math

import numpy as np

from arch import gather
from arch.geometry import Geometry
from arch.unit.gather import GatherConfig
from compiler.convolution import MOST_KERNEL, Convolution, picks
from compiler.lowering.arrangement import Arrangement
from compiler.lowering.needs import comes_flat
from compiler.lowering.sparse import POINT, addition, as_a_pixel, identity, some_channels, spread, squared, without_holes
from compiler.stages import Buffer, Origin, Slice, Stage, Stages
from nets.graph import Problem, Window
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
    QPad,
    QSelect,
    QSoftmax,
    QTable,
)

__all__ = ["lower"]


@dataclass(eq=False)
class _View:
    """Where a tensor's channels are: byte `channels[c]` of the pixels of `buffer`."""

    buffer: Buffer
    channels: np.ndarray
    flat: tuple[int, int, int] | None = None        # shape before it was flattened


def lower(network: QNetwork, geometry: Geometry) -> Stages:
    """The stages of a network, and everything that stands against it (`Stages.problems`)."""
    return _Lowering(network, geometry).run()


class _Lowering:
    def __init__(self, network: QNetwork, geometry: Geometry):
        self.network, self.geometry = network, geometry
        self.stages: list[Stage] = []
        self.problems: list[Problem] = []
        self.refused: set[Stage] = set()
        self.views: dict[str, _View] = {}
        last = network.by_name[network.output]
        self.softmax = isinstance(last, QSoftmax)
        self.output = last.inputs[0] if self.softmax else last.name
        self.arranged = Arrangement(network, geometry, self.output)

    def run(self) -> Stages:
        steps = {QInput: self._input, QConv: self._conv, QAdd: self._add, QConcat: self._concat, QFlatten: self._flatten,
                 QMaxPool: self._pool, QAvgPool: self._pool, QGlobalAvgPool: self._pool, QClamp: self._copy_like,
                 QTable: self._table, QLRN: self._normalise, QChannelShuffle: self._copy_like, QPad: self._pad,
                 QSelect: self._select}
        hidden = {concat.name for concat in self.arranged.pushed.values()} | ({self.network.output} if self.softmax else set())
        for layer in self.network.layers:
            if layer.name in hidden:
                continue
            if type(layer) in steps:
                steps[type(layer)](layer)
            else:
                self._refuse(layer, "no unit of the engine computes it: only the reference does (golden.run)")
            if layer.name not in self.views and layer.name not in self.arranged.inside:
                self.views[layer.name] = self._own(layer.name)      # it was refused: as if something wrote it, for layers behind
        if not self.problems:
            self._pack_output()
        return Stages(stages=self.stages, input=self.views[self.network.input.name].buffer, image=self.image,
                      output=self.views[self.output].buffer, output_name=self.output, softmax=self.softmax,
                      problems=tuple(self.problems), refused=frozenset(self.refused))

    def _refuse(self, layer: QLayer, reason: str):
        self.problems.append(Problem(layer.name, layer.called, reason))

    def _own(self, tensor: str, origin: Origin = Origin.STAGES) -> _View:
        """A view of a tensor where it was placed, or in a new buffer."""
        channels = self.network.tensors[tensor].shape[0]
        buffer, start = self.arranged.places.get(tensor) or (self.arranged.buffer(tensor, channels, origin), 0)
        return _View(buffer, start + np.arange(channels))

    # Layers

    def _input(self, layer: QInput):
        self.views[layer.name] = self._own(layer.name, Origin.STORAGE)
        readers, self.image = self.arranged.readers[layer.name], None
        if comes_flat(self.network, self.geometry):
            channels = math.prod(self.network.tensors[layer.name].shape)
            buffer = replace(self.views[layer.name].buffer, height=1, width=1,
                             pixel_words=self.arranged.aligned(channels) // self.geometry.input_lanes)
            self.views[layer.name] = _View(buffer, np.arange(channels))
        if len(readers) != 1 or layer.name == self.output or not isinstance(readers[0], QConv):
            return
        conv = squared(readers[0])
        if self._gathers(conv, readers[0]):
            self.image = conv
            self.views[layer.name].buffer.origin = Origin.IMAGE

    def _gathers(self, conv: QConv, plain: QConv) -> bool:
        """Whether the gather can make the windows of a convolution of the image, in no more words than the `plain` one reads."""
        (channels, height, width), window = self.network.tensors[conv.inputs[0]].shape, conv.window
        kernel, stride = window.kernel[0], window.stride[0]
        most = GatherConfig.most
        if (channels > most("channels") or conv.groups != 1 or window.dilation != (1, 1) or window.kernel != (kernel, kernel)
                or window.stride != (stride, stride) or kernel > most("kernel") or stride > most("stride")
                or max(window.padding) > most("left") or height > most("height") or width > most("width")
                or self.geometry.input_lanes % 4):
            return False
        lanes, taps = self.geometry.input_lanes, math.prod(plain.window.kernel)
        if gather.words_per_pixel(self.geometry, channels=channels, kernel=kernel) > taps * -(-channels // lanes):
            return False
        rows, columns = window.output_size(height, width)
        right = (columns - 1) * stride + kernel - window.padding[1] - width
        try:
            gather.bands(self.geometry, shape=(channels, height, width), kernel=kernel, stride=stride, padding=window.padding[:2],
                         rows=[rows], columns=columns, zero_point=0, base=0, ring_rows=1)
        except ValueError:
            return False
        return right <= most("right")

    def _conv(self, conv: QConv):
        if conv.name in self.arranged.filtered:
            if conv.name not in self.views:
                self._alone(conv, conv)
            return
        pool, tensor = self.arranged.fused.get(conv.name), self.arranged.tensor_of(conv.name)
        view, lowered = self.views[conv.inputs[0]], conv
        if view.flat:
            if conv.window != POINT or conv.groups != 1:
                self._refuse(conv, "a convolution of a flattened tensor must be a fully connected layer: 1x1, in one group")
                self.views[tensor] = self._own(tensor)
                return
            lowered = replace(conv, weight=conv.weight.reshape(len(conv.weight), *view.flat),
                              window=Window(kernel=view.flat[1:]))
        if self.image and conv.name == self.image.name:
            view, lowered = self._gathered(self.image)
        if pool and pool.name in self.arranged.pushed:
            part = next(part for part in self.arranged.parts[pool.name] if part.name == conv.name)
            buffer, channels = self.arranged.places[conv.name][0], part.start + np.arange(len(conv.weight))
            before = self.arranged.pushed[pool.name].inputs[:self.arranged.pushed[pool.name].inputs.index(conv.name)]
            first = sum(self.network.tensors[name].shape[0] for name in before)
            self._convolve(conv.name, tensor, lowered, pool, view, _View(buffer, channels), first)
        else:
            self.views[tensor] = self._own(tensor)
            self._convolve(conv.name, tensor, lowered, pool, view, self.views[tensor])

    def _convolve(self, layer: str, tensor: str, conv: QConv, pool: QLayer | None, view: _View, target: _View, channel: int = 0):
        """The stages of a convolution of any groups and dilation."""
        self._stages(layer, tensor, without_holes(conv), pool, (view,), target, channel, self.arranged.tables.get(layer),
                     self.arranged.normalised.get(layer))

    def _add(self, layer: QAdd):
        """A convolution of two maps; what does not lie alone in its buffer is copied to one."""
        if any(self._flat(layer, name) for name in layer.inputs):
            return
        alone = {name: self._alone_in_buffer(name) for name in dict.fromkeys(layer.inputs)}
        pool, tensor = self.arranged.fused.get(layer.name), self.arranged.tensor_of(layer.name)
        self.views[tensor] = target = self._own(tensor)
        conv = addition(layer, len(target.channels), tuple(self._kind(name)[1] for name in layer.inputs))
        self._stages(layer.name, tensor, conv, pool, tuple(alone[name] for name in layer.inputs), target,
                     table=self.arranged.tables.get(layer.name))

    def _alone_in_buffer(self, name: str) -> _View:
        """A view of a tensor, or of its copy, whose pixels hold nothing else and its channels in order."""
        view, channels = self.views[name], self._kind(name)[0][0]
        if (np.array_equal(view.channels, np.arange(channels)) and view.buffer.origin is not Origin.IMAGE
                and view.buffer.pixel_words * self.geometry.input_lanes == self.arranged.aligned(channels)):
            return view
        copied = _View(self.arranged.buffer(name, channels), np.arange(channels))
        self._copy(name, name, name, copied)
        return copied

    def _gathered(self, conv: QConv) -> tuple[_View, QConv]:
        """The windows that the gather makes, and the 1x1 convolution of them."""
        weight = conv.weight.transpose(0, 2, 3, 1).reshape(len(conv.weight), -1, 1, 1)
        height, width = conv.window.output_size(*self.network.tensors[conv.inputs[0]].shape[1:])
        buffer = Buffer(name=f"windows of {conv.inputs[0]}", height=height, width=width, origin=Origin.GATHER,
                        pixel_words=self.arranged.aligned(weight.shape[1]) // self.geometry.input_lanes)
        return (_View(buffer, np.arange(weight.shape[1])), replace(conv, weight=weight, window=Window(kernel=(1, 1))))

    def _pool(self, pool: QLayer):
        if pool.name in self.arranged.pushed:
            self.views[pool.name] = self._joined(pool.name)
        elif pool.name not in self.views and pool.name not in self.arranged.inside:
            self._alone(pool, pool)

    def _table(self, layer: QTable):
        """A table, in the stage of the convolution before it, or behind a copy."""
        if layer not in self.arranged.tables.values():
            self._alone(layer)

    def _normalise(self, layer: QLRN):
        """A normalisation, in the stage of the convolution before it, or behind a copy of what lies alone, whose output blocks
        one command has."""
        source = layer.inputs[0]
        if layer in self.arranged.normalised.values() or self._flat(layer, source):
            return
        view = self._alone_in_buffer(source)
        self.views[layer.name] = target = self._own(layer.name)
        conv = identity(layer.name, source, len(view.channels), self._kind(source)[1])
        self._stages(layer.name, layer.name, conv, None, (view,), target, lrn=layer)

    def _copy_like(self, layer: QClamp | QChannelShuffle):
        self._alone(layer)

    def _alone(self, layer: QLayer, pool: QLayer | None = None):
        """A layer without a convolution before it."""
        source, kind = layer.inputs[0], self.network.tensors[layer.inputs[0]]
        if self._flat(layer, source):
            return
        limits = {"low": layer.low, "high": layer.high} if isinstance(layer, QClamp) else {}
        conv, view = identity(layer.name, source, kind.shape[0], kind.zero_point, **limits), self.views[source]
        if isinstance(layer, QChannelShuffle):
            view = replace(view, channels=view.channels.reshape(layer.groups, -1).T.reshape(-1))
        self.views[layer.name] = target = self._own(layer.name)
        if picks(layer):
            conv, pool = replace(conv, window=Window(kernel=(1, 1), stride=layer.window.stride)), None
        self._stages(layer.name, layer.name, conv, pool, (view,), target, table=layer if isinstance(layer, QTable) else None)

    def _pad(self, layer: QPad):
        """A copy whose window reaches beyond the map."""
        zero_point, edges = self.network.tensors[layer.name].zero_point, (*layer.before[1:], *layer.after[1:])
        if self._flat(layer, layer.inputs[0]):
            return
        self.views[layer.name] = target = self._own(layer.name)
        if layer.value != zero_point or layer.before[0] or layer.after[0]:
            self._refuse(layer, "no unit of the engine pads channels, or with anything but zero: only the reference does "
                                "(golden.run)")
        else:
            conv = identity(layer.name, layer.inputs[0], len(target.channels), zero_point,
                            window=Window(kernel=(1, 1), padding=edges))
            self._stages(layer.name, layer.name, conv, None, (self.views[layer.inputs[0]],), target)

    def _copy(self, layer: str, tensor: str, source: str, target: _View, channel: int = 0):
        """Copies a tensor."""
        (channels, _, _), zero_point = self._kind(source)
        conv = identity(layer, source, channels, zero_point)
        self._stages(layer, tensor, conv, None, (self.views[source],), target, channel)

    def _kind(self, name: str) -> tuple[tuple[int, int, int], int]:
        """Shape and zero point of its bytes: of scores of two bytes, which are only copied, none."""
        kind = self.network.tensors[name]
        return kind.shape, kind.zero_point if kind.bits == 8 else 0

    def _flat(self, layer: QLayer, source: str) -> bool:
        if self.views[source].flat:
            self._refuse(layer, "only a fully connected layer can read a flattened tensor of more than one position")
        return bool(self.views[source].flat)

    def _concat(self, layer: QConcat):
        first = 0
        for part in self.arranged.parts[layer.name]:
            channels = self.network.tensors[part.name].shape[0]
            if part.copied:
                if self._flat(layer, part.name):
                    return
                target = _View(self.arranged.places[layer.name][0], part.start + np.arange(channels))
                self._copy(part.name, layer.name, part.name, target, first)
            first += channels
        self.views[layer.name] = self._joined(layer.name)

    def _joined(self, name: str) -> _View:
        """The view of a tensor whose parts are all written."""
        channels = []
        for part in self.arranged.parts[name]:
            if part.name in self.views and not part.copied:
                channels.append(self.views[part.name].channels)
            else:
                channels.append(part.start + np.arange(self.network.tensors[part.name].shape[0]))
        return _View(self.arranged.places[name][0], np.concatenate(channels))

    def _flatten(self, layer: QFlatten):
        view, shape = self.views[layer.inputs[0]], self.network.tensors[layer.inputs[0]].shape
        pixels = view.buffer.height * view.buffer.width         # 1 of an input that comes flat
        flat = view.flat or (shape if shape[1:] != (1, 1) and pixels > 1 else None)
        self.views[layer.name] = _View(view.buffer, view.channels, flat)

    def _select(self, layer: QSelect):
        """Nothing moves: whoever reads them reads some of the channels."""
        if len(set(layer.channels.tolist())) < len(layer.channels):
            self._refuse(layer, "no unit of the engine takes a channel twice: only the reference does (golden.run)")
        elif not self._flat(layer, layer.inputs[0]):
            view = self.views[layer.inputs[0]]
            self.views[layer.name] = _View(view.buffer, view.channels[layer.channels])

    def _pack_output(self):
        """The output alone in a buffer, in the order of its channels."""
        view = self.views[self.output]
        channels = len(view.channels)
        plain = np.array_equal(view.channels, np.arange(channels)) and view.buffer.origin is Origin.STAGES
        if plain and view.buffer.pixel_words * self.geometry.input_lanes == self.arranged.aligned(channels):
            return
        buffer = Buffer(name=f"{self.output}, packed", height=view.buffer.height, width=view.buffer.width,
                        pixel_words=self.arranged.aligned(channels) // self.geometry.input_lanes)
        packed = _View(buffer, np.arange(channels), view.flat)
        conv = identity(self.output, self.output, channels, self._kind(self.output)[1])
        tensor = self.output
        while isinstance(self.network.by_name[tensor], QFlatten):       # written as the map that it was
            tensor = self.network.by_name[tensor].inputs[0]
        self._stages(self.output, tensor, conv, None, (view,), packed)
        self.views[self.output] = packed

    # Stages

    def _stages(self, layer: str, tensor: str, conv: QConv, pool: QLayer | None, views: tuple[_View, ...], target: _View,
                channel: int = 0, table: QTable | None = None, lrn: QLRN | None = None):
        """Adds the stages of a convolution of one map or of several that lie alike, with what is behind it; `channel`: of
        `tensor`, the first that is written. Where a kernel that the engine has not is as large as the map, all pixels are one."""
        lanes, buffer, kernel = self.geometry.input_lanes, views[0].buffer, conv.window.kernel
        whole = max(kernel) > MOST_KERNEL and kernel == (buffer.height, buffer.width) and not any(conv.window.padding)
        named, zero_point = self.network.by_name[layer], self._kind(conv.inputs[0])[1]
        # A global average has one sum: a map too large for the chip comes again for each output block, so rather a word of it.
        apart = isinstance(pool, QGlobalAvgPool) and conv.groups > 1 and buffer.words > self.geometry.activation_words
        for part in spread(conv, views[0].channels, self.geometry, apart=apart):
            if lrn and len(part.outputs) < len(conv.weight):
                raise AssertionError("what is normalised must be a single stage")
            if whole:
                part = as_a_pixel(part, buffer.pixel_words, self.geometry)
            own = some_channels(pool, part.outputs) if isinstance(pool, QConv) else pool
            normalised = tuple(self._kind(name)[1] for name in (lrn.inputs[0], lrn.name)) if lrn else (0, 0)
            work = Convolution(geometry=self.geometry, conv=part.conv, pool=own, height=buffer.height, width=buffer.width,
                               zero_point=zero_point, own=part.own, maps=len(views), whole=whole, table=table,
                               table_zero_point=self._kind(table.name)[1] if table else 0, lrn=lrn,
                               lrn_zero_points=normalised)
            first = int(target.channels[part.outputs.start])
            words = range(first // lanes, first // lanes + -(-len(part.outputs) // lanes))
            stage = Stage(layer=layer, op=named.called, tensor=tensor, channel=channel + part.outputs.start, work=work,
                          sources=tuple(Slice(view.buffer, part.source) for view in views), target=Slice(target.buffer, words))
            self.stages.append(stage)
            for culprit, reason in work.against():
                culprit = named if culprit is part.conv else pool if culprit is own else culprit
                problem = Problem(culprit.name, culprit.called, reason)
                if problem not in self.problems:        # one pool behind several convolutions, several stages of one layer
                    self.problems.append(problem)
                self.refused.add(stage)
