"""Quantised networks as sealed files (`.fln`, `nets.sealed`): the graph as a record, arrays under `<layer>.<field>`."""
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from nets.graph import GraphError, Window
from nets.int8 import network as quantised
from nets.int8.check import check
from nets.int8.network import Loss, QLayer, QNetwork, Requantise, TensorType
from nets.model import ModelError
from nets.preprocess import InputSpec
from nets.sealed import Seal

__all__ = ["SUFFIX", "VERSION", "load", "save"]

SUFFIX = ".fln"
VERSION = 4
SEAL = Seal(what="quantised network", which="a quantised file", suffix=SUFFIX, entry="fireline", version=VERSION,
            error=ModelError)
OPERATORS = {name[1:]: kind for name, kind in vars(quantised).items()
             if isinstance(kind, type) and issubclass(kind, QLayer) and kind is not QLayer}


@dataclass(frozen=True)
class _Arrays:
    """The arrays of one layer while it is written or read: `of[name]`, with `prefix` before each name."""

    prefix: str
    of: dict[str, np.ndarray]

    def put(self, name: str, array: np.ndarray) -> None:
        self.of[f"{self.prefix}.{name}"] = np.ascontiguousarray(array)

    def take(self, name: str) -> np.ndarray:
        if f"{self.prefix}.{name}" not in self.of:
            raise ValueError(f"array {name} is missing")
        return self.of.pop(f"{self.prefix}.{name}")


def save(network: QNetwork, path: str | Path) -> None:
    """Writes a network, whole or not at all; the same network always gives the same bytes.

    Raises ModelError for a name without `.fln`, GraphError if the network breaks a rule, OutputError if it cannot be written.
    """
    SEAL.check_name(path)
    check(network)
    arrays: dict[str, np.ndarray] = {}
    record = {
        "name": network.name, "output": network.output,
        "input": network.spec.to_json(), "labels": network.labels, "endings": network.endings,
        "notes": network.notes, "provenance": network.provenance,
        "offset": network.offset, "losses": [asdict(loss) for loss in network.losses],
        "layers": [_encode(layer, _Arrays(layer.name, arrays)) | {"tensor": asdict(network.tensors[layer.name])}
                   for layer in network.layers],
        "octaves": network.octaves,
    }
    if network.first_class:
        record["first_class"] = network.first_class
    SEAL.save(path, record, arrays)


def load(path: str | Path) -> QNetwork:
    """The network of a file. Raises ModelError, in one line with the file and the layer or byte, for whatever is wrong."""
    return SEAL.load(path, _network)


def _network(record: dict, arrays: dict[str, np.ndarray]) -> QNetwork:
    layers, tensors = [], {}
    for entry in _typed("layers", record["layers"], list):
        name = _typed("layer name", _typed("layer", entry, dict).get("name"), str)
        try:
            layers.append(_decode(entry, _Arrays(name, arrays)))
            kind = _typed("tensor", entry["tensor"], dict)
            tensors[name] = TensorType(shape=_integers(kind["shape"]), scale=kind["scale"], zero_point=kind["zero_point"],
                                       bits=kind["bits"])
        except KeyError as error:
            raise ValueError(f"{name}: {error.args[0]} is missing") from None
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from None
    if arrays:
        raise ValueError(f"array {min(arrays)} belongs to no layer")
    network = QNetwork(
        name=_typed("name", record["name"], str), layers=tuple(layers), tensors=tensors,
        output=_typed("output", record["output"], str), spec=InputSpec.from_json(record["input"]),
        labels=_strings("labels", record["labels"]), first_class=_typed("first class", record.get("first_class", 0), int),
        endings=_strings("endings", record["endings"]),
        notes=_strings("notes", record["notes"]),
        provenance=_typed("provenance", record["provenance"], dict), offset=_typed("offset", record["offset"], float),
        octaves={name: _integers(octaves) for name, octaves in _typed("octaves", record["octaves"], dict).items()},
        losses=tuple(map(_loss, _typed("losses", record["losses"], list))))
    try:
        check(network)
    except GraphError as error:
        first, *more = error.problems
        raise ValueError(f"{first}{f' (and {len(more)} more)' if more else ''}") from None
    return network


def _typed(what: str, value: object, kind: type) -> object:
    if type(value) is not kind:
        raise TypeError(f"{what} must be {kind.__name__}, not {value!r:.40}")
    return value


def _loss(record: object) -> Loss:
    record = _typed("loss", record, dict)
    return Loss(**{item.name: _typed(item.name, record[item.name], item.type) for item in fields(Loss)})


def _strings(what: str, values: object) -> tuple[str, ...]:
    return tuple(_typed(f"each of {what}", value, str) for value in _typed(what, values, list))


def _integers(values: object) -> tuple[int, ...]:
    return tuple(_typed("each number", value, int) for value in _typed("numbers", values, list))


def _encode(layer: QLayer, arrays: _Arrays) -> dict:
    record = {"op": layer.op}
    for item in fields(layer):
        record[item.name] = CODECS[item.type][0](arrays, item.name, getattr(layer, item.name))
    return record


def _decode(record: dict, arrays: _Arrays) -> QLayer:
    kind = OPERATORS.get(_typed("op", record["op"], str))
    if kind is None:
        raise ValueError(f"operator {record['op']!r} is unknown")
    wanted = {item.name for item in fields(kind)}
    unknown = set(record) - wanted - {"op", "tensor"}
    if unknown:
        raise ValueError(f"unknown fields {', '.join(sorted(unknown))}")
    return kind(**{item.name: CODECS[item.type][1](arrays, item.name, record[item.name]) for item in fields(kind)})


def _plain(kind: type) -> tuple[Callable, Callable]:
    return (lambda arrays, name, value: value), (lambda arrays, name, value: _typed(name, value, kind))


def _put_array(arrays: _Arrays, name: str, value: np.ndarray) -> str:
    arrays.put(name, value)
    return str(value.dtype)


def _take_array(arrays: _Arrays, name: str, value: object) -> np.ndarray:
    array = arrays.take(name)
    if str(array.dtype) != value:
        raise ValueError(f"array {name} must be {value!r}, not {array.dtype}")
    return array


def _put_window(arrays: _Arrays, name: str, value: Window) -> dict:
    return asdict(value)


def _take_window(arrays: _Arrays, name: str, value: object) -> Window:
    record = _typed(name, value, dict)
    return Window(**{item.name: _integers(record[item.name]) for item in fields(Window)})


def _put_requantise(arrays: _Arrays, name: str, value: Requantise) -> dict:
    arrays.put("multiplier", value.multiplier.astype(np.uint8))
    arrays.put("shift", value.shift.astype(np.uint8))
    return {"zero_point": value.zero_point, "low": value.low, "high": value.high, "fraction": value.fraction}


def _take_requantise(arrays: _Arrays, name: str, value: object) -> Requantise:
    record = _typed(name, value, dict)
    numbers = {what: _take_array(arrays, what, "uint8").astype(np.int64) for what in ("multiplier", "shift")}
    return Requantise(**numbers, **{what: _typed(what, record[what], int) for what in ("zero_point", "low", "high")},
                      fraction=_typed("fraction", record["fraction"], bool))


CODECS: dict[type, tuple[Callable, Callable]] = {       # by the annotation of the field: how it is written and read
    bool: _plain(bool),
    int: _plain(int),
    str: _plain(str),
    np.ndarray: (_put_array, _take_array),
    **dict.fromkeys((tuple[int, int], tuple[int, int, int], tuple[int, ...]),
                    ((lambda arrays, name, value: list(value)), (lambda arrays, name, value: _integers(value)))),
    tuple[str, ...]: ((lambda arrays, name, value: list(value)), (lambda arrays, name, value: _strings(name, value))),
    Window: (_put_window, _take_window),
    Requantise: (_put_requantise, _take_requantise),
}
