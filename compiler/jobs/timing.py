"""About when every job runs: an estimate that decides in which order things are loaded. `golden.cycles` knows the exact cycle.

Compute commands follow each other as soon as what they wait for is there. The load queue always takes, of what may be loaded by
then, what is needed first. Nothing in here is needed for a program to be right, only for it to be fast.
"""
from collections import deque
from dataclasses import replace
from itertools import islice

from arch.geometry import Geometry
from arch.instruction import CodedTransfer, Opcode, PixelTransfer, Transfer, storage_words
from arch.unit.gather import GatherConfig
from compiler import costs
from compiler.jobs.job import Job, Jobs
from compiler.jobs.stores import Span, Stores
from compiler.schedule.steps import gather_row_cycles, visible_after

__all__ = ["gather_cycles", "timeline"]


def gather_cycles(geometry: Geometry, config: GatherConfig) -> float:
    """Cycles of a gather that waits for nothing."""
    return config.rows * gather_row_cycles(geometry, columns=config.columns, kernel=config.kernel, tap_bytes=config.tap_bytes)


def _transfer_cycles(geometry: Geometry, opcode: Opcode, body: CodedTransfer | PixelTransfer | Transfer) -> float:
    if isinstance(body, CodedTransfer):
        return costs.TRANSFER_CYCLES + body.words / costs.LOAD_SHARE
    if isinstance(body, PixelTransfer):
        return costs.TRANSFER_CYCLES + body.rows * body.row_words / costs.LOAD_SHARE
    words = body.runs * body.words * storage_words(geometry, opcode)
    return costs.TRANSFER_CYCLES + words / costs.LOAD_SHARE + (body.runs - 1) * costs.RUN_CYCLES


def timeline(geometry: Geometry, jobs: Jobs) -> dict[Job, Span]:
    """The span of every job, starts of a queue's jobs in the order in which the queue should have them."""
    return _Simulation(geometry, jobs).run()


class _Simulation:
    def __init__(self, geometry: Geometry, jobs: Jobs):
        self.geometry, self.computes = geometry, jobs.computes
        self.spans: dict[Job, Span] = {}
        self.latency = visible_after(geometry)
        self.number = {job: n for n, job in enumerate(jobs.jobs)}
        self.loads = [job for job in jobs.jobs if job.queue == "load"]
        self.gathers = [job for job in jobs.jobs if job.queue == "gather"]
        self.stores, self.unstored = Stores(jobs.jobs, self.spans), deque(job for job in jobs.jobs if job.queue == "store")
        self.pixels: dict[Job, list[Job]] = {}          # of each gather, what loads its rows
        self.taker: dict[Job, int] = {}                 # of a load of pixels, the number of the gather
        waiting: list[Job] = []
        for job in jobs.jobs:
            if job.opcode is Opcode.LOAD_PIXELS:
                waiting.append(job)
            elif job.opcode is Opcode.GATHER:
                self.taker |= dict.fromkeys(waiting, len(self.pixels))
                self.pixels[job], waiting = waiting, []
        self.free = {"load": 0.0, "gather": 0.0, "compute": 0.0}
        self.decoder, self.table = 0.0, None            # free again; what it has
        self.gathered = 0
        self.ahead: list[int] = []

    def run(self) -> dict[Job, Span]:
        for number, job in enumerate(self.computes):
            self._gather()
            while self._next_load(number):
                pass
            through = self._through(job)
            start = max(self.free["compute"], through + costs.ISSUE_CYCLES if through > self.free["compute"] else 0)
            end = start + job.step.cycles
            end += self.stores.lent(start, end)
            self.spans[job], self.free["compute"] = Span(start, end), end
            self._store()
        return self.spans

    def _through(self, job: Job) -> float | None:
        """When all that a job waits for is through; None if that is not known yet."""
        latest = 0.0
        for other in job.after:
            span = self.spans.get(other)
            if span is None:
                return None
            latest = max(latest, span.end + (self.latency if other.opcode is Opcode.COMPUTE else costs.TOKEN_CYCLES))
        return latest

    def _next_load(self, compute: int) -> bool:
        """Schedules one more load, if this compute command still waits for one."""
        if not self.loads or self.loads[0].need > compute:      # they are in the order of their needs
            return False
        self.ahead = [need for need in self.ahead if need > compute]
        now, best = self.free["load"], None
        for place, job in enumerate(islice(self.loads, costs.LOADS_TRIED)):
            if job.need > compute and len(self.ahead) >= costs.LOADS_AHEAD:
                break
            release = self._release(job)
            if release is None:
                continue
            if best is None or release < best[0]:
                best = max(release, now), place
            if release <= now:
                break
        start, place = best
        job = self.loads.pop(place)
        if job.need > compute:
            self.ahead.append(job.need)
        self._load(job, start)
        self._gather()
        return True

    def _load(self, job: Job, start: float) -> None:
        """Schedules a load, and before it that of its table, if the decoder has another one; tokens come in order."""
        cycles, decoding = _transfer_cycles(self.geometry, job.opcode, job.body), job.cycles
        if job.table and job.table is not self.table:
            self.table = job.table
            cycles += _transfer_cycles(self.geometry, job.table.opcode, job.table.body)
            decoding += job.table.cycles
        span = self.stores.load(job, start, cycles)
        self.free["load"] = span.end
        if job.table:
            self.decoder = max(span.end, max(self.decoder, span.start + costs.TRANSFER_CYCLES) + decoding)
            self.free["load"] = max(span.end, self.decoder - costs.STREAM_WORDS)
        self.spans[job] = replace(span, end=max(span.end, self.decoder))

    def _release(self, job: Job) -> float | None:
        through = self._through(job)
        if job.opcode is not Opcode.LOAD_PIXELS or through is None or not self.taker[job]:
            return through
        # Pixels find room when the gather before has taken half of its own.
        span = self.spans.get(self.gathers[self.taker[job] - 1])
        return None if span is None else max(through, (span.start + span.end) / 2)

    def _gather(self):
        """Schedules all gathers whose pixels are on their way."""
        while self.gathered < len(self.gathers):
            job = self.gathers[self.gathered]
            pixels, through = self.pixels[job], self._through(job)
            if through is None or any(load not in self.spans for load in pixels):
                return
            start = max(self.free["gather"], through, self.spans[pixels[-1]].start + costs.TRANSFER_CYCLES if pixels else 0)
            cycles = gather_cycles(self.geometry, job.body)
            end = max(start + cycles, self.spans[pixels[-1]].end + cycles / job.body.rows if pixels else 0)
            self.spans[job], self.free["gather"] = Span(start, end), end
            self.gathered += 1

    def _store(self):
        """Schedules all stores whose words are there."""
        while self.unstored and (through := self._through(self.unstored[0])) is not None:
            job = self.unstored.popleft()
            loading = max(0, self.free["load"] - max(self.stores.free, through))
            cycles = _transfer_cycles(self.geometry, job.opcode, job.body)
            self.free["load"] += self.stores.add(job, through, cycles, loading)
