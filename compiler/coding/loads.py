"""Loads of plain weights become loads of compressed blocks, and of the tables for them."""
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from arch import weight_stream as form
from arch.geometry import Geometry
from arch.instruction import CodedTransfer, Opcode, storage_words
from arch.weight_stream import Entry
from compiler import costs
from compiler.coding.shares import Piece, Share
from compiler.jobs.job import Job, Jobs
from compiler.jobs.stores import Span
from compiler.stages import Stage

__all__ = ["WEIGHTS", "coded_loads", "pieces_of", "with_tables"]

WEIGHTS = Opcode.LOAD_WEIGHTS, Opcode.LOAD_CODED


def pieces_of(geometry: Geometry, jobs: Jobs, places: Mapping[Stage, int]) -> dict[Job, Piece]:
    """What the loads of plain weights bring, which lie in storage from `places` on."""
    size, found = storage_words(geometry, Opcode.LOAD_WEIGHTS), {}
    for job in jobs.jobs:
        if job.opcode is Opcode.LOAD_WEIGHTS:
            first = (job.body.storage - places[job.stage]) // size
            found[job] = Piece(job.stage, range(first, first + job.body.words))
    return found


def coded_loads(geometry: Geometry, jobs: Jobs, pieces: Mapping[Job, Piece],
                shares: Collection[Share]) -> tuple[Jobs, dict[Stage, np.ndarray]]:
    """Copies of the jobs with the weights of some shares compressed, and the words of these stages in storage.

    All loads of weights are then from words that count from where those of their stage begin.
    """
    size = storage_words(geometry, Opcode.LOAD_WEIGHTS)
    share_of = {stage: share for share in shares for stage in share.stages}
    places, stored = _stored(shares)
    tables = {share: _table(share, stored) for share in shares}

    def loads(job: Job) -> list[Job]:
        """What a job of the plain program becomes, with what it comes after."""
        piece, share = pieces.get(job), share_of.get(job.stage)
        if piece is None:
            return [replace(job, token=0)]
        if share is None:
            return [replace(job, body=replace(job.body, storage=piece.words.start * size))]
        found = []
        for part in share.parts[piece]:
            chip, block = job.body.chip + part.words.start - piece.words.start, share.blocks[part]
            if block is None:
                found.append(replace(job, body=replace(job.body, storage=places[part], chip=chip, words=len(part.words))))
            else:
                body = CodedTransfer(storage=places[part], words=len(block), chip=chip, chip_words=len(part.words))
                found.append(replace(job, opcode=Opcode.LOAD_CODED, body=body, table=tables[share],
                                     cycles=_block_cycles(geometry, part, block)))
        return found
    return jobs.replaced(loads), stored


def _stored(shares: Collection[Share]) -> tuple[dict[Piece, int], dict[Stage, np.ndarray]]:
    """Where each piece begins among the words of its stage, and these; a table lies before the pieces of its first stage."""
    parts: dict[Stage, list[np.ndarray]] = {stage: [] for share in shares for stage in share.stages}
    places: dict[Piece, int] = {}
    for share in shares:
        parts[share.stages[0]].append(share.table)
        ends = dict.fromkeys(share.stages, 0) | {share.stages[0]: len(share.table)}
        for piece in share.blocks:
            words = share.stored(piece)
            places[piece], ends[piece.stage] = ends[piece.stage], ends[piece.stage] + len(words)
            parts[piece.stage].append(words)
    return places, {stage: np.concatenate(words) for stage, words in parts.items()}


def _table(share: Share, stored: Mapping[Stage, np.ndarray]) -> Job:
    """The load of a share's table."""
    entries = [Entry.of(int(word)) for word in share.table[form.HEADER:-form.CHECKED]]
    parts = 1 + bool(share.table[0] & form.MASKED)
    cycles = parts * form.SLOTS + 3 * len(entries) + 2 * sum(entry.symbols for entry in entries)
    body = CodedTransfer(storage=0, words=len(share.table), chip=0, chip_words=0)
    return Job(Opcode.LOAD_CODED, body, 0, stage=share.stages[0], cycles=cycles)


def _block_cycles(geometry: Geometry, piece: Piece, block: np.ndarray) -> int:
    """Cycles that the decoder takes about for a block, beside its words."""
    units = piece.weights.reshape(-1, form.UNIT)
    rounds = len(units)
    if block[0] & form.MASKED:
        rounds = np.count_nonzero(units.any(axis=1)) + len(units) // form.GROUP
    return int(max(rounds * form.LANES // geometry.decoder_lanes, len(units) // 3)) + costs.BLOCK_CYCLES


def with_tables(jobs: Jobs, spans: Mapping[Job, Span]) -> tuple[Jobs, dict[Job, Span]]:
    """The jobs, and their spans, with loads of tables before those of blocks that another one than the last was for."""
    number = {job: n for n, job in enumerate(jobs.jobs)}
    loads = sorted((job for job in jobs.jobs if job.table), key=lambda job: (spans[job].start, number[job]))
    before: dict[Job, Job] = {}
    last = None
    for job in loads:
        if job.table is not last:
            last = job.table
            before[job] = replace(last, need=job.need, group=job.group)
    found, spans = Jobs(), dict(spans)
    for job in jobs.jobs:
        if job in before:
            found.jobs.append(before[job])
            spans[before[job]] = replace(spans[job], end=spans[job].start)
        found.jobs.append(job)
    found.computes = jobs.computes
    return found, spans
