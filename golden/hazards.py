"""Proves that a program's waits are enough: every timing of the machine leaves what one command after the other leaves.

Of two commands that touch the same word, one of them writing, the second must start after the first is through, and only waits
say so: a command is after all that it waits for, and after all that the command before it in its queue was after. What the
machine keeps in order without a wait: the writes of a queue among each other, but for those to weight memory of a load of
compressed weights and of one of plain weights behind it; reads of a compute command before the writes of the compute commands
behind it.

A compute command gives its token with its last write, or at once if it writes nothing. What it may still read then (see
`golden.places.Access`) is only read for certain when a later command that writes has given its token.
"""
from dataclasses import dataclass

import numpy as np

from arch.instruction import CONTROL, QUEUES, Instruction, Opcode
from arch.program import Program
from golden import places

__all__ = ["Hazard", "check_hazards", "known_through"]


@dataclass(frozen=True, kw_only=True)
class Hazard:
    """Instruction `index` reads or writes word `address` of `memory` too early: it must wait for `tokens` tokens of `queue`.

    No tokens: waiting does not help, for the reason given.
    """

    index: int
    instruction: Instruction
    memory: str
    address: int
    writes: bool
    reason: str
    queue: str = ""
    tokens: int = 0

    def __str__(self) -> str:
        what = f"instruction {self.index} ({self.instruction.opcode.name}) {'writes' if self.writes else 'reads'}"
        wait = f": must wait for {self.tokens} {self.queue} tokens" if self.tokens else ""
        return f"{what} word {self.address} of {self.memory}, {self.reason}{wait}"


def known_through(program: Program) -> list[np.ndarray]:
    """For each instruction how many commands of each of `QUEUES` are through whenever it starts, by the waits alone: int64 (4,).

    Raises ValueError where an instruction waits for tokens that the commands before it do not give.
    """
    history: dict[str, list[np.ndarray]] = {queue: [] for queue in QUEUES}
    result = []
    for index, instruction in enumerate(program.instructions):
        clock = np.zeros(len(QUEUES), np.int64)
        if instruction.queue != CONTROL:
            before = history[instruction.queue]
            if before:
                clock = before[-1].copy()
            for number, queue in enumerate(QUEUES):
                tokens = getattr(instruction.waits, queue)
                given = len(history[queue])
                if tokens > given:
                    raise ValueError(f"instruction {index} ({instruction.opcode.name}) must wait for at most {given} {queue} "
                                     f"tokens, which the commands before it give, not {tokens}")
                if tokens:
                    np.maximum(clock, history[queue][tokens - 1], out=clock)
                    clock[number] = max(clock[number], tokens)
            before.append(clock)
        result.append(clock)
    return result


class _Words:
    """Of each word of a memory, the last command of each queue that wrote and that read it (from 1 on; 0: none)."""

    def __init__(self, words: int):
        self.wrote, self.read = np.zeros((2, len(QUEUES), words), np.int64)
        self.defined, self.coded = np.zeros((2, words), bool)       # `coded`: written last by a load of compressed weights


def check_hazards(program: Program, *, after: Program | None = None) -> tuple[Hazard, ...]:
    """Every instruction that may run too early, with one word as a witness for each memory and queue. `after`: another program,
    whose constants are in their memories still.

    Also finds words outside a memory or, of storage, outside the region that is written, words that nothing has written, and
    compute commands that write where they read. Raises ValueError where a wait is for tokens that no earlier command gives.
    """
    memories = {name: _Words(words) for name, words in places.memory_words(program.geometry).items()}
    stored = memories[places.STORED] = _Words(program.storage_words)
    stored.defined[:len(program.storage)] = True
    stored.defined[program.input.address:program.input.address + program.input.words] = True
    region = range(program.store_base, program.store_base + program.store_words)
    stored.defined[region.start:region.stop] = False        # a frame may follow another one
    for instruction in after.instructions if after else ():
        if instruction.opcode in (Opcode.LOAD_WEIGHTS, Opcode.LOAD_CODED, Opcode.LOAD_PARAMETERS):
            for access in places.accesses(program.geometry, instruction):
                memories[access.memory].defined[access.words] |= access.writes
    counts, hazards, following = dict.fromkeys(QUEUES, 0), [], _following_writers(program)
    for index, (instruction, clock) in enumerate(zip(program.instructions, known_through(program), strict=True)):
        if instruction.queue == CONTROL:
            continue
        counts[instruction.queue] += 1
        own = QUEUES.index(instruction.queue)
        accesses = places.accesses(program.geometry, instruction)
        for access in accesses:
            finder = _Finder(index, instruction, access, memories[access.memory], hazards)
            if finder.inside(region):
                finder.order(own, clock)
        for access in accesses:
            words = memories[access.memory]
            inside = access.words[access.words < words.wrote.shape[1]]
            if access.writes:
                _Finder(index, instruction, access, words, hazards).own_reads(accesses)
                words.defined[inside] = True
                words.coded[inside] = instruction.opcode is Opcode.LOAD_CODED
            token = following[counts["compute"]] if access.late else counts[instruction.queue]
            (words.wrote if access.writes else words.read)[own, inside] = token
    return tuple(hazards)


def _following_writers(program: Program) -> list[int]:
    """For the compute commands, numbered from 1 on, the next one that writes; one more than there are where none does."""
    commands = [instruction.body for instruction in program.instructions if instruction.opcode is Opcode.COMPUTE]
    following, after = [], len(commands) + 1
    for number in range(len(commands), -1, -1):
        following.append(after)
        if number and places.writes(commands[number - 1]):
            after = number
    return following[::-1]


class _Finder:
    """Looks at one access of an instruction; what is wrong with it goes to `hazards`."""

    def __init__(self, index: int, instruction: Instruction, access: places.Access, words: _Words, hazards: list[Hazard]):
        self.index, self.instruction, self.access, self.words, self.hazards = index, instruction, access, words, hazards

    def _add(self, address, reason: str, **wait):
        self.hazards.append(Hazard(index=self.index, instruction=self.instruction, memory=self.access.memory,
                                   address=int(address), writes=self.access.writes, reason=reason, **wait))

    def inside(self, region: range) -> bool:
        """Whether the words exist, may be written, or are defined."""
        words, size = self.access.words, self.words.wrote.shape[1]
        if not words.size:
            return False
        if words.max() >= size:
            self._add(words.max(), f"which has {size} words")
            return False
        if self.access.writes and self.access.memory == places.STORED:
            outside = words[(words < region.start) | (words >= region.stop)]
            if outside.size:
                self._add(outside[0], f"outside the region {region.start}..{region.stop - 1}")
        elif not self.access.writes and not self.words.defined[words].all():
            self._add(words[~self.words.defined[words]][0], "which nothing has written")
        return True

    def order(self, own: int, clock: np.ndarray):
        """Whether the commands that must be through are."""
        words = self.access.words
        if self.instruction.opcode is Opcode.LOAD_WEIGHTS and (late := words[self.words.coded[words]]).size:
            tokens = int(self.words.wrote[own, late].max())
            if tokens > clock[own]:
                self._add(late[self.words.wrote[own, late].argmax()], f"which is decoded by load command {tokens}",
                          queue=QUEUES[own], tokens=tokens)
        kinds = [(self.words.wrote, "written by")]
        if self.access.writes:
            kinds.append((self.words.read, "read by"))
        for number, queue in enumerate(QUEUES):
            if self.access.writes and number == own:
                continue
            needed = {int(last[number, words].max()): (last, how) for last, how in kinds}
            tokens = max(needed)
            if tokens > clock[number]:
                last, how = needed[tokens]
                self._add(words[last[number, words].argmax()], f"which is {how} {queue} command {tokens}",
                          queue=queue, tokens=tokens)

    def own_reads(self, accesses: tuple[places.Access, ...]):
        """Whether the instruction writes where it reads."""
        for other in accesses:
            if not other.writes and other.memory == self.access.memory:
                both = np.intersect1d(other.words, self.access.words)
                if both.size:
                    self._add(both[0], "which it reads itself")
