"""Frames behind the first one of a network whose constants all have room on the chip: they need not be loaded again."""
import numpy as np

from arch.geometry import Geometry
from arch.instruction import Opcode, storage_words
from compiler.jobs.job import Jobs

__all__ = ["without_constants"]

CONSTANTS = (Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS)


def without_constants(geometry: Geometry, jobs: Jobs) -> Jobs | None:
    """The jobs of a frame that follows another one: the same, but for the loads of constants. None if a memory of the chip does
    not hold all of them at once."""
    if not all(_stay(geometry, opcode, jobs) for opcode in CONSTANTS):
        return None
    return jobs.but(CONSTANTS)


def _stay(geometry: Geometry, opcode: Opcode, jobs: Jobs) -> bool:
    """Whether no word of the chip is loaded from two places of storage."""
    loads = [job.body for job in jobs.jobs if job.opcode is opcode]
    sources = np.full(max((load.chip + load.words for load in loads), default=0), -1)
    for load in loads:
        words = slice(load.chip, load.chip + load.words)
        given = load.storage + storage_words(geometry, opcode) * np.arange(load.words)
        if ((sources[words] != -1) & (sources[words] != given)).any():
            return False
        sources[words] = given
    return True
