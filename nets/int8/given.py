"""Networks that come quantised: their integers are taken as they are where the chip can hold them, and told where it cannot.

A convolution keeps its weights and biases. Its factor, input scale * weight scale / output scale, is no free choice then: the
nearest multiplier of 8 bits is at most 0.4 % from it. Channels with weights beyond -127..127, as unsigned files have them, are
rounded anew, for a factor that is met exactly. Sums are two weights and a multiplier that come nearest.
"""
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
import math

import numpy as np

from nets.functions import Function
from nets.graph import Affine, AvgPool, Clip, Conv, Flatten, Graph, Layer, Problem, Relu, Softmax
from nets.int8.fuse import ARITHMETIC, ONE_SCALE
from nets.int8.network import MULTIPLIER_MAX, SHIFT_MAX, WEIGHT_MAX, QConv, Requantise, TensorType
from nets.int8.quantised import Quantisation

__all__ = ["Changes", "FactorError", "check_reach", "nearest", "settle", "sum_factors", "taken", "without_shift"]

MULTIPLIER_BITS = MULTIPLIER_MAX.bit_length()
CLIPPED = 1                 # step by which a weight is clipped rather than all of its channel rounded anew: -128
LEAST_FACTOR = 2.0 ** -32   # smaller ones are of channels without weights: all that there is, is less than a step
SOFTMAX = Quantisation(scale=1 / 256, zero_point=0)       # what the chip's softmax gives
TIED = 1e-6                 # of a sum's factors: what scales of 32 bits cannot tell apart
OCTAVES = 4                 # of multipliers, from the finest for which weights have room, that are tried for a sum


def settle(graph: Graph) -> Graph:
    """The network with an identity between a tensor and a reader that only moves or chooses its values, but brings another
    scale: what brings no scale has that of its first input. A mean of windows becomes a convolution then; behind one that does
    not count its padding, and behind softmaxes, whose scale is fixed, stands the identity.

    Where that reader is the only one, and the tensor is computed, it is computed to the reader's scale at once, within the limits
    of its own: what would be rounded twice is rounded once.
    """
    if not graph.quantised:
        return graph
    settling = _Settling(graph)
    for layer in graph.layers:
        settling.add(layer)
    return replace(graph, layers=tuple(settling.layers.values()))


class _Settling:
    """Layers so far, by name, and the scales of their tensors."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.kinds: dict[str, Quantisation | None] = {}
        self.layers: dict[str, Layer] = {}
        self.count = Counter(name for layer in graph.layers for name in layer.inputs)
        self.count[graph.output] += 1

    def add(self, layer: Layer) -> None:
        kind = layer.quantised
        own = SOFTMAX if isinstance(layer, Softmax) else self.kinds[layer.inputs[0]] if isinstance(layer, AvgPool) else None
        if kind and own and kind != own:
            if isinstance(layer, AvgPool) and not layer.ceil_mode and (layer.count_include_pad or not any(layer.window.padding)):
                self._append(self._weighted(layer), kind)
                return
            mean = replace(layer, name=f"{layer.name}/{layer.op.lower()}", quantised=own)
            self._append(mean, own)
            self._append(self._identity(layer.name, mean.name, layer, self.graph.shapes[layer.name][0], kind), kind)
            return
        if kind and isinstance(layer, Affine) and self._changes_scale(layer) and self._computed(layer.inputs[0]):
            self._between(layer.name, layer.inputs[0], layer, kind)
            return
        if isinstance(layer, ONE_SCALE):
            sources = [self.kinds[name] for name in layer.inputs]
            kind = kind or next((source for source in sources if source), None)
            made = [name if self.kinds[name] in (None, kind) else f"{layer.name}/{number}"
                    for number, name in enumerate(layer.inputs)]
            for name, source in dict(zip(made, layer.inputs, strict=True)).items():
                if name != source:
                    self._between(name, source, layer, kind)
            layer = replace(layer, inputs=tuple(made))
        self._append(layer, kind)

    def _weighted(self, pool: AvgPool) -> Conv:
        """A mean of windows as a convolution, which rounds once."""
        channels, kernel = self.graph.shapes[pool.name][0], pool.window.kernel
        return Conv(name=pool.name, inputs=pool.inputs, origin=pool.origin, window=pool.window, groups=channels,
                    weight=np.full((channels, 1, *kernel), 1 / math.prod(kernel), np.float32),
                    bias=np.zeros(channels, np.float32), quantised=pool.quantised)

    def _append(self, layer: Layer, kind: Quantisation | None) -> None:
        self.layers[layer.name] = layer
        self.kinds[layer.name] = kind

    def _between(self, name: str, source: str, reader: Layer, kind: Quantisation) -> None:
        """Something of that name that makes the kind that a reader needs of the one that its source has."""
        if computed := self._computed(source):
            low, high = self.kinds[source].range
            self.layers |= {one: replace(self.layers[one], quantised=None) for one in computed}
            between = Clip(name=name, inputs=(source,), origin=reader.origin, low=low, high=high, quantised=kind)
        else:
            between = self._identity(name, source, reader, self.graph.shapes[source][0], kind)
        self._append(between, kind)

    def _changes_scale(self, layer: Affine) -> bool:
        """Whether it does nothing but that, and not for the first time."""
        return (layer.integers is None and self.kinds[layer.inputs[0]] is not None and (layer.scale == 1).all()
                and not layer.offset.any())

    def _computed(self, name: str) -> list[str]:
        """The layers that compute a tensor, clamps and what is clamped, if it may be to another scale: nothing else reads it."""
        kind, layers = self.kinds[name], [name]
        while self.count[name] == 1 and isinstance(self.layers[name], Clip | Relu):
            name = self.layers[name].inputs[0]
            if self.layers[name].quantised not in (None, kind):
                return []
            layers.append(name)
        return layers if self.count[name] == 1 and isinstance(self.layers[name], (*ARITHMETIC, Function)) else []

    @staticmethod
    def _identity(name: str, source: str, like: Layer, channels: int, kind: Quantisation) -> Affine:
        one = np.ones(channels, np.float32)
        return Affine(name=name, inputs=(source,), origin=like.origin, scale=one, offset=0 * one, quantised=kind)


def without_shift(graph: Graph) -> tuple[Graph, float]:
    """The network without a number that is added to all of its scores, and that number."""
    last = graph.by_name[graph.output]
    while isinstance(last, Flatten):
        last = graph.by_name[last.inputs[0]]
    if not (graph.quantised and isinstance(last, Affine) and last.quantised is None and graph.by_name[last.inputs[0]].quantised
            and len(graph.consumers[last.name]) <= 1 and (last.scale == 1).all() and np.ptp(last.offset) == 0):
        return graph, 0.0
    now = {last.name: last.inputs[0]}
    layers = tuple(replace(layer, inputs=tuple(now.get(name, name) for name in layer.inputs))
                   for layer in graph.layers if layer is not last)
    return replace(graph, layers=layers, output=now.get(graph.output, graph.output)), float(last.offset[0])


class FactorError(ValueError):
    """A layer multiplies by more than weights and multipliers can."""


@dataclass
class Changes:
    """What could not be taken as it is: channels that were rounded anew, of those that there are, and how far multipliers are
    from their factors, at most."""

    layers: int = 0
    channels: int = 0
    anew: int = 0
    off: float = 0.0
    problems: list[Problem] = field(default_factory=list)

    def factor(self, wanted: np.ndarray, got: np.ndarray) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):
            off = np.where(wanted > LEAST_FACTOR, np.abs(got / wanted - 1), 0.0)
        self.off = max(self.off, float(off.max(initial=0.0)))

    def notes(self, name: str) -> Iterator[str]:
        if not self.channels:
            return
        yield (f"{name}: scales, zero points, weights and biases are the file's; factors are met by multipliers of "
               f"{MULTIPLIER_BITS} bits, at most {100 * self.off:.2f} % off")
        if self.anew:
            yield (f"{name}: {self.anew:,} of {self.channels:,} channels, in {self.layers} layers, have weights beyond "
                   f"{-WEIGHT_MAX}..{WEIGHT_MAX}, and are rounded anew")


def taken(conv: Conv, source: TensorType, kind: TensorType, anew: Callable[[], QConv], changes: Changes) -> QConv:
    """The convolution with its file's integers. `anew` makes it of its floats: channels come from there whose weights the chip
    cannot hold. Raises FactorError for factors that it cannot have."""
    given = conv.integers
    wanted = given.scale * source.scale / kind.scale
    multiplier, shift = nearest(wanted)
    weight = np.clip(given.weight, -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)
    count = len(weight)
    bias = given.bias - source.zero_point * weight.reshape(count, -1).sum(1, dtype=np.int64)
    limits = np.iinfo(np.int32)         # a bias beyond is refused with the accumulators, by nets.int8.check
    bias = np.clip(bias, limits.min, limits.max).astype(np.int32)
    beyond = np.abs(given.weight.reshape(count, -1)).max(1) > WEIGHT_MAX + CLIPPED
    changes.factor(wanted[~beyond], (multiplier * 2.0 ** -shift)[~beyond])
    changes.channels += count
    if beyond.any():
        changes.anew += int(beyond.sum())
        changes.layers += 1
        other = anew()
        weight = np.where(beyond[:, None, None, None], other.weight, weight)
        bias, multiplier, shift = (np.where(beyond, theirs, ours) for theirs, ours in (
            (other.bias, bias), (other.requantise.multiplier, multiplier), (other.requantise.shift, shift)))
    return QConv(name=conv.name, inputs=conv.inputs, origin=conv.origin, weight=weight, bias=bias, window=conv.window,
                 groups=conv.groups, requantise=Requantise(multiplier=multiplier, shift=shift, zero_point=kind.zero_point))


def check_reach(conv: Conv, source: TensorType, kind: TensorType) -> None:
    """Raises FactorError for weights, of floats, that no integers and multipliers between these two tensors can mean."""
    reach = float(np.abs(conv.weight).max()) * source.scale / kind.scale
    if reach > WEIGHT_MAX * MULTIPLIER_MAX / 2:
        raise FactorError(f"a step of the input is {reach:.4g} steps of the output, more than {WEIGHT_MAX * MULTIPLIER_MAX / 2}")


def nearest(ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(multiplier, shift), int64, whose factor multiplier * 2**-shift is nearest to each positive ratio; factors below the least
    are 0. Raises FactorError for what is beyond the largest."""
    ratio = np.asarray(ratio, np.float64)
    if (ratio > MULTIPLIER_MAX / 2).any():
        raise FactorError(f"a step of the accumulator is {ratio.max():.4g} steps of the output, more than {MULTIPLIER_MAX / 2}")
    octave = np.floor(np.log2(np.maximum(ratio, 2.0 ** -60))).astype(np.int64)
    shift = np.clip(MULTIPLIER_BITS - 1 - octave, 1, SHIFT_MAX)
    multiplier = np.rint(np.ldexp(ratio, shift)).astype(np.int64)
    over = multiplier > MULTIPLIER_MAX                      # rounded up to the next octave
    return np.where(over, multiplier >> 1, multiplier), np.where(over, np.maximum(shift - 1, 1), shift)


def sum_factors(sources: Sequence[TensorType], kind: TensorType) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
    """Weights of the two inputs of a sum, multiplier and shift, whose products come nearest to what each input should count."""
    factors = np.array([source.scale / kind.scale for source in sources])[:, None]
    multiplier, shift = nearest(np.array([max(factors.max() / WEIGHT_MAX, LEAST_FACTOR)]))
    tried = (multiplier[0] + np.arange(OCTAVES << MULTIPLIER_BITS - 1)) * 2.0 ** -shift[0]
    multiplier, shift = nearest(tried[tried <= min(max(factors.max(), tried[0]), MULTIPLIER_MAX / 2)])
    unit = multiplier * 2.0 ** -shift
    weights = np.rint(factors / unit)
    off = np.where(weights.max(0) <= WEIGHT_MAX, np.abs(weights * unit - factors).sum(0), np.inf)
    tied = np.flatnonzero(off <= off.min() + TIED * factors.max())
    best = int(min(tied, key=lambda k: (multiplier[k] % 4 != 3, k)))       # as nets.int8.clip would: they lead to no ties in sums
    first, second = weights[:, best].astype(int).tolist()
    return (first, second), multiplier[best:best + 1], shift[best:best + 1]
