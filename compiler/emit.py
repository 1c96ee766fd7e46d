"""Jobs in the order of the program, each with the fewest tokens to wait for."""
from collections.abc import Sequence

from arch.geometry import Geometry
from arch.instruction import END, QUEUES, Instruction, Opcode, Start, Waits
from compiler.jobs import Jobs
from compiler.timing import timeline

__all__ = ["emit", "order_of"]

def emit(geometry: Geometry, jobs: Jobs, store_base: int, store_words: int) -> list[Instruction]:
    """The program, START and END included."""
    spans, number = timeline(geometry, jobs), {job: n for n, job in enumerate(jobs.jobs)}
    order = sorted(jobs.jobs, key=lambda job: (spans[job].start, number[job]))
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
