"""Jobs in the order of the program, each with the fewest tokens to wait for."""
from collections.abc import Sequence
from dataclasses import dataclass

from arch.geometry import Geometry
from arch.instruction import END, QUEUES, Instruction, Opcode, Start, Waits
from compiler.groups import step_cycles, visible_after
from compiler.jobs import Job, Jobs

__all__ = ["emit", "times"]

AHEAD = {Opcode.LOAD_WEIGHTS: 60_000, Opcode.LOAD_PARAMETERS: 60_000, Opcode.LOAD_ACTIVATIONS: 20_000, Opcode.LOAD_PIXELS: 20_000,
         Opcode.GATHER: 20_000}     # cycles before its use in which something is brought at the earliest
MOST_AHEAD = {"load": 64, "gather": 24}     # instructions that wait in a queue, so that the sequencer never waits for room in it


@dataclass(frozen=True)
class _Time:
    start: int
    end: int        # of the array's work; what follows may begin then


def times(geometry: Geometry, jobs: Jobs) -> dict[Job, _Time]:
    """When each compute job runs, about, if nothing but compute commands is waited for."""
    result: dict[Job, _Time] = {}
    now, latency = 0, visible_after(geometry)
    for job in jobs.computes:
        for other in job.after:
            if other in result:
                now = max(now, result[other].end + latency)
        start, now = now, now + step_cycles(geometry, job.step)
        result[job] = _Time(start, now)
    return result


def _ordered(geometry: Geometry, jobs: Jobs) -> list[Job]:
    """All jobs in the program's order."""
    when, number = times(geometry, jobs), {job: n for n, job in enumerate(jobs.jobs)}
    key: dict[Job, int] = {}
    latest: dict[tuple, int] = {}
    for job in jobs.jobs:
        if job.opcode is Opcode.COMPUTE:
            key[job] = when[job].start
            continue
        free = max((when[other].end if other.opcode is Opcode.COMPUTE else key[other] for other in job.after), default=0)
        if job.opcode is Opcode.STORE:
            key[job] = free
            continue
        # A job that comes for a compute command is there before it, and behind those of its kind that came before.
        need = when[jobs.computes[job.need]].start
        kind = "rows" if job.opcode in (Opcode.LOAD_PIXELS, Opcode.GATHER, Opcode.LOAD_ACTIVATIONS) else job.opcode
        key[job] = min(max(free, need - AHEAD[job.opcode], latest.get(kind, 0)), need)
        latest[kind] = key[job]
    # Pixels come with the command that takes them.
    for job, following in zip(jobs.jobs[::-1][1:], jobs.jobs[::-1], strict=False):
        if job.opcode is Opcode.LOAD_PIXELS:
            key[job] = key[following]
    rest = sorted((job for job in jobs.jobs if job.opcode is not Opcode.COMPUTE), key=lambda job: (key[job], number[job]))
    order: list[Job] = []
    at, ahead = 0, {queue: [] for queue in MOST_AHEAD}
    for place, compute in enumerate(jobs.computes):
        urgent = max((n for n in range(at, len(rest)) if rest[n].need <= place and rest[n].opcode is not Opcode.STORE),
                     default=-1) if any(len(waiting) >= MOST_AHEAD[queue] for queue, waiting in ahead.items()) else -1
        for waiting in ahead.values():
            waiting[:] = [need for need in waiting if need >= place]
        while at < len(rest) and (key[rest[at]] <= key[compute] or at <= urgent):
            job = rest[at]
            if job.queue in ahead and at > urgent:
                if len(ahead[job.queue]) >= MOST_AHEAD[job.queue] and not any(
                        other.need <= place for other in rest[at:at + 400]):
                    break
                ahead[job.queue].append(job.need)
            order.append(job)
            at += 1
        order.append(compute)
    return order + rest[at:]


def emit(geometry: Geometry, jobs: Jobs, store_base: int, store_words: int) -> list[Instruction]:
    """The program, START and END included."""
    order = _ordered(geometry, jobs)
    counts = dict.fromkeys(QUEUES, 0)
    known = {queue: dict.fromkeys(QUEUES, 0) for queue in QUEUES}
    instructions = [Instruction(opcode=Opcode.START, body=Start.of(geometry, store_base, store_words))]
    for job in order:
        counts[job.queue] += 1
        job.token = counts[job.queue]
        waits = dict.fromkeys(QUEUES, 0)
        for other in job.after:
            if not other.token:
                raise AssertionError(f"{job.opcode.name} must come after {other.opcode.name}")
            if other.queue != job.queue or job.queue in ("compute", "load"):
                waits[other.queue] = max(waits[other.queue], other.token)
        mine = known[job.queue]
        waits = {queue: tokens if tokens > mine[queue] else 0 for queue, tokens in waits.items()}
        for queue, tokens in waits.items():
            mine[queue] = max(mine[queue], tokens)
        instructions.append(Instruction(opcode=job.opcode, body=job.body, waits=Waits(**waits)))
    instructions.append(Instruction(opcode=Opcode.END, body=END))
    return instructions


def order_of(instructions: Sequence[Instruction]) -> dict[str, int]:
    """How many instructions each queue gets."""
    return {queue: sum(instruction.queue == queue for instruction in instructions) for queue in QUEUES}
