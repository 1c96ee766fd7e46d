"""Cycles of the decoder of compressed weights."""
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from arch import weight_stream as form
from arch.weight_stream import Entry
from golden.cycles.streams import Readiness
from golden.weight_stream import Trace

__all__ = ["Cycles", "passed"]

OPENED = 1              # from a block's second word to its beginning
CLOSED = 2              # from its last word to its end, if all is through by then


@dataclass
class Cycles:
    """In which commands and words are taken, words of weights leave, and blocks are done."""

    commands: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)


def passed(blocks: Sequence[Trace | Sequence[Entry]], commands: Readiness, offered: Readiness, ready: Readiness, *, lanes: int,
           word_units: int) -> Cycles:
    """Of blocks that are whole, one behind the other: weights, or tables, given by all of their entries.

    `commands`, `offered`: in which cycles they are offered first, behind the one before; `ready`: those in which the taker is.
    """
    found, free = Cycles(), 0
    for block in blocks:
        offer = int(commands.following(found.commands[-1] + 1 if found.commands else 0))
        found.commands.append(max(offer, free))
        words = _Words(found.words, offered)
        words.take(found.commands[-1] + 1)
        begin = words.take(0) + OPENED
        if isinstance(block, Trace):
            rounds, last = _Block(block, words, ready, begin, lanes, word_units).run()
            found.given += last
            through = last[-1] + 1
        else:
            rounds, through = _table(block, words, begin) + 1, 0
        found.done.append(max(words.take(rounds + 1) + CLOSED, through) + 1)
        free = found.done[-1] + 1
    return found


class _Words:
    """Words as they are taken: no two in a cycle, none before it is offered, which is behind the one before."""

    def __init__(self, taken: list[int], offered: Readiness):
        self.taken, self.offered = taken, offered

    def take(self, free: int) -> int:
        """The cycle in which the next word is taken, by somebody who takes none before."""
        offer = int(self.offered.following(self.taken[-1] + 1 if self.taken else 0))
        self.taken.append(max(offer, free))
        return self.taken[-1]


def _table(entries: Sequence[Entry], words: _Words, begin: int) -> int:
    """The cycle in which the last slot's symbol is through: a slot a cycle, and two before each symbol's."""
    at = begin
    for entry in entries:
        at = words.take(at + 1) + 2 + (entry.symbols * (entry.slots + 2) if entry.slots else 0)
    return at


class _Block:
    """A block of weights that begins in a cycle."""

    def __init__(self, block: Trace, words: _Words, ready: Readiness, begin: int, lanes: int, word_units: int):
        self.block, self.words, self.ready, self.begin, self.lanes = block, words, ready, begin, lanes
        self.ahead, self.masks = form.STATES // lanes, form.LANES // lanes * (
            -(-len(block.there) // form.GROUP) if block.masked else 0)
        self.sizes = block.bits.reshape(-1, lanes).sum(axis=1).tolist()
        self.ends = np.cumsum(self.sizes).tolist()
        self.puts: list[int] = []           # cycles of words
        self.takes: list[int] = []          # of rounds' bits
        self.over = 0                       # rounds whose bits made room for the last word
        padded = np.zeros(-(-len(block.there) // word_units) * word_units, bool)
        padded[:len(block.there)] = block.there
        self.units = padded.reshape(-1, word_units).sum(axis=1).tolist()
        self.out = _Out(self, word_units)

    def run(self) -> tuple[int, list[int]]:
        """The cycle behind that of the last round's bits, and those in which words leave."""
        load = move = -1
        for number in range(len(self.sizes)):
            first_unit = self.ahead + self.masks
            load = max(self.begin + 1, move)
            if number >= self.ahead:
                load = max(load, self.takes[number - self.ahead] + form.LOOKED_UP)
            before, move = move, max(load + 1, self.takes[-1] if self.takes else 0)
            if number == first_unit and self.masks:
                move = max(move, before + 2)            # units are counted
            self.takes.append(self._bits(number, max(move + 1, self.out.room(number - first_unit))))
            if number == first_unit - 1:
                self.out.masks_known = move + form.MASKS_READ
        given = self.out.rest()
        last = max(self.takes[-1] + 1, move + 2 if len(self.sizes) == self.ahead + self.masks else 0)
        return last, given

    def _bits(self, number: int, wanted: int) -> int:
        """The cycle in which a round takes its bits, by when the words are there."""
        while 16 * len(self.puts) < self.ends[number]:
            full = 16 * len(self.puts) - form.MOST_BITS
            while full >= 0 and self.ends[self.over] <= full:
                self.over += 1
            self.puts.append(self.words.take(self.takes[self.over] + 1 if full >= 0 else self.begin + 1))
        needed = -(-self.ends[number] // 16)
        return max(wanted, self.puts[needed - 1] + 1 if needed else 0)


class _Out:
    """Parts of units on their way into words."""

    def __init__(self, block: _Block, word_units: int):
        self.block, self.per_row = block, form.GROUP // word_units
        self.parts = form.UNIT // block.lanes
        self.pops: list[int] = []               # cycles in which parts go into words
        self.begun = self.ended = block.begin   # of the last word
        self.given: list[int] = []
        self.masks_known = 0
        self.row = 0

    def room(self, part: int) -> int:
        """The cycle from which on there is room for a part of a unit (those below 0 are none)."""
        if part < form.MOST_PARTS:
            return 0
        while len(self.pops) <= part - form.MOST_PARTS:
            self._word()
        return self.pops[part - form.MOST_PARTS] + 1

    def rest(self) -> list[int]:
        """When all words leave."""
        while len(self.given) < len(self.block.units):
            self._word()
        return self.given

    def _word(self) -> None:
        number, block = len(self.given), self.block
        begin = max(self.ended, block.begin + 1)
        if block.block.masked:
            if number % self.per_row == 0:
                self.row = self.masks_known if not number else max(self.row + form.MASKS_APART, self.begun)
            begin = max(begin, self.row + 1)
        step, free = begin, self.given[-1] if self.given else 0
        for _ in range(self.parts * block.units[number]):
            there = block.takes[block.ahead + block.masks + len(self.pops)] + form.VALUES_THERE
            step = max(step + 1, there, free)
            self.pops.append(step)
        if not block.units[number]:
            step = max(step + 1, free)
        self.begun, self.ended = begin, step
        self.given.append(int(block.ready.following(step + 1)))
