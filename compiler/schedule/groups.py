"""A group: consecutive stages that run together, what is on the chip meanwhile, and about how long it takes."""
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from arch.geometry import Geometry
from compiler import costs
from compiler.residency import Gathered, Residency, Traffic
from compiler.schedule.orders import Order, Way
from compiler.schedule.plan import Residents
from compiler.schedule.steps import Step, gather_row_cycles, visible_after, weight_words
from compiler.stages import Buffer, Origin, Stage, Stages

__all__ = ["Estimate", "Group"]


@dataclass(frozen=True, eq=False)
class Group:
    """Stages first..last - 1 and their steps in order, what of each buffer is on the chip meanwhile, and which buffers are `kept`
    for groups behind it.

    `apart`: what is written of buffers of which other words are read that come from storage.
    """

    first: int
    last: int
    order: Order
    residents: dict[Buffer, Residency]
    kept: tuple[Buffer, ...]
    cycles: float                       # estimated
    apart: dict[Buffer, Residency] = field(default_factory=dict)

    @property
    def stages(self) -> Sequence[Stage]:
        return self.order.stages

    @property
    def places(self) -> list[Residency]:
        """All that is on the chip."""
        return [*self.residents.values(), *self.apart.values()]

    def target_of(self, stage: Stage) -> Residency:
        """Where a stage writes."""
        buffer = stage.target.buffer
        return self.apart.get(buffer) or self.residents[buffer]


class Estimate:
    """About how many cycles a group takes, to compare it with others.

    If `as_image_comes`, no row of the gather's windows is there before it can have been made.
    """

    def __init__(self, stages: Stages, geometry: Geometry, *, as_image_comes: bool = False):
        self.stages, self.geometry, self.as_image_comes = stages, geometry, as_image_comes
        self._compute: dict[Order, int] = {}
        self._cycles: dict[tuple[Residents, bool], tuple[float, int]] = {}

    def cycles(self, order: Order, residents: Residents, spill_cycles: float, *, waits: bool) -> float:
        """Cycles of a group of these steps, and so many for each word of a spilled buffer that is moved; `waits` if bringing
        and storing cannot go on beside those that may have to wait for room."""
        key = residents, waits
        if key not in self._cycles:
            self._cycles[key] = self._moving(order, residents, waits)
        cycles, spilled = self._cycles[key]
        return cycles + spilled * spill_cycles

    def _moving(self, order: Order, residents: Residents, waits: bool) -> tuple[float, int]:
        """Cycles, and words of spilled buffers."""
        places = residents.places
        traffic = [self._constants(order), *(resident.traffic(self.geometry.input_lanes) for resident in places)]
        words, spilled, runs = (sum(getattr(one, name) for one in traffic) for name in ("words", "spilled", "runs"))
        compute, moved = self.compute(order), words / costs.GROUP_LOAD_SHARE + runs * costs.GROUP_RUN_CYCLES
        cycles = max(compute, moved, self._gather(places)) + costs.GROUP_CYCLES + self._held(order)
        if waits and residents.waits:
            cycles += min(compute, moved, self._waiting(order, places))
        return cycles, spilled

    def compute(self, order: Order) -> int:
        """Cycles of the array, with what is waited for because one step reads what another writes, or its weights come late."""
        if order not in self._compute:
            latency, now = visible_after(self.geometry), 0
            gathered = [buffer for buffer in order.buffers if self.as_image_comes and buffer.origin is Origin.GATHER]
            complete: dict[Stage, tuple[list[int], list[int]]] = {stage: ([], []) for stage in order.stages}
            makers = {stage: [times for other, times in complete.items() if stage.reads_of(other)]
                      for stage in order.stages}
            stream = _Stream(order, self.geometry)
            for step in order.steps:
                need = step.input_rows.stop
                for windows in step.stage.inputs.intersection(gathered):
                    now = max(now, need * self._row(windows))
                for stops, times in makers[step.stage]:
                    at = bisect_left(stops, need)
                    if at < len(times):
                        now = max(now, times[at])
                now = max(now, stream.there(step)) + step.cycles
                stream.through(now)
                stops, times = complete[step.stage]
                stops.append(step.output_rows.stop if not step.turn else stops[-1])
                times.append(now + latency)
            self._compute[order] = now
        return self._compute[order]

    def _waiting(self, order: Order, residents: Iterable[Residency]) -> int:
        """Cycles of the steps beside which there is no room for what comes next of their sources, or has to leave."""
        waiting = {resident.buffer for resident in residents if resident.waits}
        return sum(step.cycles for step in order.steps
                   if step.stage.target.buffer in waiting or waiting & step.stage.inputs)

    def _held(self, order: Order) -> float:
        """Cycles lost because weights that stay to a group's end leave no room for those of the next."""
        held = sum(map(weight_words, order.pinned))
        return max(0, held - self.geometry.weight_words / 2) * self.geometry.input_lanes / 2

    def _constants(self, order: Order) -> Traffic:
        """Weights and parameters: once, or for each band of a stage whose weights do not stay."""
        words = 0
        for stage in order.stages:
            once = order.way is Way.CHUNKS and len(stage.work.portions) == 1 or stage in order.pinned
            times = 1 if once else order.bands_of(stage)
            words += times * stage.work.blocks * (stage.work.block_words * self.geometry.input_lanes + 6 * self.geometry.pairs)
        return Traffic(words=words)

    def _gather(self, residents: Iterable[Residency]) -> float:
        """Cycles of the gather."""
        return sum(resident.turns * resident.buffer.height * self._row(resident.buffer)
                   for resident in residents if isinstance(resident, Gathered))

    def _row(self, windows: Buffer) -> float:
        """Cycles in which the gather makes a row of windows."""
        conv = self.stages.image
        taps = conv.window.kernel[1] * conv.weight.shape[1]
        return gather_row_cycles(self.geometry, columns=windows.width, kernel=conv.window.kernel[0], tap_bytes=taps)


class _Stream:
    """Weights that do not stay come one after the other, each as soon as there is room behind those in use."""

    def __init__(self, order: Order, geometry: Geometry):
        self.order, self.by_chunk, self.word_cycles = order, order.by_chunk, geometry.input_lanes / costs.GROUP_LOAD_SHARE
        self.room = geometry.weight_words - sum(map(weight_words, order.pinned))
        self.words, self.ends, self.taken, self.at = 0, [0], [0.0], 0   # of each, words up to its end, and when it was used
        self.last: tuple[Stage, range] | int | None = None
        # What has room came while the group before was computed.
        self.now = -self.room * self.word_cycles

    def there(self, step: Step) -> float:
        """When the weights of the next step are there; chunk by chunk those of all stages."""
        if step.stage in self.order.pinned:
            self.last = None
            return 0.0
        key = step.turn if self.by_chunk else (step.stage, step.weights)
        if key == self.last:
            return 0.0
        self.last, size = key, len(step.weights)
        if self.by_chunk:
            size = sum(len(step.blocks) * stage.work.block_words for stage in self.order.stages)
        self.words += size
        while self.at + 1 < len(self.taken) and self.words - self.ends[self.at] > self.room:
            self.at += 1
        # Some of them have room before the last one that they wait for is used.
        early = max(0, min(size, self.room - (self.words - size - self.ends[self.at - 1]))) if self.at else size
        self.now = max(self.now + early * self.word_cycles, self.taken[self.at] if self.at else self.now)
        self.now += (size - early) * self.word_cycles + costs.GROUP_RUN_CYCLES
        self.ends.append(self.words)
        return self.now

    def through(self, now: float) -> None:
        """The step is through at this time."""
        if len(self.taken) < len(self.ends):
            self.taken.append(now)
        elif self.taken and self.last is not None:
            self.taken[-1] = now
