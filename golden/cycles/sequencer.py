"""Cycles of the sequencer: from the words of a program to commands that are offered to their units."""
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from arch import control
from arch.instruction import CONTROL, QUEUES, Instruction, Opcode

__all__ = ["SequencerCycles"]


def _ends(program: Sequence[Instruction]) -> list[int]:
    """Words up to and with each instruction."""
    return list(accumulate(instruction.words for instruction in program))


def _leave(came: list[int], left: list[int], took: list[int], places: int) -> bool:
    """Appends to `left` the cycles in which words leave a RAM, as far as they are known: one a cycle, after they `came`, when one
    of `places` behind it is free, those that were taken before. Returns whether there were any."""
    n = first = len(left)
    while n < len(came) and n - places < len(took):
        at = came[n] + 1
        if n and at <= left[-1]:
            at = left[-1] + 1
        if n >= places and at <= took[n - places]:
            at = took[n - places] + 1
        left.append(at)
        n += 1
    return n > first


class SequencerCycles:
    """The sequencer in time, as far as it follows from what it was told with `asked`, `arrive`, `taken` and `done`: each of them
    in the order of time. All that follows is then known at once, and never changes, but for a request for words which was not
    yet taken: it goes when the end of the program turns out to be read before.

    `start`: cycle of the start pulse. `fetches`: cycles in which requests for more of the program are offered. `offered`: for
    each queue the cycles in which its commands are offered. `finished`: in which the machine shows it, None while it is not
    known.
    """

    def __init__(self, program: Sequence[Instruction], start: int):
        self.fetches: list[int] = []
        self.offered: dict[str, list[int]] = {queue: [] for queue in QUEUES}
        self.finished: int | None = None
        self._start = start
        self._asked = 0
        self._came: list[int] = []              # words from storage
        self._left: list[int] = []              # words out of the program's block RAM
        self._took: list[int] = []              # words into the checker
        self._gave: list[int] = []              # words out of the checker
        self._end: int | None = None            # END given
        self._queues = {queue: _Queue([i for i in program if i.queue == queue]) for queue in QUEUES}
        self._ends = _ends(program)
        self._to = [self._queues.get(instruction.queue) for instruction in program
                    for _ in range(instruction.words)]
        if not program or program[-1].opcode is not Opcode.END or program[-1].queue != CONTROL:
            raise ValueError("program must end with END")
        self._advance()

    def asked(self) -> None:
        """The request offered last was taken."""
        self._asked += 1

    @property
    def incomplete(self) -> int:
        """Words up to and with the next to come that completes an instruction; 0 if none does."""
        number = bisect_right(self._ends, len(self._came))
        return self._ends[number] - len(self._came) if number < len(self._ends) else 0

    def arrive(self, cycles: Iterable[int]) -> None:
        """Words of the program come."""
        self._came += cycles
        self._advance()

    def taken(self, queue: str, cycle: int) -> None:
        """The next command of a queue was taken by its unit."""
        self._queues[queue].taken.append(cycle)
        self._queues[queue].changed = True
        self._advance()

    def done(self, queue: str, cycle: int) -> None:
        """The next command of a queue gave its token."""
        self._queues[queue].done.append(cycle)
        self._follow()              # words wait for no tokens

    def _advance(self) -> None:
        self._words()
        for queue in self._queues.values():
            queue.advance()
        self._fetch()
        self._follow()

    def _follow(self) -> None:
        for name, queue in self._queues.items():
            self._offer(name, queue)
        if self.finished is None and self._end is not None and all(
                len(queue.done) == len(queue.program) for queue in self._queues.values()):
            last = max((queue.done[-1] for queue in self._queues.values() if queue.done), default=0)
            self.finished = max(last, self._end) + control.FINISH

    def _words(self) -> None:
        """Words through the program's RAM and the checker."""
        came, left, took, gave, to = self._came, self._left, self._took, self._gave, self._to
        fifo, places, check, more = control.FIFO, control.FIFO_PLACES, control.CHECK, control.CHECK_PLACES
        total = len(to)
        while True:
            moved = _leave(came, left, took, places)            # words behind the end leave the RAM too
            n = len(took)
            while n < len(left) and n < total and n - more < len(gave):
                at = left[n] + fifo - 1
                if n and at <= took[-1]:
                    at = took[-1] + 1
                if n >= more and at <= gave[n - more]:
                    at = gave[n - more] + 1
                took.append(at)
                n += 1
                moved = True
            n = len(gave)
            while n < len(took):
                at, queue = took[n] + check, to[n]
                if n and at <= gave[-1]:
                    at = gave[-1] + 1
                if queue is not None:
                    place = len(queue.came) - control.QUEUE_WORDS       # whose word must have left
                    if place >= 0:
                        if place >= len(queue.left):
                            queue.advance()                             # may not have been followed up to now
                            if place >= len(queue.left):
                                break
                        if at < queue.left[place] + control.SPREAD_FREE:
                            at = queue.left[place] + control.SPREAD_FREE
                    queue.came.append(at + control.SPREAD)
                    queue.changed = True
                gave.append(at)
                n += 1
                moved = True
            if not moved:
                break
        if len(gave) == total and self._end is None:
            self._end = gave[-1]

    def _offer(self, name: str, queue: "_Queue") -> None:
        """Heads whose tokens are known."""
        offered = self.offered[name]
        while len(offered) < len(queue.ready):
            at, waits = queue.ready[len(offered)], queue.program[len(offered)].waits
            for other in QUEUES:
                count = getattr(waits, other)
                if count:
                    done = self._queues[other].done
                    if len(done) < count:
                        return
                    at = max(at, done[count - 1] + control.TOKEN)
            offered.append(at)

    def _fetch(self) -> None:
        """The next request, if the last one's words are in and there is room."""
        n = len(self.fetches)
        over = self._took[-1] if len(self._took) == len(self._to) else None
        if n > self._asked and over is not None and self.fetches[-1] - 1 > over:
            self.fetches.pop()
        if n > self._asked or len(self._came) < n * control.BURST:
            return
        at = self._start + control.FETCH_FIRST
        if n:
            at = self._came[n * control.BURST - 1] + control.FETCH_AGAIN
        place = (n + 1) * control.BURST - control.PROGRAM_WORDS - 1     # the word whose place is the last one needed
        if place >= 0:
            if place >= len(self._left):
                return
            at = max(at, self._left[place] + control.FETCH_FREE)
        if over is not None and at - 1 > over:
            return
        self.fetches.append(at)


class _Queue:
    """Words of a queue: `came` to its RAM, `left` it, `took` by the unpacker; `ready`: commands complete."""

    def __init__(self, program: list[Instruction]):
        self.program = program
        self.came: list[int] = []
        self.left: list[int] = []
        self.took: list[int] = []
        self.ready: list[int] = []
        self.taken: list[int] = []
        self.done: list[int] = []
        self.changed = False                    # more words, or commands taken
        self._ends = _ends(program)

    def advance(self) -> None:
        """Follows all that is known."""
        if not self.changed:
            return
        self.changed = False
        came, left, took = self.came, self.left, self.took
        fifo, places = control.FIFO, control.FIFO_PLACES
        while True:
            moved = _leave(came, left, took, places)
            n = len(took)
            while n < len(left):
                command = len(self.ready)
                at = left[n] + fifo - 1
                if n and at <= took[-1]:
                    at = took[-1] + 1
                if command and n == self._ends[command - 1]:        # a header waits for the record's place
                    if len(self.taken) < command:
                        break
                    if at <= self.taken[command - 1]:
                        at = self.taken[command - 1] + 1
                took.append(at)
                n += 1
                moved = True
                if n == self._ends[command]:
                    self.ready.append(at + control.UNPACK)
            if not moved:
                return
