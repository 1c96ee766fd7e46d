"""The groups as jobs: every instruction in an order in which one after the other would be right, and what must be through before
(`compiler.jobs.job`)."""
from collections.abc import Mapping, Sequence

from arch.geometry import Geometry
from arch.instruction import Opcode
from compiler.commands import command
from compiler.jobs.constants import Constants, Functions, Tables, Weights, filters
from compiler.jobs.job import Jobs, Memory
from compiler.jobs.rows import Arrivals, Departures, StoredRows
from compiler.residency import Brought, Residency, Stored
from compiler.schedule.groups import Group
from compiler.schedule.orders import Way
from compiler.schedule.steps import Step
from compiler.stages import Buffer, Stage, Stages
from compiler.storage import Layout

__all__ = ["make_jobs"]


def make_jobs(stages: Stages, groups: Sequence[Group], geometry: Geometry, layout: Layout) -> Jobs:
    """The jobs of groups that are placed."""
    maker = _Maker(stages, geometry, layout)
    for number, group in enumerate(groups):
        maker.add(number, group)
    return maker.jobs


class _Maker:
    def __init__(self, stages: Stages, geometry: Geometry, layout: Layout):
        self.stages, self.geometry, self.layout, self.jobs = stages, geometry, layout, Jobs()
        self.activations = Memory(geometry.activation_words, self.jobs)
        self.weights = Weights(geometry, self.jobs, layout.weights)
        self.parameters = Constants(Opcode.LOAD_PARAMETERS, geometry, geometry.parameter_words, self.jobs, layout.parameters,
                                    lambda stage: geometry.pairs)
        self.tables = Tables(geometry, self.jobs, layout.tables)
        self.functions = Functions(geometry, self.jobs, layout.functions)
        self.filters = filters(geometry, self.jobs, layout.filters)
        self.stored: StoredRows = {}

    def add(self, number: int, group: Group) -> None:
        """The jobs of a group."""
        self.jobs.group = number
        self.weights.begin(group.order.pinned)
        for part in (self.parameters, *self.filters):
            part.begin(group.order.settled)
        self.arrivals = Arrivals(group, self.stages, self.geometry, self.layout, self.jobs, self.activations, self.stored)
        self.departures = Departures(group, self.geometry, self.layout, self.jobs, self.activations, self.stored)
        pool_bases, copied, copies = self._pool_bases(group), None, -1
        for at, step in enumerate(group.order.steps):
            target = group.target_of(step.stage)
            written = target.together(step.output_words), step.output_rows
            if written != copied:
                copied, copies = written, copies + 1
            pool_base = pool_bases[step.stage]
            if group.order.way is not Way.CHUNKS:       # whose chunks use the same places one after the other
                pool_base += step.stage.work.places * step.blocks.start
            self._step(at, step, group.residents, target.copy(copies), pool_base)

    @staticmethod
    def _pool_bases(group: Group) -> dict[Stage, int]:
        """First place of each stage in the pool's line memory."""
        bases, at = {}, 0
        for stage in group.stages:
            bases[stage] = at if stage.work.places else 0
            at += stage.work.places * (max(len(step.blocks) for step in group.order.steps) if group.order.by_chunk
                                       else stage.work.blocks)
        return bases

    def _step(self, at: int, step: Step, residents: Mapping[Buffer, Residency], target: Residency, pool_base: int) -> None:
        stage = step.stage
        constants = self.weights, self.parameters, self.tables, self.functions, *self.filters
        begins = [part.bring(step) for part in constants]
        sources = [(residents[source.buffer], stage.source_words(source, step.blocks)) for source in step.sources]
        for resident, words in sources:
            if isinstance(resident, Brought):
                self.arrivals.bring(at, resident, resident.together(words))
        lanes = self.geometry.input_lanes
        maps = [resident.map_of(words, lanes) for resident, words in sources]
        first = stage.target.words.start - target.together(step.output_words).start
        body = command(
            stage.work, sources=maps, target=target.map_of(step.output_words, lanes), band=step.band, blocks=step.blocks,
            pool_base=pool_base, running=step.running, portion=step.portion,
            **dict(zip(("weights", "parameters", "table", "lrn", "filters"), begins, strict=False)),
            place=first * self.geometry.blocks_per_word + step.blocks.start)
        after = set()
        for resident, words in sources:
            after |= self.activations.reads("compute", resident.addresses(words, step.input_rows))
        after |= self.activations.writes("compute", target.addresses(step.output_words, step.output_rows))
        if len(step.output_rows):
            for memory in (self.activations, *(part.memory for part in constants)):
                memory.settle()
        for resident, words in sources:
            self.activations.keep(resident.addresses(words, step.late_rows))
        for part, word in zip(constants, begins, strict=True):
            after |= part.read(step, word)
        self.jobs.add(Opcode.COMPUTE, body, after, step=step, stage=stage)
        if isinstance(target, Stored):
            self.departures.store(step, target)
