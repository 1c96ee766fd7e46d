"""MobileNet v1 (Howard et al., arXiv:1704.04861) and v2 (Sandler et al., arXiv:1801.04381)."""
from nets.graph import Graph
from nets.zoo.builder import Builder

__all__ = ["mobilenet_v1", "mobilenet_v2"]

# Output channels and stride of each depthwise separable convolution of v1.
SEPARABLE = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# Expansion, output channels, blocks and stride of the first of them, for each stage of v2.
INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
DIVISOR = 8         # of channels, in the authors' and torchvision's networks


def mobilenet_v1(name: str, shape: tuple[int, int, int], classes: int, *, width: float = 1.0) -> Graph:
    """`width` scales all channels."""
    net = Builder(shape)
    x = net.conv_norm("conv0", net.input, _scaled(32, width), 3, stride=2, padding=1, activation="relu6")
    for n, (out, stride) in enumerate(SEPARABLE, start=1):
        x = net.conv_norm(f"conv{n}/depthwise", x, net.channels(x), 3, stride=stride, padding=1, groups=net.channels(x),
                          activation="relu6")
        x = net.conv_norm(f"conv{n}/pointwise", x, _scaled(out, width), 1, activation="relu6")
    x = net.dropout("dropout", net.global_average("avgpool", x))
    return net.graph(name, net.linear("fc", x, classes))


def mobilenet_v2(name: str, shape: tuple[int, int, int], classes: int, *, width: float = 1.0) -> Graph:
    """Inverted residual blocks: 1x1 up, depthwise, 1x1 down without activation; added to the input where the shapes agree."""
    net = Builder(shape)
    x = net.conv_norm("conv0", net.input, _scaled(32, width), 3, stride=2, padding=1, activation="relu6")
    number = 0
    for expansion, out, count, first_stride in INVERTED:
        for n in range(count):
            number += 1
            x = _inverted(net, f"block{number}", x, expansion, _scaled(out, width), 1 if n else first_stride)
    x = net.conv_norm("conv_last", x, max(_scaled(1280, width), 1280), 1, activation="relu6")
    x = net.dropout("dropout", net.global_average("avgpool", x))
    return net.graph(name, net.linear("classifier", x, classes))


def _inverted(net: Builder, at: str, x: str, expansion: int, out: int, stride: int) -> str:
    y, hidden = x, net.channels(x) * expansion
    if expansion > 1:
        y = net.conv_norm(f"{at}/expand", y, hidden, 1, activation="relu6")
    y = net.conv_norm(f"{at}/depthwise", y, hidden, 3, stride=stride, padding=1, groups=hidden, activation="relu6")
    y = net.conv_norm(f"{at}/project", y, out, 1)
    return net.sum(f"{at}/add", x, y) if stride == 1 and net.channels(x) == out else y


def _scaled(channels: int, width: float) -> int:
    """The nearest multiple of `DIVISOR`, never more than a tenth below."""
    scaled = max(DIVISOR, int(channels * width + DIVISOR / 2) // DIVISOR * DIVISOR)
    return scaled + DIVISOR if scaled < 0.9 * channels * width else scaled
