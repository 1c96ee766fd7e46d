"""AlexNet as torchvision has it (Krizhevsky, "One weird trick for parallelizing convolutional neural networks",
arXiv:1404.5997): without normalisation and without groups."""
from nets.graph import Graph
from nets.zoo.builder import Builder

__all__ = ["alexnet_torchvision"]


def alexnet_torchvision(name: str, shape: tuple[int, int, int], classes: int) -> Graph:
    """Its fully connected layers read whatever map is left: of images of 224x224 it has 6x6 positions."""
    net = Builder(shape)
    x = net.relu("relu1", net.conv("conv1", net.input, 64, 11, stride=4, padding=2))
    x = net.max_pool("pool1", x, 3, 2)
    x = net.relu("relu2", net.conv("conv2", x, 192, 5, padding=2))
    x = net.max_pool("pool2", x, 3, 2)
    for number, channels in ((3, 384), (4, 256), (5, 256)):
        x = net.relu(f"relu{number}", net.conv(f"conv{number}", x, channels, 3, padding=1))
    x = net.dropout("drop6", net.max_pool("pool5", x, 3, 2))
    x = net.dropout("drop7", net.relu("relu6", net.linear("fc6", x, 4096)))
    x = net.relu("relu7", net.linear("fc7", x, 4096))
    return net.graph(name, net.linear("logits", x, classes))
