"""Stages: what a network is for the engine. Convolutions with a pool behind them, each writing a part of a buffer's pixels.

A *buffer* holds one tensor, or the tensors of a concatenation side by side in each pixel. Every part begins at an activation
word of its own, so parts can be read, stored and loaded by words; channels in between have zero weights in whoever reads them.
"""
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property

from cli import RequestError
from compiler.convolution import Convolution
from nets.graph import Problem
from nets.int8.network import QConv

__all__ = ["Buffer", "NetworkError", "Origin", "Slice", "Stage", "Stages", "overlap"]


class NetworkError(RequestError):
    """A network that cannot run on an engine, with all `problems`."""

    def __init__(self, problems: Iterable[Problem]):
        problems = tuple(problems)
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class Origin(Enum):
    """Who writes a buffer."""

    STAGES = "stages"           # the compute commands of stages
    STORAGE = "storage"         # the host, into storage, as a map
    IMAGE = "image"             # the host, into storage, as pixels for the gather; it is never on the chip as it is
    GATHER = "gather"           # the gather, which makes windows of the image


@dataclass(eq=False)
class Buffer:
    """Tensors side by side: `pixel_words` activation words for each of `height` x `width` pixels.

    `of`: another buffer, in storage, of whose pixels it is every `step`-th one down and across. Nothing writes it: its rows are
    brought.
    """

    name: str
    height: int
    width: int
    pixel_words: int
    origin: Origin = Origin.STAGES
    of: "Buffer | None" = None
    step: tuple[int, int] = (1, 1)

    @property
    def stored(self) -> "Buffer":
        """The buffer whose words are in storage."""
        return self.of or self

    @property
    def row_words(self) -> int:
        return self.width * self.pixel_words

    @property
    def words(self) -> int:
        """Activation words of the whole."""
        return self.height * self.row_words


def overlap(a: range, b: range) -> bool:
    """Whether two ranges without gaps, neither of them empty, have something in common."""
    return a.start < b.stop and b.start < a.stop


@dataclass(frozen=True)
class Slice:
    """Words `words` of every pixel of a buffer."""

    buffer: Buffer
    words: range

    def meets(self, other: "Slice") -> bool:
        """Whether some words are in both."""
        return self.buffer is other.buffer and overlap(self.words, other.words)


@dataclass(eq=False)
class Stage:
    """A convolution and its pool, from `sources` to `target`.

    `layer` and `tensor` are names of the network: of the layer computed, whose operator is `op`, and of the tensor that is
    written, from its channel `channel` on. It has a source for each map that is summed; rows of all sources of a stage have the
    same numbers.
    """

    layer: str
    op: str
    tensor: str
    channel: int
    work: Convolution
    sources: tuple[Slice, ...]
    target: Slice
    _read: dict["Stage", bool] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def inputs(self) -> frozenset[Buffer]:
        """The buffers that it reads."""
        return frozenset(source.buffer for source in self.sources)

    def reads_of(self, other: "Stage") -> bool:
        """Whether it reads words that another stage writes; found out once, for schedules ask again and again."""
        if other not in self._read:
            self._read[other] = any(source.meets(other.target) for source in self.sources)
        return self._read[other]

    @cached_property
    def sampled(self) -> "Stage | None":
        """The same stage, if it reads single pixels in steps, reading only these from storage; else None."""
        work, window, (source, *others) = self.work, self.work.conv.window, self.sources
        if (window.kernel != (1, 1) or window.stride == (1, 1) or any(window.padding) or work.whole or others
                or source.buffer.origin is Origin.GATHER):
            return None
        height, width = window.output_size(work.height, work.width)
        buffer = replace(source.buffer, height=height, width=width, of=source.buffer, step=window.stride)
        conv = replace(work.conv, window=replace(window, stride=(1, 1)))
        return replace(self, work=replace(work, conv=conv, height=height, width=width), sources=(Slice(buffer, source.words),))

    def source_words(self, source: Slice, blocks: range) -> range:
        """Words of a source's pixels that these output blocks read."""
        own = self.work.own
        if not own.step:
            return source.words
        first, last = (source.words.start + block // own.repeat * own.step for block in (blocks.start, blocks.stop - 1))
        return range(first, last + self.work.input_words)

    @property
    def by_block(self) -> bool:
        """Whether each output block reads the word of each source's pixels in which it would lie itself."""
        own = self.work.own
        return own.step == 1 == self.work.input_words and own.repeat == self.work.geometry.blocks_per_word

    def follows(self, other: "Stage") -> bool:
        """Whether each output block reads, of what another stage writes, what the block of the same number writes."""
        return self.by_block and all(source.words == other.target.words
                                     for source in self.sources if source.meets(other.target))

    def output_words(self, blocks: range) -> range:
        """Words of the target's pixels in which these output blocks lie."""
        per_word, first = self.work.geometry.blocks_per_word, self.target.words.start
        return range(first + blocks.start // per_word, first + -(-blocks.stop // per_word))

    def fills_words(self, blocks: range) -> bool:
        """Whether no block before these shares a word of the target's pixels with them."""
        return blocks.start % self.work.geometry.blocks_per_word == 0


@dataclass(eq=False)
class Stages:
    """All stages of a network in order. `output` holds the tensor `output_name` alone, its channels from the first byte on.

    `image`: the convolution whose windows the gather makes, or None where the input is uploaded as a map (`input`). `problems`:
    what stands against the network; some stages are missing then, and those `refused` cannot run.
    """

    stages: list[Stage]
    input: Buffer
    image: QConv | None
    output: Buffer
    output_name: str
    softmax: bool
    problems: tuple[Problem, ...] = ()
    refused: frozenset[Stage] = frozenset()

    @property
    def image_words(self) -> int:
        """Words of 16 bits in storage of an image of pixels, whose rows begin at whole words each."""
        return self.input.height * -(-self.input.width * self.image.weight.shape[1] // 2)
