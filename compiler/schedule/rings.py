"""How many rows of a buffer must be on the chip while the steps of a group run in their order."""
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
import math

from compiler.schedule.steps import Step
from compiler.stages import Buffer, Stage

__all__ = ["Rings"]


@dataclass
class _Visit:
    """Steps in a row that read the same rows of a buffer in the same turn. `late`: the lowest row that steps before one of them
    may still read when all their tokens are given."""

    rows: range
    turn: int
    late: int


class Rings:
    """Rows of each buffer that some steps in this order need; found once for each question.

    `by_chunk`: chunks of a target's blocks are stored one after the other, each as soon as its own step has written it.
    """

    def __init__(self, stages: Sequence[Stage], steps: Sequence[Step], *, by_chunk: bool):
        self.stages, self.steps, self.by_chunk = stages, steps, by_chunk
        self._written: dict[tuple[Buffer, bool], int] = {}
        self._brought: dict[tuple[Buffer, int, bool], int] = {}
        self._visits: dict[Buffer, list[_Visit]] = {}

    def turns(self, buffer: Buffer) -> int:
        """How often the steps go over a buffer's rows from the top."""
        return 1 + max((step.turn for step in self.steps if buffer in step.stage.inputs), default=0)

    def written(self, buffer: Buffer, *, stored: bool = False) -> int:
        """Rows of a buffer that is written, and perhaps read, by these steps; `stored`: rows go to storage too."""
        key = buffer, stored
        if key not in self._written:
            self._written[key] = self._whole_bands(buffer, self._written_rows(buffer, stored))
        return self._written[key]

    def _whole_bands(self, buffer: Buffer, rows: int) -> int:
        """So many rows or more, so that no band of a sum, whose rows must follow each other, goes around the ring."""
        each = {stage: 1 for stage in self.stages if stage.work.maps > 1 and buffer in stage.inputs}
        for step in self.steps if each else ():
            if step.stage in each:
                each[step.stage] = max(each[step.stage], len(step.band.rows))
        together = math.lcm(*each.values())
        return min(-(-rows // together) * together, buffer.height)

    def _written_rows(self, buffer: Buffer, stored: bool) -> int:
        # Chunk by chunk, all turns are alike, and none reads what another one wrote.
        steps = [(n, step) for n, step in enumerate(self.steps) if not (self.by_chunk and step.turn)]
        writes = [(n, step) for n, step in steps if step.stage.target.buffer is buffer and len(step.output_rows)]
        readers = {stage for stage in self.stages
                   if any(stage.reads_of(other) for other in self.stages if other.target.buffer is buffer)}
        needs = sorted(((n, step.input_rows.start) for n, step in steps
                        if step.stage in readers and len(step.input_rows)), reverse=True)
        most, lowest, at = 1, buffer.height, 0
        for n, step in reversed(writes):
            while at < len(needs) and needs[at][0] > n:
                lowest = min(lowest, needs[at][1])
                at += 1
            most = max(most, step.output_rows.stop - min(lowest, step.output_rows.start))
        return min(max(most, self._unstored([step for _, step in writes]) if stored else 0), buffer.height)

    def _unstored(self, writes: Sequence[Step]) -> int:
        """Rows that a step writes and those that are not yet stored then: what a step completes is stored during the next one."""
        most, turn, progress, complete = 0, -1, {}, [0, 0]
        for step in writes:
            if step.turn != turn:
                turn, complete = step.turn, [0, 0]
                progress = {stage: 0 for stage in self.stages if stage.target.buffer is step.stage.target.buffer}
            most = max(most, step.output_rows.stop - complete[-2])
            if step.blocks.stop == step.stage.work.blocks or self.by_chunk:
                progress[step.stage] = max(progress[step.stage], step.complete)
            complete.append(min(progress.values()))
        return most

    def brought(self, buffer: Buffer, depth: int, *, beside_late: bool = True) -> int:
        """Rows of a buffer, brought from storage or by the gather, that must be on the chip so that `depth` bands find room.

        Rows that steps before may still read must be there beside a band's own; beside those of the bands ahead only with
        `beside_late`. Without, some bands wait, often the second one only, and the ring is smaller.
        """
        key = buffer, depth, beside_late
        if key not in self._brought:
            self._brought[key] = self._whole_bands(buffer, self._brought_rows(buffer, depth, beside_late))
        return self._brought[key]

    def _brought_rows(self, buffer: Buffer, depth: int, beside_late: bool) -> int:
        visits, most, low = self._visits_of(buffer), 1, 0
        for n in reversed(range(len(visits))):
            rows, turn, late = visits[n].rows, visits[n].turn, visits[n].late
            if n + 1 == len(visits) or visits[n + 1].turn != turn:
                low = rows.start
            low, stop, ahead = min(low, rows.start), rows.stop, 0
            most = max(most, stop - late)
            for later in islice(visits, n + 1, None):
                if later.turn != turn:
                    break
                if later.rows.stop > stop:
                    ahead += 1
                    if ahead >= depth:
                        break
                    stop = later.rows.stop
            most = max(most, stop - (min(low, late) if beside_late else low))
        return min(most, buffer.height)

    def _visits_of(self, buffer: Buffer) -> list[_Visit]:
        if buffer in self._visits:
            return self._visits[buffer]
        found = self._visits[buffer] = []
        lowest = buffer.height
        for step in self.steps:
            reads = buffer in step.stage.inputs and len(step.input_rows)
            if reads:
                if found and found[-1].turn != step.turn:
                    lowest = buffer.height
                if found and (found[-1].turn, found[-1].rows) == (step.turn, step.input_rows):
                    found[-1].late = min(found[-1].late, lowest)
                else:
                    found.append(_Visit(step.input_rows, step.turn, lowest))
            if len(step.output_rows):
                lowest = buffer.height
            if reads and len(step.late_rows):
                lowest = min(lowest, step.late_rows.start)
        return found
