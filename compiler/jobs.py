"""The groups as jobs: every instruction in an order in which one after the other would be right, and what must be through before.

Each word of the chip's memories remembers who read and wrote it last; what a job has to wait for follows from the words that it
touches, and from nothing else. Free are: writes of a compute command behind reads of earlier ones, and the order within a queue.

A compute command's token does not end all of its reads (`compiler.groups.Step.late`): who overwrites these words must wait for
the next one that writes.
"""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from arch import gather
from arch.command import Command, GatherConfig
from arch.geometry import Geometry
from arch.instruction import QUEUE_OF, Opcode, PixelTransfer, Transfer, storage_words
from compiler.groups import Step, weight_words
from compiler.place import map_of
from compiler.schedule import Group, Local
from compiler.stages import Buffer, Stage, Stages
from compiler.storage import Layout

__all__ = ["Job", "Jobs", "build"]

PIXEL_FIFO = 1024       # pixels that wait for the gather
BEHIND_PROGRAM = frozenset({Opcode.LOAD_PIXELS, Opcode.LOAD_ACTIVATIONS, Opcode.STORE})
LONGEST = 2048          # words of storage of a transfer of weights, behind which something more urgent may have to wait


def _pieces(rows: range, most: int) -> Iterator[range]:
    for start in range(rows.start, rows.stop, most):
        yield range(start, min(start + most, rows.stop))


@dataclass(eq=False)
class Job:
    """An instruction to be. `need`: number of the compute job for whose sake it is there. `after`: jobs that must be through."""

    opcode: Opcode
    body: Command | GatherConfig | PixelTransfer | Transfer
    need: int
    after: set["Job"] = field(default_factory=set)
    step: Step | None = None
    group: int = 0
    stage: Stage | None = None
    token: int = 0

    @property
    def queue(self) -> str:
        return QUEUE_OF[self.opcode]


class _Memory:
    """Who touched each word last: for each queue the number of the job that wrote it, and of the one that read it; -1 nobody."""

    def __init__(self, words: int, jobs: list[Job]):
        self.jobs = jobs
        self.wrote = {queue: np.full(words, -1, np.int32) for queue in ("load", "gather", "compute")}
        self.read = {queue: np.full(words, -1, np.int32) for queue in ("store", "compute")}
        self.late = np.zeros(words, bool)       # read by a compute command whose token does not say so; no later one has written

    def keep(self, words: np.ndarray):
        """A compute command reads words behind its token."""
        self.late[words] = True

    def settle(self, number: int):
        """A compute command writes: when it gives its token, all reads before it are over."""
        self.read["compute"][self.late] = number
        self.late[:] = False

    def _add(self, after: set[Job], last: np.ndarray, words: np.ndarray, each: bool):
        found = last[words]
        if each:            # jobs of the load queue may yet change places
            after.update(self.jobs[n] for n in set(found.tolist()) if n >= 0)
        elif found.size and (top := int(found.max())) >= 0:
            after.add(self.jobs[top])

    def reads(self, queue: str, words: np.ndarray, number: int) -> set[Job]:
        """A job reads: it comes after whoever wrote."""
        after: set[Job] = set()
        for writer, last in self.wrote.items():
            self._add(after, last, words, writer == "load")
        self.read[queue][words] = number
        return after

    def writes(self, queue: str, words: np.ndarray, number: int) -> set[Job]:
        """A job writes: it comes after whoever read, and wrote in another queue."""
        after: set[Job] = set()
        for writer, last in self.wrote.items():
            if writer != queue:
                self._add(after, last, words, writer == "load")
        for reader, last in self.read.items():
            if (reader, queue) != ("compute", "compute"):
                self._add(after, last, words, False)
        if queue != "compute" and self.late[words].any():
            raise AssertionError("words must not be overwritten before a command that writes ends their reads")
        self.wrote[queue][words] = number
        return after


class _Ring:
    """A memory of weights or parameters, filled in turn: first what a group pins, then again and again the words that are left.

    What is alone in a part of the memory lies there in one piece; only the memory's end is no border.
    """

    def __init__(self, words: int):
        self.words, self.end = words, 0
        self.places: dict[tuple[Stage, range], tuple[int, int]] = {}        # word, size
        self.begin(0)

    def begin(self, pinned: int):
        """A new group, which pins so many words."""
        self.parts = {True: [self.end, pinned, 0], False: [self.end + pinned, self.words - pinned, 0]}     # first, size, used

    def find(self, key: tuple[Stage, range]) -> int | None:
        """Where something lies, if nothing has come over it."""
        return self.places[key][0] if key in self.places else None

    def add(self, key: tuple[Stage, range], size: int, pinned: bool) -> int:
        first, room, used = self.parts[pinned]
        if used + size > room and room < self.words:
            used = 0
        if size > room:
            raise AssertionError(f"{size} words in {room}")
        start = (first + used) % self.words
        self.parts[pinned][2] = used + size
        self.end = (start + size) % self.words
        self.places = {other: (at, words) for other, (at, words) in self.places.items()
                       if (at - start) % self.words >= size and (start - at) % self.words >= words}
        self.places[key] = start, size
        return start


@dataclass(eq=False)
class Jobs:
    """All jobs in logical order, and the compute jobs among them."""

    jobs: list[Job]
    computes: list[Job]

    def move(self, words: int) -> None:
        """Moves what lies behind the program, and whatever reads or writes it, so many words of storage up."""
        for job in self.jobs:
            if job.opcode in BEHIND_PROGRAM:
                job.body = replace(job.body, storage=job.body.storage + words)


def build(stages: Stages, groups: Sequence[Group], geometry: Geometry, layout: Layout) -> Jobs:
    """The jobs of groups whose locals are placed."""
    builder = _Builder(stages, geometry, layout)
    for number, group in enumerate(groups):
        builder.group(number, group)
    return Jobs(builder.jobs, builder.computes)


class _Builder:
    def __init__(self, stages: Stages, geometry: Geometry, layout: Layout):
        self.stages, self.geometry, self.layout = stages, geometry, layout
        self.jobs: list[Job] = []
        self.computes: list[Job] = []
        self.activations = _Memory(geometry.activation_words, self.jobs)
        self.weights = _Memory(geometry.weight_words, self.jobs)
        self.parameters = _Memory(geometry.parameter_words, self.jobs)
        self.weight_ring, self.parameter_ring = _Ring(geometry.weight_words), _Ring(geometry.parameter_words)
        self.stored: dict[Buffer, dict[int, set[Job]]] = {}         # row -> jobs that store it

    # Groups

    def group(self, number: int, group: Group):
        self.number, self.locals = number, group.locals
        self.copied, self.copy = None, -1                           # what lies in which place of a local with copies
        self.brought: dict[tuple[Buffer, int], int] = {}            # rows brought so far, in each turn
        self.progress: dict[tuple, dict[Stage, int]] = {}
        self.rows_stored: dict[tuple, int] = {}
        self.bases = self._pool_bases(group)
        self.pinned = group.order.pinned
        several = {stage for stage in group.stages
                   if len({step.band.rows for step in group.order.steps if step.stage is stage}) > 1}
        self.several = several if group.order.kind == "bands" else frozenset()
        self.weight_ring.begin(sum(map(weight_words, self.pinned)))
        self.parameter_ring.begin(sum(stage.work.blocks for stage in self.several) * self.geometry.pairs)
        self.gathers = self._gathers(group)
        self.lows = self._lows(group)
        for at, step in enumerate(group.order.steps):
            self._step(at, step, group)

    def _pool_bases(self, group: Group) -> dict[Stage, int]:
        """First place of each stage in the pool's line memory."""
        bases, at = {}, 0
        for stage in group.stages:
            bases[stage] = at if stage.work.places else 0
            at += stage.work.places * stage.work.blocks
        return bases

    def _lows(self, group: Group) -> list[int]:
        """For each step the lowest row of its source that it or a later step of its turn reads."""
        lows, lowest = [], {}
        for step in reversed(group.order.steps):
            key = step.stage.source, step.turn
            if len(step.reads):
                lowest[key] = min(lowest.get(key, step.reads.start), step.reads.start)
            lows.append(lowest.get(key, 0))
        return lows[::-1]

    def _gathers(self, group: Group) -> Iterator[GatherConfig]:
        """The gather's commands: as many rows each as a step's band needs more."""
        buffer = next((stage.source for stage in group.stages if stage.source.made == "gather"), None)
        if buffer is None:
            return iter(())
        conv, image, local = self.stages.image, self.stages.input, group.locals[buffer]
        turns: list[list[int]] = []
        for step in group.order.steps:
            if step.stage.source is not buffer or step.turn and local.whole:
                continue
            if step.turn == len(turns):
                turns.append([])
                before = 0
            turns[-1] += [len(part) for part in _pieces(range(before, step.reads.stop), self._gather_rows())]
            before = max(before, step.reads.stop)
        stage = next(stage for stage in group.stages if stage.source is buffer)
        return chain.from_iterable(
            gather.bands(self.geometry, shape=(conv.weight.shape[1], image.height, image.width), kernel=conv.window.kernel[0],
                         stride=conv.window.stride[0], padding=conv.window.padding[:2], rows=rows, columns=buffer.width,
                         zero_point=stage.work.zero_point, base=local.base, ring_rows=local.rows) for rows in turns)

    # Jobs

    def _job(self, opcode: Opcode, body, after: set[Job], **more) -> Job:
        job = Job(opcode, body, len(self.computes), after, group=self.number, **more)
        self.jobs.append(job)
        return job

    def _step(self, at: int, step: Step, group: Group):
        stage, geometry = step.stage, self.geometry
        weights = self._bring_constants(stage, step.blocks, Opcode.LOAD_WEIGHTS, self.weight_ring, self.weights,
                                        stage.work.block_words, self.layout.weights[stage], geometry.weight_words)
        parameters = self._bring_constants(stage, step.blocks, Opcode.LOAD_PARAMETERS, self.parameter_ring, self.parameters,
                                           geometry.pairs, self.layout.parameters[stage], geometry.parameter_words)
        source, target = self.locals[stage.source], self.locals[stage.target]
        beside = target.beside(step.words)
        if target.copies > 1:
            if (beside, step.writes) != self.copied:
                self.copied, self.copy = (beside, step.writes), (self.copy + 1) % target.copies
            target = replace(target, base=target.base + self.copy * (target.size // target.copies))
        if source.brought:
            self._bring_rows(step, source, self.lows[at])
        # The convolution may read less than the last word.
        reads = replace(map_of(source, stage.source, stage.reads, geometry.input_lanes), channels=stage.work.conv.weight.shape[1])
        writes = map_of(target, stage.target, step.words, geometry.input_lanes)
        place = (stage.writes.start - beside.start) * geometry.blocks_per_word + step.blocks.start
        command = stage.work.command(source=reads, target=writes, band=step.band, blocks=step.blocks, weights=weights,
                                     parameters=parameters, place=place,
                                     pool_base=self.bases[stage] + (0 if group.order.kind == "chunks" else
                                                                    stage.work.places * step.blocks.start))
        number = len(self.jobs)
        read_words = self._words(source, stage.source, stage.reads, step.reads)
        write_words = self._words(target, stage.target, step.words, step.writes)
        after = self.activations.reads("compute", read_words, number) | self.activations.writes("compute", write_words, number)
        if len(step.writes):
            for memory in (self.activations, self.weights, self.parameters):
                memory.settle(number)
        self.activations.keep(self._words(source, stage.source, stage.reads, step.late))
        for memory, start, size, words in ((self.weights, weights, stage.work.block_words, geometry.weight_words),
                                           (self.parameters, parameters, geometry.pairs, geometry.parameter_words)):
            read_words = (start + np.arange(size * len(step.blocks))) % words
            after |= memory.reads("compute", read_words, number)
            if not len(step.writes):
                memory.keep(read_words)
        self.computes.append(self._job(Opcode.COMPUTE, command, after, step=step, stage=stage))
        if target.stored:
            self._store(step, target, group)

    def _words(self, local: Local, buffer: Buffer, words: range, rows: range) -> np.ndarray:
        """Activation words of these words of the pixels of rows."""
        beside = local.beside(words)
        y = np.arange(rows.start, rows.stop) % local.rows * (buffer.width * len(beside))
        x = np.arange(buffer.width) * len(beside)
        return (local.base + words.start - beside.start + y[:, None, None] + x[:, None] + np.arange(len(words))).reshape(-1)

    def _bring_constants(self, stage: Stage, blocks: range, opcode: Opcode, ring: _Ring, memory: _Memory, per_block: int,
                         address: int, words: int) -> int:
        """Where the weights or parameters of blocks lie; they are loaded if they do not."""
        key = stage, blocks
        start = ring.find(key)
        if start is not None:
            return start
        size = per_block * len(blocks)
        start = ring.add(key, size, stage in (self.pinned if ring is self.weight_ring else self.several))
        address += per_block * blocks.start * storage_words(self.geometry, opcode)
        places = (start + np.arange(size)) % words
        # A transfer ends at the memory's end, where the words behind were in use for longer, and before it blocks the queue.
        users = memory.read["compute"][places]
        edges = [0, *(np.flatnonzero((np.diff(places) != 1) | (np.diff(users) != 0)) + 1), size]
        most = max(1, LONGEST // storage_words(self.geometry, opcode))
        cuts = [piece for a, b in zip(edges, edges[1:], strict=False) for piece in _pieces(range(a, b), most)]
        for a, b in ((piece.start, piece.stop) for piece in cuts):
            part = places[a:b]
            after = memory.writes("load", part, len(self.jobs))
            self._job(opcode, Transfer(storage=int(address + a * storage_words(self.geometry, opcode)), storage_step=0,
                                       chip=int(part[0]), chip_step=0, words=int(b - a), runs=1), after, stage=stage)
        return start

    # Rows that come and go

    def _bring_rows(self, step: Step, local: Local, low: int):
        """Rows of the source up to the last one that the step reads."""
        buffer = step.stage.source
        turn = 0 if local.whole else step.turn
        begin = max(self.brought.get((buffer, turn), 0), low)
        if begin >= step.reads.stop:
            return
        if buffer.made == "gather":
            for rows in _pieces(range(begin, step.reads.stop), self._gather_rows()):
                self._gather(buffer, local, rows.start)
        else:
            for rows in self._runs(range(begin, step.reads.stop), local.rows):
                self._load(buffer, local, rows, step.stage)
        self.brought[buffer, turn] = step.reads.stop

    @staticmethod
    def _runs(rows: range, ring: int) -> Iterator[range]:
        """Rows cut where the ring begins anew."""
        at = rows.start
        while at < rows.stop:
            stop = min(rows.stop, at - at % ring + ring)
            yield range(at, stop)
            at = stop

    def _gather_rows(self) -> int:
        """Rows that a gather makes at most: of no more pixels than the FIFO before it holds."""
        return max(1, PIXEL_FIFO // self.stages.input.width // self.stages.image.window.stride[0])

    def _gather(self, buffer: Buffer, local: Local, begin: int):
        config = next(self.gathers)
        image = self.stages.input
        row_words = -(-image.width * config.channels // 2)
        most = max(1, PIXEL_FIFO // image.width)
        for first in range(0, config.image_rows, most):
            self._job(Opcode.LOAD_PIXELS, PixelTransfer(
                storage=self.layout.input + (config.next_row + first) * row_words, storage_step=row_words, width=image.width,
                channels=config.channels, rows=min(most, config.image_rows - first)), set())
        words = self._words(local, buffer, local.words, range(begin, begin + config.rows))
        after = self.activations.writes("gather", words, len(self.jobs))
        self._job(Opcode.GATHER, config, after)

    def _transfers(self, buffer: Buffer, local: Local, words: range, rows: range) -> Iterator[tuple[Transfer, range]]:
        """Transfers of these words of rows that lie one behind the other in the ring."""
        per_word = self.geometry.input_lanes // 2
        stored = self.layout.buffers[buffer] + rows.start * buffer.row_words * per_word
        beside = local.beside(words)
        pixel_words, skip = len(beside), words.start - beside.start
        chip = local.base + rows.start % local.rows * buffer.width * pixel_words
        if len(words) == buffer.pixel_words == pixel_words:
            size = len(rows) * buffer.row_words
            yield Transfer(storage=stored, storage_step=0, chip=chip, chip_step=0, words=size, runs=1), rows
            return
        most = max(1, 1023 // buffer.width)
        for first in range(0, len(rows), most):
            part = rows[first:first + most]
            yield Transfer(storage=stored + (first * buffer.row_words + words.start) * per_word,
                           storage_step=buffer.pixel_words * per_word,
                           chip=chip + first * buffer.width * pixel_words + skip, chip_step=pixel_words, words=len(words),
                           runs=len(part) * buffer.width), part

    def _load(self, buffer: Buffer, local: Local, rows: range, stage: Stage):
        for transfer, part in self._transfers(buffer, local, local.words, rows):
            words = self._words(local, buffer, local.words, part)
            after = self.activations.writes("load", words, len(self.jobs))
            for row in part:
                after |= self.stored.get(buffer, {}).get(row, set())
            self._job(Opcode.LOAD_ACTIVATIONS, transfer, after, stage=stage)

    def _store(self, step: Step, local: Local, group: Group):
        """Rows of the target that are now complete, as far as this group writes them."""
        buffer = step.stage.target
        words = step.words if group.order.kind == "chunks" else local.beside(step.words)
        key = buffer, words, step.turn
        if group.order.kind == "chunks" or local.narrow:
            complete = step.writes.stop if step.words.stop == words.stop else 0
        else:
            last = step.stage.work.blocks == step.blocks.stop
            progress = self.progress.setdefault(key, {s: 0 for s in group.stages if s.target is buffer})
            if last:
                progress[step.stage] = step.writes.stop
            complete = min(progress.values())
        begin = self.rows_stored.get(key, 0)
        if complete <= begin:
            return
        for rows in self._runs(range(begin, complete), local.rows):
            for transfer, part in self._transfers(buffer, local, words, rows):
                after = self.activations.reads("store", self._words(local, buffer, words, part), len(self.jobs))
                job = self._job(Opcode.STORE, transfer, after, stage=step.stage)
                for row in part:
                    self.stored.setdefault(buffer, {}).setdefault(row, set()).add(job)
        self.rows_stored[key] = complete
