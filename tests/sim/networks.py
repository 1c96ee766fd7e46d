"""Random quantised networks for the whole machine: branches, odd sizes, every operator that the compiler places."""
from dataclasses import replace

from hypothesis import strategies as st
import numpy as np

from nets.graph import AvgPool, Conv, Graph, Input, MaxPool, Window
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
    QTable,
    Requantise,
    TensorType,
    lrn_entries,
)
from nets.int8.pools import split_pools
from nets.moves import Pad
from nets.preprocess import InputSpec
from tests.hw.engine.layers import ZERO_POINTS, conv_of, windows

__all__ = ["STEPS_OF_UNITS", "averaged", "describe", "networks", "single_conv", "thinned"]

THREE_BY_THREE = Window(kernel=(3, 3), padding=(1, 1, 1, 1))


class _Maker:
    """Adds layers; `shapes` holds every tensor made so far. All tensors have one scale and, but for the input, one zero point, so
    that any two may be concatenated."""

    def __init__(self, draw, shape: tuple[int, int, int], macs: int):
        self.draw, self.macs = draw, macs
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.zero = draw(st.sampled_from(ZERO_POINTS))
        self.layers: list[QLayer] = [QInput(name="x", inputs=())]
        self.shapes = {"x": shape}
        self.zeros = {"x": draw(st.sampled_from(ZERO_POINTS))}

    def name(self) -> str:
        """A tensor to go on from: one of the last three."""
        return self.draw(st.sampled_from(list(self.shapes)[-3:]))

    def add(self, layer: QLayer, shape: tuple[int, int, int], zero: int | None = None) -> str:
        self.layers.append(layer)
        self.shapes[layer.name], self.zeros[layer.name] = shape, self.zeros[layer.inputs[0]] if zero is None else zero
        return layer.name

    def fresh(self, what: str) -> str:
        return f"{what}{len(self.layers)}"

    def conv(self, source: str, window: Window | None = None, out: int | None = None) -> str:
        channels, *size = self.shapes[source]
        if window is None:
            window = self.draw(windows(self.draw(st.sampled_from([1, 3, 3, 5])), 2, 2))
            if any(k > n for k, n in zip(window.kernel, size, strict=True)):
                window = Window(kernel=(1, 1))
        out = out or self.draw(st.integers(1, 14))
        size = window.output_size(*size)
        cost = channels * window.kernel[0] * window.kernel[1] * size[0] * size[1]
        out = max(1, min(out, self.macs // cost))
        self.macs -= out * cost
        conv = replace(conv_of(self.rng, channels, out, window), name=self.fresh("conv"), inputs=(source,))
        conv = replace(conv, requantise=replace(conv.requantise, zero_point=self.zero))
        return self.add(conv, (out, *size), self.zero)

    def grouped(self, source: str, out: int = 0) -> str:
        """A convolution in groups, down to one channel each; dilated now and then."""
        channels, *size = self.shapes[source]
        groups = self.draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
        dilation = self.draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (2, 3)]))
        window = Window(kernel=(3, 3), padding=(1, 1, 1, 1)) if out else replace(
            self.draw(windows(self.draw(st.sampled_from([1, 2, 3])), 2, 2)), dilation=dilation)
        if any(d * (k - 1) >= n for d, k, n in zip(window.dilation, window.kernel, size, strict=True)):
            window = Window(kernel=(1, 1))
        out = out or groups * self.draw(st.integers(1, max(1, 14 // groups)))
        size = window.output_size(*size)
        self.macs -= out * channels // groups * window.kernel[0] * window.kernel[1] * size[0] * size[1]
        conv = replace(conv_of(self.rng, channels // groups, out, window), name=self.fresh("grouped"), inputs=(source,),
                       groups=groups)
        conv = replace(conv, requantise=replace(conv.requantise, zero_point=self.zero))
        return self.add(conv, (out, *size), self.zero)

    def residual(self, source: str) -> str:
        """What a branch of one convolution makes of a tensor, added to it."""
        channels, *size = self.shapes[source]
        if min(size) < 2:
            return self.sum(source)
        return self.sum(source, self.grouped(source, channels))

    def sum(self, source: str, other: str = "") -> str:
        """Two tensors of one shape, or a tensor and itself."""
        shape = self.shapes[source]
        other = other or self.draw(st.sampled_from([name for name, found in self.shapes.items() if found == shape]))
        low, high = sorted(self.draw(st.tuples(*[st.integers(0, 255)] * 2)))
        inputs = self.draw(st.permutations([source, other]))
        how = Requantise(multiplier=np.array([self.draw(st.integers(128, 255))]), shift=np.array([self.draw(st.integers(7, 16))]),
                         zero_point=self.zero, low=low, high=high)
        weights = tuple(self.draw(st.integers(-127, 127)) for _ in inputs)
        layer = QAdd(name=self.fresh("sum"), inputs=tuple(inputs), weights=weights, requantise=how)
        return self.add(layer, shape, self.zero)

    def fire(self, source: str) -> str:
        squeezed = self.conv(source, Window(kernel=(1, 1)), self.draw(st.integers(1, 6)))
        branches = [self.conv(squeezed, Window(kernel=(1, 1))), self.conv(squeezed, Window(kernel=(3, 3), padding=(1, 1, 1, 1)))
                    if min(self.shapes[squeezed][1:]) > 1 else self.conv(squeezed, Window(kernel=(1, 1)))]
        return self.join(branches)

    def concat(self, source: str) -> str:
        others = [name for name, shape in self.shapes.items() if shape[1:] == self.shapes[source][1:]
                  and self.zeros[name] == self.zeros[source]]
        return self.join([source, *self.draw(st.lists(st.sampled_from(others), min_size=1, max_size=2))])

    def join(self, parts: list[str]) -> str:
        channels = sum(self.shapes[part][0] for part in parts)
        return self.add(QConcat(name=self.fresh("concat"), inputs=tuple(parts)), (channels, *self.shapes[parts[0]][1:]))

    def pool(self, source: str) -> str:
        channels, *size = self.shapes[source]
        kind, window, ceil_mode = self.draw(st.sampled_from([QMaxPool, QAvgPool])), self.draw(windows(3, 3, 1)), self.draw(
            st.booleans())
        try:
            size = window.output_size(*size, ceil_mode=ceil_mode)
        except ValueError:
            return self.conv(source)
        extra = {"count_include_pad": self.draw(st.booleans())} if kind is QAvgPool else {}
        return self.add(kind(name=self.fresh("pool"), inputs=(source,), window=window, ceil_mode=ceil_mode, **extra),
                        (channels, *size))

    def large_pool(self, source: str) -> str:
        """A pool that no unit computes, as the layers into which it is split."""
        shape = self.shapes[source]
        kernel, stride = (self.draw(st.tuples(*[st.integers(1, most)] * 2)) for most in (9, 6))
        window = Window(kernel=kernel, stride=stride, padding=tuple(self.draw(st.integers(0, min(kernel[n % 2] - 1, 4)))
                                                                    for n in range(4)))
        if any(shape[1 + n] + window.padding[n] + window.padding[n + 2] < window.kernel[n] for n in range(2)):
            return self.pool(source)
        kind, options = self.draw(st.sampled_from([(MaxPool, {}), (AvgPool, {"count_include_pad": True})]))
        graph = Graph(name="pool", output="p", layers=(Input(name="x", shape=shape), kind(
            name="p", inputs=("x",), window=window, ceil_mode=self.draw(st.booleans()), **options)))
        split = split_pools(graph)
        if any(isinstance(layer, AvgPool) for layer in split.layers):
            return self.pool(source)
        for layer in split.layers[1:]:
            source = self._part(source, layer, split.shapes[layer.name])
        return source

    def _part(self, source: str, layer: MaxPool | Pad | Conv, shape: tuple[int, int, int]) -> str:
        """One layer of a pool that is split; an average's weights are any."""
        match layer:
            case MaxPool():
                pool = QMaxPool(name=self.fresh("pool"), inputs=(source,), window=layer.window, ceil_mode=layer.ceil_mode)
                return self.add(pool, shape)
            case Pad():
                return self.add(QPad(name=self.fresh("pad"), inputs=(source,), before=layer.before, after=layer.after,
                                     value=self.zeros[source]), shape)
        self.macs -= layer.weight.size * shape[1] * shape[2]
        conv = replace(conv_of(self.rng, 1, shape[0], layer.window), name=self.fresh("mean"), inputs=(source,), groups=shape[0])
        return self.add(replace(conv, requantise=replace(conv.requantise, zero_point=self.zero)), shape, self.zero)

    def pooled_conv(self, source: str) -> str:
        return self.pool(self.conv(source))

    def pooled_fire(self, source: str) -> str:
        return self.pool(self.fire(source))

    def clamp(self, source: str) -> str:
        low, high = sorted(self.draw(st.tuples(*[st.integers(0, 255)] * 2)))
        return self.add(QClamp(name=self.fresh("clamp"), inputs=(source,), low=low, high=high), self.shapes[source])

    def shuffle(self, source: str) -> str:
        channels = self.shapes[source][0]
        groups = self.draw(st.sampled_from([g for g in (1, 2, 3, channels) if channels % g == 0]))
        return self.add(QChannelShuffle(name=self.fresh("shuffle"), inputs=(source,), groups=groups), self.shapes[source])

    def table(self, source: str) -> str:
        """Any bytes for those of a tensor."""
        layer = QTable(name=self.fresh("table"), inputs=(source,), table=self.rng.integers(0, 256, 256, np.uint8))
        return self.add(layer, self.shapes[source], self.zero)

    def depthwise(self, source: str) -> str:
        """A depthwise convolution of 3x3."""
        channels, *size = self.shapes[source]
        window = Window(kernel=(3, 3), stride=self.draw(st.tuples(*[st.integers(1, 2)] * 2)),
                        padding=self.draw(st.sampled_from([(1, 1, 1, 1), (1, 1, 1, 1), (0, 0, 1, 1), (0, 0, 0, 0),
                                                           (2, 1, 0, 2)])))
        if min(size) < 3:
            return self.conv(source)
        self.macs -= 9 * channels * size[0] * size[1]
        conv = replace(conv_of(self.rng, 1, channels, window), name=self.fresh("filter"), inputs=(source,), groups=channels)
        conv = replace(conv, requantise=replace(conv.requantise, zero_point=self.zero))
        return self.add(conv, (channels, *window.output_size(*size)), self.zero)

    def filtered_conv(self, source: str) -> str:
        """One behind a convolution, most often of single pixels, as in MobileNets."""
        window = self.draw(st.sampled_from([Window(kernel=(1, 1)), Window(kernel=(1, 1)), None]))
        return self.depthwise(self.conv(source, window, self.draw(st.integers(1, 24))))

    def filtered_sum(self, source: str) -> str:
        return self.depthwise(self.sum(source))

    def mapped_conv(self, source: str) -> str:
        return self.table(self.conv(source))

    def pooled_mapped_conv(self, source: str) -> str:
        return self.pool(self.mapped_conv(source))

    def mapped_sum(self, source: str) -> str:
        return self.table(self.sum(source))

    def lrn(self, source: str) -> str:
        """A normalisation by any table whose factors are about 1."""
        size = self.draw(st.integers(1, 5))
        entries = lrn_entries(size)
        base, drop, shift = (self.rng.integers(*ends, entries) for ends in ((1 << 15, 1 << 17), (0, 1 << 14), (14, 20)))
        layer = QLRN(name=self.fresh("lrn"), inputs=(source,), size=size, base=base.astype(np.int32), drop=drop.astype(np.int32),
                     shift=shift.astype(np.uint8))
        return self.add(layer, self.shapes[source], self.zero)

    def normalised_conv(self, source: str) -> str:
        return self.lrn(self.conv(source))

    def normalised_pool(self, source: str) -> str:
        return self.lrn(self.pooled_conv(source))

    def wide_conv(self, source: str) -> str:
        """A convolution of so many channels that a small memory does not hold the weights of an output block."""
        size = self.shapes[source][1:]
        if np.prod(size) > 36:
            return self.pooled_conv(source)
        wide = self.conv(source, Window(kernel=(1, 1)), self.draw(st.integers(80, 120)))
        return self.conv(wide, self.draw(st.sampled_from([Window(kernel=size), Window(kernel=(5, 5), padding=(2, 2, 2, 2))])))

    def finish(self, source: str) -> str:
        """A classifier by one of the ways to get one, or nothing."""
        match self.draw(st.integers(0, 3)):
            case 0:
                return source
            case 1 if np.prod(self.shapes[source][1:]) <= 196:
                flat = self.add(QFlatten(name=self.fresh("flat"), inputs=(source,)),
                                (int(np.prod(self.shapes[source])), 1, 1))
                return self.conv(flat, Window(kernel=(1, 1)), 5)
            case 2:
                return self.average(source)
        return self.average(self.conv(source, Window(kernel=(1, 1))))

    def average(self, source: str) -> str:
        channels, height, width = self.shapes[source]
        how = Requantise(multiplier=np.array(int(self.rng.integers(100, 256))), shift=np.array(8 + int(np.log2(height * width))),
                         zero_point=self.zero)
        return self.add(QGlobalAvgPool(name=self.fresh("average"), inputs=(source,), requantise=how), (channels, 1, 1), self.zero)


STEPS = ("conv", "conv", "fire", "pooled_conv", "pooled_fire", "pool", "concat", "clamp", "shuffle", "grouped", "residual", "sum",
         "large_pool")


# Of the optional units that an engine has.
STEPS_OF_UNITS = {"carry": ("wide_conv", "wide_conv"), "decoder": (),
                  "lrn": ("lrn", "normalised_conv", "normalised_conv", "normalised_pool"),
                  "depthwise": ("depthwise", "filtered_conv", "filtered_conv", "filtered_conv", "filtered_sum"),
                  "table": ("table", "mapped_conv", "mapped_conv", "pooled_mapped_conv", "mapped_sum")}


@st.composite
def networks(draw, *, layers: int = 12, side: int = 21, macs: int = 400_000, units: tuple[str, ...] = ()
             ) -> tuple[QNetwork, np.ndarray]:
    """A network of about 2 to `layers` layers with at most some `macs` multiply-accumulates, for engines with these optional
    units, and its input uint8."""
    steps = STEPS + tuple(step for unit in units for step in STEPS_OF_UNITS[unit])
    shape = (draw(st.sampled_from([1, 2, 3, 3, 4, 5])), draw(st.integers(3, side)), draw(st.integers(3, side)))
    maker = _Maker(draw, shape, macs)
    maker.conv("x")
    most = draw(st.integers(2, layers))
    while len(maker.layers) < most:
        getattr(maker, draw(st.sampled_from(steps)))(maker.name())
    output = maker.finish(list(maker.shapes)[-1])
    used = _needed(maker.layers, output)
    tensors = {name: TensorType(shape=maker.shapes[name], scale=0.05, zero_point=maker.zeros[name])
               for name in maker.shapes if name in used}
    if maker.shapes[output][1:] == (1, 1) and draw(st.integers(0, 3)):
        output = _with_fraction(maker.layers, tensors, output, flatten=draw(st.booleans()))
        used.add(output)
    network = QNetwork(name="random", layers=tuple(layer for layer in maker.layers if layer.name in used), tensors=tensors,
                       output=output, spec=InputSpec(size=shape[1:]))
    if "decoder" in units:
        network = thinned(network, float(maker.rng.choice([0.1, 0.5, 1])), maker.rng)
    return network, maker.rng.integers(0, 256, shape, np.uint8)


def thinned(network: QNetwork, density: float, rng: np.random.Generator) -> QNetwork:
    """The network with weights of which a share is not 0, of another distribution in each layer: they can be compressed."""
    def of(layer: QLayer) -> QLayer:
        if not isinstance(layer, QConv):
            return layer
        there = rng.random(layer.weight.shape) < density
        return replace(layer, weight=np.where(there, layer.weight // int(rng.integers(1, 9)), 0).astype(np.int8))
    return replace(network, layers=tuple(map(of, network.layers)))


def _with_fraction(layers: list[QLayer], tensors: dict[str, TensorType], output: str, *, flatten: bool) -> str:
    """The output in sub-steps, if it is computed and nobody else reads it, perhaps flattened; its name."""
    at = next(n for n, layer in enumerate(layers) if layer.name == output)
    layer, how = layers[at], getattr(layers[at], "requantise", None)
    if how is None or any(output in other.inputs and other.name in tensors for other in layers):
        return output
    low, high = sorted(min(max(value, 1), 254) for value in (how.low, how.high))
    layers[at] = replace(layer, requantise=replace(how, low=low, high=high, shift=np.maximum(how.shift, 9), fraction=True))
    tensors[output] = replace(tensors[output], scale=0.05 / 256, zero_point=256 * how.zero_point, bits=16)
    if flatten:
        layers.append(QFlatten(name="scores", inputs=(output,)))
        tensors["scores"] = tensors[output]
        return "scores"
    return output


def _needed(layers: list[QLayer], output: str) -> set[str]:
    """Layers that the output depends on; what nobody reads would be no part of a network."""
    needed = {output, "x"}
    for layer in reversed(layers):
        if layer.name in needed:
            needed.update(layer.inputs)
    return needed


def describe(network: QNetwork) -> str:
    """A line a layer, for whoever reads a failure."""
    lines = []
    for layer in network.layers:
        window = getattr(layer, "window", "")
        lines.append(f"{layer.name} {layer.op} of {', '.join(layer.inputs)}: {network.tensors[layer.name].shape} {window}")
    return "\n".join(lines)


def single_conv(channels: int, out: int, size: tuple[int, int], window: Window = THREE_BY_THREE) -> QNetwork:
    """A convolution alone."""
    conv = conv_of(np.random.default_rng(1), channels, out, window)
    return QNetwork(name="net", layers=(QInput(name="x"), conv), output="conv", spec=InputSpec(size=size), tensors={
        "x": TensorType(shape=(channels, *size), scale=1.0, zero_point=7),
        "conv": TensorType(shape=(out, *window.output_size(*size)), scale=1.0, zero_point=conv.requantise.zero_point)})


def averaged(channels: int, out: int, size: tuple[int, int]) -> QNetwork:
    """A convolution and the mean of what it makes."""
    network = single_conv(channels, out, size)
    how = Requantise(multiplier=np.array(200), shift=np.array(18), zero_point=3)
    return replace(network, layers=(*network.layers, QGlobalAvgPool(name="mean", inputs=("conv",), requantise=how)),
                   output="mean", tensors=network.tensors | {"mean": TensorType(shape=(out, 1, 1), scale=1.0, zero_point=3)})
