"""Reads `compressed_SqueezeNet.net`, SqueezeNet v1.0 in 0.66 MB (Deep Compression, arXiv:1510.00149).

Little-endian, no header, no padding. For the 26 convolutions in execution order:

    u32 stored[26]                number of stored entries of each layer
    then per layer:
      f32 codebook[256]           shared weight values; codebook[0] is exactly 0
      f32 bias[out channels]
      u8  index[stored]           codebook index of each stored entry
      u8  runs[(stored + 1) / 2]  zeros skipped before each entry, 4 bits each, low half first

position[k] = position[k - 1] + run[k] + 1, starting from -1, in C order of (out, in, kh, kw). A gap
of 16 or more is bridged by fillers, entries of run 15 and index 0.
"""
from dataclasses import replace
import math
from pathlib import Path

import numpy as np

from cli import readable
from nets.graph import Conv, Graph
from nets.model import Model, ModelError
from nets.preprocess import InputSpec, SideFile, read_side_file
from nets.zoo.squeezenet import V1_0, squeezenet
from nets.zoo.weights import convolutions, with_weights

__all__ = ["CODEBOOK_SIZE", "SPEC", "decode", "load"]

CODEBOOK_SIZE = 256
FILE_BYTES_MAX = 16 << 20       # the largest file the format can give v1.0 has 2 MB

# How the authors trained (their train_val.prototxt: BGR, mean of the training set, no scale).
SPEC = InputSpec(size=(227, 227), channels="BGR", scale=1.0, mean=(104.0, 117.0, 123.0),
                 resize=256)
CONFIG = replace(V1_0, last_padding=1)      # in SqueezeNet_deploy.prototxt, conv10 is padded


class _Reader:
    """Takes arrays off a byte string; errors name the file and the offset of the byte."""

    def __init__(self, content: bytes, source: str):
        self.content, self.source, self.offset = content, source, 0

    def fail(self, offset: int, reason: str) -> ModelError:
        return ModelError(f"{self.source}: byte {offset}: {reason}")

    def take(self, kind: str, count: int, what: str) -> np.ndarray:
        end = self.offset + count * np.dtype(kind).itemsize
        if end > len(self.content):
            raise self.fail(self.offset, f"{what} must end at byte {end}, but the file is "
                                         f"truncated at {len(self.content)}")
        values = np.frombuffer(self.content, kind, count, self.offset)
        self.offset = end
        return values

    def take_finite(self, count: int, what: str) -> np.ndarray:
        start = self.offset
        values = self.take("<f4", count, what)
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise self.fail(start + 4 * int(bad[0]), f"{what} must be finite, "
                                                     f"not {values[bad[0]]}")
        return values


def decode(content: bytes, graph: Graph, *, source: str = "file") -> Graph:
    """The graph with the weights of a compressed file. `source` names it in errors.

    Raises ModelError, with the byte offset, where the file is truncated or has bytes left over, an
    entry lies outside its layer, a value is not finite or the first of a codebook is not 0.
    """
    convs = convolutions(graph)
    reader = _Reader(content, source)
    counts = reader.take("<u4", len(convs), "the table of entry counts")
    for k, (conv, count) in enumerate(zip(convs, counts, strict=True)):
        if count > conv.weight.size:
            raise reader.fail(4 * k, f"{conv.name} must store at most {conv.weight.size} entries, "
                                     f"not {count}")
    weights = {conv.name: _layer(reader, conv, int(count))
               for conv, count in zip(convs, counts, strict=True)}
    if reader.offset != len(content):
        raise reader.fail(reader.offset, f"the file must end here, not at {len(content)}")
    return with_weights(graph, weights)


def _layer(reader: _Reader, conv: Conv, count: int) -> tuple[np.ndarray, np.ndarray]:
    start = reader.offset
    codebook = reader.take_finite(CODEBOOK_SIZE, f"codebook of {conv.name}")
    if codebook[0] != 0:
        raise reader.fail(start, f"codebook of {conv.name} must begin with 0, not {codebook[0]}")
    bias = reader.take_finite(conv.bias.size, f"bias of {conv.name}")
    index = reader.take("u1", count, f"indices of {conv.name}")
    start = reader.offset
    packed = reader.take("u1", (count + 1) // 2, f"run lengths of {conv.name}")
    runs = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)[:count]
    position = np.cumsum(runs.astype(np.int64) + 1) - 1
    size = conv.weight.size
    if count and position[-1] >= size:
        k = int(np.searchsorted(position, size))
        raise reader.fail(start + k // 2, f"entry {k} of {conv.name} must lie inside its {size} "
                                          f"weights, not at {position[k]}")
    weight = np.zeros(size, np.float32)
    weight[position] = codebook[index]
    return weight.reshape(conv.weight.shape), bias


def load(path: str | Path) -> Model:
    """The model in a compressed file, with the image preparation and labels of a side file
    `<path without suffix>.json` where there is one, else `SPEC` and none. Raises ModelError,
    PreprocessError about the side file, and GraphError where its image size does not fit."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: is not a file")
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise ModelError(f"{path}: is no Deep Compression file of SqueezeNet v1.0: {size} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    side = path.with_suffix(".json")
    spec, labels, _ = read_side_file(side) if side.is_file() else SideFile()
    spec = spec or SPEC
    graph = squeezenet(CONFIG.with_size(spec.size), name=readable(path.stem))
    graph = decode(content, graph, source=str(path))
    return Model(graph=replace(graph, notes=(_note(graph),)), spec=spec, labels=labels)


def _note(graph: Graph) -> str:
    weights = [conv.weight for conv in convolutions(graph)]
    kept, total = sum(map(np.count_nonzero, weights)), sum(math.prod(w.shape) for w in weights)
    return f"Deep Compression: {kept:,} of {total:,} weights are not 0 ({kept / total:.1%})"
