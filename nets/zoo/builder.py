"""Grows a network layer by layer, for the builders of the zoo."""
import numpy as np

from nets.graph import (
    LRN,
    Add,
    Affine,
    AvgPool,
    ChannelShuffle,
    Clip,
    Concat,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Graph,
    GraphError,
    Input,
    Layer,
    Linear,
    MaxPool,
    Problem,
    Relu,
    Shape,
    Window,
)

__all__ = ["Builder"]


def _blank(*shape: int) -> np.ndarray:
    """Zeros that occupy no memory."""
    return np.broadcast_to(np.float32(0), shape)


class Builder:
    """Every method adds layers and returns the name of the tensor that the last one makes.

    Weights are zeros that occupy no memory, until `nets.zoo.weights.initialise` draws them; batch normalisations are
    `Affine` layers that do nothing yet. Methods raise GraphError, naming the layer, where its input does not fit.
    """

    def __init__(self, shape: Shape):
        self.layers: list[Layer] = []
        self.shapes: dict[str, Shape] = {}
        self.input = self.add(Input(name="input", shape=shape))

    def add(self, layer: Layer) -> str:
        """Any layer, whose inputs were added before."""
        try:
            self.shapes[layer.name] = layer.infer(*(self.shapes[name] for name in layer.inputs))
        except ValueError as error:
            raise GraphError(layer.name, [Problem(layer.name, layer.op, str(error))]) from None
        self.layers.append(layer)
        return layer.name

    def channels(self, x: str) -> int:
        return self.shapes[x][0]

    def conv(self, name: str, x: str, out: int, kernel: int, *, stride: int = 1, padding: int = 0, groups: int = 1) -> str:
        """A convolution with bias."""
        return self.add(Conv(name=name, inputs=(x,), weight=_blank(out, self.channels(x) // groups, kernel, kernel),
                             bias=_blank(out), groups=groups,
                             window=Window(kernel=(kernel, kernel), stride=(stride, stride), padding=(padding,) * 4)))

    def subsample(self, name: str, x: str, out: int, stride: int) -> str:
        """Every `stride`-th pixel of every `stride`-th row, with zero channels behind the others up to `out`."""
        weight = np.eye(out, self.channels(x), dtype=np.float32)[:, :, None, None]
        return self.add(Conv(name=name, inputs=(x,), weight=weight, bias=np.zeros(out, np.float32),
                             window=Window(kernel=(1, 1), stride=(stride, stride))))

    def norm(self, name: str, x: str) -> str:
        """A batch normalisation: scale and offset of each channel."""
        return self.scale(name, x, 1.0)

    def lrn(self, name: str, x: str, *, alpha: float = 1e-4, bias: float = 1.0) -> str:
        """A normalisation over 5 channels, with the power -0.75."""
        return self.add(LRN(name=name, inputs=(x,), size=5, alpha=alpha, beta=0.75, bias=bias))

    def scale(self, name: str, x: str, factor: float, offset: float = 0.0) -> str:
        """x * factor + offset."""
        count = self.channels(x)
        return self.add(Affine(name=name, inputs=(x,), scale=np.full(count, factor, np.float32),
                               offset=np.full(count, offset, np.float32)))

    def relu(self, name: str, x: str) -> str:
        return self.add(Relu(name=name, inputs=(x,)))

    def relu6(self, name: str, x: str) -> str:
        return self.add(Clip(name=name, inputs=(x,), low=0.0, high=6.0))

    def max_pool(self, name: str, x: str, kernel: int, stride: int, *, padding: int = 0, ceil_mode: bool = False) -> str:
        window = Window(kernel=(kernel, kernel), stride=(stride, stride), padding=(padding,) * 4)
        return self.add(MaxPool(name=name, inputs=(x,), window=window, ceil_mode=ceil_mode))

    def avg_pool(self, name: str, x: str, kernel: int, stride: int, *, padding: int = 0, ceil_mode: bool = False) -> str:
        """Padding counts as zeros."""
        window = Window(kernel=(kernel, kernel), stride=(stride, stride), padding=(padding,) * 4)
        return self.add(AvgPool(name=name, inputs=(x,), window=window, ceil_mode=ceil_mode, count_include_pad=True))

    def sum(self, name: str, x: str, y: str) -> str:
        return self.add(Add(name=name, inputs=(x, y)))

    def concat(self, name: str, *x: str) -> str:
        return self.add(Concat(name=name, inputs=x))

    def shuffle(self, name: str, x: str, groups: int) -> str:
        return self.add(ChannelShuffle(name=name, inputs=(x,), groups=groups))

    def dropout(self, name: str, x: str) -> str:
        return self.add(Dropout(name=name, inputs=(x,)))

    def global_average(self, name: str, x: str) -> str:
        return self.add(GlobalAvgPool(name=name, inputs=(x,)))

    def flatten(self, name: str, x: str) -> str:
        return self.add(Flatten(name=name, inputs=(x,)))

    def linear(self, name: str, x: str, out: int) -> str:
        """Fully connected; a map is flattened first."""
        if len(self.shapes[x]) > 1:
            x = self.flatten(f"{name}/flatten", x)
        return self.add(Linear(name=name, inputs=(x,), weight=_blank(out, self.channels(x)), bias=_blank(out)))

    def conv_norm(self, name: str, x: str, out: int, kernel: int, *, activation: str = "", **how: int) -> str:
        """Convolution `name`, batch normalisation, and "relu" or "relu6" if `activation` says so."""
        x = self.norm(f"{name}/norm", self.conv(name, x, out, kernel, **how))
        return {"": lambda name, x: x, "relu": self.relu, "relu6": self.relu6}[activation](f"{name}/{activation}", x)

    def graph(self, name: str, output: str) -> Graph:
        """The network so far, with `output` as its result."""
        return Graph(name=name, layers=tuple(self.layers), output=output)
