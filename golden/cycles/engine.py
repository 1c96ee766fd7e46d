"""Cycles of the whole engine: when each beat of each command passes each boundary."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arch import pipeline
from arch.command import Command
from arch.geometry import Geometry
from golden.cycles import array, requantise, window, writer
from golden.cycles.streams import Readiness

__all__ = ["Timeline", "timeline"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """Cycles, int64, of all commands in order; cycle 0 is the first after reset.

    `taken`: of each command's handshake. `done`: in which the engine's count first includes the command.
    `issued`: of the first and last beat of each pass, (passes, 2). Of each beat: `array`: column pair 0's results;
    `requantised`: vectors; `fifo`: vectors taken from the FIFO; `written`: writes to the activation memory.
    """

    taken: np.ndarray
    issued: np.ndarray
    array: np.ndarray
    requantised: np.ndarray
    fifo: np.ndarray
    written: np.ndarray
    done: np.ndarray


def timeline(geometry: Geometry, commands: Sequence[Command], offered: np.ndarray, *, read_grant: Readiness | None = None,
             write_grant: Readiness | None = None) -> Timeline:
    """The timeline of commands that are offered from the given cycles on, after a reset.

    Two things lead backwards: a beat needs a free place in the FIFO, and a command one in each unit's queue. They start as
    always free; the cycles that follow from that say when they are, until nothing changes. Each round can only delay, and
    never beyond the truth, so the first state that stays is the truth.
    """
    read, write = read_grant or Readiness(), write_grant or Readiness()
    offered, order = np.asarray(offered, np.int64), np.arange(len(commands))
    room, accept = None, offered
    while True:
        taken = np.maximum.accumulate(np.maximum(offered, accept) - order) + order
        line, emitting, units = _follow(geometry, commands, taken, read, write, room)
        next_room = np.concatenate([np.zeros(geometry.fifo_words, np.int64), line.fifo + 1])[:len(line.fifo)]
        next_accept = np.concatenate([np.zeros(pipeline.COMMANDS, np.int64), np.max(units, axis=0) + 1])[:len(commands)]
        if np.all(next_room <= emitting) and np.all(next_accept <= taken):
            return line
        room, accept = next_room, next_accept


def _follow(geometry: Geometry, commands: Sequence[Command], taken: np.ndarray, read: Readiness, write: Readiness,
            room: np.ndarray | None) -> tuple[Timeline, np.ndarray, list[np.ndarray]]:
    """The timeline with given places, the cycles of the beats that emit, and those in which each unit takes its records."""
    record = taken + 1
    issued = window.issue(geometry, [c.window for c in commands], record, record, record, read, room)
    results = array.results(geometry, issued.emitting)
    vectors = requantise.vectors(results, geometry.output_lanes)
    waiting = vectors + pipeline.OUTPUT_FIFO
    writer_taken, written = writer.taken([c.writer for c in commands], record, waiting, write)
    ends = np.cumsum([writer.vectors(c.writer) for c in commands])
    # The count shows two cycles after the last write, or after the place of it in the writer's pipeline.
    last = np.array([written[end - 1] if writer.vectors(c.writer) else at + 1
                     for c, end, at in zip(commands, ends, writer_taken, strict=True)])
    line = Timeline(taken=taken, issued=np.stack([issued.first, issued.last], 1), array=results, requantised=vectors,
                    fifo=written, written=writer.written(written), done=last + pipeline.WRITER + 2)
    return line, issued.emitting, [issued.window_taken, issued.load_taken, issued.scale_taken, writer_taken]
