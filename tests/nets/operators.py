"""Small float networks with every operator of `nets.graph`, random weights, and images for them."""
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
    Input,
    Linear,
    MaxPool,
    Relu,
    Softmax,
    Window,
)
from nets.model import Model
from nets.preprocess import InputSpec


def drawn(name: str) -> np.random.Generator:
    """Random numbers for a layer: the same whatever was drawn before."""
    return np.random.default_rng(list(name.encode()))


def conv(name, source, out, per_group, kernel=3, groups=1, **window):
    rng = drawn(name)
    weight = rng.normal(0, (2 / (per_group * kernel * kernel)) ** 0.5, (out, per_group, kernel, kernel)).astype(np.float32)
    bias = rng.normal(0, 0.1, out).astype(np.float32)
    return Conv(name=name, inputs=(source,), weight=weight, bias=bias, groups=groups,
                window=Window(kernel=(kernel, kernel), **window))


def every_operator() -> Model:
    """All operators but those that end a network; signed and unsigned tensors, shared scales, fused and lone clamps."""
    rng = drawn("affine")
    affine = {"scale": rng.normal(1, 0.3, 16).astype(np.float32), "offset": rng.normal(0, 0.3, 16).astype(np.float32)}
    layers = (
        Input(name="image", shape=(3, 21, 19)),
        conv("stem", "image", 16, 3, stride=(2, 2), padding=(1, 1, 1, 1)),
        Relu(name="stem/relu", inputs=("stem",)),
        LRN(name="lrn", inputs=("stem/relu",), size=5, alpha=0.5, beta=0.75, bias=1.0),
        MaxPool(name="max", inputs=("lrn",), window=Window(kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1))),
        conv("depthwise", "max", 16, 1, groups=16, padding=(1, 1, 1, 1)),           # signed: no clamp
        Affine(name="affine", inputs=("depthwise",), **affine),
        Clip(name="affine/clip", inputs=("affine",), low=-1.0, high=2.0),
        conv("grouped", "affine/clip", 16, 8, groups=2, padding=(2, 2, 2, 2), dilation=(2, 2)),
        ChannelShuffle(name="shuffle", inputs=("grouped",), groups=4),
        Add(name="sum", inputs=("shuffle", "max")),
        Relu(name="sum/relu", inputs=("sum",)),
        Dropout(name="dropout", inputs=("sum/relu",)),
        conv("left", "dropout", 8, 16, kernel=1),
        conv("right", "dropout", 8, 16, padding=(0, 1, 2, 1)),
        Relu(name="right/relu", inputs=("right",)),
        Concat(name="both", inputs=("left", "right/relu", "left")),
        Relu(name="both/relu", inputs=("both",)),                                   # on its own: concat cannot clamp
        AvgPool(name="mean", inputs=("both/relu",), window=Window(kernel=(2, 2), stride=(2, 2)), ceil_mode=True),
        AvgPool(name="mean/padded", inputs=("mean",), count_include_pad=True,
                window=Window(kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1))),
        conv("gate", "mean/padded", 24, 24, kernel=1),
        Softmax(name="gate/softmax", inputs=("gate",)),
        Add(name="gated", inputs=("gate/softmax", "mean/padded")),
        GlobalAvgPool(name="global", inputs=("gated",)),
        Flatten(name="features", inputs=("global",)),
        Linear(name="classes", inputs=("features",), weight=rng.normal(0, 0.3, (10, 24)).astype(np.float32),
               bias=rng.normal(0, 0.1, 10).astype(np.float32)),
        Softmax(name="probabilities", inputs=("classes",)),
    )
    spec = InputSpec(size=(21, 19), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), crop="none")
    return Model(graph=Graph(name="every_operator", layers=layers, output="probabilities"), spec=spec)
