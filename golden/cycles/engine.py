"""Cycles of the whole engine: when each beat of each command passes each boundary."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arch import pipeline
from arch.command import Command
from arch.geometry import Geometry
from golden.cycles import array, average, pool, requantise, window, writer
from golden.cycles.streams import Readiness

READABLE = pipeline.ACTIVATION_WRITE + pipeline.ACTIVATION_TO_READ      # word at the engine's write port -> at the read port

__all__ = ["Timeline", "timeline"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """Cycles, int64, of all commands in order; cycle 0 is the first after reset.

    `taken`: of each command's handshake. `done`: in which the engine's count first includes the command.
    `issued`: of the first and last beat of each pass, (passes, 2). Of each beat: `array`: column pair 0's results;
    `requantised`: vectors; `fifo`: vectors taken from the FIFO; `pooled`: vectors taken from the pool; `averaged`: vectors taken
    from the global average; `written`: writes to the activation memory.
    """

    taken: np.ndarray
    issued: np.ndarray
    array: np.ndarray
    requantised: np.ndarray
    fifo: np.ndarray
    pooled: np.ndarray
    averaged: np.ndarray
    written: np.ndarray
    done: np.ndarray


def timeline(geometry: Geometry, commands: Sequence[Command], offered: np.ndarray, *, read_grant: Readiness | None = None,
             write_grant: Readiness | None = None) -> Timeline:
    """The timeline of commands that are offered from the given cycles on, after a reset.

    Three things lead backwards: a beat needs a free place in the FIFO, a command one in each unit's queue, and results wait until
    the next unit takes them. At first none of them delays anything; the cycles that follow from that say when places are free
    and results taken, until nothing changes. Each round can only delay, and never beyond the truth, so the first state that
    stays is the truth.
    """
    read, write = read_grant or Readiness(), (write_grant or Readiness()).later()
    offered = np.asarray(offered, np.int64) + pipeline.COMMAND_TAKEN
    turn = pipeline.COMMAND_SPACING * np.arange(len(commands))
    back = _Back(room=None, accept=offered, pooled=None, averaged=None)
    while True:
        taken = np.maximum.accumulate(np.maximum(offered, back.accept) - turn) + turn
        line, back, consistent = _follow(geometry, commands, taken, read, write, back)
        if consistent:
            return line


@dataclass(frozen=True, kw_only=True, eq=False)
class _Back:
    """Earliest cycles that later units allow: of beats that emit, of commands, and of results that leave pool and average."""

    room: np.ndarray | None
    accept: np.ndarray
    pooled: np.ndarray | None
    averaged: np.ndarray | None


def _shifted(cycles: np.ndarray, places: int, back: int) -> np.ndarray:
    """When a place is free for each beat, if `places` beats fit, leave in the given cycles and are missed `back` cycles later."""
    return np.concatenate([np.zeros(places, np.int64), cycles + back])[:len(cycles)]


def _follow(geometry: Geometry, commands: Sequence[Command], taken: np.ndarray, read: Readiness, write: Readiness,
            back: _Back) -> tuple[Timeline, _Back, bool]:
    """The timeline if later units allow what `back` says; what they do allow then; and whether the two agree."""
    record = taken + pipeline.DISPATCH
    issued = window.issue(geometry, [c.window for c in commands], record, record, record, read, back.room)
    results = array.results(geometry, issued.emitting)
    vectors = requantise.vectors(results, geometry.output_lanes)
    waiting = vectors + pipeline.OUTPUT_FIFO
    pool_taken, fifo, pooled = pool.passed([c.pool for c in commands], record, waiting, Readiness(), back.pooled)
    average_taken, summed, averaged = average.passed([c.average for c in commands], record, pooled, write,
                                                            geometry.output_lanes, back.averaged)
    counts = np.array([writer.vectors(c.writer) for c in commands])
    writer_taken, went = writer.taken([c.writer for c in commands], record, averaged, write)
    # The count shows when the last word can be read, or, without one, could be.
    last = np.where(counts > 0, np.append(went, 0)[np.cumsum(counts) - 1], writer_taken + 1)
    units = np.max([issued.window_taken, issued.load_taken, issued.scale_taken, pool_taken, average_taken, writer_taken], axis=0)
    found = _Back(room=_shifted(fifo, geometry.fifo_words, pipeline.ROOM_BACK), pooled=summed,
                  accept=_shifted(units, pipeline.COMMANDS, pipeline.COMMAND_BACK), averaged=went)
    line = Timeline(taken=taken, issued=np.stack([issued.first, issued.last], 1), array=results, requantised=vectors,
                    fifo=fifo, pooled=pooled, averaged=averaged, written=writer.written(went),
                    done=writer.written(last) + READABLE)
    agree = (np.all(found.room <= issued.emitting) and np.all(found.accept <= taken) and np.all(summed <= pooled)
             and np.all(found.averaged <= averaged))
    return line, found, bool(agree)
