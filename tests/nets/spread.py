"""Small random networks whose channels, branches or scores lie far apart."""
import random

import numpy as np

from nets.graph import (
    Add,
    Affine,
    AvgPool,
    ChannelShuffle,
    Clip,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Graph,
    Input,
    Linear,
    MaxPool,
    Relu,
    Window,
)
from nets.model import Model
from nets.preprocess import InputSpec

SIZE = 12


class Maker:
    """Layers one after the other; every convolution makes its channels larger by factors of its own, up to `decades` powers of
    ten apart, and the next one takes them back, if `undone`."""

    def __init__(self, seed: int, decades: float, *, undone: bool = True):
        self.random, self.rng = random.Random(seed), np.random.default_rng(seed)
        self.decades, self.undone = decades, undone
        self.layers = [Input(name="pixels", shape=(3, SIZE, SIZE))]
        self.factors = {"pixels": np.ones(3)}            # of each channel, against the network with none

    def add(self, layer, factors) -> str:
        self.layers.append(layer)
        self.factors[layer.name] = factors
        return layer.name

    def fresh(self) -> str:
        return f"l{len(self.layers)}"

    def conv(self, source: str, out: int, *, kernel: int = 3, factors: np.ndarray | None = None, depthwise: bool = False) -> str:
        before = self.factors[source]
        out, groups = (len(before), len(before)) if depthwise else (out, 1)
        per_group = len(before) // groups
        if factors is None:
            factors = 10 ** self.rng.uniform(-self.decades / 2, self.decades / 2, out)
        weight = self.rng.normal(0, (2 / (per_group * kernel ** 2)) ** 0.5, (out, per_group, kernel, kernel))
        undo = (before[:, None] if depthwise else before[None]) if self.undone else np.ones((1, 1))
        weight = weight * factors[:, None, None, None] / undo[:, :, None, None]
        bias = self.rng.normal(0, 0.1, out) * factors
        pad = kernel // 2
        return self.add(Conv(name=self.fresh(), inputs=(source,), weight=weight.astype(np.float32), bias=bias.astype(np.float32),
                             window=Window(kernel=(kernel, kernel), padding=(pad,) * 4), groups=groups), factors)

    def activation(self, source: str) -> str:
        name, factors = self.fresh(), self.factors[source]
        if self.random.random() < 0.5:
            return self.add(Relu(name=name, inputs=(source,)), factors)
        return self.add(Clip(name=name, inputs=(source,), low=0.0, high=6.0), factors)

    def block(self, source: str) -> str:
        """One of the ways in which channels go on."""
        name, factors = self.fresh(), self.factors[source]
        match self.random.choice(("conv", "depthwise", "concat", "add", "max", "mean", "shuffle", "affine")):
            case "conv":
                return self.activation(self.conv(source, self.random.choice((6, 8)), kernel=self.random.choice((1, 3))))
            case "depthwise":
                return self.activation(self.conv(source, 0, depthwise=True))
            case "concat":
                parts = [self.activation(self.conv(source, 4)), self.conv(source, 6, kernel=1)]
                return self.add(Concat(name=self.fresh(), inputs=tuple(parts)), np.concatenate([self.factors[p] for p in parts]))
            case "add":
                return self.add(Add(name="s" + name, inputs=(source, self.conv(source, len(factors), factors=factors))), factors)
            case "max":
                return self.add(MaxPool(name=name, inputs=(source,), window=Window(kernel=(2, 2), padding=(0, 0, 1, 1))), factors)
            case "mean":
                return self.add(AvgPool(name=name, inputs=(source,), window=Window(kernel=(3, 3), padding=(1, 1, 1, 1)),
                                        count_include_pad=True), factors)
            case "shuffle":
                groups = self.random.choice([g for g in (1, 2, 3) if len(factors) % g == 0])
                return self.add(ChannelShuffle(name=name, inputs=(source,), groups=groups),
                                factors.reshape(groups, -1).T.ravel())
            case "affine":
                scale, offset = self.rng.uniform(0.5, 2, len(factors)), self.rng.normal(0, 0.1, len(factors)) * factors
                return self.add(Affine(name=name, inputs=(source,), scale=scale.astype(np.float32),
                                       offset=offset.astype(np.float32)), factors)

    def finish(self, source: str, scores_at: float) -> Model:
        factors = self.factors[source]
        pool = self.add(GlobalAvgPool(name="pool", inputs=(source,)), factors)
        flat = self.add(Flatten(name="flat", inputs=(pool,)), factors)
        weight = self.rng.normal(0, 1, (10, len(factors))) / (factors if self.undone else 1)
        bias = scores_at + self.rng.normal(0, 0.1, 10)
        self.layers.append(Linear(name="classes", inputs=(flat,), weight=weight.astype(np.float32), bias=bias.astype(np.float32)))
        graph = Graph(name="spread", layers=tuple(self.layers), output="classes")
        return Model(graph=graph, spec=InputSpec(size=(SIZE, SIZE), mean=(0.5,) * 3, std=(0.25,) * 3, crop="none"))


def spread_network(seed: int, *, decades: float, blocks: int = 4, scores_at: float = 0.0, undone: bool = True) -> Model:
    """A random network of the seed; with other `decades` and `scores_at` the same, but for where its channels and scores lie."""
    maker = Maker(seed, decades, undone=undone)
    name = maker.activation(maker.conv("pixels", 8))
    for _ in range(blocks):
        name = maker.block(name)
    return maker.finish(name, scores_at)
