"""Cycles of the whole engine: when each beat of each command passes each boundary, a command at a time."""
from bisect import bisect_left
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from arch import pipeline
from arch.command import Command
from arch.geometry import Geometry
from arch.units import FIXED, queued, units
from golden.cycles import fifo, window
from golden.cycles.streams import NEVER, Denials, Readiness

__all__ = ["CommandCycles", "EngineCycles", "Timeline", "timeline"]

READABLE = pipeline.ACTIVATION_WRITE + pipeline.ACTIVATION_TO_READ      # word at the engine's write port -> at the read port
_NO_CYCLES = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class CommandCycles:
    """A command in time: cycles of its handshake (`taken`), and in which the engine's count first includes it (`done`). From
    cycle `over` on no unit works on it: a command without a write is done before.

    `issued`: of the first and last beat of each pass, (passes, 2). `passed`: of each beat at each of `arch.units.boundaries`.
    What is given as a stream passes when it is taken, and the last unit's when it writes.
    """

    taken: int
    done: int
    over: int
    issued: np.ndarray
    passed: dict[str, np.ndarray]

    @property
    def written(self) -> np.ndarray:
        """Writes to the activation memory."""
        return list(self.passed.values())[-1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """`CommandCycles` of all commands in order: int64; cycle 0 is the first after reset."""

    taken: np.ndarray
    done: np.ndarray
    issued: np.ndarray
    passed: dict[str, np.ndarray]

    @property
    def written(self) -> np.ndarray:
        """Writes to the activation memory."""
        return list(self.passed.values())[-1]


def timeline(geometry: Geometry, commands: Sequence[Command], offered: Sequence[int], *, read_grant: Readiness | None = None,
             write_grant: Readiness | None = None) -> Timeline:
    """The timeline of commands that are offered from the given cycles on, after a reset, with grants in the given cycles."""
    engine = EngineCycles(geometry, read_grant=read_grant, write_grant=write_grant)
    for command, cycle in zip(commands, offered, strict=True):
        engine.give(command, int(cycle))
    known = engine.commands
    return Timeline(taken=np.array([one.taken for one in known], np.int64), done=np.array([one.done for one in known], np.int64),
                    issued=np.concatenate([one.issued for one in known]),
                    passed={name: np.concatenate([one.passed[name] for one in known]) for name in known[0].passed})


class _Passed(NamedTuple):
    """What a unit does with a command: cycles in which it takes it, takes each vector, and gives each vector."""

    command: np.ndarray
    taken: np.ndarray
    left: np.ndarray


@dataclass
class _State:
    """The units after a command, in the order of the list."""

    window: window.State
    chain: list[Any]                                                # of each unit behind the output queue
    taken: int = -pipeline.COMMAND_SPACING
    places: np.ndarray = field(default_factory=lambda: _NO_CYCLES)  # vectors that left the output queue, the last ones
    units: tuple[int, ...] = ()                                     # when all units had taken the last commands

    def copy(self) -> "_State":
        """The same, to be changed on its own."""
        return _State(self.window.copy(), [copy(part) for part in self.chain])


class EngineCycles:
    """The engine in time: `give` commands in order with the cycles from which on they are offered.

    Cycles in which the memory's ports are lent to others are given with the grants, or, where they become known in the course of
    time, by `lend`: `follow` then follows commands again that end behind the first new one. `commands` holds what is known of
    each. Cycles only become later by that.
    """

    def __init__(self, geometry: Geometry, *, read_grant: Readiness | None = None, write_grant: Readiness | None = None):
        self.geometry = geometry
        self.commands: list[CommandCycles] = []
        self._read_grant, self._write_grant = read_grant, write_grant and write_grant.later()
        self._fixed = units(geometry, FIXED)
        first, *self._chain = queued(geometry)                      # the output queue joins both kinds
        self._names = [unit.boundary for unit in (first, *self._chain)]
        self._modules = [import_module(f"golden.cycles.{unit.name}") for unit in self._chain]
        self._given: list[tuple[Command, int]] = []
        # Before each command, and after the last.
        self._states = [_State(window.State.fresh(geometry), [module.State() for module in self._modules])]
        self._read: list[int] = []
        self._write: list[int] = []
        self._changed = NEVER                                       # first cycle lent since then

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

    def _grants(self, since: int) -> tuple[Readiness, Readiness]:
        """Cycles from one on in which the window generator may read and the writer take a vector."""
        return (self._read_grant or Denials(self._read[bisect_left(self._read, since):]),
                self._write_grant or Denials(self._write[bisect_left(self._write, since):]))

    def _follow(self) -> None:
        """The next command.

        Three things lead backwards: a beat needs a free place in the output queue, a command one in each unit's queue, and what a
        unit gives waits until the next one takes it. The second is known from earlier commands. At first the others delay
        nothing; the cycles that follow from that say when places are free and vectors taken, until nothing changes. Each round
        can only delay, and never beyond the truth, so the first state that stays is the truth.
        """
        command, offered = self._given[len(self.commands)]
        before, depth = self._states[-1], self.geometry.fifo_words
        taken = max(offered + pipeline.COMMAND_TAKEN, before.taken + pipeline.COMMAND_SPACING)
        if len(before.units) >= pipeline.COMMANDS:
            taken = max(taken, before.units[-pipeline.COMMANDS] + pipeline.COMMAND_BACK)
        record = np.array([taken + pipeline.DISPATCH])
        read, write = self._grants(taken)
        count = command.window.pixels * command.window.output_blocks
        places = np.zeros(count + depth, np.int64)
        places[depth - len(before.places):depth] = before.places
        bound = bool(np.any(before.places + pipeline.ROOM_BACK > taken))        # some beat waits for a place
        takers: list[np.ndarray | None] = [None] * len(self._chain)
        while True:
            state = before.copy()
            room = places[:count] + pipeline.ROOM_BACK if bound else None
            issued = window.issue(self.geometry, [command.window], record, record, record, read, room, state.window)
            fixed, vectors = self._calculated(issued.emitting)
            passed = self._passed(command, record, fifo.offered(vectors), write, takers, state.chain)
            places[depth:] = passed[0].taken
            late = bool(np.any(places[:count] + pipeline.ROOM_BACK > issued.emitting))
            following = [after.taken for after in passed[1:]]
            if not late and all(np.all(want <= part.left) for want, part in zip(following, passed[:-1], strict=True)):
                break
            bound, takers = bound or late, [*following, None]
        self._append(taken, issued, fixed, passed, state)

    def _calculated(self, emitting: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """What cannot wait: cycles at each boundary, and of the vectors, from those of the beats that make them."""
        cycles, fixed = emitting, {}
        for unit in self._fixed:
            cycles = cycles + unit.cycles(self.geometry)
            if unit.boundary:
                fixed[unit.boundary] = cycles
        return fixed, cycles

    def _passed(self, command: Command, record: np.ndarray, vectors: np.ndarray, write: Readiness,
                takers: Sequence[np.ndarray | None], states: Sequence[Any]) -> list[_Passed]:
        """What each unit behind the output queue does, if vectors are not taken from it before `takers`."""
        passed, last = [], len(self._chain) - 1
        for n, (unit, module) in enumerate(zip(self._chain, self._modules, strict=True)):
            ready = write if n >= last - 1 else Readiness()     # the last one takes, and writes, only with a grant
            passed.append(_Passed(*module.passed(self.geometry, [getattr(command, unit.name)], record, vectors, ready, takers[n],
                                                 states[n])))
            vectors = passed[-1].left
        return passed

    def _append(self, taken: int, issued: window.Issue, fixed: dict[str, np.ndarray], passed: list[_Passed],
                state: _State) -> None:
        """What was found out about the next command."""
        took = max(int(part[0]) for part in (issued.window_taken, issued.load_taken, issued.scale_taken,
                                             *(one.command for one in passed)))
        over = max(took, int(issued.last[-1]), *(int(one.taken[-1]) for one in passed if len(one.taken))) + 1
        # The count shows when the last word can be read, or, without one, could be.
        last = int(passed[-1].taken[-1]) if len(passed[-1].taken) else int(passed[-1].command[0]) + 1
        before = self._states[-1]
        state.taken, state.units = taken, (*before.units, took)[-pipeline.COMMANDS:]
        state.places = np.append(before.places, passed[0].taken)[-self.geometry.fifo_words:]
        self._states.append(state)
        streams = zip(self._names, (passed[0].taken, *(one.left for one in passed)), strict=True)
        self.commands.append(CommandCycles(taken=taken, done=last + pipeline.WRITE_GRANT - 1 + READABLE, over=over,
                                           issued=np.stack([issued.first, issued.last], 1), passed=fixed | dict(streams)))
