"""Which stages run together, in bands of how many rows, and which buffers leave the chip: the cheapest way that fits.

A buffer that one group writes and another reads is either whole in activation memory or *spilled*: stored by rows and loaded
again, by rows, by whoever reads it. The input of a network without gather and its output are in storage anyway. All ways to cut
the stages into groups are compared by dynamic programming over the cuts, by their estimated cycles. The work grows with the
number of stages, times that of the stages of a group at most.
"""
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
import math

from arch.geometry import Geometry
from compiler import costs
from compiler.residency import OnChip, Stored
from compiler.schedule.groups import Estimate, Group
from compiler.schedule.orders import Order, Way, alike, alone, chunk_by_chunk, fewest_places, interleaved
from compiler.schedule.plan import Residencies, Room
from compiler.schedule.refusals import beside, too_little_memory
from compiler.schedule.steps import Cuts, band_rows, weight_words
from compiler.stages import Buffer, NetworkError, Stage, Stages

__all__ = ["Scheduler"]


@dataclass(frozen=True, eq=False)
class _Node:
    """The best way to run all stages before a cut with the buffers `whole` on the chip: by `group` behind another node."""

    cycles: float = 0
    whole: frozenset[Buffer] = field(default_factory=frozenset)
    group: Group | None = None
    before: "_Node | None" = None

    def groups(self) -> list[Group]:
        """All groups up to here."""
        node, found = self, []
        while node.group:
            found.append(node.group)
            node = node.before
        return found[::-1]


class Scheduler:
    """Finds schedules of stages for an engine; what has been found out of orders of steps is used again for each.

    `as_image_comes`: estimates that count when the gather has made each row, and so rather compute something else meanwhile.
    """

    def __init__(self, stages: Stages, geometry: Geometry, *, as_image_comes: bool = False):
        self.all, self.stages, self.geometry, self.capacity = stages, stages.stages, geometry, geometry.activation_words
        self.cuts, self.residencies = Cuts(), Residencies(stages, geometry)
        self.estimate = Estimate(stages, geometry, as_image_comes=as_image_comes)
        self.lifetimes = self.residencies.lifetimes
        self.orders: dict[tuple[int, int], list[Order]] = {}

    def schedules(self, capacity: int) -> Iterator[list[Group]]:
        """The groups in order, in the ways that are the cheapest for each of `costs.SPILL_CYCLES`, none of them twice; the first
        alone if nothing is spilled then.

        `capacity`: activation words to use at most; the most should be asked for first. Raises NetworkError where nothing fits.
        """
        self.capacity, seen = capacity, set()
        for spill_cycles in costs.SPILL_CYCLES:
            groups = self._run(spill_cycles)
            key = tuple((group.order, group.kept, tuple(resident.size for resident in group.places)) for group in groups)
            if key not in seen:
                seen.add(key)
                yield groups
            if not any(isinstance(place, Stored) and place.buffer is not self.all.output
                       for group in groups for place in group.places):
                return

    def _run(self, spill_cycles: float) -> list[Group]:
        """The cheapest groups if each word of a spilled buffer that is moved costs so many cycles."""
        count = len(self.stages)
        nodes: list[dict[frozenset[Buffer], _Node]] = [{} for _ in range(count + 1)]
        nodes[0][frozenset()] = _Node()
        most = costs.WHOLE_STAGES if count <= costs.WHOLE_STAGES else costs.GROUP_STAGES
        longest = min(most, max(1, costs.GROUPS_TRIED // count))
        reached = 0
        for first in range(count):
            if not nodes[first]:
                continue
            reached = first
            for last in range(first + 1, min(count, first + longest) + 1):
                orders = self._orders(first, last)
                if not orders and last > first + 1 and self._too_big(first, last):
                    break
                for node in nodes[first].values():
                    for group in self._groups(orders, first, last, node, nodes[last], spill_cycles):
                        kept = frozenset(group.kept)
                        nodes[last][kept] = _Node(node.cycles + group.cycles, kept, group, node)
        if not nodes[count]:
            held = min(sum(buffer.words for buffer in whole) for whole in nodes[reached])
            raise NetworkError(too_little_memory(self.all, self.residencies, self.capacity)
                               or [beside(self.all, self.residencies, self.capacity, reached, held)])
        return min(nodes[count].values(), key=lambda node: node.cycles).groups()

    # Orders

    def _too_big(self, first: int, last: int) -> bool:
        part, geometry = self.stages[first:last], self.geometry
        return (sum(map(weight_words, part)) > costs.STREAMED_WEIGHTS * geometry.weight_words
                or sum(stage.work.blocks * stage.work.places for stage in part) > fewest_places(part))

    def _orders(self, first: int, last: int) -> list[Order]:
        if (first, last) not in self.orders:
            part = self.stages[first:last]
            self.orders[first, last] = list(self._tried(first, last, part))
            if any(stage.sampled for stage in part):
                self.orders[first, last] += self._tried(first, last, [stage.sampled or stage for stage in part])
        return self.orders[first, last]

    def _tried(self, first: int, last: int, part: Sequence[Stage]) -> Iterator[Order]:
        if last == first + 1:
            yield from alone(self.geometry, part[0])
            return
        if alike(part):
            for counts in dict.fromkeys(self._counts(part, frozenset())):
                yield from chunk_by_chunk(self.geometry, part, self.cuts, counts)
        if self._too_big(first, last) or any(s.work.average and s.work.size[0] * s.work.size[1] > self.geometry.band_pixels
                                             for s in part):
            return
        inside = {stage.target.buffer for stage in part} & frozenset().union(*(stage.inputs for stage in part))
        tried, cut = set(), set()
        # Pixel by pixel, little is lost in single rows, and what is read need not be there beside all that is made of it.
        for single in dict.fromkeys([frozenset(), frozenset(stage for stage in part if stage.work.pointwise)]):
            for counts in self._counts(part, single):
                if counts in cut:
                    continue
                cut.add(counts)
                order = None
                for order in interleaved(self.geometry, part, self.cuts, counts):
                    key = order.pinned, tuple((id(step.stage), step.band.rows) for step in order.steps)
                    if key not in tried:
                        tried.add(key)
                        yield order
                if order and sum(order.rings.written(buffer) * buffer.row_words for buffer in inside) > self.capacity:
                    break

    def _counts(self, part: Sequence[Stage], single: frozenset[Stage]) -> Iterator[tuple[int, ...]]:
        """Rows of each stage's convolution in a band, more and more of them; one for those in `single`."""
        height = part[-1].target.buffer.height
        for rows in sorted({min(height, r) for r in costs.BAND_ROWS}):
            yield tuple(1 if stage in single else band_rows(self.geometry, stage, rows / height) for stage in part)

    # Groups

    def _groups(self, orders: Iterable[Order], first: int, last: int, node: _Node,
                found: Mapping[frozenset[Buffer], _Node], spill_cycles: float) -> Iterator[Group]:
        """Groups behind a node with what they keep, each better than what was `found`."""
        part = self.stages[first:last]
        targets, touched = dict.fromkeys(s.target.buffer for s in part), frozenset().union(*(s.inputs for s in part))
        fresh = [buffer for buffer in targets
                 if self.lifetimes.begins(buffer) >= first and self.lifetimes.needed(buffer, last)]
        passing = sorted((buffer for buffer in node.whole if buffer not in targets and buffer not in touched),
                         key=self.lifetimes.begins)
        choices = product((True, False), repeat=len(fresh)) if len(fresh) <= 2 else [(True,) * len(fresh), (False,) * len(fresh)]
        for keep in choices:
            whole = node.whole | {buffer for buffer, yes in zip(fresh, keep, strict=True) if yes}
            kept = frozenset(buffer for buffer in whole if self.lifetimes.needed(buffer, last))
            free = self.capacity - sum(buffer.words for buffer in passing)
            for order in orders:
                if not order.sampled.isdisjoint(whole) or not order.sampled.isdisjoint(targets):
                    continue
                best = found[kept].cycles if kept in found else math.inf
                if node.cycles + order.cycles + costs.GROUP_CYCLES >= best:
                    continue
                there = whole.intersection(order.buffers)
                for room in Room:
                    residents = self.residencies.together(order, first, there, room)
                    if residents is None or residents.size > free:
                        continue
                    if node.cycles + self.estimate.compute(order) + costs.GROUP_CYCLES >= best:
                        break
                    residents = residents.wider(free - residents.size)
                    cycles = self.estimate.cycles(order, residents, spill_cycles, waits=room is Room.LEAST)
                    if node.cycles + cycles < best:
                        best = node.cycles + cycles
                        on_chip = residents.found | {buffer: OnChip.all_of(buffer) for buffer in passing}
                        yield Group(first, last, order, on_chip, tuple(kept), cycles, residents.apart)
                    if order.way is not Way.RELOAD and not order.by_chunk:
                        break
