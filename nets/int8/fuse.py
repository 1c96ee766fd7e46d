"""From a float graph to integer steps: what is fused, what runs on the host, which tensors share a scale."""
from dataclasses import dataclass
import math

import numpy as np

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

__all__ = ["ONE_SCALE", "Plan", "Step", "as_conv", "plan"]

ARITHMETIC = (Conv, Linear, Affine, Add, GlobalAvgPool)     # requantise, so can clamp for nothing
CLAMPS = (Relu, Clip)
ONE_SCALE = (*CLAMPS, MaxPool, AvgPool, Concat, ChannelShuffle, Flatten)


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
    """Steps in execution order, the name of the one that is the result, and for every step the leader of its group: steps of
    one group share scale and zero point."""

    steps: tuple[Step, ...]
    output: str
    leader: dict[str, str]
    notes: tuple[str, ...]

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the steps whose values decide their group's scale: the others only move or choose values."""
        return tuple(step.name for step in self.steps if not isinstance(step.layer, ONE_SCALE))


def plan(graph: Graph) -> Plan:
    """How to run a graph on integers.

    Dropout vanishes; ReLU and clip melt into the layer before where they are its only reader; a softmax at the end is left to
    the host, since it does not change the ranking. Raises GraphError where nothing would be left.
    """
    notes = []
    output = graph.by_name[graph.output]
    while isinstance(output, Softmax | Dropout):
        if isinstance(output, Softmax):
            notes.append(f"{output.name}: softmax is left to the host, it does not change the ranking")
        output = graph.by_name[output.inputs[0]]
    if isinstance(output, Input):
        raise GraphError(graph.name, [Problem(output.name, output.op, "nothing to compute on integers")])
    used = _reachable(graph, output)
    readers: dict[str, int] = {}
    origin: dict[str, str] = {}                 # float layer -> the step that produces its value
    layers = [layer for layer in graph.layers if layer.name in used]
    for layer in layers:                        # dropout is transparent: count through it
        origin[layer.name] = origin[layer.inputs[0]] if isinstance(layer, Dropout) else layer.name
        if not isinstance(layer, Dropout):
            for name in layer.inputs:
                readers[origin[name]] = readers.get(origin[name], 0) + 1
    steps: dict[str, Step] = {}
    for layer in layers:
        if isinstance(layer, Dropout):
            origin[layer.name] = origin[layer.inputs[0]]
            continue
        inputs = tuple(origin[name] for name in layer.inputs)
        if isinstance(layer, CLAMPS):
            low, high = (0.0, math.inf) if isinstance(layer, Relu) else (float(np.max(layer.low)), float(np.min(layer.high)))
            source = steps[inputs[0]]
            if isinstance(source.layer, ARITHMETIC) and readers[source.value] == 1:
                steps[source.name] = Step(
                    layer=source.layer, inputs=source.inputs, value=layer.name,
                    low=min(max(source.low, low), high), high=max(min(source.high, high), low))
                origin[layer.name] = source.name
                continue
            steps[layer.name] = Step(layer=layer, inputs=inputs, value=layer.name, low=low, high=high)
        else:
            steps[layer.name] = Step(layer=layer, inputs=inputs, value=layer.name)
    return Plan(steps=tuple(steps.values()), output=origin[output.name],
                leader=_groups(steps), notes=tuple(notes))


def as_conv(layer: Conv | Linear | Affine) -> Conv:
    """The layer as a convolution: a linear one is 1x1 on (features, 1, 1), an affine one 1x1 and depthwise."""
    point = Window(kernel=(1, 1))
    match layer:
        case Linear():
            return Conv(name=layer.name, inputs=layer.inputs, weight=layer.weight[:, :, None, None], bias=layer.bias,
                        window=point)
        case Affine():
            return Conv(name=layer.name, inputs=layer.inputs, weight=layer.scale[:, None, None, None], bias=layer.offset,
                        window=point, groups=len(layer.scale))
    return layer


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
