"""From a float graph to integer steps: what is fused, what runs on the host, which tensors share a scale."""
from dataclasses import dataclass, replace
import math

import numpy as np

from nets.endings import ENDINGS, scores_of
from nets.functions import Function
from nets.graph import (
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
    Softmax,
    Window,
)
from nets.int8.quantised import Integers, Quantisation
from nets.moves import Pad, Rearrange, Select

__all__ = ["ARITHMETIC", "ONE_SCALE", "Plan", "Step", "as_conv", "plan"]

ARITHMETIC = (Conv, Linear, Affine, Add, GlobalAvgPool)     # requantise, so can clamp for nothing
CLAMPS = (Relu, Clip)
ONE_SCALE = (*CLAMPS, MaxPool, AvgPool, Concat, ChannelShuffle, Flatten, Pad, Rearrange, Select)
FLOAT_ONLY = tuple(kind for kind in ENDINGS.values() if not issubclass(kind, Softmax | Function))


@dataclass(frozen=True, kw_only=True)
class Step:
    """One integer operator to be: `layer` gives its name and numbers, `inputs` are names of steps.

    `value` names the float layer whose output the step stands for, fused clamps included, and low..high is the range that they
    leave: the narrowest, where a clip has bounds for each channel.
    """

    layer: Layer
    inputs: tuple[str, ...]
    value: str
    low: float = -math.inf
    high: float = math.inf

    @property
    def name(self) -> str:
        return self.layer.name


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Steps in execution order, the name of the one that is the result, what the host computes of that, and for every step the
    leader of its group: steps of one group share scale and zero point. `given`: those that the network brings, by leader."""

    steps: tuple[Step, ...]
    output: str
    endings: tuple[str, ...]
    leader: dict[str, str]
    notes: tuple[str, ...]
    given: dict[str, Quantisation]

    @property
    def complete(self) -> bool:
        """Whether the network brings all scales, so that nothing must be calibrated."""
        return set(self.leader.values()) <= set(self.given)

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the steps whose values decide their group's scale: the others only move or choose values."""
        return tuple(step.name for step in self.steps if not isinstance(step.layer, ONE_SCALE))


def plan(graph: Graph) -> Plan:
    """How to run a graph on integers.

    Dropout vanishes; ReLU and clip melt into the layer before where they are its only reader, unless that brings a scale of its
    own; an ending (`nets.endings`) is left to the host. Raises GraphError where nothing would be left, and naming every layer
    that integers cannot compute.
    """
    output, endings = scores_of(graph)
    notes = [f"{graph.name}: {ending.lower()} is left to the host, it does not change the ranking"
             for ending in endings]
    if isinstance(output, Input):
        raise GraphError(graph.name, [Problem(output.name, output.op, "nothing to compute on integers")])
    used = _reachable(graph, output)
    readers: dict[str, int] = {}
    origin: dict[str, str] = {}                 # float layer -> the step that produces its value
    layers = [layer for layer in graph.layers if layer.name in used]
    wrong = [Problem(layer.name, layer.called, "is not computed in integers: it may only end a network")
             for layer in layers if isinstance(layer, FLOAT_ONLY)]
    if wrong:
        raise GraphError(graph.name, wrong)
    for layer in layers:                        # what does nothing is transparent: count through it
        origin[layer.name] = origin[layer.inputs[0]] if _nothing(graph, layer) else layer.name
        if not _nothing(graph, layer):
            for name in layer.inputs:
                readers[origin[name]] = readers.get(origin[name], 0) + 1
    steps: dict[str, Step] = {}
    for layer in layers:
        if _nothing(graph, layer):
            origin[layer.name] = origin[layer.inputs[0]]
            continue
        inputs = tuple(origin[name] for name in layer.inputs)
        if isinstance(layer, CLAMPS):
            low, high = (0.0, math.inf) if isinstance(layer, Relu) else (float(np.max(layer.low)), float(np.min(layer.high)))
            source = steps[inputs[0]]
            before = graph.by_name[source.value].quantised
            if (isinstance(source.layer, (*ARITHMETIC, *CLAMPS, Function)) and readers[source.value] == 1
                    and before in (None, layer.quantised)):
                steps[source.name] = Step(
                    layer=source.layer, inputs=source.inputs, value=layer.name,
                    low=min(max(source.low, low), high), high=max(min(source.high, high), low))
                origin[layer.name] = source.name
                continue
            steps[layer.name] = Step(layer=layer, inputs=inputs, value=layer.name, low=low, high=high)
        else:
            steps[layer.name] = Step(layer=layer, inputs=inputs, value=layer.name)
    leader = _groups(steps)
    given = {leader[step.name]: kind for step in steps.values() if (kind := graph.by_name[step.value].quantised)}
    return Plan(steps=tuple(steps.values()), output=origin[output.name], endings=endings,
                leader=leader, notes=tuple(notes), given=given)


def _nothing(graph: Graph, layer: Layer) -> bool:
    """Whether the layer does nothing to integers: their tensors have three axes, flattened ones are (features, 1, 1)."""
    if isinstance(layer, Rearrange):
        before, after = ((*shape, 1, 1)[:3] for shape in (graph.shapes[layer.inputs[0]], layer.shape))
        return before == after and list(layer.order) == sorted(layer.order)
    return isinstance(layer, Dropout)


def as_conv(layer: Conv | Linear | Affine) -> Conv:
    """The layer as a convolution: a linear one is 1x1 on (features, 1, 1), an affine one 1x1 and depthwise."""
    named = {"name": layer.name, "inputs": layer.inputs, "origin": layer.origin, "window": Window(kernel=(1, 1))}
    match layer:
        case Linear():
            return Conv(**named, weight=layer.weight[:, :, None, None], bias=layer.bias, integers=_four_axes(layer.integers))
        case Affine():
            return Conv(**named, weight=layer.scale[:, None, None, None], bias=layer.offset, groups=len(layer.scale),
                        integers=_four_axes(layer.integers))
    return layer


def _four_axes(integers: Integers | None) -> Integers | None:
    if integers is None:
        return None
    return replace(integers, weight=integers.weight.reshape(len(integers.weight), -1, 1, 1))


def _reachable(graph: Graph, output: Layer) -> set[str]:
    used, waiting = {graph.input.name}, [output.name]
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            waiting.extend(graph.by_name[name].inputs)
    return used


def _groups(steps: dict[str, Step]) -> dict[str, str]:
    """Union-find over the steps that must share a scale with their inputs; leaders come first."""
    parent = {name: name for name in steps}
    order = {name: index for index, name in enumerate(steps)}

    def find(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for step in steps.values():
        if isinstance(step.layer, ONE_SCALE):
            for name in step.inputs:
                a, b = sorted((find(name), find(step.name)), key=order.__getitem__)
                parent[b] = a
    return {name: find(name) for name in steps}
