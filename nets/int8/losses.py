"""What rounding costs: signal to noise of every layer of the integer network, held against the float network.

The integers are simulated in floats: weights, biases and every tensor as the values that the integers mean. This differs from
`golden.values` by a step where a float decides a tie the other way, and by what the tables of a normalisation or a softmax add.
"""
from collections.abc import Iterable, Iterator, Mapping, Sequence
import math

import numpy as np

from nets import float_run
from nets.graph import Conv, Graph, Input, Layer
from nets.int8.fuse import ONE_SCALE, Plan, Step
from nets.int8.network import Loss, QConv, QNetwork, step_scale

__all__ = ["BIT_DB", "float_twins", "measure_losses", "simulate", "warnings", "worst"]

BIT_DB = 20 * math.log10(2)     # what a bit is worth
MOST_DB = 99.0                  # nothing is better: exact values, too
POOR_DB = 20.0                  # in the scores: a network with less is worth a warning
NAMED = 3                       # layers that it names


def measure_losses(graph: Graph, plan: Plan, network: QNetwork, images: Iterable[np.ndarray]) -> tuple[Loss, ...]:
    """The losses of every layer but the input, in execution order, over prepared images.

    `graph` is the float network as it was quantised, equalised and centred, `plan` its plan. The signal is the power of the
    float values; of the network's output that of their differences, since a score that all classes share says nothing.
    """
    signal, noise = (dict.fromkeys((step.name for step in plan.steps), 0.0) for _ in range(2))
    keep, twins = {step.value for step in plan.steps}, float_twins(plan, network)
    for x in images:
        floats = float_run.run(graph, x, keep=keep)
        for step, values in simulate(plan, network, twins, x):
            wanted = floats[step.value].reshape(values.shape).astype(np.float64)
            error = values - wanted
            if step.name == plan.output:
                wanted, error = wanted - wanted.mean(0), error - error.mean(0)
            signal[step.name] += float(np.square(wanted).sum())
            noise[step.name] += float(np.square(error).sum())
    snr = {name: _decibels(signal[name], noise[name]) for name in signal}
    moved = {step.name: snr[step.name] for step in plan.steps if isinstance(step.layer, ONE_SCALE)}     # they round nothing
    return tuple(Loss(layer=step.name, op=step.layer.op, snr=snr[step.name],
                      source=moved.get(step.name, min((snr[name] for name in step.inputs), default=MOST_DB)))
                 for step in plan.steps if not isinstance(step.layer, Input))


def _decibels(signal: float, noise: float) -> float:
    if noise == 0 or signal == 0:
        return MOST_DB if noise == 0 else 0.0
    return round(min(10 * math.log10(signal / noise), MOST_DB), 2)


def float_twins(plan: Plan, network: QNetwork) -> dict[str, Layer]:
    """The layer in floats of every step, with the weights that its integers mean."""
    return {step.name: _conv(step, layer, network) if isinstance(layer := network.by_name[step.name], QConv) else step.layer
            for step in plan.steps}


def simulate(plan: Plan, network: QNetwork, twins: Mapping[str, Layer], x: np.ndarray) -> Iterator[tuple[Step, np.ndarray]]:
    """Every step with the float32 values that its integers stand for, of the tensor's shape (channels, height, width)."""
    values: dict[str, np.ndarray] = {}
    for step in plan.steps:
        kind = network.tensors[step.name]
        if isinstance(step.layer, Input):
            exact = x
        else:
            inputs = [values[name] for name in step.inputs]
            twin = twins[step.name]
            exact = float_run.LAYERS[type(twin)](twin, *inputs).reshape(kind.shape)
        q = np.floor(np.clip(exact, step.low, step.high) / kind.scale + 0.5) + kind.zero_point
        values[step.name] = ((np.clip(q, 0, (1 << kind.bits) - 1) - kind.zero_point) * kind.scale).astype(np.float32)
        yield step, values[step.name]


def _conv(step: Step, layer: QConv, network: QNetwork) -> Conv:
    """The convolution that the integers mean."""
    source, how = network.tensors[layer.inputs[0]], layer.requantise
    # of the accumulator
    unit = np.broadcast_to(how.multiplier * 2.0 ** -how.shift * step_scale(layer, network), len(layer.bias))
    bias = layer.bias + source.zero_point * layer.weight.reshape(len(layer.bias), -1).sum(1, dtype=np.int64)
    weight = np.empty(layer.weight.shape, np.float32)
    np.multiply(layer.weight, (unit / source.scale)[:, None, None, None], out=weight, casting="same_kind")
    return Conv(name=step.name, inputs=step.inputs, window=layer.window, groups=layer.groups, weight=weight,
                bias=(bias * unit).astype(np.float32))


def worst(losses: Sequence[Loss], count: int) -> list[Loss]:
    """At most so many of the layers that add most noise, the worst first; those that add none are left out."""
    return sorted((loss for loss in losses if loss.noise), key=lambda loss: -loss.noise)[:count]


def warnings(losses: Sequence[Loss]) -> tuple[str, ...]:
    """A line where rounding leaves so little of the scores that classes may change places, with the layers that lose most."""
    scores = losses[-1]
    if scores.snr >= POOR_DB:
        return ()
    named = ", ".join(f"{loss.layer} ({loss.lost:.0f} dB, {loss.lost / BIT_DB:.1f} bits)" for loss in worst(losses, NAMED))
    note = (f"rounding to 8 bits leaves {scores.snr:.0f} dB of signal to noise in the scores: classes may change places; "
            f"most is lost in {named}")
    return (note,)
