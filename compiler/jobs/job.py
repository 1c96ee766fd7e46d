"""Jobs: instructions to be, and the memories of the chip as far as one job has to wait for another because of them.

Each word of the chip's memories remembers who read and wrote it last; what a job has to wait for follows from the words that it
touches, and from nothing else. Free are: writes of a compute command behind reads of earlier ones, and the order within a queue.

A compute command's token does not end all of its reads (`compiler.schedule.steps.Step.late_rows`): who overwrites these words
must wait for the next one that writes.
"""
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from arch.command import Command
from arch.instruction import QUEUE_OF, CodedTransfer, Opcode, PixelTransfer, Transfer
from arch.unit.gather import GatherConfig
from compiler.schedule.steps import Step
from compiler.stages import Stage

__all__ = ["Job", "Jobs", "Memory", "pieces"]

Body = Command | CodedTransfer | GatherConfig | PixelTransfer | Transfer
BEHIND_PROGRAM = frozenset({Opcode.LOAD_PIXELS, Opcode.LOAD_ACTIVATIONS, Opcode.STORE})


def pieces(rows: range, most: int) -> Iterator[range]:
    """A range in pieces of at most `most`."""
    for start in range(rows.start, rows.stop, most):
        yield range(start, min(start + most, rows.stop))


@dataclass(eq=False)
class Job:
    """An instruction to be. `need`: number of the compute job for whose sake it is there. `after`: jobs that must be through.

    `group`: its number; `token`: its number in its queue, from 1 on, once the order is known. Of a load of compressed weights,
    `cycles` of the decoder, and the one that brings its `table`, which is not among the jobs before their order is known.
    """

    opcode: Opcode
    body: Body
    need: int
    after: set["Job"] = field(default_factory=set)
    step: Step | None = None
    group: int = 0
    stage: Stage | None = None
    token: int = 0
    cycles: int = 0
    table: "Job | None" = None

    @property
    def queue(self) -> str:
        return QUEUE_OF[self.opcode]


class Jobs:
    """All jobs in logical order, and the compute jobs among them."""

    def __init__(self):
        self.jobs: list[Job] = []
        self.computes: list[Job] = []
        self.group = 0

    @property
    def number(self) -> int:
        """Of the job that is added next."""
        return len(self.jobs)

    def add(self, opcode: Opcode, body: Body, after: set[Job], *, step: Step | None = None, stage: Stage | None = None) -> Job:
        """Adds a job of this group, for the sake of the compute job that is next."""
        job = Job(opcode, body, len(self.computes), after, group=self.group, step=step, stage=stage)
        self.jobs.append(job)
        if opcode is Opcode.COMPUTE:
            self.computes.append(job)
        return job

    def move(self, words: int, opcodes: Collection[Opcode] = BEHIND_PROGRAM) -> None:
        """Moves what lies behind the program, or what else jobs of these opcodes read or write, so many words of storage up."""
        for job in self.jobs:
            if job.opcode in opcodes:
                job.body = replace(job.body, storage=job.body.storage + words)

    def place(self, places: Mapping[Stage, int], opcodes: Collection[Opcode]) -> None:
        """Moves what jobs of these opcodes read up to where that of their stages begins."""
        for job in self.jobs:
            if job.opcode in opcodes:
                job.body = replace(job.body, storage=job.body.storage + places[job.stage])

    def replaced(self, by: Callable[[Job], Sequence[Job]]) -> "Jobs":
        """New jobs in the place of each, which come after those in the place of what it comes after. There is one for each that
        computes."""
        copies: dict[Job, Sequence[Job]] = {}
        for job in self.jobs:
            copies[job] = by(job)
            for copy in copies[job]:
                copy.after = {one for other in job.after for one in copies[other]}
        result = Jobs()
        result.jobs = [one for job in self.jobs for one in copies[job]]
        result.computes = [copies[job][0] for job in self.computes]
        return result

    def but(self, opcodes: Collection[Opcode] = ()) -> "Jobs":
        """Copies of the jobs, without those of these opcodes."""
        return self.replaced(lambda job: [] if job.opcode in opcodes else [replace(job, token=0)])


class Memory:
    """Who touched each word last: for each queue the number of the job that wrote it, and of the one that read it; -1 nobody."""

    def __init__(self, words: int, jobs: Jobs):
        self.words, self.jobs = words, jobs
        self.wrote = {queue: np.full(words, -1, np.int32) for queue in ("load", "gather", "compute")}
        self.read = {queue: np.full(words, -1, np.int32) for queue in ("store", "compute")}
        self.late = np.zeros(words, bool)       # read by a compute command whose token does not say so; no later one has written

    def keep(self, words: np.ndarray) -> None:
        """A compute command reads words behind its token."""
        self.late[words] = True

    def settle(self) -> None:
        """A compute command, the next job, writes: when it gives its token, all reads before it are over."""
        self.read["compute"][self.late] = self.jobs.number
        self.late[:] = False

    def _add(self, after: set[Job], last: np.ndarray, words: np.ndarray, each: bool) -> None:
        found = last[words]
        if each:            # jobs of the load queue may yet change places
            after.update(self.jobs.jobs[n] for n in set(found.tolist()) if n >= 0)
        elif found.size and (top := int(found.max())) >= 0:
            after.add(self.jobs.jobs[top])

    def reads(self, queue: str, words: np.ndarray) -> set[Job]:
        """The next job reads: it comes after whoever wrote."""
        after: set[Job] = set()
        for writer, last in self.wrote.items():
            self._add(after, last, words, writer == "load")
        self.read[queue][words] = self.jobs.number
        return after

    def writes(self, queue: str, words: np.ndarray) -> set[Job]:
        """The next job writes: it comes after whoever read, and wrote in another queue."""
        after: set[Job] = set()
        for writer, last in self.wrote.items():
            if writer != queue:
                self._add(after, last, words, writer == "load")
        for reader, last in self.read.items():
            if (reader, queue) != ("compute", "compute"):
                self._add(after, last, words, False)
        if queue != "compute" and self.late[words].any():
            raise AssertionError("words must not be overwritten before a command that writes ends their reads")
        self.wrote[queue][words] = self.jobs.number
        return after
