"""Cycles of the decoder of compressed weights."""
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from arch import weight_stream as form
from arch.weight_stream import Entry
from golden.cycles.streams import NEVER, Readiness
from golden.weight_stream import Trace

__all__ = ["Block", "Cycles", "DecoderCycles", "passed"]

OPENED = 1              # from a block's second word to its beginning
CLOSED = 2              # from its last word to its end, if all is through by then

Block = Trace | Sequence[Entry]         # of weights; of a table: all of its entries


class Words(Protocol):
    def offer(self, taken: Sequence[int]) -> int:
        """The cycle from which on the next word is offered behind those that were taken; NEVER if it is not known."""


class Ready(Protocol):
    def following(self, cycle: int) -> int:
        """The first cycle, this one or a later one, in which the taker is ready; NEVER if it is not known."""


@dataclass
class Cycles:
    """In which commands and words are taken, words of weights leave, and blocks are done."""

    commands: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)


def passed(blocks: Sequence[Block], commands: Readiness, offered: Readiness, ready: Readiness, *, lanes: int, word_units: int
           ) -> Cycles:
    """Of blocks that are whole, one behind the other.

    `commands`, `offered`: in which cycles they are offered first, behind the one before; `ready`: those in which the taker is.
    """
    decoder, free = DecoderCycles(_Pattern(offered), ready, lanes=lanes, word_units=word_units), 0
    for block in blocks:
        decoder.give(block, int(commands.following(free)))
        decoder.advance()
        free = decoder.cycles.commands[-1] + 1
    return decoder.cycles


class _Pattern:
    """Words that are offered first in some cycles."""

    def __init__(self, offered: Readiness):
        self.offered = offered

    def offer(self, taken: Sequence[int]) -> int:
        return int(self.offered.following(taken[-1] + 1 if taken else 0))


class DecoderCycles:
    """The decoder in time, as far as it follows from what is known of its words and of its taker: `advance` goes on when there is
    more. What it found never changes. Blocks must be whole ones."""

    def __init__(self, words: Words, ready: Ready, *, lanes: int, word_units: int):
        self.words, self.ready, self.lanes, self.word_units = words, ready, lanes, word_units
        self.cycles = Cycles()
        self._commands: deque[tuple[Block, int]] = deque()
        self._given = 0
        self._block: _Block | None = None       # the one that is decoded, if it has begun
        self._walk = self._follow()

    def give(self, block: Block, offered: int) -> None:
        """The next command, offered from a cycle on."""
        self._commands.append((block, offered))
        self._given += 1

    def advance(self) -> None:
        """Follows all that is known."""
        next(self._walk)

    @property
    def busy(self) -> bool:
        """Whether a block that was given is not known to be done."""
        return len(self.cycles.done) < self._given

    @property
    def left(self) -> int:
        """Cycles from the first one of which something is not known to the end of the block that is decoded, at least."""
        return self._block.left if self._block else 0

    def take(self, free: int) -> int | None:
        """The cycle in which the next word is taken, by somebody who takes none before; None if that is not known."""
        offer = self.words.offer(self.cycles.words)
        if offer >= NEVER:
            return None
        self.cycles.words.append(max(offer, free))
        return self.cycles.words[-1]

    def _follow(self) -> Iterator[None]:
        """One block after the other; waits wherever something is not known."""
        found, free = self.cycles, 0
        while True:
            while not self._commands:
                yield
            block, offered = self._commands.popleft()
            found.commands.append(max(offered, free))
            while self.take(found.commands[-1] + 1) is None:
                yield
            while (at := self.take(0)) is None:
                yield
            begin = at + OPENED
            if isinstance(block, Trace):
                self._block = weights = _Block(block, self, begin)
                while not weights.advance():
                    yield
                self._block, rounds, through = None, weights.over_at, found.given[-1] + 1
            else:
                for entry in block:
                    while (at := self.take(begin + 1)) is None:
                        yield
                    # A slot a cycle, and two before each symbol's.
                    begin = at + 2 + (entry.symbols * (entry.slots + 2) if entry.slots else 0)
                rounds, through = begin + 1, 0
            while (at := self.take(rounds + 1)) is None:
                yield
            found.done.append(max(at + CLOSED, through) + 1)
            free = found.done[-1] + 1


class _Block:
    """A block of weights that begins in a cycle. Its rounds are followed as far as words and taker are known."""

    def __init__(self, block: Trace, decoder: DecoderCycles, begin: int):
        self.block, self.decoder, self.begin, self.lanes = block, decoder, begin, decoder.lanes
        self.ahead, self.masks = form.STATES // self.lanes, form.LANES // self.lanes * (
            -(-len(block.there) // form.GROUP) if block.masked else 0)
        self.ends = np.cumsum(block.bits.reshape(-1, self.lanes).sum(axis=1)).tolist()
        self.contents = block.words - form.HEADER - form.CHECKED
        self.puts: list[int] = []           # cycles of words
        self.takes: list[int] = []          # of rounds' bits
        self.move = -1                      # of the last round's symbols
        self.over = 0                       # rounds whose bits made room for the last word
        self.over_at: int | None = None     # the cycle behind that of the last round's bits
        padded = np.zeros(-(-len(block.there) // decoder.word_units) * decoder.word_units, bool)
        padded[:len(block.there)] = block.there
        self.units = padded.reshape(-1, decoder.word_units).sum(axis=1).tolist()
        self.out = _Out(self, decoder.word_units)

    @property
    def left(self) -> int:
        return max(len(self.ends) - len(self.takes), self.contents - len(self.puts), len(self.units) - self.out.number)

    def advance(self) -> bool:
        """Whether all is known."""
        first_unit = self.ahead + self.masks
        while len(self.takes) < len(self.ends):
            self._put()
            self.out.advance()
            number = len(self.takes)
            needed, room = -(-self.ends[number] // 16), self.out.room(number - first_unit)
            if room is None or needed > len(self.puts):
                return False
            load = max(self.begin + 1, self.move)
            if number >= self.ahead:
                load = max(load, self.takes[number - self.ahead] + form.LOOKED_UP)
            before, self.move = self.move, max(load + 1, self.takes[-1] if self.takes else 0)
            if number == first_unit and self.masks:
                self.move = max(self.move, before + 2)          # units are counted
            self.takes.append(max(self.move + 1, room, self.puts[needed - 1] + 1 if needed else 0))
            if number == first_unit - 1:
                self.out.masks_known = self.move + form.MASKS_READ
        if not self.out.advance():
            return False
        self.over_at = max(self.takes[-1] + 1, self.move + 2 if len(self.ends) == first_unit else 0)
        return True

    def _put(self) -> None:
        """All words for which there is known to be room."""
        while len(self.puts) < self.contents:
            full, free = 16 * len(self.puts) - form.MOST_BITS, self.begin + 1
            if full >= 0:
                while self.over < len(self.takes) and self.ends[self.over] <= full:
                    self.over += 1
                if self.over == len(self.takes):
                    return
                free = self.takes[self.over] + 1
            at = self.decoder.take(free)
            if at is None:
                return
            self.puts.append(at)


class _Out:
    """Parts of units on their way into words."""

    def __init__(self, block: _Block, word_units: int):
        self.block, self.per_row = block, form.GROUP // word_units
        self.parts = form.UNIT // block.lanes
        self.pops: list[int] = []               # cycles in which parts go into words
        self.begun = self.ended = block.begin   # of the last word
        self.number, self.given = 0, 0          # words that left, the last one in this cycle
        self.masks_known = 0
        self.row = 0

    def room(self, part: int) -> int | None:
        """The cycle from which on there is room for a part of a unit (those below 0 are none); None if that is not known."""
        if part < form.MOST_PARTS:
            return 0
        return self.pops[part - form.MOST_PARTS] + 1 if part - form.MOST_PARTS < len(self.pops) else None

    def advance(self) -> bool:
        """Whether it is known when all words leave."""
        if len(self.block.takes) < self.block.ahead + self.block.masks:
            return False
        while self.number < len(self.block.units):
            if not self._word():
                return False
        return True

    def _word(self) -> bool:
        """The next word, if it is known when it leaves."""
        number, block = self.number, self.block
        first = block.ahead + block.masks + len(self.pops)
        behind = first + self.parts * block.units[number]
        if behind > len(block.takes):
            return False
        begin, row = max(self.ended, block.begin + 1), self.row
        if block.block.masked:
            if number % self.per_row == 0:
                row = self.masks_known if not number else max(row + form.MASKS_APART, self.begun)
            begin = max(begin, row + 1)
        step, pops = begin, []
        for at in block.takes[first:behind]:
            step = max(step + 1, at + form.VALUES_THERE, self.given)
            pops.append(step)
        if not pops:
            step = max(step + 1, self.given)
        leaves = int(block.decoder.ready.following(step + 1))
        if leaves >= NEVER:
            return False
        self.pops += pops
        self.begun, self.ended, self.row = begin, step, row
        self.number, self.given = number + 1, leaves
        block.decoder.cycles.given.append(leaves)
        return True
