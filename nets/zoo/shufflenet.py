"""ShuffleNet v1 (Zhang et al., arXiv:1707.01083): grouped 1x1 convolutions, and channel shuffles between them; v2 (Ma et al.,
arXiv:1807.11164): one half of the channels passes by, and a shuffle mixes both."""
import numpy as np

from nets.graph import Graph
from nets.moves import Select
from nets.zoo.builder import Builder

__all__ = ["shufflenet_v1", "shufflenet_v2"]

# Channels of the first of three stages by number of groups; each next one has twice as many. Units of each stage.
CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
# By factor of width: channels of the three stages, and of the last convolution (v2, table 5).
CHANNELS_V2 = {0.5: (48, 96, 192, 1024), 1.0: (116, 232, 464, 1024), 1.5: (176, 352, 704, 1024), 2.0: (244, 488, 976, 2048)}
UNITS = 4, 8, 4


def shufflenet_v1(name: str, shape: tuple[int, int, int], classes: int, *, groups: int = 3) -> Graph:
    """Raises ValueError for a number of `groups` that the paper does not have."""
    if groups not in CHANNELS:
        raise ValueError(f"groups must be one of {', '.join(map(str, CHANNELS))}, not {groups}")
    net = Builder(shape)
    x = _stem(net)
    for stage, count in enumerate(UNITS, start=2):
        out = CHANNELS[groups] << stage - 2
        for n in range(count):
            x = _unit(net, f"stage{stage}.{n}", x, out, groups, first=stage == 2 and n == 0, stride=1 if n else 2)
    return net.graph(name, net.linear("fc", net.global_average("avgpool", x), classes))


def shufflenet_v2(name: str, shape: tuple[int, int, int], classes: int, *, width: float = 1.0) -> Graph:
    """As torchvision has it. Raises ValueError for a `width` that the paper does not have."""
    if width not in CHANNELS_V2:
        raise ValueError(f"width must be one of {', '.join(map(str, CHANNELS_V2))}, not {width}")
    net = Builder(shape)
    x = _stem(net)
    *stages, last = CHANNELS_V2[width]
    for stage, (out, count) in enumerate(zip(stages, UNITS, strict=True), start=2):
        for n in range(count):
            x = (_split_unit if n else _halving_unit)(net, f"stage{stage}.{n}", x, out // 2)
    x = net.conv_norm("conv5", x, last, 1, activation="relu")
    return net.graph(name, net.linear("fc", net.global_average("avgpool", x), classes))


def _stem(net: Builder) -> str:
    x = net.conv_norm("conv1", net.input, 24, 3, stride=2, padding=1, activation="relu")
    return net.max_pool("maxpool", x, 3, 2, padding=1)


def _unit(net: Builder, at: str, x: str, out: int, groups: int, *, first: bool, stride: int) -> str:
    """`first`: of the network, whose few input channels are not grouped. A unit of stride 2 is put beside its pooled input."""
    made = out - net.channels(x) if stride == 2 else out
    y = net.conv_norm(f"{at}.conv1", x, out // 4, 1, groups=1 if first else groups, activation="relu")
    y = net.shuffle(f"{at}.shuffle", y, groups)
    y = net.conv_norm(f"{at}.conv2", y, out // 4, 3, stride=stride, padding=1, groups=out // 4)
    y = net.conv_norm(f"{at}.conv3", y, made, 1, groups=groups)
    y = (net.concat(f"{at}.concat", net.avg_pool(f"{at}.pool", x, 3, 2, padding=1), y) if stride == 2
         else net.sum(f"{at}.add", x, y))
    return net.relu(f"{at}.relu", y)


def _split_unit(net: Builder, at: str, x: str, half: int) -> str:
    """The first half of the channels passes by."""
    around, y = (net.add(Select(name=f"{at}.{side}", inputs=(x,), channels=np.arange(first, first + half)))
                 for side, first in (("around", 0), ("through", half)))
    return net.shuffle(f"{at}.shuffle", net.concat(f"{at}.concat", around, _branch(net, f"{at}.branch2", y, half, 1)), 2)


def _halving_unit(net: Builder, at: str, x: str, half: int) -> str:
    """Both branches read all channels, with a stride of 2."""
    y = net.conv_norm(f"{at}.branch1.depthwise", x, net.channels(x), 3, stride=2, padding=1, groups=net.channels(x))
    y = net.conv_norm(f"{at}.branch1.pointwise", y, half, 1, activation="relu")
    return net.shuffle(f"{at}.shuffle", net.concat(f"{at}.concat", y, _branch(net, f"{at}.branch2", x, half, 2)), 2)


def _branch(net: Builder, at: str, x: str, out: int, stride: int) -> str:
    x = net.conv_norm(f"{at}.conv1", x, out, 1, activation="relu")
    x = net.conv_norm(f"{at}.depthwise", x, out, 3, stride=stride, padding=1, groups=out)
    return net.conv_norm(f"{at}.conv2", x, out, 1, activation="relu")
