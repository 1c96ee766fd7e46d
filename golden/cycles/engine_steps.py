"""The engine command by command, for programs whose commands come in the course of time."""
from bisect import bisect_left
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from arch import pipeline
from arch.command import Command
from arch.geometry import Geometry
from golden.cycles import array, average, pool, requantise, window, writer
from golden.cycles.average import State as AverageState
from golden.cycles.engine import READABLE
from golden.cycles.pool import State as PoolState
from golden.cycles.streams import NEVER, Readiness
from golden.cycles.window import State as WindowState
from golden.cycles.writer import State as WriterState

__all__ = ["CommandCycles", "Denials", "EngineCycles"]

_NO_CYCLES = np.zeros(0, np.int64)


class Denials(Readiness):
    """All cycles but the given ones (sorted)."""

    def __init__(self, cycles: Sequence[int]):
        super().__init__()
        self._denied = list(cycles)

    @cached_property
    def _cycles(self) -> np.ndarray:
        return np.array(self._denied, np.int64)

    @cached_property
    def _shift(self) -> np.ndarray:
        return self._cycles - np.arange(len(self._cycles))

    @property
    def always(self) -> bool:
        return not self._denied

    def index(self, cycle):
        return cycle - np.searchsorted(self._cycles, cycle)

    def cycle(self, index):
        return index + np.searchsorted(self._shift, index, side="right")

    def after(self, cycle: int, count: int = 0) -> int:
        denied = self._denied
        number = bisect_left(denied, cycle)
        cycle += count
        while number < len(denied) and denied[number] <= cycle:
            number, cycle = number + 1, cycle + 1
        return cycle

    def clear(self, cycle: int) -> int:
        number = bisect_left(self._denied, cycle)
        return self._denied[number] - cycle if number < len(self._denied) else NEVER


@dataclass(frozen=True, kw_only=True, eq=False)
class CommandCycles:
    """A command in time, as `golden.cycles.engine.Timeline` has it: `taken`, `done`; `written` of its vectors. From cycle `over`
    on no unit works on it: a command without a write is done before."""

    taken: int
    done: int
    over: int
    written: np.ndarray


@dataclass
class _State:
    """The units after a command."""

    window: WindowState
    pool: PoolState = field(default_factory=PoolState)
    average: AverageState = field(default_factory=AverageState)
    writer: WriterState = field(default_factory=WriterState)
    taken: int = -pipeline.COMMAND_SPACING
    places: np.ndarray = field(default_factory=lambda: _NO_CYCLES)      # vectors that left the FIFO, the last ones
    units: tuple[int, ...] = ()                                         # when all units had taken the last commands


class EngineCycles:
    """`golden.cycles.engine.timeline`, a command at a time: `give` them in order with the cycles from which on they are offered.

    `lend` adds to what is known of the cycles in which the memory's ports are lent to others; `follow` then follows commands
    again that end behind the first new one. `commands` holds what is known of each. Cycles only become later by that.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.commands: list[CommandCycles] = []
        self._given: list[tuple[Command, int]] = []
        self._states = [_State(WindowState.fresh(geometry))]       # before each command, and after the last
        self._read: list[int] = []
        self._write: list[int] = []
        self._changed = NEVER                                      # first cycle lent since then

    def give(self, command: Command, offered: int) -> None:
        self._given.append((command, offered))
        self._follow()

    def lend(self, read: Sequence[int], write: Sequence[int]) -> None:
        """More cycles without `read_grant` and `write_grant`, in order; what they change is known after `follow`."""
        write = [cycle + 1 for cycle in write]          # the writer has its grant from a register
        self._changed = min([self._changed, *read[:1], *write[:1]])
        self._read += read
        self._write += write

    def follow(self) -> None:
        """Follows all commands again that cycles lent since the last time may delay."""
        number = len(self.commands)
        while number and self.commands[number - 1].over > self._changed:
            number -= 1
        self._changed = NEVER
        del self.commands[number:], self._states[number + 1:]
        while len(self.commands) < len(self._given):
            self._follow()

    def _follow(self) -> None:
        """The next command; the only consistent answer, from below, as in `timeline`."""
        command, offered = self._given[len(self.commands)]
        before, geometry = self._states[-1], self.geometry
        taken = max(offered + pipeline.COMMAND_TAKEN, before.taken + pipeline.COMMAND_SPACING)
        if len(before.units) >= pipeline.COMMANDS:
            taken = max(taken, before.units[-pipeline.COMMANDS] + pipeline.COMMAND_BACK)
        record = np.array([taken + pipeline.DISPATCH])
        read, write = (Denials(lent[bisect_left(lent, taken):]) for lent in (self._read, self._write))
        count = command.window.pixels * command.window.output_blocks
        places = np.zeros(count + geometry.fifo_words, np.int64)
        places[geometry.fifo_words - len(before.places):geometry.fifo_words] = before.places
        bound = bool(np.any(before.places + pipeline.ROOM_BACK > taken))
        pooled = averaged = None
        while True:
            state = _State(before.window.copy(), copy(before.pool), copy(before.average), copy(before.writer))
            room = places[:count] + pipeline.ROOM_BACK if bound else None
            issued = window.issue(geometry, [command.window], record, record, record, read, room, state.window)
            vectors = requantise.vectors(array.results(geometry, issued.emitting), geometry.output_lanes)
            pool_taken, fifo, results = pool.passed([command.pool], record, vectors + pipeline.OUTPUT_FIFO, Readiness(), pooled,
                                                    state.pool)
            average_taken, summed, means = average.passed([command.average], record, results, write,
                                                                 geometry.output_lanes, averaged, state.average)
            writer_taken, went = writer.taken([command.writer], record, means, write, state.writer)
            places[geometry.fifo_words:] = fifo
            free = places[:count] + pipeline.ROOM_BACK
            if np.all(free <= issued.emitting) and np.all(summed <= results) and np.all(went <= means):
                break
            bound, pooled, averaged = bool(np.any(free > issued.emitting)) or bound, summed, went
        units = max(int(part[0]) for part in (issued.window_taken, issued.load_taken, issued.scale_taken, pool_taken,
                                              average_taken, writer_taken))
        over = max(units, int(issued.last[-1]), *(int(part[-1]) for part in (fifo, summed, went) if len(part))) + 1
        last = int(went[-1]) if len(went) else int(writer_taken[0]) + 1
        state.taken, state.places, state.units = taken, places[-geometry.fifo_words:], (*before.units, units)[-pipeline.COMMANDS:]
        self._states.append(state)
        self.commands.append(CommandCycles(taken=taken, done=int(writer.written(last)) + READABLE, over=over,
                                           written=writer.written(went)))
