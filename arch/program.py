"""A compiled program: what must lie in storage, and what the instructions compute."""
from dataclasses import dataclass, field

import numpy as np

from arch.geometry import Geometry
from arch.instruction import Instruction

__all__ = ["Part", "Program", "Tensor"]


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor (channels, height, width) of uint8 in storage, from word `address` (of 16 bits) on, `words` words.

    `layout` "pixels": rows of `PixelTransfer`, channels of a pixel side by side, each row from a word's low byte on. "map":
    pixels of `pixel_words` activation words, row by row; channel c is byte c % PI of word c // PI, the rest is arbitrary.
    """

    name: str
    address: int
    words: int
    shape: tuple[int, int, int]
    layout: str
    pixel_words: int = 0


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a compute command computes: rows `rows` of the convolution `layer` (of the quantised network), and with the pool fused
    behind it rows `pooled` and channels `channels` of `writes`, the layer whose tensor is written: another one than `layer` also
    where a branch of a concatenation is pooled, or copied into it. With a global average `writes` is complete with the last band.
    """

    layer: str
    writes: str
    rows: range
    pooled: range
    channels: range


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """Instructions, and storage from word 0 on as it must be before the start, but for the input: uint16.

    `program` is the word of the first instruction in storage, `program_words` their number. `parts`: of each compute command in
    order. Storage from `store_base` on, `store_words` words, is written while the program runs. `meta` is for whoever shows
    results: image preparation, labels, scale and zero point of the output; with `pairs` the output is bytes of scores, which
    `arch.scores` joins by what they say. `again`: the program of the frames that follow another one of this network, if the
    chip's memories hold all its constants, so that they need not be loaded again; the same in all but its instructions.
    """

    name: str
    geometry: Geometry
    instructions: tuple[Instruction, ...]
    parts: tuple[Part, ...]
    storage: np.ndarray
    program: int
    program_words: int
    store_base: int
    store_words: int
    input: Tensor
    output: Tensor
    meta: dict = field(default_factory=dict)
    again: "Program | None" = None

    @property
    def next(self) -> "Program":
        """The program of a frame that follows one of this program."""
        return self.again or self

    @property
    def storage_words(self) -> int:
        """Words of storage that the program needs."""
        return max(len(self.storage), self.store_base + self.store_words, self.input.address + self.input.words)
