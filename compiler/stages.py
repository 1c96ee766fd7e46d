"""Stages: what a network is for the engine. Convolutions with a pool behind them, each writing a part of a buffer's pixels.

A *buffer* holds one tensor, or the tensors of a concatenation side by side in each pixel. Every part begins at an activation
word of its own, so parts can be read, stored and loaded by words; channels in between have zero weights in whoever reads them.
"""
from dataclasses import dataclass

from compiler.layer import Convolution
from nets.int8.network import QConv

__all__ = ["Buffer", "NetworkError", "Problem", "Stage", "Stages"]


@dataclass(frozen=True)
class Problem:
    """Why a layer cannot run."""

    layer: str
    reason: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.reason}"


class NetworkError(ValueError):
    """A network that cannot run on an engine, with all `problems`."""

    def __init__(self, problems: list[Problem]):
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(eq=False)
class Buffer:
    """Tensors side by side: `pixel_words` activation words for each of `height` x `width` pixels.

    `made`: "stages" by stages; "storage": it is uploaded there; "gather": the gather makes it from the "image".
    """

    name: str
    height: int
    width: int
    pixel_words: int
    made: str = "stages"

    @property
    def row_words(self) -> int:
        return self.width * self.pixel_words

    @property
    def words(self) -> int:
        """Activation words of the whole."""
        return self.height * self.row_words


@dataclass(eq=False)
class Stage:
    """A convolution and its pool, from words `reads` of each pixel of `source` to words `writes` of those of `target`.

    `layer` and `tensor` are names of the network: of the layer computed and of the tensor that is written, from its channel
    `channel` on.
    """

    layer: str
    tensor: str
    channel: int
    work: Convolution
    source: Buffer
    reads: range
    target: Buffer
    writes: range

    @property
    def name(self) -> str:
        return self.layer


@dataclass(eq=False)
class Stages:
    """All stages of a network in order. `output` holds the tensor `output_name` alone, its channels from the first byte on.

    `image`: the convolution whose windows the gather makes, or None where the input is uploaded as a map (`input`).
    """

    stages: list[Stage]
    input: Buffer
    image: QConv | None
    output: Buffer
    output_name: str
    softmax: bool
