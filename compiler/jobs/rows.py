"""Rows of maps that come to the chip before the steps that read them, and leave it behind those that write them."""
from collections import defaultdict
from itertools import groupby

from arch import gather
from arch.geometry import Geometry
from arch.instruction import Opcode, PixelTransfer
from arch.transfer import PIXELS
from arch.unit.gather import GatherConfig
from compiler.jobs.job import Job, Jobs, Memory, pieces
from compiler.residency import Brought, Gathered, Stored
from compiler.schedule.groups import Group
from compiler.schedule.orders import Order
from compiler.schedule.steps import Step
from compiler.stages import Buffer, Stage, Stages
from compiler.storage import Layout

__all__ = ["Arrivals", "Departures", "StoredRows"]

StoredRows = dict[Buffer, dict[int, set[Job]]]          # row -> jobs that store it


def _arriving(order: Order, resident: Brought) -> dict[int, range]:
    """For each step that needs more of the rows that are brought, by its number: those rows.

    A row that is read no more in a turn when it would come is left out.
    """
    lows, lowest = {}, {}
    for at in reversed(range(len(order.steps))):
        step = order.steps[at]
        if resident.buffer in step.stage.inputs:
            if len(step.input_rows):
                lowest[step.turn] = min(lowest.get(step.turn, step.input_rows.start), step.input_rows.start)
            lows[at] = lowest.get(step.turn, 0)
    found, until = {}, {}
    for at, low in reversed(lows.items()):
        step = order.steps[at]
        turn = resident.turn_of(step.turn)
        begin = max(until.get(turn, 0), low)
        if begin < step.input_rows.stop:
            found[at] = range(begin, step.input_rows.stop)
            until[turn] = step.input_rows.stop
    return found


class Arrivals:
    """What a group brings to the chip: loads from storage, and gathers with the pixels that they take."""

    def __init__(self, group: Group, stages: Stages, geometry: Geometry, layout: Layout, jobs: Jobs, memory: Memory,
                 stored: StoredRows):
        self.stages, self.geometry, self.layout = stages, geometry, layout
        self.order, self.jobs, self.memory, self.stored = group.order, jobs, memory, stored
        self.rows: dict[Brought, dict[int, range]] = {}
        self.gathers: dict[int, list[tuple[range, GatherConfig]]] = {}
        self.gathered: set[Job] = set()                 # the last gather
        for resident in group.places:
            if isinstance(resident, Brought):
                self.rows[resident] = _arriving(group.order, resident)
            if isinstance(resident, Gathered):
                self.gathers = self._gathers(resident)

    def bring(self, at: int, resident: Brought, words: range) -> None:
        """Words of the pixels of a source, of its rows up to the last one that step number `at` reads."""
        rows = self.rows[resident].get(at)
        if rows is None:
            return
        if isinstance(resident, Gathered):
            for part, config in self.gathers[at]:
                self._gather(resident, part, config)
        else:
            self._load(resident, words, rows, self.order.steps[at].stage)

    def _gathers(self, resident: Gathered) -> dict[int, list[tuple[range, GatherConfig]]]:
        """The gather's commands for each step: rows of no more pixels in a command than the FIFO before it holds."""
        conv, image, buffer = self.stages.image, self.stages.input, resident.buffer
        zero_point = next(stage.work.zero_point for stage in self.order.stages if buffer in stage.inputs)
        most = max(1, PIXELS // image.width // conv.window.stride[0])
        found = defaultdict(list)
        rows = self.rows[resident]
        for _, steps in groupby(rows, key=lambda at: resident.turn_of(self.order.steps[at].turn)):
            parts = [(at, part) for at in steps for part in pieces(rows[at], most)]
            configs = gather.bands(
                self.geometry, shape=(conv.weight.shape[1], image.height, image.width), kernel=conv.window.kernel[0],
                stride=conv.window.stride[0], padding=conv.window.padding[:2], rows=[len(part) for _, part in parts],
                columns=buffer.width, zero_point=zero_point, base=resident.base, ring_rows=resident.rows)
            for (at, part), config in zip(parts, configs, strict=True):
                found[at].append((part, config))
        return found

    def _gather(self, resident: Gathered, rows: range, config: GatherConfig) -> None:
        image = self.stages.input
        row_words = -(-image.width * config.channels // 2)
        loads = [self.jobs.add(Opcode.LOAD_PIXELS, PixelTransfer(
            storage=self.layout.input + part.start * row_words, storage_step=row_words, width=image.width,
            channels=config.channels, rows=len(part)), set())
            for part in pieces(range(config.next_row, config.next_row + config.image_rows), max(1, PIXELS // image.width))]
        after = self.memory.writes("gather", resident.addresses(resident.words, rows))
        # What the FIFO has no room for waits until the gather takes pixels, and so does every load behind it: it must not come
        # before the gather can begin, which may wait for a command that such a load is for.
        for load in loads if image.width > PIXELS else loads[1:]:
            load.after |= after | self.gathered
        self.gathered = {self.jobs.add(Opcode.GATHER, config, after)}

    def _load(self, resident: Brought, words: range, rows: range, stage: Stage) -> None:
        buffer, stored = resident.buffer, resident.buffer.stored
        for transfer, part in resident.transfers(words, rows, self.layout.buffers[stored], self.geometry.input_lanes):
            after = self.memory.writes("load", resident.addresses(words, part))
            for row in part:
                after |= self.stored.get(stored, {}).get(row * buffer.step[0], set())
            self.jobs.add(Opcode.LOAD_ACTIVATIONS, transfer, after, stage=stage)


class Departures:
    """What a group stores."""

    def __init__(self, group: Group, geometry: Geometry, layout: Layout, jobs: Jobs, memory: Memory, stored: StoredRows):
        self.geometry, self.layout, self.jobs, self.memory, self.stored = geometry, layout, jobs, memory, stored
        self.stages = group.stages
        self.complete: dict[Buffer, dict[Stage, int]] = {}          # rows that each stage has written
        self.until: dict[tuple[Buffer, range, int], int] = {}       # rows stored, of words of the pixels in a turn

    def store(self, step: Step, resident: Stored) -> None:
        """Rows of a step's target that are now complete, as far as this group writes them."""
        buffer, words = resident.buffer, resident.leaving(step.output_words)
        key = buffer, words, step.turn
        rows = range(self.until.get(key, 0), self._complete(step, resident, words))
        if not len(rows):
            return
        for transfer, part in resident.transfers(words, rows, self.layout.buffers[buffer], self.geometry.input_lanes):
            after = self.memory.reads("store", resident.addresses(words, part))
            job = self.jobs.add(Opcode.STORE, transfer, after, stage=step.stage)
            for row in part:
                self.stored.setdefault(buffer, {}).setdefault(row, set()).add(job)
        self.until[key] = rows.stop

    def _complete(self, step: Step, resident: Stored, words: range) -> int:
        if resident.by_chunk:
            return step.complete if step.output_words.stop == words.stop else 0
        complete = self.complete.setdefault(resident.buffer, {stage: 0 for stage in self.stages
                                                              if stage.target.buffer is resident.buffer})
        if step.blocks.stop == step.stage.work.blocks:
            complete[step.stage] = step.complete
        return min(complete.values())
