"""Quantised networks as files (`.fln`): a safetensors container with the graph as JSON in its metadata.

The metadata's one entry, `fireline`, begins with the SHA-256 of the whole file, taken with 64 zeros in the digest's place. So
a file is either as it was written, or refused. Arrays are stored under `<layer>.<field>`.
"""
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
import hashlib
import json
from pathlib import Path
import re

import numpy as np
from safetensors import SafetensorError
import safetensors.numpy

from cli import write_bytes
from nets.graph import GraphError, Window
from nets.int8 import network as quantised
from nets.int8.check import check
from nets.int8.network import QLayer, QNetwork, Requantise, TensorType
from nets.model import ModelError
from nets.preprocess import InputSpec

__all__ = ["SUFFIX", "VERSION", "load", "save"]

SUFFIX = ".fln"
VERSION = 1
ZEROS = b"0" * 64
DIGEST = re.compile(rb'^\{"__metadata__":\{"fireline":"\{\\"digest\\":\\"([0-9a-f]{64})\\"')
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
    if Path(path).suffix != SUFFIX:
        raise ModelError(f"{path}: a quantised file must end in {SUFFIX}")
    check(network)
    arrays: dict[str, np.ndarray] = {}
    record = {
        "digest": ZEROS.decode(), "version": VERSION, "name": network.name, "output": network.output,
        "input": network.spec.to_json(), "labels": network.labels, "notes": network.notes, "provenance": network.provenance,
        "layers": [_encode(layer, _Arrays(layer.name, arrays)) | {"tensor": asdict(network.tensors[layer.name])}
                   for layer in network.layers],
    }
    text = json.dumps(record, separators=(",", ":"), allow_nan=False)
    content = safetensors.numpy.save(arrays, {"fireline": text})
    start = DIGEST.match(content[8:]).start(1) + 8
    digest = hashlib.sha256(content).hexdigest().encode()
    write_bytes(path, content[:start] + digest + content[start + 64:])


def load(path: str | Path) -> QNetwork:
    """The network of a file. Raises ModelError, in one line with the file and the layer or byte, for whatever is wrong."""
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:      # ValueError: a NUL in the name
        raise ModelError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return _parse(content)
    except GraphError as error:
        first, *more = error.problems
        raise ModelError(f"{path}: {first}{f' (and {len(more)} more)' if more else ''}") from None
    except (ValueError, TypeError, KeyError, RecursionError, SafetensorError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise ModelError(f"{path}: {reason}") from None


def _parse(content: bytes) -> QNetwork:
    if len(content) < 8:
        raise ValueError(f"is no quantised network: it ends at byte {len(content)}, within the header's length")
    length = int.from_bytes(content[:8], "little")
    found = DIGEST.match(content[8:])
    if not found:
        raise ValueError("is no quantised network: byte 8 does not begin the header of one")
    if length > len(content) - 8:
        raise ValueError(f"ends at byte {len(content)}, within the header of {length} bytes")
    start = found.start(1) + 8
    if hashlib.sha256(content[:start] + ZEROS + content[start + 64:]).hexdigest().encode() != found[1]:
        raise ValueError("is damaged: its SHA-256 is not the one written in it")
    record = json.loads(json.loads(content[8:8 + length])["__metadata__"]["fireline"])
    if record.get("version") != VERSION:
        raise ValueError(f"has version {record.get('version')!r}, but only version {VERSION} can be read")
    arrays = dict(safetensors.numpy.load(content))
    layers, tensors = [], {}
    for entry in _typed("layers", record["layers"], list):
        name = _typed("layer name", _typed("layer", entry, dict).get("name"), str)
        try:
            layers.append(_decode(entry, _Arrays(name, arrays)))
            kind = _typed("tensor", entry["tensor"], dict)
            tensors[name] = TensorType(shape=_integers(kind["shape"]), scale=kind["scale"], zero_point=kind["zero_point"])
        except KeyError as error:
            raise ValueError(f"{name}: {error.args[0]} is missing") from None
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from None
    if arrays:
        raise ValueError(f"array {min(arrays)} belongs to no layer")
    network = QNetwork(
        name=_typed("name", record["name"], str), layers=tuple(layers), tensors=tensors,
        output=_typed("output", record["output"], str), spec=InputSpec.from_json(record["input"]),
        labels=_strings("labels", record["labels"]), notes=_strings("notes", record["notes"]),
        provenance=_typed("provenance", record["provenance"], dict))
    check(network)
    return network


def _typed(what: str, value: object, kind: type) -> object:
    if type(value) is not kind:
        raise TypeError(f"{what} must be {kind.__name__}, not {value!r:.40}")
    return value


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
    return {"zero_point": value.zero_point, "low": value.low, "high": value.high}


def _take_requantise(arrays: _Arrays, name: str, value: object) -> Requantise:
    record = _typed(name, value, dict)
    numbers = {what: _take_array(arrays, what, "uint8").astype(np.int64) for what in ("multiplier", "shift")}
    return Requantise(**numbers, **{what: _typed(what, record[what], int) for what in ("zero_point", "low", "high")})


CODECS: dict[type, tuple[Callable, Callable]] = {       # by the annotation of the field: how it is written and read
    bool: _plain(bool),
    int: _plain(int),
    str: _plain(str),
    np.ndarray: (_put_array, _take_array),
    tuple[int, int]: ((lambda arrays, name, value: list(value)), (lambda arrays, name, value: _integers(value))),
    tuple[str, ...]: ((lambda arrays, name, value: list(value)), (lambda arrays, name, value: _strings(name, value))),
    Window: (_put_window, _take_window),
    Requantise: (_put_requantise, _take_requantise),
}
