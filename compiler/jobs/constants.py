"""Weights, parameters, and constants of optional units: where they lie in their memories, and the loads that bring them."""
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from arch.geometry import OPTION_WORDS, Geometry
from arch.instruction import Opcode, Transfer, storage_words
from compiler import costs
from compiler.images import lrn_words, table_words
from compiler.jobs.job import Job, Jobs, Memory, pieces
from compiler.schedule.steps import Step
from compiler.stages import Stage

__all__ = ["Constants", "Functions", "Tables", "Weights", "filters"]


class _Ring:
    """A memory that is filled in turn: first what a group pins, then again and again the words that are left.

    What is alone in a part of the memory lies there in one piece; only the memory's end is no border.
    """

    def __init__(self, words: int):
        self.words, self.end = words, 0
        self.places: dict[tuple[Stage, range], tuple[int, int]] = {}        # word, size
        self.begin(0)

    def begin(self, pinned: int) -> None:
        """A new group, which pins so many words."""
        self.parts = {True: [self.end, pinned, 0], False: [self.end + pinned, self.words - pinned, 0]}     # first, size, used

    def find(self, key: tuple[Stage, range]) -> int | None:
        """Where something lies, if nothing has come over it."""
        return self.places[key][0] if key in self.places else None

    def add(self, key: tuple[Stage, range], size: int, pinned: bool) -> int:
        """Where something new has room."""
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


class Constants:
    """The weights, or the parameters, of all stages.

    `block_words`: words on the chip of an output block of a stage; `storage`: where those of each stage begin there. The memory
    begins at word `first` of those that the opcode loads.
    """

    def __init__(self, opcode: Opcode, geometry: Geometry, words: int, jobs: Jobs, storage: Mapping[Stage, int],
                 block_words: Callable[[Stage], int], *, first: int = 0):
        self.opcode, self.jobs, self.storage, self.block_words, self.first = opcode, jobs, storage, block_words, first
        self.per_word = storage_words(geometry, opcode)
        self.memory, self.ring = Memory(words, jobs), _Ring(words)
        self.staying: Collection[Stage] = ()

    def begin(self, staying: Collection[Stage]) -> None:
        """A new group: what these stages have stays to its end."""
        self.staying = staying
        self.ring.begin(sum(stage.work.blocks * self.block_words(stage) for stage in staying))

    def words(self, step: Step) -> range:
        """Which of its stage's words a step needs."""
        size = self.block_words(step.stage)
        return range(size * step.blocks.start, size * step.blocks.stop)

    def bring(self, step: Step) -> int:
        """Where those that a step needs lie; they are loaded if they do not."""
        stage, words = step.stage, self.words(step)
        if not words:
            return 0
        start = self.ring.find((stage, words))
        if start is None:
            start = self.ring.add((stage, words), len(words), stage in self.staying)
            self._load(stage, words, start)
        return start

    def _load(self, stage: Stage, words: range, start: int) -> None:
        address = self.storage[stage] + words.start * self.per_word
        places = self._places(words, start)
        # A transfer ends at the memory's end, where the words behind were in use for longer, and before it blocks the queue.
        users = self.memory.read["compute"][places]
        edges = [0, *(np.flatnonzero((np.diff(places) != 1) | (np.diff(users) != 0)) + 1), len(places)]
        most = max(1, costs.WEIGHT_TRANSFER_WORDS // self.per_word)
        for a, b in zip(edges, edges[1:], strict=False):
            for piece in pieces(range(a, b), most):
                part = places[piece.start:piece.stop]
                self.jobs.add(self.opcode, Transfer(
                    storage=int(address + piece.start * self.per_word), storage_step=0, chip=self.first + int(part[0]),
                    chip_step=0, words=len(piece), runs=1), self.memory.writes("load", part), stage=stage)

    def _places(self, words: range, start: int) -> np.ndarray:
        return (start + np.arange(len(words))) % self.memory.words

    def read(self, step: Step, start: int) -> set[Job]:
        """What a step's compute job, which is next, must come after because it reads them from word `start` on."""
        places = self._places(self.words(step), start)
        after = self.memory.reads("compute", places)
        if not len(step.output_rows):
            self.memory.keep(places)
        return after


class Weights(Constants):
    """The weights of all stages: of a block perhaps in portions."""

    def __init__(self, geometry: Geometry, jobs: Jobs, storage: Mapping[Stage, int]):
        super().__init__(Opcode.LOAD_WEIGHTS, geometry, geometry.weight_words, jobs, storage,
                         lambda stage: stage.work.block_words)

    def words(self, step: Step) -> range:
        return step.weights


class Tables(Constants):
    """The tables of all stages that have one. `storage`: where they lie there."""

    def __init__(self, geometry: Geometry, jobs: Jobs, storage: Mapping[Stage, int]):
        super().__init__(Opcode.LOAD_PARAMETERS, geometry, OPTION_WORDS["table"], jobs, storage, self._words,
                         first=geometry.option_words("table").start if storage else 0)

    def _words(self, stage: Stage) -> int:
        table = stage.work.table
        return len(table_words(table.table)) // self.per_word if table else 0

    def words(self, step: Step) -> range:
        """The table, if the step's stage has one."""
        return range(self._words(step.stage))


class Functions(Constants):
    """The functions of all stages that normalise. `storage`: where they lie there."""

    def __init__(self, geometry: Geometry, jobs: Jobs, storage: Mapping[Stage, int]):
        super().__init__(Opcode.LOAD_PARAMETERS, geometry, OPTION_WORDS["lrn"], jobs, storage, self._words,
                         first=geometry.option_words("lrn").start if storage else 0)

    def _words(self, stage: Stage) -> int:
        layer = stage.work.lrn
        return len(lrn_words(layer)) // self.per_word if layer else 0

    def words(self, step: Step) -> range:
        """The function, if the step's stage has one."""
        return range(self._words(step.stage))


def filters(geometry: Geometry, jobs: Jobs, storage: Sequence[Mapping[Stage, int]]) -> list[Constants]:
    """The constants of depthwise convolutions: those of each plane, which lie at the same words of all of them, since they are as
    many as parameters, and come as these do."""
    words = geometry.parameter_words
    return [Constants(Opcode.LOAD_PARAMETERS, geometry, words, jobs, plane, lambda stage: geometry.pairs * stage.work.filtered,
                      first=geometry.option_words("depthwise").start + n * words)
            for n, plane in enumerate(storage)]
