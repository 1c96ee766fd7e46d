"""Which weights are compressed: all that become shorter, but for those that a frame would wait for.

What a frame takes either way, `golden.cycles` says to the cycle: with the SDRAM that the program is for, or else with block RAM.
Where it takes longer with compressed weights, those of the stages stay plain whose commands came later, until it does not.
"""
from collections.abc import Callable, Collection, Sequence

import numpy as np

from arch.geometry import Geometry
from arch.instruction import Opcode, encode
from arch.sdram import Timing
from compiler import costs
from compiler.coding.loads import coded_loads, pieces_of
from compiler.coding.shares import Share, shares
from compiler.jobs.emission import Emission, Frame
from compiler.jobs.timing import timeline
from compiler.schedule.groups import Group
from compiler.stages import Stage, Stages
from compiler.storage import Layout, constants
from golden.cycles import machine

__all__ = ["compressed"]

START = 1000            # cycles from the end of the storage's start to that of the program: any will do, but for a refresh


def compressed(frames: Sequence[Frame], stages: Stages, groups: Sequence[Group], geometry: Geometry, layout: Layout, room: int,
               timing: Timing | None) -> Emission:
    """As `Emission.of`, with those weights compressed that frames do not become slower for, or all if plain ones have no room."""
    first, *others = frames
    pieces = pieces_of(geometry, first.jobs, layout.weights)
    loaded = (pieces[job] for job in sorted(pieces, key=lambda job: first.spans[job].start))
    found = shares(loaded, geometry.decoder_lanes)

    def attempt(plain: Collection[Stage], like: Layout | None = None) -> Emission:
        jobs, coded = coded_loads(geometry, first.jobs, pieces, _shorter(found, plain))
        return Emission.of([Frame(jobs, timeline(geometry, jobs)), *(frame.copy() for frame in others)], stages, groups, geometry,
                           layout, room, coded, like)
    return _chosen(attempt, stages.stages, lambda one: _times(one, stages, geometry, timing, room))


def _shorter(found: Sequence[Share], plain: Collection[Stage]) -> list[Share]:
    """What is compressed if some stages are not to be."""
    return [share for share in (share.but(plain) for share in found) if share.shorter]


def _chosen(attempt: Callable[..., Emission], stages: Collection[Stage],
            times: Callable[[Emission], tuple[int, np.ndarray]]) -> Emission:
    """The first attempt that takes no longer than with plain weights; that with these if none does, or fits."""
    usual, plain = attempt(stages), set()
    limit, through = 0, None
    for _ in range(costs.CODED_TRIES):
        found = attempt(plain, usual.layout)
        if not found.layout.coded or not found.codes:
            break
        if not usual.codes or found.cycles < (1 - costs.CODED_GAIN) * usual.cycles:
            return found
        if through is None:
            limit, through = times(usual)
        cycles, later = times(found)
        if cycles <= limit:
            return found
        slower = _slower(found, later - through)
        if not slower:
            break
        plain |= slower
    return usual


def _slower(found: Emission, late: np.ndarray) -> set[Stage]:
    """The stages with compressed weights for which commands lose most, by how late each command is: their own one's, or else that
    of the last load before them, behind whose token those of further loads come."""
    lost = dict(zip(found.jobs.computes, np.diff(late, prepend=0).tolist(), strict=True))
    stages: dict[Stage, int] = {}
    last = None
    for job in found.order:
        if job.opcode is Opcode.LOAD_CODED:
            last = job.stage
        elif lost.get(job, 0) > 0 and (stage := job.stage if job.stage in found.layout.coded else last):
            stages[stage] = stages.get(stage, 0) + lost[job]
    return {stage for stage, cycles in stages.items() if 2 * cycles >= max(stages.values())}


def _times(found: Emission, stages: Stages, geometry: Geometry, timing: Timing | None, room: int) -> tuple[int, np.ndarray]:
    """Cycles of a frame, and in which each of its compute commands is through."""
    words = {address: [word for one in code for word in encode(one)] for address, code in found.codes.items()}
    address, code = next(iter(found.codes.items()))
    line = machine.run(code, geometry, machine.storage_of(timing, room), address=address,
                       start=START + (timing.ready if timing else 0), contents=constants(found.layout, stages, words))
    return line.cycles, line.done["compute"]
