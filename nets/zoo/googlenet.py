"""GoogLeNet (Szegedy et al., arXiv:1409.4842): that of 2014, and with batch normalisation, as torchvision has it, whose
"5x5" branch is 3x3."""
from collections.abc import Callable

import numpy as np

from nets.graph import Affine, Graph
from nets.zoo.builder import Builder

__all__ = ["googlenet", "googlenet_bn"]

# Channels of each inception module: 1x1; 3x3 reduced and 3x3; 5x5 reduced and 5x5; behind the pool. A number: a pool
# between two modules, of this kernel.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "pool3": 3,
    "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64), "4e": (256, 160, 320, 32, 128, 128), "pool4": 2,
    "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128)}
# torchvision's `transform_input`: from ImageNet's mean and deviation of each channel to 0.5 and 0.5.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def googlenet(name: str, shape: tuple[int, int, int], classes: int) -> Graph:
    """With normalisations of neighbouring channels; without the classifiers that help to train it. Pools in ceil mode."""
    net = Builder(shape)
    x = _conv(net, "conv1", net.input, 64, 7, stride=2, padding=3)
    x = net.lrn("norm1", net.max_pool("pool1", x, 3, 2, ceil_mode=True))
    x = _conv(net, "conv2", _conv(net, "conv2.reduce", x, 64, 1), 192, 3, padding=1)
    x = net.max_pool("pool2", net.lrn("norm2", x), 3, 2, ceil_mode=True)
    for module, what in MODULES.items():
        x = (net.max_pool(module, x, 3, 2, ceil_mode=True) if isinstance(what, int)
             else _inception(net, f"inception{module}", x, *what, conv=_conv, kernel=5))
    return net.graph(name, net.linear("fc", net.dropout("dropout", net.global_average("avgpool", x)), classes))


def _conv(net: Builder, name: str, x: str, out: int, kernel: int, **how: int) -> str:
    return net.relu(f"{name}/relu", net.conv(name, x, out, kernel, **how))


def _conv_norm(net: Builder, name: str, x: str, out: int, kernel: int, **how: int) -> str:
    return net.conv_norm(name, x, out, kernel, activation="relu", **how)


def googlenet_bn(name: str, shape: tuple[int, int, int], classes: int, *, transform_input: bool = False) -> Graph:
    """Pools in ceil mode. `transform_input`: the image is scaled and shifted by channel first, as torchvision does for its
    trained weights."""
    net = Builder(shape)
    x = _transformed(net) if transform_input else net.input
    x = net.conv_norm("conv1", x, 64, 7, stride=2, padding=3, activation="relu")
    x = net.max_pool("maxpool1", x, 3, 2, ceil_mode=True)
    x = net.conv_norm("conv2", x, 64, 1, activation="relu")
    x = net.conv_norm("conv3", x, 192, 3, padding=1, activation="relu")
    x = net.max_pool("maxpool2", x, 3, 2, ceil_mode=True)
    for module, what in MODULES.items():
        x = (net.max_pool(f"max{module}", x, what, 2, ceil_mode=True) if isinstance(what, int)
             else _inception(net, f"inception{module}", x, *what))
    x = net.dropout("dropout", net.global_average("avgpool", x))
    return net.graph(name, net.linear("fc", x, classes))


def _transformed(net: Builder) -> str:
    scale = np.array(STD, np.float32) / np.float32(0.5)
    return net.add(Affine(name="transform_input", inputs=(net.input,), scale=scale,
                          offset=(np.array(MEAN, np.float32) - np.float32(0.5)) / np.float32(0.5)))


def _inception(net: Builder, at: str, x: str, one: int, three_reduced: int, three: int, five_reduced: int, five: int,
               pooled: int, *, conv: Callable[..., str] = _conv_norm, kernel: int = 3) -> str:
    branches = [conv(net, f"{at}.branch1", x, one, 1)]
    for number, reduced, out, size in ((2, three_reduced, three, 3), (3, five_reduced, five, kernel)):
        y = conv(net, f"{at}.branch{number}.0", x, reduced, 1)
        branches.append(conv(net, f"{at}.branch{number}.1", y, out, size, padding=size // 2))
    y = net.max_pool(f"{at}.branch4.0", x, 3, 1, padding=1, ceil_mode=True)
    branches.append(conv(net, f"{at}.branch4.1", y, pooled, 1))
    return net.concat(f"{at}.concat", *branches)
