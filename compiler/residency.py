"""Where a map resides while a group of stages runs: which of its rows and words, where in activation memory, and how they come
there and leave.

    OnChip          written and read there only: a ring of rows within a group, or whole for groups behind
      OnChipChunks  only the words of a chunk of output blocks have room at a time
    Brought         rows come from storage before the steps that read them
      BroughtChunks only the words come that a chunk of output blocks reads
      Gathered      the gather makes them
      Sampled       only every n-th pixel comes
    Stored          rows that are complete go to storage
      StoredByChunk the words of each chunk of output blocks go as soon as that chunk is written
      StoredChunks  only those of a chunk, or of some side by side, have room at a time, in one place or in several in turn

The scheduler asks how much room each takes and what it moves (`size`, `traffic`); whoever makes instructions asks where words
are (`map_of`, `addresses`) and which transfers move them (`transfers`). `compiler.schedule.plan` chooses.
"""
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from arch.instruction import Transfer
from compiler.maps import Map
from compiler.stages import Buffer

__all__ = ["Brought", "BroughtChunks", "Gathered", "OnChip", "OnChipChunks", "Residency", "Sampled", "Stored", "StoredByChunk",
           "StoredChunks", "Traffic"]

MOST_RUNS = Transfer.most("runs")


@dataclass(frozen=True)
class Traffic:
    """Words of storage moved in a frame, those among them that are moved for want of room, and runs of them."""

    words: int = 0
    spilled: int = 0
    runs: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Residency:
    """Words `words` of the pixels of a buffer, in a ring of `rows` rows from activation word `base` on (-1: not placed yet)."""

    buffer: Buffer
    words: range
    rows: int
    base: int = -1

    @property
    def size(self) -> int:
        """Activation words."""
        return self.rows * self.buffer.width * len(self.words)

    @property
    def whole(self) -> bool:
        """Whether all rows are there at once."""
        return self.rows == self.buffer.height

    @property
    def waits(self) -> bool:
        """Whether commands may wait for room in it, if it has room for no more than one of them needs."""
        return False

    def together(self, words: range) -> range:
        """The words of a pixel that lie side by side on the chip with some of them."""
        return self.words

    def copy(self, number: int) -> "Residency":
        """The place that is used for the `number`-th time, if it has several."""
        return self

    def traffic(self, lanes: int) -> Traffic:
        """What moves between it and storage, for an engine of so many input lanes."""
        return Traffic()

    def _traffic(self, lanes: int, times: int, parts: int = 1, *, apart: bool = False) -> Traffic:
        """Traffic of all rows, so many times, in so many parts of each pixel, or pixel by pixel if they are `apart`."""
        pixels = self.buffer.height * self.buffer.width
        words = times * (pixels * len(self.words) * lanes // 2)
        apart |= parts > 1 or len(self.words) < self.buffer.pixel_words
        return Traffic(words, words, times * parts * (pixels if apart else self.buffer.height))

    # Where its words are

    def map_of(self, words: range, lanes: int) -> Map:
        """The map of words `words` of the buffer's pixels, of so many channels each."""
        beside = self.together(words)
        return Map(base=self.base, channels=len(words) * lanes, height=self.buffer.height, width=self.buffer.width,
                   pixel_words=len(beside), ring_rows=self.rows, offset=(words.start - beside.start) * lanes)

    def addresses(self, words: range, rows: range) -> np.ndarray:
        """Activation words of these words of the pixels of rows."""
        beside = self.together(words)
        y = np.arange(rows.start, rows.stop) % self.rows * (self.buffer.width * len(beside))
        x = np.arange(self.buffer.width) * len(beside)
        return (self.base + words.start - beside.start + y[:, None, None] + x[:, None] + np.arange(len(words))).reshape(-1)

    def transfers(self, words: range, rows: range, storage: int, lanes: int) -> Iterator[tuple[Transfer, range]]:
        """Transfers of these words of the pixels of rows, and the rows of each; `storage`: where row 0 begins there."""
        at = rows.start
        while at < rows.stop:
            stop = min(rows.stop, at - at % self.rows + self.rows)      # where the ring begins anew
            yield from self._side_by_side(words, range(at, stop), storage, lanes // 2)
            at = stop

    def _side_by_side(self, words: range, rows: range, storage: int, per_word: int) -> Iterator[tuple[Transfer, range]]:
        """Of rows that lie one behind the other in the ring."""
        buffer, beside = self.buffer, self.together(words)
        pixel_words, skip = len(beside), words.start - beside.start
        stored = storage + rows.start * buffer.row_words * per_word
        chip = self.base + rows.start % self.rows * buffer.width * pixel_words
        if len(words) == buffer.pixel_words == pixel_words:
            words_of_rows = len(rows) * buffer.row_words
            yield Transfer(storage=stored, storage_step=0, chip=chip, chip_step=0, words=words_of_rows, runs=1), rows
            return
        most = max(1, MOST_RUNS // buffer.width)
        for first in range(0, len(rows), most):
            part = rows[first:first + most]
            yield Transfer(storage=stored + (first * buffer.row_words + words.start) * per_word,
                           storage_step=buffer.pixel_words * per_word, chip=chip + first * buffer.width * pixel_words + skip,
                           chip_step=pixel_words, words=len(words), runs=len(part) * buffer.width), part


@dataclass(frozen=True, eq=False, kw_only=True)
class _Chunks(Residency):
    """Only `chunk_words` of the words are there at a time, those of one or several chunks of output blocks."""

    chunk_words: int

    @property
    def size(self) -> int:
        return self.rows * self.buffer.width * self.chunk_words

    @property
    def whole(self) -> bool:
        return False

    @property
    def parts(self) -> int:
        """In how many parts of its words it is there."""
        return -(-len(self.words) // self.chunk_words)

    def together(self, words: range) -> range:
        first = words.start - (words.start - self.words.start) % self.chunk_words
        return range(first, min(first + self.chunk_words, self.words.stop))


@dataclass(frozen=True, eq=False, kw_only=True)
class OnChip(Residency):
    """Written and read on the chip only."""

    @classmethod
    def all_of(cls, buffer: Buffer) -> "OnChip":
        """A buffer that is whole on the chip."""
        return cls(buffer=buffer, words=range(buffer.pixel_words), rows=buffer.height)


@dataclass(frozen=True, eq=False, kw_only=True)
class OnChipChunks(_Chunks, OnChip):
    """Written and read chunk by chunk."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Brought(Residency):
    """Rows come from storage. The group goes over them from the top `turns` times."""

    turns: int = 1

    @property
    def waits(self) -> bool:
        return not self.whole

    def turn_of(self, turn: int) -> int:
        """Which time its rows come for steps of this turn: once, where all have room."""
        return 0 if self.whole else turn

    @property
    def times(self) -> int:
        """How often its rows come."""
        return 1 if self.whole else self.turns

    def traffic(self, lanes: int) -> Traffic:
        return self._traffic(lanes, self.times)


@dataclass(frozen=True, eq=False, kw_only=True)
class BroughtChunks(_Chunks, Brought):
    """In each turn the words of another chunk come."""

    def traffic(self, lanes: int) -> Traffic:
        return self._traffic(lanes, 1, self.parts)


@dataclass(frozen=True, eq=False, kw_only=True)
class Gathered(Brought):
    """The gather makes its rows from an image of `image_words` words of storage."""

    image_words: int

    def traffic(self, lanes: int) -> Traffic:
        return Traffic(words=self.times * self.image_words)


@dataclass(frozen=True, eq=False, kw_only=True)
class Sampled(Brought):
    """Rows of a buffer of every n-th pixel of another one, which is in storage."""

    def traffic(self, lanes: int) -> Traffic:
        return self._traffic(lanes, self.times, apart=True)

    def _side_by_side(self, words: range, rows: range, storage: int, per_word: int) -> Iterator[tuple[Transfer, range]]:
        buffer, (down, across), pixel_words = self.buffer, self.buffer.step, len(self.words)
        for row in rows:
            stored = row * down * buffer.of.row_words + words.start
            chip = self.base + row % self.rows * buffer.width * pixel_words + words.start - self.words.start
            yield Transfer(storage=storage + stored * per_word, storage_step=across * buffer.pixel_words * per_word, chip=chip,
                           chip_step=pixel_words, words=len(words), runs=buffer.width), range(row, row + 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Stored(Residency):
    """Rows go to storage when all stages of the group that write them have."""

    @property
    def by_chunk(self) -> bool:
        """Whether words of a pixel go as soon as the last step of their chunk is through, whatever else is written beside."""
        return False

    def leaving(self, words: range) -> range:
        """The words of a pixel that go to storage together with some of them."""
        return self.words

    def traffic(self, lanes: int) -> Traffic:
        return self._traffic(lanes, 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredByChunk(Stored):
    """The words of each of `chunks` chunks have places of their own, and go to storage when that chunk is written."""

    chunks: int

    @property
    def by_chunk(self) -> bool:
        return True

    def leaving(self, words: range) -> range:
        return words

    def traffic(self, lanes: int) -> Traffic:
        return self._traffic(lanes, 1, self.chunks)


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredChunks(_Chunks, Stored):
    """The words that are there are in `copies` places in turn, so that some are stored while the next ones are written."""

    copies: int = 1

    @property
    def size(self) -> int:
        return self.copies * super().size

    @property
    def waits(self) -> bool:
        return self.copies == 1

    @property
    def by_chunk(self) -> bool:
        return True

    def leaving(self, words: range) -> range:
        return self.together(words)

    def copy(self, number: int) -> "StoredChunks":
        return replace(self, base=self.base + number % self.copies * super().size)

    def traffic(self, lanes: int) -> Traffic:
        return self._traffic(lanes, 1, self.parts)
