"""Which residency (`compiler.residency`) a group gives each buffer that its stages read or write."""
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

from arch.geometry import Geometry
from compiler import costs
from compiler.residency import (
    Brought,
    BroughtChunks,
    Gathered,
    OnChip,
    OnChipChunks,
    Residency,
    Sampled,
    Stored,
    StoredByChunk,
    StoredChunks,
)
from compiler.schedule.orders import Order, Way
from compiler.stages import Buffer, Origin, Stage, Stages

__all__ = ["Lifetimes", "Residencies", "Residents", "Room"]


class Room(Enum):
    """How much room a group gives to what comes and goes: the first that fits is taken."""

    AMPLE = "ample"     # two bands of what is brought; each chunk of what is stored has words of its own
    TIGHT = "tight"     # as before, but that the bands ahead find no room beside rows that are read late, so some of them wait
    LEAST = "least"     # the band that is read; the chunk that is written, and the one before it that is not yet stored

    @property
    def bands(self) -> int:
        return 1 if self is Room.LEAST else 2

    @property
    def beside_late(self) -> bool:
        """See `compiler.schedule.rings.Rings.brought`."""
        return self is not Room.TIGHT


class Lifetimes:
    """Which stages, by their numbers, read and write each buffer."""

    def __init__(self, stages: Sequence[Stage]):
        self._first: dict[Buffer, int] = {}
        self._last: dict[Buffer, int] = {}
        for n, stage in enumerate(stages):
            for buffer in (*stage.inputs, stage.target.buffer):
                self._first.setdefault(buffer, n)
                self._last[buffer] = n

    def begins(self, buffer: Buffer) -> int:
        """The first stage that reads or writes it."""
        return self._first[buffer]

    def needed(self, buffer: Buffer, stage: int) -> bool:
        """Whether this stage or one behind it reads or writes it."""
        return self._last[buffer] >= stage


@dataclass(frozen=True, eq=False)
class Residents:
    """What the stages of a group have on the chip: of each buffer that they read or write its residency, and `apart` what is
    written of buffers of which other words are read that come from storage."""

    found: dict[Buffer, Residency]
    apart: dict[Buffer, Residency]

    @property
    def places(self) -> list[Residency]:
        """All of them."""
        return [*self.found.values(), *self.apart.values()]

    @cached_property
    def size(self) -> int:
        """Activation words."""
        return sum(resident.size for resident in self.places)

    @cached_property
    def waits(self) -> bool:
        """Whether commands may wait for room in one of them."""
        return any(resident.waits for resident in self.places)

    def wider(self, free: int) -> "Residents":
        """The same; with more chunks side by side, which are stored in longer runs, if so many words beside it are free."""
        if not any(isinstance(resident, StoredChunks) and resident.copies > 1 for resident in self.places):
            return self
        wider: list[dict[Buffer, Residency]] = []
        for where in (self.found, self.apart):
            wider.append(where.copy())
            for buffer, resident in where.items():
                if isinstance(resident, StoredChunks) and resident.copies > 1:
                    chunks = 1 + min(costs.CHUNK_WORDS // resident.chunk_words - 1, free // resident.size)
                    if chunks > 1:
                        wider[-1][buffer] = replace(resident, chunk_words=chunks * resident.chunk_words)
        return Residents(*wider)


class Residencies:
    """The residency of each buffer in each group that is tried; found once for each question."""

    def __init__(self, stages: Stages, geometry: Geometry):
        self.stages, self.geometry = stages, geometry
        self.lifetimes = Lifetimes(stages.stages)
        self._found: dict[tuple[Order, Buffer, bool, Room], tuple[Residency, ...]] = {}
        self._together: dict[tuple[Order, frozenset[Buffer], Room], Residents | None] = {}

    def together(self, order: Order, first: int, whole: frozenset[Buffer], room: Room) -> Residents | None:
        """What a group of these steps has on the chip; None where it is more than the activation memory, or cannot be.

        `first`: the number of the group's first stage. `whole`: which of the order's buffers are there already, or stay for
        groups behind.
        """
        key = order, whole, room
        if key not in self._together:
            self._together[key] = self._all(order, first, whole, room)
        return self._together[key]

    def _all(self, order: Order, first: int, whole: frozenset[Buffer], room: Room) -> Residents | None:
        residents, free = Residents({}, {}), self.geometry.activation_words
        for buffer in order.buffers:
            parts = self.of(order, buffer, first, whole=buffer in whole, room=room)
            free -= sum(resident.size for resident in parts)
            if not parts or free < 0:
                return None
            for where, resident in zip((residents.found, residents.apart), parts, strict=False):
                where[buffer] = resident
        return residents

    def of(self, order: Order, buffer: Buffer, first: int, *, whole: bool, room: Room) -> tuple[Residency, ...]:
        """What a group of these steps has of a buffer on the chip: one residency; two, where some words are read and others
        written; none where it cannot be.

        `first`: the number of the group's first stage. `whole`: it is there already, or stays for groups behind.
        """
        key = order, buffer, whole, room
        if key not in self._found:
            self._found[key] = self._choose(order, buffer, first, whole, room)
        return self._found[key]

    def _choose(self, order: Order, buffer: Buffer, first: int, whole: bool, room: Room) -> tuple[Residency, ...]:
        writers = [stage for stage in order.stages if stage.target.buffer is buffer]
        readers = [stage for stage in order.stages if buffer in stage.inputs]
        # Chunk by chunk, what is written and read is there in chunks, and so is what is added to it.
        if order.by_chunk and (len(writers) > 1 or readers and (writers and (whole or self.lifetimes.begins(buffer) < first)
                                                                or whole and any(stage.work.maps > 1 for stage in readers))):
            return ()
        if whole:
            if buffer is self.stages.output and writers:
                return (self._stored(order, buffer, range(buffer.pixel_words), buffer.height),)
            return (OnChip.all_of(buffer),)
        if not writers:
            found = self._brought(order, buffer, room)
            return (found,) if found else ()
        before = self.lifetimes.begins(buffer) < first
        apart = before and bool(readers)            # what is read comes from storage, and other words are written
        if apart and any(stage.reads_of(writer) for stage in readers for writer in writers):
            return ()
        found = self._written(order, buffer, before, bool(readers) and not apart, first + len(order.stages), room)
        if found is None:
            return ()
        return (self._brought(order, buffer, room), found) if apart else (found,)

    def _written(self, order: Order, buffer: Buffer, before: bool, read: bool, last: int, room: Room) -> Residency | None:
        """Of a buffer that a group writes, whether or not words that it writes are `read` in it too, or others were written
        `before`; stages from number `last` on are behind it."""
        writers = [stage for stage in order.stages if stage.target.buffer is buffer]
        words = range(min(stage.target.words.start for stage in writers), max(stage.target.words.stop for stage in writers))
        if buffer is not self.stages.output and not before and not self.lifetimes.needed(buffer, last):
            if order.by_chunk and read:
                return OnChipChunks(buffer=buffer, words=words, rows=order.rings.written(buffer),
                                    chunk_words=order.chunk_words)
            return OnChip(buffer=buffer, words=words, rows=order.rings.written(buffer))
        if order.way is Way.CHUNKS and room is not Room.LEAST and not order.by_chunk:
            return self._stored(order, buffer, words, buffer.height)
        reloads = order.way is Way.RELOAD and room is Room.LEAST and not read and order.chunks > 1
        if order.way is Way.CHUNKS or reloads:
            return self._stored_chunks(order, buffer, words, copies=2 if reloads else 1)
        return self._stored(order, buffer, words, order.rings.written(buffer, stored=True))

    @staticmethod
    def _stored(order: Order, buffer: Buffer, words: range, rows: int) -> Stored:
        if order.way is Way.CHUNKS:
            return StoredByChunk(buffer=buffer, words=words, rows=rows, chunks=order.chunks)
        return Stored(buffer=buffer, words=words, rows=rows)

    @staticmethod
    def _stored_chunks(order: Order, buffer: Buffer, words: range, copies: int) -> StoredChunks | None:
        """Nothing where chunks share words."""
        if not all(step.stage.fills_words(step.blocks) for step in order.steps):
            return None
        rows = (max(1, *(len(step.output_rows) for step in order.steps)) if copies > 1
                else order.rings.written(buffer, stored=True))
        return StoredChunks(buffer=buffer, words=words, rows=rows, copies=copies,
                            chunk_words=order.chunk_words)

    def _brought(self, order: Order, buffer: Buffer, room: Room) -> Brought | None:
        """Nothing where it would have to be there whole and in chunks."""
        readers = [stage for stage in order.stages if buffer in stage.inputs]
        slices = [source.words for stage in order.stages for source in stage.sources if source.buffer is buffer]
        common = {"buffer": buffer, "words": range(min(words.start for words in slices), max(words.stop for words in slices)),
                  "rows": order.rings.brought(buffer, room.bands, beside_late=room.beside_late),
                  "turns": order.rings.turns(buffer)}
        if order.by_chunk and all(stage.by_block for stage in readers) and len(set(slices)) == 1:
            return BroughtChunks(**common, chunk_words=order.chunk_words)
        if order.by_chunk and any(stage.work.maps > 1 for stage in readers):
            return None
        if buffer.origin is Origin.GATHER:
            return Gathered(**common, image_words=self.stages.image_words)
        return (Sampled if buffer.of else Brought)(**common)
