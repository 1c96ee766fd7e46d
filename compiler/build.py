"""From a quantised network to a program."""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
import hashlib
from itertools import chain
import json
import math

from arch.geometry import Geometry
from arch.instruction import QUEUES, Instruction, Transfer, Waits, encode
from arch.program import Part, Program, Tensor
from arch.sdram import MOST_WORDS, Timing
from compiler import costs
from compiler.coding.choice import compressed
from compiler.jobs.emission import Emission, Frame
from compiler.jobs.job import Job, Jobs
from compiler.jobs.kept import without_constants
from compiler.jobs.make import make_jobs
from compiler.jobs.timing import timeline
from compiler.lowering.lower import lower
from compiler.schedule.groups import Group
from compiler.schedule.place import PlaceError, place
from compiler.schedule.plan import Residencies
from compiler.schedule.refusals import too_little_memory
from compiler.schedule.search import Scheduler
from compiler.stages import NetworkError, Stages
from compiler.storage import Layout, constants, lay_out
from nets.compress.size import weight_bytes
from nets.graph import Problem
from nets.int8.network import QNetwork
from nets.scores import classifies

__all__ = ["Compiled", "MOST_TOKENS", "compile_network"]

MOST_TOKENS = Waits.most("compute")
STORAGE_WORDS = Transfer.most("storage") + 1
MEGABYTE = 1 << 19      # in words of 16 bits
PROGRAM_ROOM = MEGABYTE // 2        # more than most programs take


@dataclass(frozen=True, eq=False)
class Compiled:
    """A program, and how it came about."""

    program: Program
    stages: Stages
    groups: list[Group]
    layout: Layout
    jobs: Jobs


@dataclass(frozen=True, eq=False)
class _Plan:
    """Groups as jobs in time, for a program of no words: of a frame, and of one behind it, if weights stay."""

    groups: list[Group]
    layout: Layout
    frames: list[Frame]

    @classmethod
    def of(cls, stages: Stages, groups: list[Group], geometry: Geometry, layout: Layout) -> "_Plan":
        jobs = make_jobs(stages, groups, geometry, layout)
        return cls(groups, layout, [Frame(each, timeline(geometry, each))
                                    for each in filter(None, (jobs, without_constants(geometry, jobs)))])

    @property
    def cycles(self) -> float:
        """About when all is through, of most frames."""
        return max(span.end for span in self.frames[-1].spans.values())


def compile_network(network: QNetwork, geometry: Geometry, *, storage_words: int = STORAGE_WORDS,
                    timing: Timing | None = None) -> Compiled:
    """The program of a network for an engine with so many words of storage, and perhaps with the `timing` of its SDRAM, for
    which is chosen what weights are compressed.

    Raises NetworkError with all that stands against it: of each layer, also behind one that is refused, and of both memories.
    """
    stages, room = lower(network, geometry), min(storage_words, STORAGE_WORDS)
    found, problems = _scheduled(network, stages, geometry)
    # How long the program is shows when all else about it is known; then what lies behind it is moved.
    unmoved = [lay_out(_as_scheduled(stages, groups), groups, geometry, 0) for groups in found or [[]]]
    codes = "decoder" in geometry.options           # then weights may be shorter
    fit = [(groups, layout) for groups, layout in zip(found, unmoved, strict=False) if layout.end <= room or codes]
    if not fit and (least := min(unmoved, key=lambda layout: layout.end)).end > room:
        problems.append(_too_little_storage(network, least, room, codes, PROGRAM_ROOM))
    if problems:
        raise NetworkError(problems)
    plan = _fastest(_Plan.of(stages, groups, geometry, layout) for groups, layout in fit)
    stages, groups = _as_scheduled(stages, plan.groups), plan.groups
    if codes:
        found = compressed(plan.frames, stages, groups, geometry, plan.layout, room, timing)
    else:
        found = Emission.of(plan.frames, stages, groups, geometry, plan.layout, room)
    if not found.codes:
        raise NetworkError([_too_little_storage(network, found.layout, room, codes)])
    return Compiled(_program(network, stages, geometry, found), stages, groups, found.layout, found.jobs)


def _program(network: QNetwork, stages: Stages, geometry: Geometry, found: Emission) -> Program:
    """The program of a frame, and perhaps that of a frame behind it."""
    layout, codes = found.layout, found.codes
    _check_tokens(network, next(iter(codes.values())))
    words = {start: [word for instruction in code for word in encode(instruction)] for start, code in codes.items()}
    storage = constants(layout, stages, words)
    programs = [Program(
        name=network.name, geometry=geometry, instructions=code, parts=tuple(map(_part, found.jobs.computes)), storage=storage,
        program=start, program_words=len(words[start]), store_base=layout.store_base,
        store_words=layout.end - layout.store_base, input=_input(network, stages, layout, geometry),
        output=_tensor(stages.output_name, network, stages.output, layout, geometry), meta=_meta(network, stages, layout))
        for start, code in codes.items()]
    return replace(programs[0], again=programs[1] if len(programs) > 1 else None)


def _check_tokens(network: QNetwork, instructions: Sequence[Instruction]) -> None:
    """Raises NetworkError if a queue has more commands than it can count."""
    for queue in QUEUES:
        count = sum(instruction.queue == queue for instruction in instructions)
        if count > MOST_TOKENS:
            raise NetworkError([Problem(network.name, "network", f"{queue} commands must be at most {MOST_TOKENS}, not {count}: "
                                                                 f"an engine with more lanes or memory needs fewer")])


def _fastest(plans: Iterator[_Plan]) -> _Plan:
    """The plan that is through first; of about equal ones the one before, which spills less."""
    best = next(plans)
    for plan in plans:
        if plan.cycles < (1 - costs.PLAN_GAIN) * best.cycles:
            best = plan
    return best


def _as_scheduled(stages: Stages, groups: Sequence[Group]) -> Stages:
    """The stages as groups have them, which may read only some pixels of their sources."""
    return replace(stages, stages=[stage for group in groups for stage in group.stages] or stages.stages)


def _too_little_storage(network: QNetwork, layout: Layout, room: int, codes: bool, spare: int = 0) -> Problem:
    """What to do is to find `spare` words more, for what is not yet known; or a chip that `codes`, if this one does not."""
    parts = ", ".join(f"{name} {2 * words:,}" for name, words in layout.sizes.items() if words)
    wanted = -(-(layout.end + spare) // MEGABYTE)
    more = f"; --storage-mb {wanted} goes on as if it had" if wanted * MEGABYTE <= MOST_WORDS else ""
    shorter = 2 * layout.sizes["weights"] - costs.CODED_BYTES * weight_bytes(network)
    if not codes and shorter >= 2 * (layout.end - room):
        more = f"; compressed, its weights are about {shorter:,.0f} bytes shorter, which may be enough (--units decoder){more}"
    return Problem(network.name, "network", f"storage must have at least {2 * layout.end:,} bytes, not {2 * room:,}: "
                                            f"{2 * (layout.end - room):,} are missing ({parts}){more}")


def _scheduled(network: QNetwork, stages: Stages, geometry: Geometry) -> tuple[list[list[Group]], list[Problem]]:
    """Schedules, placed; or what stands against them."""
    if stages.problems:
        return [], [*stages.problems, *too_little_memory(stages, Residencies(stages, geometry), geometry.activation_words)]
    found, problem = [], None
    as_image_comes = (False, True) if stages.image and len(stages.stages) <= costs.WHOLE_STAGES else (False,)
    schedulers = [Scheduler(stages, geometry, as_image_comes=one) for one in as_image_comes]
    for share in costs.MEMORY_SHARES:
        capacity = int(geometry.activation_words * share)
        try:
            for groups in chain.from_iterable(scheduler.schedules(capacity) for scheduler in schedulers):
                try:
                    found.append(place(groups, geometry))
                except PlaceError as error:
                    problem = problem or Problem(network.name, "network", str(error))
        except NetworkError as error:
            if problem is None:
                return [], list(error.problems)
            break               # with less memory than there is
        if found:
            return found, []
    return [], [problem]


def _part(job: Job) -> Part:
    step, stage = job.step, job.stage
    lanes, channels = stage.work.geometry.output_lanes, len(stage.work.conv.weight)
    return Part(layer=stage.layer, writes=stage.tensor, rows=step.band.rows, pooled=step.output_rows,
                channels=range(stage.channel + step.blocks.start * lanes,
                               stage.channel + min(step.blocks.stop * lanes, channels)))


def _input(network: QNetwork, stages: Stages, layout: Layout, geometry: Geometry) -> Tensor:
    name = network.input.name
    if stages.image is None:
        return _tensor(name, network, stages.input, layout, geometry)
    channels, height, width = network.tensors[name].shape
    return Tensor(name=name, address=layout.input, words=height * -(-width * channels // 2), shape=(channels, height, width),
                  layout="pixels")


def _tensor(name: str, network: QNetwork, buffer, layout: Layout, geometry: Geometry) -> Tensor:
    kind = network.tensors[name]
    channels = kind.shape[0]
    if kind.bits == 8 and (buffer.height, buffer.width) != kind.shape[1:]:         # it was flattened, or comes flat
        channels = math.prod(kind.shape) // (buffer.height * buffer.width)
    return Tensor(name=name, address=layout.buffers[buffer], words=buffer.words * geometry.input_lanes // 2,
                  shape=(channels, buffer.height, buffer.width), layout="map", pixel_words=buffer.pixel_words)


def digest(network: QNetwork) -> str:
    """SHA-256 of what a network computes."""
    found = hashlib.sha256(repr(network.offset).encode())
    for layer in network.layers:
        found.update(repr((layer.op, layer.name, layer.inputs, network.tensors[layer.name])).encode())
        for name, value in sorted(vars(layer).items()):
            if hasattr(value, "tobytes"):
                found.update(value.tobytes())
            elif hasattr(value, "multiplier"):
                found.update(value.multiplier.tobytes() + value.shift.tobytes()
                             + repr((value.zero_point, value.low, value.high, value.fraction)).encode())
            else:
                found.update(repr((name, value)).encode())
    return found.hexdigest()


def _meta(network: QNetwork, stages: Stages, layout: Layout) -> dict:
    output, given = network.tensors[stages.output_name], network.tensors[network.input.name]
    how = network.score_rule(stages.output_name) if output.bits == 16 else None
    return ({"first_class": network.first_class} if network.first_class else {}) | {
        "network": network.name, "digest": digest(network),
        "spec": json.loads(json.dumps(network.spec.to_json())), "labels": list(network.labels),
        "input": {"scale": given.scale, "zero_point": given.zero_point},
        "output": {"name": network.output, "tensor": stages.output_name, "shape": list(output.shape), "scale": output.scale,
                   "zero_point": output.zero_point, "offset": network.offset, "softmax": stages.softmax,
                   "endings": list(network.endings),
                   **({} if classifies(network) else {"numbers": list(network.tensors[network.output].shape)}),
                   "pairs": how and {"zero_point": how.zero_point, "low": how.low, "high": how.high}},
        "stages": [{"layer": stage.layer, "writes": stage.tensor, "channel": stage.channel} for stage in stages.stages],
        "storage": dict(layout.sizes),
    }
