"""Residual networks: He et al. 2015 (arXiv:1512.03385), pre-activation (arXiv:1603.05027), Wide ResNet (arXiv:1605.07146),
ResNeXt (arXiv:1611.05431), and ResNet-110 with stochastic depth (arXiv:1603.09382)."""
from nets.graph import Graph
from nets.zoo.builder import Builder

__all__ = ["preact_resnet", "resnet", "stochastic_resnet", "wide_resnet"]

CIFAR_WIDTHS = 16, 32, 64


def resnet(name: str, shape: tuple[int, int, int], classes: int, *, blocks: tuple[int, ...], bottleneck: bool,
           groups: int = 1, group_width: int = 64) -> Graph:
    """torchvision's ResNet: `blocks` residual blocks in each stage, the stride of a bottleneck on its 3x3 convolution; ResNeXt by
    `groups` of `group_width` channels, Wide ResNet by a `group_width` of 128."""
    net = Builder(shape)
    x = _stem(net)
    for stage, count in enumerate(blocks):
        planes = 64 << stage
        for n in range(count):
            stride = 2 if stage and not n else 1
            at = f"layer{stage + 1}.{n}"
            if bottleneck:
                x = _bottleneck(net, at, x, planes * group_width // 64 * groups, planes * 4, stride, groups)
            else:
                x = _basic(net, at, x, planes, stride)
    return _head(net, name, x, classes)


def preact_resnet(name: str, shape: tuple[int, int, int], classes: int, *, blocks: tuple[int, ...], bottleneck: bool) -> Graph:
    """Batch normalisation and ReLU before each convolution; the shortcut of a block that changes shape reads what they made."""
    net = Builder(shape)
    x = _stem(net)
    for stage, count in enumerate(blocks):
        planes = 64 << stage
        for n in range(count):
            x = _preact(net, f"layer{stage + 1}.{n}", x, planes, planes * (4 if bottleneck else 1),
                        2 if stage and not n else 1, bottleneck)
    return _head(net, name, net.relu("relu", net.norm("norm", x)), classes)


def wide_resnet(name: str, shape: tuple[int, int, int], classes: int, *, depth: int, width: int) -> Graph:
    """WRN-`depth`-`width` for images of 32x32: three stages of (depth - 4) / 6 pre-activation blocks, `width` times 16, 32 and
    64 channels."""
    net = Builder(shape)
    x = net.conv("conv1", net.input, 16, 3, padding=1)
    for stage, planes in enumerate(CIFAR_WIDTHS):
        for n in range((depth - 4) // 6):
            x = _preact(net, f"layer{stage + 1}.{n}", x, planes * width, planes * width, 2 if stage and not n else 1, False)
    return _head(net, name, net.relu("relu", net.norm("norm", x)), classes)


def stochastic_resnet(name: str, shape: tuple[int, int, int], classes: int, *, depth: int = 110, survival: float = 0.5,
                      shortcut: str = "conv") -> Graph:
    """ResNet-`depth` for images of 32x32 as it is after training with stochastic depth.

    Residual branch l of L counts with its survival probability, 1 - l / L * (1 - `survival`). `shortcut` where a block changes
    shape: "conv", a 1x1 convolution, or "pad": every second pixel, zero channels behind (option A of He et al.).
    """
    net = Builder(shape)
    x = net.conv_norm("conv1", net.input, 16, 3, padding=1, activation="relu")
    count = (depth - 2) // 6
    for stage, planes in enumerate(CIFAR_WIDTHS):
        for n in range(count):
            at, stride = f"layer{stage + 1}.{n}", 2 if stage and not n else 1
            y = net.conv_norm(f"{at}.conv1", x, planes, 3, stride=stride, padding=1, activation="relu")
            y = net.conv_norm(f"{at}.conv2", y, planes, 3, padding=1)
            done = stage * count + n + 1
            y = net.scale(f"{at}.survival", y, 1 - done / (3 * count) * (1 - survival))
            if net.channels(x) != planes:
                x = (net.subsample(f"{at}.shortcut", x, planes, stride) if shortcut == "pad"
                     else net.conv_norm(f"{at}.shortcut", x, planes, 1, stride=stride))
            x = net.relu(f"{at}.relu", net.sum(f"{at}.add", y, x))
    return _head(net, name, x, classes)


def _stem(net: Builder) -> str:
    x = net.conv_norm("conv1", net.input, 64, 7, stride=2, padding=3, activation="relu")
    return net.max_pool("maxpool", x, 3, 2, padding=1)


def _head(net: Builder, name: str, x: str, classes: int) -> Graph:
    return net.graph(name, net.linear("fc", net.global_average("avgpool", x), classes))


def _shortcut(net: Builder, at: str, x: str, out: int, stride: int) -> str:
    return x if stride == 1 and net.channels(x) == out else net.conv_norm(f"{at}.downsample", x, out, 1, stride=stride)


def _basic(net: Builder, at: str, x: str, planes: int, stride: int) -> str:
    y = net.conv_norm(f"{at}.conv1", x, planes, 3, stride=stride, padding=1, activation="relu")
    y = net.conv_norm(f"{at}.conv2", y, planes, 3, padding=1)
    return net.relu(f"{at}.relu", net.sum(f"{at}.add", y, _shortcut(net, at, x, planes, stride)))


def _bottleneck(net: Builder, at: str, x: str, width: int, out: int, stride: int, groups: int) -> str:
    y = net.conv_norm(f"{at}.conv1", x, width, 1, activation="relu")
    y = net.conv_norm(f"{at}.conv2", y, width, 3, stride=stride, padding=1, groups=groups, activation="relu")
    y = net.conv_norm(f"{at}.conv3", y, out, 1)
    return net.relu(f"{at}.relu", net.sum(f"{at}.add", y, _shortcut(net, at, x, out, stride)))


def _preact(net: Builder, at: str, x: str, planes: int, out: int, stride: int, bottleneck: bool) -> str:
    ready = net.relu(f"{at}.relu1", net.norm(f"{at}.norm1", x))
    around = x if stride == 1 and net.channels(x) == out else net.conv(f"{at}.downsample", ready, out, 1, stride=stride)
    if bottleneck:
        y = net.conv_norm(f"{at}.conv1", ready, planes, 1, activation="relu")
        y = net.conv_norm(f"{at}.conv2", y, planes, 3, stride=stride, padding=1, activation="relu")
        y = net.conv(f"{at}.conv3", y, out, 1)
    else:
        y = net.conv_norm(f"{at}.conv1", ready, planes, 3, stride=stride, padding=1, activation="relu")
        y = net.conv(f"{at}.conv2", y, out, 3, padding=1)
    return net.sum(f"{at}.add", y, around)
