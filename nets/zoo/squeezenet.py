"""The SqueezeNet family, from the metaparameters of arXiv:1602.07360, section 5."""
from dataclasses import dataclass, replace
import enum

from nets.graph import Graph, GraphError, Problem
from nets.zoo.builder import Builder

__all__ = ["Bypass", "SqueezeNetConfig", "V1_0", "V1_1", "squeezenet"]

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


def squeezenet(config: SqueezeNetConfig, *, name: str = "squeezenet") -> Graph:
    """The network of a configuration, all weights 0: see `nets.zoo.weights`.

    Layers as in torchvision's squeezenet1_0 and squeezenet1_1, named as in the authors' files
    (`fire2/squeeze1x1`). Raises GraphError when the image is too small for the pools, or the
    network is larger than anything sensible.
    """
    net = Builder(config.input_shape)
    x = net.conv("conv1", net.input, config.conv1_channels, config.conv1_kernel, stride=config.conv1_stride,
                 padding=config.conv1_padding)
    x = net.relu("relu_conv1", x)
    if 1 in config.pools:
        x = net.max_pool("pool1", x, 3, 2, ceil_mode=True)
    for module in range(config.modules):
        number = module + 2
        x = _fire(net, f"fire{number}", x, config.squeeze(module), *config.expand(module), config.bypass)
        if number in config.pools:
            x = net.max_pool(f"pool{number}", x, 3, 2, ceil_mode=True)
    last = config.modules + 2
    x = net.conv(f"conv{last}", net.dropout(f"drop{last - 1}", x), config.classes, 1, padding=config.last_padding)
    x = net.global_average(f"pool{last}", net.relu(f"relu_conv{last}", x))
    graph = net.graph(name, net.flatten("logits", x))
    if graph.parameters > PARAMETERS_MAX:
        raise GraphError(name, [Problem(name, "Graph", f"parameters must be at most "
                                        f"{PARAMETERS_MAX:,}, not {graph.parameters:,}")])
    return graph


def _fire(net: Builder, name: str, x: str, squeeze: int, expand1x1: int, expand3x3: int, bypass: Bypass) -> str:
    """A Fire module and the connection around it."""
    squeezed = net.relu(f"{name}/relu_squeeze1x1", net.conv(f"{name}/squeeze1x1", x, squeeze, 1))
    small = net.relu(f"{name}/relu_expand1x1", net.conv(f"{name}/expand1x1", squeezed, expand1x1, 1))
    large = net.relu(f"{name}/relu_expand3x3", net.conv(f"{name}/expand3x3", squeezed, expand3x3, 3, padding=1))
    y, out = net.concat(f"{name}/concat", small, large), expand1x1 + expand3x3
    if bypass is not Bypass.NONE and net.channels(x) == out:
        return net.sum(f"{name}/add", y, x)
    if bypass is Bypass.COMPLEX:
        return net.sum(f"{name}/add", y, net.conv(f"{name}/bypass1x1", x, out, 1))
    return y
