"""DenseNet-BC (Huang et al., arXiv:1608.06993), as torchvision has it."""
from nets.graph import Graph
from nets.zoo.builder import Builder

__all__ = ["densenet"]


def densenet(name: str, shape: tuple[int, int, int], classes: int, *, blocks: tuple[int, ...], growth: int = 32) -> Graph:
    """`blocks` dense layers in each dense block; every one adds `growth` channels to what all before it made. A transition halves
    channels and pixels."""
    net = Builder(shape)
    x = net.conv_norm("conv0", net.input, 2 * growth, 7, stride=2, padding=3, activation="relu")
    x = net.max_pool("pool0", x, 3, 2, padding=1)
    for block, count in enumerate(blocks, start=1):
        for n in range(1, count + 1):
            at = f"denseblock{block}.denselayer{n}"
            y = net.relu(f"{at}.relu1", net.norm(f"{at}.norm1", x))
            y = net.conv_norm(f"{at}.conv1", y, 4 * growth, 1, activation="relu")
            x = net.concat(f"{at}.concat", x, net.conv(f"{at}.conv2", y, growth, 3, padding=1))
        if block < len(blocks):
            at = f"transition{block}"
            x = net.conv(f"{at}.conv", net.relu(f"{at}.relu", net.norm(f"{at}.norm", x)), net.channels(x) // 2, 1)
            x = net.avg_pool(f"{at}.pool", x, 2, 2)
    x = net.global_average("avgpool", net.relu("relu5", net.norm("norm5", x)))
    return net.graph(name, net.linear("classifier", x, classes))
