"""LeNet-5 (LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 1998), with all maps
connected in C3."""
from nets.graph import Graph
from nets.zoo.builder import Builder

__all__ = ["lenet5"]


def lenet5(name: str, shape: tuple[int, int, int], classes: int, *, activation: str = "relu") -> Graph:
    """Grey images of 32x32, or of 28x28 with two pixels of padding; average pools without weights. `activation`: "relu"."""
    if activation != "relu":
        raise ValueError(f"activation must be relu, not {activation}")
    net = Builder(shape)
    x = net.relu("relu1", net.conv("c1", net.input, 6, 5, padding=2 if min(shape[1:]) < 32 else 0))
    x = net.avg_pool("s2", x, 2, 2)
    x = net.relu("relu3", net.conv("c3", x, 16, 5))
    x = net.avg_pool("s4", x, 2, 2)
    x = net.relu("relu5", net.linear("c5", x, 120))
    x = net.relu("relu6", net.linear("f6", x, 84))
    return net.graph(name, net.linear("logits", x, classes))
