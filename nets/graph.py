"""The network graph: typed layers, inferred shapes, parameter and MAC counts.

A graph works on one image; the batch dimension does not exist here. Every layer produces one tensor, called by the layer's
name, of shape (channels, height, width), or (features,) once flattened.
"""
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
import math

import numpy as np

from cli import RequestError
from nets.int8.quantised import Integers, Quantisation

__all__ = ["Add", "Affine", "AvgPool", "ChannelShuffle", "Clip", "Concat", "Conv", "Dropout", "Flatten", "GlobalAvgPool",
           "Graph", "GraphError", "Input", "LRN", "Layer", "Linear", "MaxPool", "Problem", "Relu", "Shape", "Softmax", "Window",
           "image_shape"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a network: the layer's or node's name, its operator, and why it cannot be used."""

    name: str
    op: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.op}): {self.reason}"


class GraphError(RequestError):
    """A network cannot be used. Holds every `Problem` found, not just the first."""

    def __init__(self, source: str, problems: Iterable[Problem]):
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{source}: {count} problem{'s' * (count != 1)}"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]) if count > 1
                         else f"{source}: {self.problems[0]}")


@dataclass(frozen=True, kw_only=True)
class Window:
    """A sliding window over height and width; every pair is (vertical, horizontal).

    Parameters: `kernel`, `stride`, `dilation` >= 1; `padding` = (top, left, bottom, right) >= 0.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    def __post_init__(self):
        for what, values, count, least in (("kernel", self.kernel, 2, 1), ("stride", self.stride, 2, 1),
                                           ("padding", self.padding, 4, 0), ("dilation", self.dilation, 2, 1)):
            if len(values) != count or not all(isinstance(v, int) and v >= least for v in values):
                raise ValueError(f"{what} must be {count} integers of at least {least}, not {values!r}")

    def output_size(self, height: int, width: int, *, ceil_mode: bool = False) -> tuple[int, int]:
        """Output (height, width). In ceil mode a last window that would start beyond the input and its leading padding
        is dropped (the rule of PyTorch and of ONNX from opset 19). Raises ValueError where no window fits."""
        sizes = []
        for axis, size in enumerate((height, width)):
            before, after = self.padding[axis], self.padding[axis + 2]
            room = size + before + after - self.dilation[axis] * (self.kernel[axis] - 1) - 1
            if room < 0:
                raise ValueError(f"kernel {self.kernel} with dilation {self.dilation} does not fit "
                                 f"{height}x{width} with padding {self.padding}")
            stride = self.stride[axis]
            steps = -(-room // stride) if ceil_mode else room // stride
            if ceil_mode and steps * stride >= size + before:
                steps -= 1
            sizes.append(steps + 1)
        return sizes[0], sizes[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """A named operator; `inputs` are the names of the layers that it reads, `origin` is what the file that the layer comes
    from calls its operator, `quantised` what its tensor's integers mean in a file that is quantised."""

    name: str
    inputs: tuple[str, ...]
    origin: str = ""
    quantised: Quantisation | None = None

    arity = 1           # number of inputs; None: one or more

    @property
    def op(self) -> str:
        return type(self).__name__

    @property
    def called(self) -> str:
        """The operator as its user knows it."""
        return self.origin or self.op

    @property
    def parameters(self) -> int:
        """Trained values held by the layer."""
        return 0

    def infer(self, *shapes: Shape) -> Shape:
        """Output shape from the input shapes. Raises ValueError when they do not fit."""
        return shapes[0]

    def macs(self, shapes: tuple[Shape, ...], output: Shape) -> int:
        """Multiply-accumulates for one image."""
        return 0


def image_shape(shape: Shape) -> Shape:
    """The shape, if it is (channels, height, width). Raises ValueError."""
    if len(shape) != 3:
        raise ValueError(f"input must be channels x height x width, not {shape}")
    return shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Input(Layer):
    """The image, as prepared by `nets.preprocess`. `takes_steps`: whether its file takes integers, not floats; `raw_type` and
    `raw_order`: what `InputSpec` calls so, as the file has them."""

    inputs: tuple[str, ...] = ()
    shape: Shape
    takes_steps: bool = False
    raw_type: str = "uint8"
    raw_order: str = "CHW"

    arity = 0

    def infer(self, *shapes: Shape) -> Shape:
        if not self.shape or not all(isinstance(size, int) and size > 0 for size in self.shape):
            raise ValueError(f"input shape must be positive integers, not {self.shape!r}")
        return self.shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(Layer):
    """Convolution: `weight` float32 (out channels, in channels / groups, kernel height, kernel width), `bias` float32
    (out channels), and what a quantised file has for them."""

    weight: np.ndarray
    bias: np.ndarray
    window: Window
    groups: int = 1
    integers: Integers | None = None

    @property
    def parameters(self) -> int:
        return self.weight.size + self.bias.size

    def infer(self, *shapes: Shape) -> Shape:
        channels, height, width = image_shape(shapes[0])
        if self.weight.ndim != 4 or self.weight.shape[2:] != self.window.kernel:
            raise ValueError(f"weight must be out x in x {self.window.kernel[0]} x {self.window.kernel[1]}, "
                             f"not {self.weight.shape}")
        out, per_group = self.weight.shape[:2]
        if self.bias.shape != (out,):
            raise ValueError(f"bias must have {out} values, not shape {self.bias.shape}")
        if self.groups < 1 or channels % self.groups or out % self.groups:
            raise ValueError(f"groups must divide the {channels} input and the {out} output channels, not be {self.groups}")
        if per_group * self.groups != channels:
            raise ValueError(f"weight {self.weight.shape} in {self.groups} groups does not fit {channels} input channels")
        return (out, *self.window.output_size(height, width))

    def macs(self, shapes: tuple[Shape, ...], output: Shape) -> int:
        return math.prod(output) * math.prod(self.weight.shape[1:])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pool(Layer):
    window: Window
    ceil_mode: bool = False

    def infer(self, *shapes: Shape) -> Shape:
        channels, height, width = image_shape(shapes[0])
        kernel, dilation = self.window.kernel, self.window.dilation
        for axis, size in enumerate((height, width)):
            padding = max(self.window.padding[axis], self.window.padding[axis + 2])
            if padding >= dilation[axis] * (kernel[axis] - 1) + 1:
                raise ValueError(f"padding {self.window.padding} must be smaller than the kernel {kernel}: "
                                 f"a window would hold padding alone")
            if padding and dilation[axis] > size:
                raise ValueError(f"dilation {dilation} must not exceed the input {height}x{width}: "
                                 f"a window would hold padding alone")
        return (channels, *self.window.output_size(height, width, ceil_mode=self.ceil_mode))


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(_Pool):
    """Maximum of a window; padding never wins."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AvgPool(_Pool):
    """Mean of a window. `count_include_pad`: padding counts as zeros; the overhang of ceil mode never counts."""

    count_include_pad: bool = False

    def infer(self, *shapes: Shape) -> Shape:
        if self.window.dilation != (1, 1):
            raise ValueError(f"dilation of an average pool must be 1, not {self.window.dilation}")
        return super().infer(*shapes)


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalAvgPool(Layer):
    """Mean over height and width: (C, H, W) -> (C, 1, 1)."""

    def infer(self, *shapes: Shape) -> Shape:
        return (image_shape(shapes[0])[0], 1, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Layer):
    """Element-wise sum of two tensors of one shape, each times its factor."""

    factors: tuple[float, float] = (1.0, 1.0)

    arity = 2

    def infer(self, *shapes: Shape) -> Shape:
        if shapes[0] != shapes[1]:
            raise ValueError(f"inputs must have one shape, not {shapes[0]} and {shapes[1]}")
        return shapes[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Layer):
    """Concatenation along the channels."""

    arity = None

    def infer(self, *shapes: Shape) -> Shape:
        if len({(len(shape), *shape[1:]) for shape in shapes}) != 1:
            raise ValueError(f"inputs must agree in all but channels, not {', '.join(map(str, shapes))}")
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])


@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelShuffle(Layer):
    """Channel c = g * (C / groups) + k moves to k * groups + g (ShuffleNet, arXiv:1707.01083)."""

    groups: int

    def infer(self, *shapes: Shape) -> Shape:
        if self.groups < 1 or image_shape(shapes[0])[0] % self.groups:
            raise ValueError(f"groups must divide the {shapes[0][0]} channels, not {self.groups}")
        return shapes[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine(Layer):
    """x * scale[c] + offset[c]: a batch normalisation that follows no convolution. Both float32 (channels,)."""

    scale: np.ndarray
    offset: np.ndarray
    integers: Integers | None = None

    @property
    def parameters(self) -> int:
        return self.scale.size + self.offset.size

    def infer(self, *shapes: Shape) -> Shape:
        if self.scale.shape != (shapes[0][0],) or self.offset.shape != self.scale.shape:
            raise ValueError(f"scale and offset must have {shapes[0][0]} values, "
                             f"not {self.scale.shape} and {self.offset.shape}")
        return shapes[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Relu(Layer):
    """max(x, 0)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip(Layer):
    """min(max(x, low), high), low <= high; either may be infinite, and a float32 array with one bound a channel."""

    low: float | np.ndarray
    high: float | np.ndarray

    def infer(self, *shapes: Shape) -> Shape:
        if not np.all(self.low <= self.high):
            raise ValueError(f"low must not exceed high, not {self.low} and {self.high}")
        if any(np.shape(bound) not in ((), shapes[0][:1]) for bound in (self.low, self.high)):
            raise ValueError(f"low and high must have 1 or {shapes[0][0]} values, "
                             f"not {np.size(self.low)} and {np.size(self.high)}")
        return shapes[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(Layer):
    """Fully connected: `weight` float32 (out, in), `bias` float32 (out,)."""

    weight: np.ndarray
    bias: np.ndarray
    integers: Integers | None = None

    @property
    def parameters(self) -> int:
        return self.weight.size + self.bias.size

    def infer(self, *shapes: Shape) -> Shape:
        if len(shapes[0]) != 1 or self.weight.ndim != 2 or self.weight.shape[1] != shapes[0][0]:
            raise ValueError(f"weight {self.weight.shape} does not fit input {shapes[0]}")
        if self.bias.shape != self.weight.shape[:1]:
            raise ValueError(f"bias must have {self.weight.shape[0]} values, not shape {self.bias.shape}")
        return self.weight.shape[:1]

    def macs(self, shapes: tuple[Shape, ...], output: Shape) -> int:
        return self.weight.size


@dataclass(frozen=True, kw_only=True, eq=False)
class Flatten(Layer):
    """(C, H, W) -> (C * H * W,), in C order."""

    def infer(self, *shapes: Shape) -> Shape:
        return (math.prod(shapes[0]),)


@dataclass(frozen=True, kw_only=True, eq=False)
class LRN(Layer):
    """Local response normalisation across channels, y = x / (bias + alpha / size * sum of x^2 over size channels) ** beta
    (ONNX LRN; `size` channels: (size - 1) // 2 below, size // 2 above)."""

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0

    def infer(self, *shapes: Shape) -> Shape:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, not {self.size}")
        if min(self.alpha, self.beta, self.bias) < 0:
            raise ValueError(f"alpha, beta and bias must be at least 0, not {self.alpha}, {self.beta} and {self.bias}")
        return image_shape(shapes[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Layer):
    """Softmax over the channels or features."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dropout(Layer):
    """Does nothing at inference; kept so that a table shows the network as it was trained."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A network: its layers in execution order, the first an `Input`, and the name of the layer that is the result.

    Raises `GraphError` with every problem found: duplicate or unknown names, wrong input counts, shapes that do not fit.
    """

    name: str
    layers: tuple[Layer, ...]
    output: str
    notes: tuple[str, ...] = ()      # what every command tells its user, e.g. that the weights are not trained

    def __post_init__(self):
        object.__setattr__(self, "shapes", self._infer())

    def _infer(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {}
        broken: set[str] = set()        # layers after a broken one are not blamed for it
        problems = []
        if sum(isinstance(layer, Input) for layer in self.layers) != 1:
            problems.append(Problem(self.name, "Graph", "must have exactly one input layer"))
        for layer in self.layers:
            if layer.name in shapes or layer.name in broken:
                problems.append(Problem(layer.name, layer.op, "name is used twice"))
                continue
            unknown = [name for name in layer.inputs if name not in shapes and name not in broken]
            wrong_count = not layer.inputs if layer.arity is None else len(layer.inputs) != layer.arity
            if unknown:
                problems.append(Problem(layer.name, layer.op, f"reads {', '.join(unknown)}, which no earlier layer produces"))
            elif wrong_count:
                problems.append(Problem(layer.name, layer.op, f"must have {layer.arity or 'some'} inputs, "
                                                              f"not {len(layer.inputs)}"))
            elif not broken.intersection(layer.inputs):
                try:
                    shapes[layer.name] = layer.infer(*(shapes[name] for name in layer.inputs))
                    continue
                except ValueError as error:
                    problems.append(Problem(layer.name, layer.op, str(error)))
            broken.add(layer.name)
        if self.output not in shapes and self.output not in broken:
            problems.append(Problem(self.output, "Graph", "output is produced by no layer"))
        if problems:
            raise GraphError(self.name, problems)
        return shapes

    @cached_property
    def quantised(self) -> bool:
        """Whether the network brings integers."""
        return any(layer.quantised for layer in self.layers)

    @cached_property
    def by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def input(self) -> Input:
        return next(layer for layer in self.layers if isinstance(layer, Input))

    @cached_property
    def consumers(self) -> dict[str, tuple[Layer, ...]]:
        """The layers that read each tensor."""
        readers: dict[str, list[Layer]] = {layer.name: [] for layer in self.layers}
        for layer in self.layers:
            for name in dict.fromkeys(layer.inputs):
                readers[name].append(layer)
        return {name: tuple(layers) for name, layers in readers.items()}

    def macs(self, layer: Layer) -> int:
        """Multiply-accumulates of one layer for one image."""
        return layer.macs(tuple(self.shapes[name] for name in layer.inputs), self.shapes[layer.name])

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def total_macs(self) -> int:
        return sum(self.macs(layer) for layer in self.layers)
