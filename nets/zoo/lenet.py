"""LeNet-5 (LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 1998), with all maps
connected in C3, pools that only average, and a linear layer at the end."""
from nets.functions import Tanh
from nets.graph import Graph
from nets.zoo.builder import Builder

__all__ = ["lenet5"]

AMPLITUDE, SLOPE = 1.7159, 2 / 3        # of its activation: AMPLITUDE * tanh(SLOPE * x)


class _LeNet(Builder):
    """With the activation of 1998, "tanh", or with "relu"."""

    def __init__(self, shape: tuple[int, int, int], activation: str):
        super().__init__(shape)
        self.activation = activation

    def activate(self, name: str, x: str) -> str:
        if self.activation == "relu":
            return self.relu(f"{name}/relu", x)
        x = self.scale(f"{name}/slope", x, SLOPE)
        x = self.add(Tanh(name=f"{name}/tanh", inputs=(x,)))
        return self.scale(f"{name}/amplitude", x, AMPLITUDE)


def lenet5(name: str, shape: tuple[int, int, int], classes: int, *, activation: str = "tanh") -> Graph:
    """Grey images of 32x32, or of 28x28 with two pixels of padding. `activation`: "tanh", scaled, or "relu"."""
    net = _LeNet(shape, activation)
    x = net.activate("c1", net.conv("c1", net.input, 6, 5, padding=2 if min(shape[1:]) < 32 else 0))
    x = net.avg_pool("s2", x, 2, 2)
    x = net.activate("c3", net.conv("c3", x, 16, 5))
    x = net.avg_pool("s4", x, 2, 2)
    x = net.activate("c5", net.linear("c5", x, 120))
    x = net.activate("f6", net.linear("f6", x, 84))
    return net.graph(name, net.linear("logits", x, classes))
