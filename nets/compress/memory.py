"""What layers bear, in a file: a command that is run again, or was broken off, need not measure it once more."""
from collections.abc import Sequence
from dataclasses import asdict
import hashlib
import json
from pathlib import Path

import numpy as np

from cli import RequestError, write_json
from nets.compress.pruning import WEIGHTED
from nets.compress.sensitivity import LEVELS, Sensitivity
from nets.graph import Graph

__all__ = ["Memory"]


class Memory:
    """A JSON file of sensitivities, of one network and its calibration images. Raises RequestError for a file that is there and
    is none, or of another network or other images: it is never overwritten."""

    def __init__(self, path: Path, graph: Graph, images: Sequence[np.ndarray]):
        self.path, self._digest = path, _digest(graph, images)
        self.layers: dict[str, Sensitivity] = {}
        if path.exists():
            self.layers = self._read()

    def _read(self) -> dict[str, Sensitivity]:
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            digest, layers = record["digest"], record["layers"]
            found = {name: Sensitivity(size=int(one["size"]), zeros=float(one["zeros"]), noise=tuple(map(float, one["noise"])))
                     for name, one in layers.items()}
        except OSError as error:
            raise RequestError(f"{self.path}: cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RequestError(f"{self.path}: is no file of sensitivities: name another one") from None
        if digest != self._digest or any(len(one.noise) != len(LEVELS) for one in found.values()):
            raise RequestError(f"{self.path}: is of another network or of other images: remove it, or name another file")
        return found

    def keep(self, layers: dict[str, Sensitivity]) -> None:
        """Writes what is known so far. Raises OutputError."""
        self.layers = dict(layers)
        write_json(self.path, {"digest": self._digest, "layers": {name: asdict(one) for name, one in layers.items()}})


def _digest(graph: Graph, images: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256(repr(LEVELS).encode())
    for layer in graph.layers:
        digest.update(f"{layer.name} {layer.op} {layer.inputs}".encode())
        if isinstance(layer, WEIGHTED):
            digest.update(np.ascontiguousarray(layer.weight))
            digest.update(np.ascontiguousarray(layer.bias))
    for pixels in images:
        digest.update(np.ascontiguousarray(pixels))
    return digest.hexdigest()
