"""Network in Network (Lin et al., arXiv:1312.4400): convolutions, each followed by two 1x1 ones."""
from nets.graph import Graph
from nets.zoo.builder import Builder

__all__ = ["nin", "nin_cifar"]


def nin(name: str, shape: tuple[int, int, int], classes: int) -> Graph:
    """The network for ImageNet; pools drop what is left at the edges, as PyTorch's do (Caffe's round up: 27x27 instead of 26x26
    behind the first)."""
    net = Builder(shape)
    x = _block(net, "1", net.input, (96, 96, 96), 11, stride=4)
    x = net.max_pool("pool1", x, 3, 2)
    x = _block(net, "2", x, (256, 256, 256), 5, padding=2)
    x = net.max_pool("pool2", x, 3, 2)
    x = _block(net, "3", x, (384, 384, 384), 3, padding=1)
    x = net.dropout("drop", net.max_pool("pool3", x, 3, 2))
    x = _block(net, "4", x, (1024, 1024, classes), 3, padding=1)
    return net.graph(name, net.flatten("logits", net.global_average("pool4", x)))


def nin_cifar(name: str, shape: tuple[int, int, int], classes: int) -> Graph:
    """The network for CIFAR: images of 32x32."""
    net = Builder(shape)
    x = _block(net, "1", net.input, (192, 160, 96), 5, padding=2)
    x = net.dropout("drop1", net.max_pool("pool1", x, 3, 2, ceil_mode=True))
    x = _block(net, "2", x, (192, 192, 192), 5, padding=2)
    x = net.dropout("drop2", net.avg_pool("pool2", x, 3, 2, ceil_mode=True))
    x = _block(net, "3", x, (192, 192, classes), 3, padding=1)
    return net.graph(name, net.flatten("logits", net.global_average("pool3", x)))


def _block(net: Builder, number: str, x: str, channels: tuple[int, int, int], kernel: int, **how: int) -> str:
    first, second, third = channels
    x = net.relu(f"relu{number}", net.conv(f"conv{number}", x, first, kernel, **how))
    x = net.relu(f"relu_cccp{number}a", net.conv(f"cccp{number}a", x, second, 1))
    return net.relu(f"relu_cccp{number}b", net.conv(f"cccp{number}b", x, third, 1))
