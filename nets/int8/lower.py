"""Floats to integers, layer by layer: every scale is chosen so that the integers mean it exactly.

A convolution's factor x_scale * w_scale / y_scale must be multiplier * 2**-shift with 8 bits. So the factor is picked first,
and the weights are quantised with the scale that follows from it, w_scale = factor * y_scale / x_scale: the short multiplier
costs no accuracy. A global average picks its output scale the same way.

Scores, where each class has but one, keep a fraction of 8 bits: their ranking is all that matters, and it must not end in ties.
"""
from collections import Counter
from dataclasses import replace
import math

import numpy as np

from cli import progress
from nets.functions import Function
from nets.graph import (
    LRN,
    Add,
    Affine,
    AvgPool,
    ChannelShuffle,
    Clip,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Input,
    Layer,
    Linear,
    MaxPool,
    Problem,
    Relu,
    Softmax,
)
from nets.int8.blocks import row_blocks
from nets.int8.calibrate import Statistics
from nets.int8.clip import RATIOS, best_clip, choose_ratios, scale_and_zero, split_ratio
from nets.int8.fuse import ARITHMETIC, Plan, Step, as_conv
from nets.int8.given import Changes, FactorError, check_reach, nearest, sum_factors, taken
from nets.int8.lrn import lrn_table
from nets.int8.network import (
    FRACTION_BITS,
    QLRN,
    SHIFT_MAX,
    WEIGHT_MAX,
    QAdd,
    QAvgPool,
    QChannelShuffle,
    QClamp,
    QConcat,
    QConv,
    QFlatten,
    QGlobalAvgPool,
    QInput,
    QLayer,
    QMaxPool,
    QPad,
    QRearrange,
    QSelect,
    QSoftmax,
    QTable,
    Requantise,
    TensorType,
    softmax_table,
)
from nets.int8.rounding import InputMoments, Palette, round_weights
from nets.int8.table import function_table, reach
from nets.moves import Pad, Rearrange, Select

__all__ = ["lower"]

SOFTMAX_TYPE = (1 / 256, 0)             # scale and zero point
SUM_TRIED = 64                          # multipliers, two octaves
SUM_WIDEST = 1.05                       # of the scale that a sum needs
FRACTION_RATIO_MAX = RATIOS[-1] / 2 ** FRACTION_BITS * 0.999         # shifts of 9 and more, whatever is rounded on the way


def lower(plan: Plan, shapes: dict[str, tuple[int, ...]], statistics: Statistics | None, *, headroom: float = 1.0,
          changes: Changes | None = None, palette: Palette | None = None) -> tuple[tuple[QLayer, ...], dict[str, TensorType]]:
    """The integer layers and the types of their tensors.

    `shapes` are those of the float graph. `headroom` (at least 1) widens the range of every tensor but the input, where
    calibration images are known to be tamer than what will come. Without statistics layers are what their shapes say and no
    more: every scale is 1, every weight and bias 0. What the network brings is kept; `changes` is told what of it is not.
    `palette` chooses the integers that a layer's weights may be; weights that are 0 stay so then.
    """
    changes = changes or Changes()
    types: dict[str, TensorType] = {}
    groups = {leader: (kind.scale, kind.zero_point) for leader, kind in plan.given.items()}         # scale and zero point
    layers, scores = [], _scores(plan, shapes)
    changes.problems += [Problem(step.name, step.layer.called, "integers of 16 bits are for a classifier's scores alone")
                         for step in plan.steps if step.name in plan.given and plan.given[step.name].fraction
                         and step.name not in scores]
    for step in progress(plan.steps, "rounding weights") if statistics else plan.steps:
        leader = plan.leader[step.name]
        if leader not in groups:
            groups[leader] = _choose_type(step, plan, statistics, types, headroom, spare=int(leader in scores))
        scale, zero_point = groups[leader]
        shape = shapes[step.value]
        kind = TensorType(shape=(*shape, 1, 1) if len(shape) == 1 else shape, scale=scale, zero_point=zero_point)
        inputs = [types[name] for name in step.inputs]
        given = all(plan.leader[name] in plan.given for name in (step.name, *step.inputs))
        try:
            layer = _given(step, inputs, kind, statistics, changes) if given else None
            layer = layer or _layer(step, inputs, kind, statistics, palette)
        except FactorError as error:
            changes.problems.append(Problem(step.name, step.layer.called, str(error)))
            layer = _layer(step, inputs, kind, None)
        if step.name in scores:
            layer, kind = _with_fraction(layer, kind, types)
        types[step.name] = kind
        layers.append(layer)
    return tuple(layers), types


def _scores(plan: Plan, shapes: dict[str, tuple[int, ...]]) -> set[str]:
    """The steps whose tensors may keep a fraction: the output, if it has one pixel, and what is only flattened to be it. None
    where it is not computed, but moved or chosen, or the network brings its scale, without a fraction."""
    given = plan.given.get(plan.leader[plan.output])
    if given and not given.fraction:
        return set()
    steps = {step.name: step for step in plan.steps}
    readers = Counter(name for step in plan.steps for name in step.inputs)
    found, step = {plan.output}, steps[plan.output]
    while isinstance(step.layer, Flatten) and readers[step.inputs[0]] == 1:
        step = steps[step.inputs[0]]
        found.add(step.name)
    alone = readers[plan.output] == 0 and math.prod(shapes[step.value][1:]) == 1
    return found if alone and isinstance(step.layer, ARITHMETIC) else set()


def _with_fraction(layer: QLayer, kind: TensorType, types: dict[str, TensorType]) -> tuple[QLayer, TensorType]:
    """A layer of scores and its tensor in sub-steps."""
    if isinstance(layer, QFlatten):
        return layer, replace(types[layer.inputs[0]], shape=kind.shape)
    how = layer.requantise
    low, high = (min(max(value, 1), 254) for value in (how.low, how.high))
    return (replace(layer, requantise=replace(how, low=low, high=high, fraction=True)),
            replace(kind, scale=kind.scale / (1 << FRACTION_BITS), zero_point=kind.zero_point << FRACTION_BITS, bits=16))


def _choose_type(step: Step, plan: Plan, statistics: Statistics | None, types: dict[str, TensorType],
                 headroom: float, spare: int) -> tuple[float, int]:
    """Scale and zero point of the group that the step leads, with `spare` steps left at each end of the range."""
    members = [s for s in plan.steps if plan.leader[s.name] == step.name]
    if any(isinstance(member.layer, Softmax) for member in members):
        return SOFTMAX_TYPE
    if statistics is None:
        return 1.0, spare
    histogram, *others = (statistics.histograms[s.name] for s in members if s.name in statistics.histograms)
    for other in others:
        histogram = histogram.merged(other)
    if any(member.name == plan.output for member in members):       # clips would cost where the ranking is decided
        low, high = histogram.low, histogram.high
    else:
        low, high = best_clip(histogram)
        low, high = _what_functions_tell_apart(plan, members, low, high)
    low, high = _with_constants(members, low, high)
    if not isinstance(step.layer, Input):
        low, high = low * headroom, high * headroom
    scale, zero_point = scale_and_zero(low, high, spare)
    sources = [types[name] for name in step.inputs]
    wanted = max(scale, _least_with_fraction(step.layer, sources)) if spare else scale
    if isinstance(step.layer, GlobalAvgPool):
        unit = _average_unit(sources[0])
        wanted = float(np.float32(unit / _largest_ratio(unit / wanted)))
    if isinstance(step.layer, Add):
        wanted = _sum_scale(sources, wanted)
    if wanted != scale:
        zero_point = min(zero_point, int(np.floor(-low / wanted + 0.5)) + spare)
    return wanted, zero_point


def _least_with_fraction(layer: Layer, sources: list[TensorType]) -> float:
    """The scale of a tensor from which on the layer's requantisation has sub-steps."""
    match layer:
        case GlobalAvgPool():
            unit = _average_unit(sources[0])
        case Add():
            unit = max(source.scale for source in sources) / WEIGHT_MAX * RATIOS[SUM_TRIED] / RATIOS[0]
        case _:
            unit = float(np.abs(as_conv(layer).weight).max()) * sources[0].scale / WEIGHT_MAX
    return float(np.float32(unit / FRACTION_RATIO_MAX))


def _what_functions_tell_apart(plan: Plan, members: list[Step], low: float, high: float) -> tuple[float, float]:
    """The range, without what all readers of the group map to nearly the same value, if these are functions."""
    names = {member.name for member in members}
    readers = [step for step in plan.steps if step not in members and names.intersection(step.inputs)]
    if not readers or not all(isinstance(reader.layer, Function) for reader in readers) or low >= high:
        return low, high
    lows, highs = zip(*(reach(reader.layer, low, high) for reader in readers), strict=True)
    return min(lows), max(highs)


def _with_constants(members: list[Step], low: float, high: float) -> tuple[float, float]:
    """The range, with what clamps and padding put into tensors whatever came in: a clamp beyond all values leaves its bound."""
    for member in members:
        low, high = min(low, member.high), max(high, member.low)
        if isinstance(member.layer, Pad) and member.layer.value > np.finfo(np.float32).min:     # else below whatever there is
            low, high = min(low, member.layer.value), max(high, member.layer.value)
    return low, high


def _average_unit(source: TensorType) -> float:
    """What one step of the sum over a whole image adds to its mean."""
    return source.scale / math.prod(source.shape[1:])


def _largest_ratio(limit: float) -> float:
    return float(RATIOS[max(int(np.searchsorted(RATIOS, limit, side="right")) - 1, 0)])


def _layer(step: Step, inputs: list[TensorType], kind: TensorType, statistics: Statistics | None,
           palette: Palette | None = None) -> QLayer:
    layer = step.layer
    named = {"name": step.name, "inputs": step.inputs, "origin": layer.origin}
    match layer:
        case Input():
            return QInput(**named)
        case Conv() | Linear() | Affine():
            return (_outlined(step, kind) if statistics is None else
                    _conv(step, inputs[0], kind, statistics.moments[step.name], palette))
        case MaxPool():
            return QMaxPool(**named, window=layer.window, ceil_mode=layer.ceil_mode)
        case AvgPool():
            return QAvgPool(**named, window=layer.window, ceil_mode=layer.ceil_mode, count_include_pad=layer.count_include_pad)
        case GlobalAvgPool():
            best = np.abs(RATIOS - _average_unit(inputs[0]) / kind.scale).argmin()
            return QGlobalAvgPool(**named, requantise=_requantise(step, kind, best[None]))
        case Add():
            return _add(step, inputs, kind)
        case Concat():
            return QConcat(**named)
        case ChannelShuffle():
            return QChannelShuffle(**named, groups=layer.groups)
        case Relu() | Clip():
            low, high = _bounds(step, kind)
            return QClamp(**named, low=low, high=high)
        case Flatten():
            return QFlatten(**named)
        case Pad():
            value = int(np.clip(np.floor(layer.value / kind.scale + 0.5) + kind.zero_point, 0, 255))
            return QPad(**named, before=layer.before, after=layer.after, value=value)
        case Select():
            return QSelect(**named, channels=layer.channels)
        case Rearrange():
            return QRearrange(**named, sizes=layer.sizes, order=layer.order)
        case LRN():
            base, drop, shift = lrn_table(step.layer, inputs[0], kind)
            return QLRN(**named, size=step.layer.size, base=base, drop=drop, shift=shift)
        case Function():
            return QTable(**named, table=function_table(layer, inputs[0], kind, step.low, step.high))
        case Softmax():
            return QSoftmax(**named, table=softmax_table(inputs[0].scale))
    raise TypeError(f"layer must be an operator of nets.graph, not {type(layer).__name__}")


def _given(step: Step, inputs: list[TensorType], kind: TensorType, statistics: Statistics | None,
           changes: Changes) -> QLayer | None:
    """The layer of a network that brings the scales of its inputs and of its output, if its factors are to be the nearest there
    are. Raises FactorError for those that the chip cannot have."""
    layer = step.layer
    low, high = _bounds(step, kind)
    match layer:
        case Conv() | Linear() | Affine() if layer.integers and statistics:
            conv = as_conv(layer)
            moments = statistics.moments[step.name]
            made = taken(conv, inputs[0], kind, lambda: _conv(step, inputs[0], kind, moments), changes)
            return replace(made, inputs=step.inputs, requantise=replace(made.requantise, low=low, high=high))
        case Conv() | Linear() | Affine():
            check_reach(as_conv(layer), inputs[0], kind)
            return None
        case Add():
            counted = [replace(source, scale=source.scale * abs(factor))
                       for source, factor in zip(inputs, layer.factors, strict=True)]
            weights, multiplier, shift = sum_factors(counted, kind)
            changes.factor(np.array([source.scale for source in counted]) / kind.scale, multiplier * 2.0 ** -shift * weights)
            weights = _signed(weights, layer)
            made = QAdd(name=step.name, inputs=step.inputs, origin=layer.origin, weights=weights, requantise=_no_clamp(kind))
        case GlobalAvgPool():
            wanted = np.array([_average_unit(inputs[0]) / kind.scale])
            multiplier, shift = nearest(wanted)
            changes.factor(wanted, multiplier * 2.0 ** -shift)
            made = QGlobalAvgPool(name=step.name, inputs=step.inputs, origin=layer.origin, requantise=_no_clamp(kind))
        case _:
            return None
    return replace(made, requantise=replace(made.requantise, multiplier=multiplier, shift=shift, low=low, high=high))


def _no_clamp(kind: TensorType) -> Requantise:
    return Requantise(multiplier=np.array([0]), shift=np.array([SHIFT_MAX]), zero_point=kind.zero_point)


def _bounds(step: Step, kind: TensorType) -> tuple[int, int]:
    """The fused clamp as integers, 0..255 each."""
    low, high = (int(np.clip(np.floor(value / kind.scale + 0.5) + kind.zero_point, 0, 255)) for value in (step.low, step.high))
    return low, high


def _requantise(step: Step, kind: TensorType, ratios: np.ndarray) -> Requantise:
    multiplier, shift = split_ratio(ratios)
    low, high = _bounds(step, kind)
    return Requantise(multiplier=multiplier, shift=shift, zero_point=kind.zero_point, low=low, high=high)


def _conv(step: Step, source: TensorType, kind: TensorType, moments: InputMoments, palette: Palette | None = None) -> QConv:
    conv = as_conv(step.layer)
    weight, bias = conv.weight.reshape(conv.groups, len(conv.weight) // conv.groups, -1), conv.bias.reshape(conv.groups, -1)
    covariance, mean = None, np.zeros((conv.groups, weight.shape[2]))
    importance = np.ones_like(mean)
    if not moments.empty:
        covariance, mean = moments.covariance, moments.mean
        # inputs that did not vary in calibration still count a little, and all alike where none did
        importance = moments.variance + 1e-3 * moments.variance.mean() + np.finfo(np.float32).tiny
    # A covariance is factored once, and there is none of layers so large that they are not rounded at once.
    blocks = list(row_blocks(weight.shape[1], weight[:, 0].size)) if covariance is None else [slice(None)]
    to_scale = kind.scale / source.scale
    ratios = np.concatenate([choose_ratios(weight[:, rows].astype(np.float64), bias[:, rows] / kind.scale, to_scale, importance)
                             for rows in blocks], axis=1)
    scale = RATIOS[ratios] * to_scale
    levels = None
    if palette and not isinstance(step.layer, Affine):
        levels = palette(sum(_counted(weight[:, rows], scale[:, rows, None], importance) for rows in blocks))

    def rounded(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Weights and biases of some channels of each group."""
        exact, unit = weight[:, rows].astype(np.float64), scale[:, rows]
        q = round_weights(exact, unit[:, :, None], covariance, levels)
        lost = np.einsum("gon,gn->go", exact - q * unit[:, :, None], mean)      # the mean error, which the bias can mend
        return q, np.rint((bias[:, rows] + lost) / (unit * source.scale)) - source.zero_point * q.sum(2, dtype=np.int64)
    q, biases = (np.concatenate(parts, axis=1) for parts in zip(*map(rounded, blocks), strict=True))
    limits = np.iinfo(np.int32)         # a bias beyond is refused with the accumulators, by nets.int8.check
    return QConv(name=step.name, inputs=step.inputs, origin=conv.origin, weight=q.reshape(conv.weight.shape), window=conv.window,
                 bias=np.clip(biases.ravel(), limits.min, limits.max).astype(np.int32), groups=conv.groups,
                 requantise=_requantise(step, kind, ratios.ravel()))


def _counted(weight: np.ndarray, scale: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """float64 (255,): how much of what the layer computes hangs on the weights that are nearest to each of -127..127."""
    nearest = round_weights(weight.astype(np.float64), scale, None)
    worth = np.broadcast_to(scale ** 2 * importance[:, None], weight.shape)
    return np.bincount(nearest.ravel().astype(np.int64) + WEIGHT_MAX, worth.ravel(), minlength=2 * WEIGHT_MAX + 1)


def _outlined(step: Step, kind: TensorType) -> QConv:
    """A convolution's shape: it computes 0."""
    conv = as_conv(step.layer)
    return QConv(name=step.name, inputs=step.inputs, origin=conv.origin, weight=np.zeros(conv.weight.shape, np.int8),
                 window=conv.window, bias=np.zeros(len(conv.weight), np.int32), groups=conv.groups, requantise=_no_clamp(kind))


def _sum_scale(sources: list[TensorType], least: float) -> float:
    """A scale of `least` or a little more for a sum of two tensors, for which weights and a multiplier mean nearly what they
    should: a wrong ratio of the weights costs, and so do coarser steps."""
    first, second = (source.scale for source in sources)
    weight = np.arange(1, WEIGHT_MAX + 1)[:, None]
    scale = first / (weight * RATIOS)
    other = np.clip(np.rint(weight * second / first), 0, WEIGHT_MAX)
    error = np.abs(weight * second / first - other) * RATIOS * 255        # in steps of the sum, at the end of the range
    cost = np.where((scale >= least) & (scale <= SUM_WIDEST * least), (error / 3) ** 2 + (scale / least - 1) / 6, np.inf)
    best = cost.argmin()
    return float(np.float32(scale.flat[best])) if np.isfinite(cost.flat[best]) else least


def _add(step: Step, inputs: list[TensorType], kind: TensorType) -> QAdd:
    """Weights and multiplier whose products come nearest to what each input should count."""
    factors = np.array([source.scale * abs(factor) / kind.scale for source, factor in
                        zip(inputs, step.layer.factors, strict=True)])[:, None]
    finest = min(int(np.searchsorted(RATIOS, factors.max() / WEIGHT_MAX * (1 - 1e-6))), len(RATIOS) - 1)
    tried = RATIOS[finest:finest + SUM_TRIED]
    weights = np.minimum(np.rint(factors / tried), WEIGHT_MAX)
    best = int(np.abs(weights * tried - factors).sum(0).argmin())
    first, second = weights[:, best].astype(int).tolist()
    return QAdd(name=step.name, inputs=step.inputs, origin=step.layer.origin, weights=_signed((first, second), step.layer),
                requantise=_requantise(step, kind, np.array([finest + best])))


def _signed(weights: tuple[int, int], layer: Add) -> tuple[int, int]:
    first, second = (-weight if factor < 0 else weight for weight, factor in zip(weights, layer.factors, strict=True))
    return first, second
