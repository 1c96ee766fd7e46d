"""Jobs in the order of the program, each with the fewest tokens to wait for."""
from collections.abc import Mapping

from arch.control import instruction_words
from arch.geometry import Geometry
from arch.instruction import END, QUEUES, Instruction, Opcode, Start, Waits
from compiler.jobs.job import Job, Jobs
from compiler.jobs.stores import Span

__all__ = ["arrange", "emit", "program_words"]


def arrange(jobs: Jobs, spans: Mapping[Job, Span]) -> dict[Job, Waits]:
    """The jobs in the order of the program, and what each waits for; `spans`: about when each runs."""
    number = {job: n for n, job in enumerate(jobs.jobs)}
    order = sorted(jobs.jobs, key=lambda job: (spans[job].start, number[job]))
    counts = dict.fromkeys(QUEUES, 0)
    known = {queue: dict.fromkeys(QUEUES, 0) for queue in QUEUES}
    arranged: dict[Job, Waits] = {}
    for job in order:
        counts[job.queue] += 1
        job.token = counts[job.queue]
        waits = dict.fromkeys(QUEUES, 0)
        for other in job.after | {spans[job].behind} - {None}:
            if not other.token:
                raise AssertionError(f"{job.opcode.name} must come after {other.opcode.name}")
            if other.queue != job.queue or job.queue in ("compute", "load"):
                waits[other.queue] = max(waits[other.queue], other.token)
        mine = known[job.queue]
        waits = {queue: tokens if tokens > mine[queue] else 0 for queue, tokens in waits.items()}
        for queue, tokens in waits.items():
            mine[queue] = max(mine[queue], tokens)
        arranged[job] = Waits(**waits)
    return arranged


def program_words(geometry: Geometry, arranged: Mapping[Job, Waits]) -> int:
    """Words of the program that `emit` makes of these jobs, whatever addresses are in it."""
    return (instruction_words(geometry, Opcode.START, Waits()) + instruction_words(geometry, Opcode.END, Waits())
            + sum(instruction_words(geometry, job.opcode, waits) for job, waits in arranged.items()))


def emit(geometry: Geometry, arranged: Mapping[Job, Waits], store_base: int, store_words: int) -> list[Instruction]:
    """The program, START and END included."""
    return [Instruction(opcode=Opcode.START, body=Start.of(geometry, store_base, store_words)),
            *(Instruction(opcode=job.opcode, body=job.body, waits=waits) for job, waits in arranged.items()),
            Instruction(opcode=Opcode.END, body=END)]
