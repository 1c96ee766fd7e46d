"""The SqueezeNet family, from the metaparameters of arXiv:1602.07360, section 5."""
from collections.abc import Mapping
from dataclasses import dataclass, replace
import enum
import math

import numpy as np

from nets.graph import (
    Add,
    Concat,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Graph,
    GraphError,
    Input,
    Layer,
    MaxPool,
    Problem,
    Relu,
    Window,
)

__all__ = ["Bypass", "SqueezeNetConfig", "V1_0", "V1_1", "convolutions", "initialise",
           "squeezenet", "with_weights", "with_weights_of"]

PARAMETERS_MAX = 100_000_000        # 80 times v1.0: beyond it lies a typing error, not a network


class Bypass(enum.StrEnum):
    """Connections around Fire modules (section 6 of the paper).

    `SIMPLE` adds the module's input to its output where both have the same number of channels;
    `COMPLEX` also does so elsewhere, through a 1x1 convolution.
    """

    NONE = "none"
    SIMPLE = "simple"
    COMPLEX = "complex"


def _check_integer(what: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{what} must be {low}..{high}, not {value}")


def _bypass(value: str) -> Bypass:
    try:
        return Bypass(value)
    except ValueError:
        raise ValueError(f"bypass must be one of {', '.join(Bypass)}, not {value!r}") from None


@dataclass(frozen=True, kw_only=True)
class SqueezeNetConfig:
    """One point of the family; the defaults are v1.0. Raises ValueError where a value is no such
    point.

    Fire module i (from 0) is layer i + 2 of the network and expands to
    e = base_e + incr_e * floor(i / freq) channels, of which pct3x3 * e through 3x3 and the rest
    through 1x1 kernels, after squeezing to sr * e channels. Fractions are rounded, and each
    convolution keeps at least one channel.

    Parameters: `base_e` 2..8192, `incr_e` 0..8192, `pct3x3` over 0 and under 1, `freq` >= 1, `sr`
    over 0 up to 1, `modules` 1..64. `pools`: layers (1 is conv1, 2 the first Fire module, ...)
    followed by a 3x3 max pool of stride 2, in ceil mode. `conv1_padding` and `last_padding`
    surround the first and the last convolution with zeros. `input_shape`: channels, height, width.
    """

    base_e: int = 128
    incr_e: int = 128
    pct3x3: float = 0.5
    freq: int = 2
    sr: float = 0.125
    modules: int = 8
    bypass: Bypass = Bypass.NONE
    pools: tuple[int, ...] = (1, 4, 8)
    conv1_channels: int = 96
    conv1_kernel: int = 7
    conv1_stride: int = 2
    conv1_padding: int = 0
    last_padding: int = 0
    classes: int = 1000
    input_shape: tuple[int, int, int] = (3, 224, 224)

    def __post_init__(self):
        for what, low, high in (
                ("base_e", 2, 8192), ("incr_e", 0, 8192), ("freq", 1, 64), ("modules", 1, 64),
                ("conv1_channels", 1, 8192), ("conv1_kernel", 1, 15), ("conv1_stride", 1, 8),
                ("conv1_padding", 0, 7), ("last_padding", 0, 7), ("classes", 1, 65536)):
            _check_integer(what, getattr(self, what), low, high)
        for what in ("pct3x3", "sr"):
            value = getattr(self, what)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{what} must be a number, not {value!r}")
        if not 0 < self.pct3x3 < 1:
            raise ValueError(f"pct3x3 must lie between 0 and 1, not {self.pct3x3}")
        if not 0 < self.sr <= 1:
            raise ValueError(f"sr must be over 0 and at most 1, not {self.sr}")
        object.__setattr__(self, "bypass", _bypass(self.bypass))
        for what in ("pools", "input_shape"):
            object.__setattr__(self, what, tuple(getattr(self, what)))
        for layer in self.pools:
            _check_integer("pools", layer, 1, self.modules + 1)
        if len(self.input_shape) != 3:
            raise ValueError(f"input_shape must be channels, height, width, not {self.input_shape}")
        _check_integer("input channels", self.input_shape[0], 1, 64)
        for size in self.input_shape[1:]:
            _check_integer("input size", size, 1, 4096)

    def expand(self, module: int) -> tuple[int, int]:
        """Channels of the 1x1 and of the 3x3 expansion of Fire module `module` (from 0)."""
        total = self._expanded(module)
        large = min(max(round(self.pct3x3 * total), 1), total - 1)
        return total - large, large

    def squeeze(self, module: int) -> int:
        """Channels that Fire module `module` (from 0) squeezes to."""
        return max(round(self.sr * self._expanded(module)), 1)

    def with_size(self, size: tuple[int, int]) -> "SqueezeNetConfig":
        """The same network for images of another (height, width)."""
        return replace(self, input_shape=(self.input_shape[0], *size))

    def _expanded(self, module: int) -> int:
        return self.base_e + self.incr_e * (module // self.freq)


V1_0 = SqueezeNetConfig()
V1_1 = SqueezeNetConfig(conv1_channels=64, conv1_kernel=3, pools=(1, 3, 5))


class _Builder:
    """Grows a chain of layers; `tip` is the last tensor. Weights are zeros that occupy no memory."""

    def __init__(self, shape: tuple[int, int, int]):
        self.layers: list[Layer] = [Input(name="input", shape=shape)]
        self.channels = {"input": shape[0]}
        self.tip = "input"

    def add(self, layer: Layer, channels: int) -> str:
        self.layers.append(layer)
        self.channels[layer.name] = channels
        self.tip = layer.name
        return layer.name

    def conv(self, name: str, out: int, kernel: int, *, source: str | None = None, stride: int = 1,
             padding: int = 0) -> str:
        source = source or self.tip
        zero = np.float32(0)
        return self.add(Conv(
            name=name, inputs=(source,), bias=np.broadcast_to(zero, (out,)),
            weight=np.broadcast_to(zero, (out, self.channels[source], kernel, kernel)),
            window=Window(kernel=(kernel, kernel), stride=(stride, stride), padding=(padding,) * 4),
        ), out)

    def relu(self, name: str) -> str:
        return self.add(Relu(name=name, inputs=(self.tip,)), self.channels[self.tip])

    def pool(self, name: str) -> str:
        return self.add(MaxPool(name=name, inputs=(self.tip,), ceil_mode=True,
                                window=Window(kernel=(3, 3), stride=(2, 2))), self.channels[self.tip])

    def fire(self, name: str, squeeze: int, expand1x1: int, expand3x3: int, bypass: Bypass) -> str:
        source, out = self.tip, expand1x1 + expand3x3
        self.conv(f"{name}/squeeze1x1", squeeze, 1)
        squeezed = self.relu(f"{name}/relu_squeeze1x1")
        self.conv(f"{name}/expand1x1", expand1x1, 1)
        small = self.relu(f"{name}/relu_expand1x1")
        self.conv(f"{name}/expand3x3", expand3x3, 3, source=squeezed, padding=1)
        large = self.relu(f"{name}/relu_expand3x3")
        tip = self.add(Concat(name=f"{name}/concat", inputs=(small, large)), out)
        if bypass is not Bypass.NONE and self.channels[source] == out:
            self.add(Add(name=f"{name}/add", inputs=(tip, source)), out)
        elif bypass is Bypass.COMPLEX:
            around = self.conv(f"{name}/bypass1x1", out, 1, source=source)
            self.add(Add(name=f"{name}/add", inputs=(tip, around)), out)
        return self.tip


def squeezenet(config: SqueezeNetConfig, *, name: str = "squeezenet") -> Graph:
    """The network of a configuration, all weights 0: see `initialise` and `with_weights`.

    Layers as in torchvision's squeezenet1_0 and squeezenet1_1, named as in the authors' files
    (`fire2/squeeze1x1`). Raises GraphError when the image is too small for the pools, or the
    network is larger than anything sensible.
    """
    net = _Builder(config.input_shape)
    net.conv("conv1", config.conv1_channels, config.conv1_kernel, stride=config.conv1_stride,
             padding=config.conv1_padding)
    net.relu("relu_conv1")
    if 1 in config.pools:
        net.pool("pool1")
    for module in range(config.modules):
        number = module + 2
        net.fire(f"fire{number}", config.squeeze(module), *config.expand(module), config.bypass)
        if number in config.pools:
            net.pool(f"pool{number}")
    last = config.modules + 2
    channels = net.channels[net.tip]
    net.add(Dropout(name=f"drop{last - 1}", inputs=(net.tip,)), channels)
    net.conv(f"conv{last}", config.classes, 1, padding=config.last_padding)
    net.relu(f"relu_conv{last}")
    net.add(GlobalAvgPool(name=f"pool{last}", inputs=(net.tip,)), config.classes)
    net.add(Flatten(name="logits", inputs=(net.tip,)), config.classes)
    graph = Graph(name=name, layers=tuple(net.layers), output="logits")
    if graph.parameters > PARAMETERS_MAX:
        raise GraphError(name, [Problem(name, "Graph", f"parameters must be at most "
                                        f"{PARAMETERS_MAX:,}, not {graph.parameters:,}")])
    return graph


def convolutions(graph: Graph) -> tuple[Conv, ...]:
    """The convolutions of a graph in execution order."""
    return tuple(layer for layer in graph.layers if isinstance(layer, Conv))


def initialise(graph: Graph, seed: int) -> Graph:
    """The graph with random weights, the same ones for the same seed, and a note that says so.

    Normal with variance 2 / fan-in (He, arXiv:1502.01852); 2 / (fan-in + fan-out) for the last
    convolution (Glorot and Bengio, AISTATS 2010). Biases are 0.
    """
    _check_integer("seed", seed, 0, 2**63 - 1)
    random = np.random.default_rng(seed)
    convs = convolutions(graph)
    weights = {}
    for conv in convs:
        out, fan_in = conv.weight.shape[0], math.prod(conv.weight.shape[1:])
        deviation = math.sqrt(2 / (fan_in + out * (conv is convs[-1])))
        values = random.standard_normal(conv.weight.shape, np.float32) * np.float32(deviation)
        weights[conv.name] = values, np.zeros(out, np.float32)
    graph = with_weights(graph, weights)
    return replace(graph, notes=(*graph.notes,
                                 f"weights are not trained: seeded initialisation {seed}"))


def with_weights(graph: Graph, weights: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Graph:
    """The graph with the (weight, bias) of every convolution replaced, by the convolution's name.

    Raises GraphError naming each convolution that is missing, unknown, of another shape or not
    finite.
    """
    shapes = {conv.name: conv.weight.shape for conv in convolutions(graph)}
    problems = [Problem(name, "Conv", "is not in the network") for name in weights.keys() - shapes]
    for name, shape in shapes.items():
        weight, bias = weights.get(name, (None, None))
        if weight is None or bias is None:
            problems.append(Problem(name, "Conv", "has no weights"))
        elif weight.shape != shape or bias.shape != shape[:1]:
            problems.append(Problem(name, "Conv", f"weight and bias must be {shape} and "
                                    f"{shape[:1]}, not {weight.shape} and {bias.shape}"))
        elif not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            problems.append(Problem(name, "Conv", "weight and bias must be finite"))
    if problems:
        raise GraphError(graph.name, sorted(problems, key=str))

    def attach(layer: Layer) -> Layer:
        if not isinstance(layer, Conv):
            return layer
        weight, bias = (np.ascontiguousarray(v, np.float32) for v in weights[layer.name])
        return replace(layer, weight=weight, bias=bias)

    return replace(graph, layers=tuple(map(attach, graph.layers)))


def with_weights_of(graph: Graph, trained: Graph) -> Graph:
    """The graph with the weights of another whose convolutions have the same shapes in the same
    order, whatever their names. Raises GraphError where they do not."""
    ours, theirs = convolutions(graph), convolutions(trained)
    if len(ours) != len(theirs):
        raise GraphError(graph.name, [Problem(trained.name, "Graph", f"must have {len(ours)} "
                                              f"convolutions, not {len(theirs)}")])
    return with_weights(graph, {own.name: (other.weight, other.bias)
                                for own, other in zip(ours, theirs, strict=True)})
