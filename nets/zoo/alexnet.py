"""AlexNet (Krizhevsky et al., NIPS 2012), ZFNet (Zeiler and Fergus, arXiv:1311.2901), and AlexNet as torchvision has it
(Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997), without normalisation and
without groups."""
from nets.graph import Graph
from nets.zoo.builder import Builder

__all__ = ["alexnet", "alexnet_torchvision", "zfnet"]


def alexnet(name: str, shape: tuple[int, int, int], classes: int) -> Graph:
    """On two chips then, therefore in two groups. The paper sums squares where others take their mean: its alpha is a fifth."""
    net = Builder(shape)
    x = net.relu("relu1", net.conv("conv1", net.input, 96, 11, stride=4, padding=2))
    x = net.max_pool("pool1", net.lrn("norm1", x, alpha=5e-4, bias=2.0), 3, 2)
    x = net.relu("relu2", net.conv("conv2", x, 256, 5, padding=2, groups=2))
    x = net.max_pool("pool2", net.lrn("norm2", x, alpha=5e-4, bias=2.0), 3, 2)
    for number, channels, groups in ((3, 384, 1), (4, 384, 2), (5, 256, 2)):
        x = net.relu(f"relu{number}", net.conv(f"conv{number}", x, channels, 3, padding=1, groups=groups))
    return _classified(net, name, net.max_pool("pool5", x, 3, 2), classes)


def zfnet(name: str, shape: tuple[int, int, int], classes: int) -> Graph:
    """Normalised behind the pools, which are in ceil mode."""
    net = Builder(shape)
    x = net.relu("relu1", net.conv("conv1", net.input, 96, 7, stride=2, padding=1))
    x = net.lrn("norm1", net.max_pool("pool1", x, 3, 2, ceil_mode=True))
    x = net.relu("relu2", net.conv("conv2", x, 256, 5, stride=2))
    x = net.lrn("norm2", net.max_pool("pool2", x, 3, 2, ceil_mode=True))
    for number, channels in ((3, 384), (4, 384), (5, 256)):
        x = net.relu(f"relu{number}", net.conv(f"conv{number}", x, channels, 3, padding=1))
    return _classified(net, name, net.max_pool("pool5", x, 3, 2), classes)


def alexnet_torchvision(name: str, shape: tuple[int, int, int], classes: int) -> Graph:
    """Its fully connected layers read whatever map is left: of images of 224x224 it has 6x6 positions."""
    net = Builder(shape)
    x = net.relu("relu1", net.conv("conv1", net.input, 64, 11, stride=4, padding=2))
    x = net.max_pool("pool1", x, 3, 2)
    x = net.relu("relu2", net.conv("conv2", x, 192, 5, padding=2))
    x = net.max_pool("pool2", x, 3, 2)
    for number, channels in ((3, 384), (4, 256), (5, 256)):
        x = net.relu(f"relu{number}", net.conv(f"conv{number}", x, channels, 3, padding=1))
    return _classified(net, name, net.max_pool("pool5", x, 3, 2), classes, early=True)


def _classified(net: Builder, name: str, x: str, classes: int, *, early: bool = False) -> Graph:
    """Three fully connected layers, with dropouts `early`, before the first two of them, or behind them."""
    for number in (6, 7):
        x = net.dropout(f"drop{number}", x) if early else x
        x = net.relu(f"relu{number}", net.linear(f"fc{number}", x, 4096))
        x = x if early else net.dropout(f"drop{number}", x)
    return net.graph(name, net.linear("logits", x, classes))
