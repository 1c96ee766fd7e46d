"""Whether a quantised network keeps every rule of `nets.int8.network`: types, ranges, shapes, accumulators within int32."""
from collections.abc import Iterator
import math

import numpy as np

from nets.endings import ENDINGS
from nets.graph import AvgPool, ChannelShuffle, Concat, Conv, GlobalAvgPool, GraphError, Layer, MaxPool, Problem
from nets.int8.network import (
    FRACTION_BITS,
    LRN_BASE_MAX,
    LRN_DROP_MAX,
    LRN_SHIFT_MAX,
    MULTIPLIER_MAX,
    OCTAVES_MAX,
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
    QNetwork,
    QPad,
    QRearrange,
    QSelect,
    QSoftmax,
    QTable,
    Requantise,
    TensorType,
    lrn_entries,
)
from nets.moves import Pad, Rearrange, Select

__all__ = ["accumulator_range", "check"]

INT32 = np.iinfo(np.int32)
# scale and zero point of inputs and output
SAME_TYPE = (QMaxPool, QAvgPool, QConcat, QChannelShuffle, QClamp, QFlatten, QPad, QRearrange, QSelect)
INPUTS = {QInput: 0, QAdd: 2, QConcat: None}                                    # others have one; None: at least one


def check(network: QNetwork) -> None:
    """Raises GraphError with every layer that breaks a rule, and how."""
    problems = []
    seen: set[str] = set()
    if sum(isinstance(layer, QInput) for layer in network.layers) != 1:
        problems.append(Problem(network.name, "network", "must have exactly one input layer"))
    for layer in network.layers:
        reasons = list(_problems(network, layer, seen))
        problems.extend(Problem(layer.name, layer.called, reason) for reason in reasons)
        seen.add(layer.name)
    if network.output not in seen:
        problems.append(Problem(network.output, "network", "output is produced by no layer"))
    problems.extend(_value_meanings(network))
    unknown = [ending for ending in network.endings if ending not in ENDINGS]
    if unknown:
        problems.append(Problem(network.output, "network", f"ending {unknown[0]!r} is unknown"))
    if set(network.tensors) != seen:
        problems.append(Problem(network.name, "network", "tensors must be those of the layers"))
    if problems:
        raise GraphError(network.name, problems)
    if network.tensors[network.input.name].shape != network.spec.shape:
        raise GraphError(network.name, [Problem(network.input.name, "Input", f"images are prepared as {network.spec.shape}")])


def _value_meanings(network: QNetwork) -> Iterator[Problem]:
    """What is wrong with the numbers that only say what tensors mean."""
    if type(network.offset) is not float or not math.isfinite(network.offset):
        yield Problem(network.output, "network", f"offset of the output must be a number, not {network.offset!r}")
    if network.output in network.tensors and not 0 <= network.first_class < network.tensors[network.output].shape[0]:
        yield Problem(network.output, "network", f"first class must be an output, not {network.first_class}")
    for name, octaves in network.octaves.items():
        kind = network.tensors.get(name)
        if kind is None or len(octaves) != kind.shape[0]:
            yield Problem(name, "network", f"octaves must be those of a tensor's channels, not {len(octaves)}")
        elif any(type(value) is not int or abs(value) > OCTAVES_MAX for value in octaves):
            yield Problem(name, "network", f"octaves must be -{OCTAVES_MAX}..{OCTAVES_MAX}")


def _problems(network: QNetwork, layer: QLayer, seen: set[str]) -> Iterator[str]:
    if layer.name in seen:
        yield "name is used twice"
        return
    wanted = INPUTS.get(type(layer), 1)
    if not layer.inputs if wanted is None else len(layer.inputs) != wanted:
        yield f"must have {'some' if wanted is None else wanted} inputs, not {len(layer.inputs)}"
        return
    unknown = [name for name in layer.inputs if name not in seen]
    if unknown:
        yield f"reads {', '.join(unknown)}, which no earlier layer produces"
        return
    missing = [name for name in (layer.name, *layer.inputs) if name not in network.tensors]
    if missing:
        yield f"tensor {missing[0]} has no type"
        return
    kind, inputs = network.tensors[layer.name], [network.tensors[name] for name in layer.inputs]
    yield from _type_problems(kind)
    yield from _score_problems(network, layer, kind, inputs)
    wrong = list(_value_problems(layer))
    yield from wrong
    if wrong:
        return
    try:
        shape = _shape(layer, [source.shape for source in inputs], kind.shape)
    except ValueError as error:
        yield str(error)
        return
    if shape != kind.shape:
        yield f"shape must be {shape}, not {kind.shape}"
        return
    if isinstance(layer, SAME_TYPE) and any((source.scale, source.zero_point, source.bits)
                                            != (kind.scale, kind.zero_point, kind.bits) for source in inputs):
        yield "inputs and output must share scale, zero point and bits"
    if isinstance(layer, QSoftmax) and (kind.scale, kind.zero_point) != (1 / 256, 0):
        yield f"scale and zero point must be 1/256 and 0, not {kind.scale} and {kind.zero_point}"
    how = getattr(layer, "requantise", None)
    if how is not None and (zero_point := how.zero_point << (FRACTION_BITS if how.fraction else 0)) != kind.zero_point:
        yield f"zero point must be the tensor's {kind.zero_point}, not {zero_point}"
    if isinstance(layer, QConv | QGlobalAvgPool):
        low, high = accumulator_range(layer, inputs[0])
        if low < INT32.min or high > INT32.max:
            yield f"accumulator may reach {low}..{high}, beyond int32"


def _type_problems(kind: TensorType) -> Iterator[str]:
    if len(kind.shape) != 3 or not all(type(size) is int and size > 0 for size in kind.shape):
        yield f"shape must be three positive integers, not {kind.shape!r}"
    if type(kind.scale) is not float or not (math.isfinite(kind.scale) and kind.scale > 0):
        yield f"scale must be a positive number, not {kind.scale!r}"
    if kind.bits not in (8, 16):
        yield f"bits must be 8 or 16, not {kind.bits!r}"
    yield from _integer("zero point", kind.zero_point, 0, 255 if kind.bits != 16 else 65535)


def _score_problems(network: QNetwork, layer: QLayer, kind: TensorType, inputs: list[TensorType]) -> Iterator[str]:
    """What is wrong with 16 bits, which only scores have."""
    how = getattr(layer, "requantise", None)
    if not isinstance(layer, QFlatten) and (kind.bits == 16) != getattr(how, "fraction", False):
        yield "bits must be 16 where requantisation keeps a fraction, and nowhere else"
    if any(source.bits == 16 for source in inputs) and not isinstance(layer, QFlatten):
        yield "nothing but a flattening may read a tensor of 16 bits"
    if kind.bits == 16 and kind.shape[1:] != (1, 1):
        yield f"a tensor of 16 bits must be of one pixel, not {kind.shape[1]}x{kind.shape[2]}"
    if kind.bits == 16 and network.output in network.by_name and layer.name != network.output and not any(
            isinstance(reader, QFlatten) and layer.name in reader.inputs for reader in network.layers):
        yield "a tensor of 16 bits must be the output, or what is flattened to be it"


def _integer(what: str, value: int, low: int, high: int) -> Iterator[str]:
    if type(value) is not int or not low <= value <= high:
        yield f"{what} must be {low}..{high}, not {value!r}"


def _clamp(low: int, high: int) -> Iterator[str]:
    yield from (problems := [*_integer("low", low, 0, 255), *_integer("high", high, 0, 255)])
    if not problems and low > high:
        yield f"low must not exceed high, not {low} and {high}"


def _array(what: str, array: np.ndarray, dtype: type, shape: tuple, low: int, high: int) -> Iterator[str]:
    """`shape` may hold None for any size."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        yield f"{what} must be {np.dtype(dtype)}, not {getattr(array, 'dtype', type(array).__name__)}"
    elif array.ndim != len(shape) or any(s not in (None, n) for s, n in zip(shape, array.shape, strict=True)) or not array.size:
        yield f"{what} must have shape {shape}, not {array.shape}"
    elif array.min() < low or array.max() > high:
        yield f"{what} must be {low}..{high}, not {array.min()}..{array.max()}"


def _requantise(how: Requantise, channels: int | None) -> Iterator[str]:
    least = 1 + FRACTION_BITS if how.fraction else 1
    for what, array, low, high in (("multiplier", how.multiplier, 0, MULTIPLIER_MAX), ("shift", how.shift, least, SHIFT_MAX)):
        yield from _array(what, array, np.int64, (channels,) if getattr(array, "shape", ()) != (1,) else (1,), low, high)
    yield from _integer("zero point", how.zero_point, 0, 255)
    yield from _clamp(how.low, how.high)
    if how.fraction and not 1 <= how.low <= how.high <= 254:
        yield f"low and high must be 1..254 where a fraction is kept, not {how.low} and {how.high}"


def _value_problems(layer: QLayer) -> Iterator[str]:
    """What is wrong with the layer's own numbers, whatever its inputs."""
    match layer:
        case QConv():
            yield from _array("weight", layer.weight, np.int8, (None,) * 4, -WEIGHT_MAX, WEIGHT_MAX)
            out = layer.weight.shape[0] if isinstance(layer.weight, np.ndarray) and layer.weight.ndim else None
            yield from _array("bias", layer.bias, np.int32, (out,), INT32.min, INT32.max)
            yield from _integer("groups", layer.groups, 1, 1 << 20)
            yield from _requantise(layer.requantise, out)
        case QGlobalAvgPool():
            yield from _requantise(layer.requantise, None)
        case QAdd():
            for value in layer.weights:
                yield from _integer("weight", value, -WEIGHT_MAX, WEIGHT_MAX)
            if len(layer.weights) != 2:
                yield f"weights must be two, not {len(layer.weights)}"
            yield from _requantise(layer.requantise, 1)
        case QClamp():
            yield from _clamp(layer.low, layer.high)
        case QPad():
            yield from _integer("value", layer.value, 0, 255)
        case QSelect():
            yield from _array("channels", layer.channels, np.int64, (None,), 0, 1 << 28)
        case QLRN():
            yield from _integer("size", layer.size, 1, 1 << 15)     # so that the sum of squares stays in int32
            entries = (lrn_entries(layer.size) if isinstance(layer.size, int) and layer.size > 0 else None,)
            yield from _array("base", layer.base, np.int32, entries, 0, LRN_BASE_MAX)
            yield from _array("drop", layer.drop, np.int32, entries, 0, LRN_DROP_MAX)
            yield from _array("shift", layer.shift, np.uint8, entries, 1, LRN_SHIFT_MAX)
        case QTable():
            yield from _array("table", layer.table, np.uint8, (256,), 0, 255)
        case QSoftmax():
            yield from _array("table", layer.table, np.uint16, (256,), 0, 65535)
            if isinstance(layer.table, np.ndarray) and layer.table.size and not layer.table.flat[0]:
                yield "table must not begin with 0: the largest value would divide by it"
        case QMaxPool() | QAvgPool() | QInput() | QConcat() | QChannelShuffle() | QFlatten() | QRearrange():
            pass
        case _:
            yield "is not an operator of nets.int8.network"


def _shape(layer: QLayer, shapes: list[tuple[int, ...]], own: tuple[int, ...]) -> tuple[int, ...]:
    """The output's shape by the rules of `nets.graph`. Raises ValueError where the inputs do not fit."""
    named = {"name": layer.name, "inputs": layer.inputs}
    twin: Layer
    match layer:
        case QInput():
            return own
        case QConv():
            twin = Conv(**named, weight=layer.weight, bias=layer.bias, window=layer.window, groups=layer.groups)
        case QMaxPool():
            twin = MaxPool(**named, window=layer.window, ceil_mode=layer.ceil_mode)
        case QAvgPool():
            twin = AvgPool(**named, window=layer.window, ceil_mode=layer.ceil_mode, count_include_pad=layer.count_include_pad)
        case QGlobalAvgPool():
            twin = GlobalAvgPool(**named)
            for array in (layer.requantise.multiplier, layer.requantise.shift):
                if len(array) not in (1, shapes[0][0]):
                    raise ValueError(f"requantisation must have 1 or {shapes[0][0]} channels, not {len(array)}")
        case QConcat():
            twin = Concat(**named)
        case QChannelShuffle():
            twin = ChannelShuffle(**named, groups=layer.groups)
        case QFlatten():
            return (math.prod(shapes[0]), 1, 1)
        case QPad():
            twin = Pad(**named, before=layer.before, after=layer.after)
        case QSelect():
            twin = Select(**named, channels=layer.channels)
        case QRearrange():
            twin = Rearrange(**named, sizes=layer.sizes, order=layer.order, shape=own)
        case _:
            if any(shape != shapes[0] for shape in shapes):
                raise ValueError(f"inputs must have one shape, not {shapes}")
            return shapes[0]
    return twin.infer(*shapes)


def accumulator_range(layer: QConv | QGlobalAvgPool, source: TensorType) -> tuple[int, int]:
    """Bounds of every accumulator of the layer, partial sums in any order included. `source` is its input's type."""
    if isinstance(layer, QGlobalAvgPool):
        area = math.prod(source.shape[1:])
        return -source.zero_point * area, (255 - source.zero_point) * area
    weight, bias = layer.weight.reshape(len(layer.weight), -1), layer.bias.astype(np.int64)
    below, above = (side(weight, 0).sum(1, dtype=np.int64) for side in (np.minimum, np.maximum))
    return int((bias + 255 * below).min()), int((bias + 255 * above).max())
