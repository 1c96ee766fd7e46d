"""VGG (Simonyan and Zisserman, arXiv:1409.1556): five stages of 3x3 convolutions, and three fully connected layers."""
from nets.graph import Graph
from nets.zoo.builder import Builder

__all__ = ["vgg"]


def vgg(name: str, shape: tuple[int, int, int], classes: int, *, convolutions: tuple[int, ...]) -> Graph:
    """So many convolutions in each stage. The fully connected layers read whatever map is left: of images of 224x224 it has 7x7
    positions."""
    net = Builder(shape)
    x = net.input
    for stage, (count, channels) in enumerate(zip(convolutions, (64, 128, 256, 512, 512), strict=True), start=1):
        for n in range(1, count + 1):
            x = net.relu(f"relu{stage}_{n}", net.conv(f"conv{stage}_{n}", x, channels, 3, padding=1))
        x = net.max_pool(f"pool{stage}", x, 2, 2)
    x = net.dropout("drop6", net.relu("relu6", net.linear("fc6", x, 4096)))
    x = net.dropout("drop7", net.relu("relu7", net.linear("fc7", x, 4096)))
    return net.graph(name, net.linear("logits", x, classes))
