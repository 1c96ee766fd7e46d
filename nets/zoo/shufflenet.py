"""ShuffleNet v1 (Zhang et al., arXiv:1707.01083): grouped 1x1 convolutions, and channel shuffles between them."""
from nets.graph import Graph
from nets.zoo.builder import Builder

__all__ = ["shufflenet_v1"]

# Channels of the first of three stages by number of groups; each next one has twice as many. Units of each stage.
CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
UNITS = 4, 8, 4


def shufflenet_v1(name: str, shape: tuple[int, int, int], classes: int, *, groups: int = 3) -> Graph:
    """Raises ValueError for a number of `groups` that the paper does not have."""
    if groups not in CHANNELS:
        raise ValueError(f"groups must be one of {', '.join(map(str, CHANNELS))}, not {groups}")
    net = Builder(shape)
    x = net.conv_norm("conv1", net.input, 24, 3, stride=2, padding=1, activation="relu")
    x = net.max_pool("maxpool", x, 3, 2, padding=1)
    for stage, count in enumerate(UNITS, start=2):
        out = CHANNELS[groups] << stage - 2
        for n in range(count):
            x = _unit(net, f"stage{stage}.{n}", x, out, groups, first=stage == 2 and n == 0, stride=1 if n else 2)
    return net.graph(name, net.linear("fc", net.global_average("avgpool", x), classes))


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
