"""Jobs in their order with their addresses: a program's instructions, and where everything lies in storage."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from arch.geometry import Geometry
from arch.instruction import Instruction, Opcode
from compiler.coding.loads import WEIGHTS, with_tables
from compiler.jobs.emit import arrange, emit, program_words
from compiler.jobs.job import Job, Jobs
from compiler.jobs.stores import Span
from compiler.schedule.groups import Group
from compiler.stages import Stage, Stages
from compiler.storage import Layout, aligned, lay_out

__all__ = ["Emission", "Frame"]


@dataclass(frozen=True, eq=False)
class Frame:
    """The jobs of a frame and about when they run."""

    jobs: Jobs
    spans: Mapping[Job, Span]

    def copy(self) -> "Frame":
        """The same of copies."""
        jobs = self.jobs.but()
        copies = dict(zip(self.jobs.jobs, jobs.jobs, strict=True))
        spans = {job: replace(span, behind=copies.get(span.behind)) for job, span in self.spans.items()}
        return Frame(jobs, {copies[job]: span for job, span in spans.items()})


@dataclass(frozen=True, eq=False)
class Emission:
    """Instructions of frames by where these begin in storage: of the first one, and perhaps of those behind it. `jobs` of the
    first one, and these in the order of its instructions; `cycles` after which it is through, about.
    """

    layout: Layout
    codes: dict[int, tuple[Instruction, ...]] = field(default_factory=dict)
    jobs: Jobs = field(default_factory=Jobs)
    order: tuple[Job, ...] = ()
    cycles: float = 0

    @classmethod
    def of(cls, frames: Sequence[Frame], stages: Stages, groups: Sequence[Group], geometry: Geometry, layout: Layout, room: int,
           coded: Mapping[Stage, np.ndarray] | None = None, like: Layout | None = None) -> "Emission":
        """Of frames whose jobs have addresses of a `layout`, which are moved, for so many words of storage; the frame behind the
        first one is left out where its program has no room. Without instructions if not even one has.

        With compressed weights, which lie in storage as `coded`, loads of weights have words from the beginning of their stage's.
        `like`: see `compiler.storage.lay_out`.
        """
        if coded is not None:
            frames = [Frame(*with_tables(frame.jobs, frame.spans)) for frame in frames]
        arranged = [arrange(frame.jobs, frame.spans) for frame in frames]
        starts = np.cumsum([0, *(aligned(program_words(geometry, each)) for each in arranged)]).tolist()
        found = lay_out(stages, groups, geometry, starts[-1], coded, like)
        if len(frames) > 1 and found.end > room:
            frames, arranged, found = frames[:1], arranged[:1], lay_out(stages, groups, geometry, starts[1], coded, like)
        if found.end > room:
            return cls(found)
        for frame in frames:
            frame.jobs.move(found.constants - layout.constants, {Opcode.LOAD_PARAMETERS})
            frame.jobs.move(found.input - layout.input)
            if coded is not None:
                frame.jobs.place(found.weights, WEIGHTS)
        codes = {found.program + start: tuple(emit(geometry, each, found.store_base, found.end - found.store_base))
                 for start, each in zip(starts, arranged, strict=False)}
        return cls(found, codes, frames[0].jobs, tuple(arranged[0]), max(span.end for span in frames[0].spans.values()))
