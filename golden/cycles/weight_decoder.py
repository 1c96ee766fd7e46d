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

ALWAYS = Readiness()

Block = Trace | Sequence[Entry]         # of weights; of a table: all of its entries


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
    decoder, free = DecoderCycles(ready, offered, lanes=lanes, word_units=word_units), 0
    for block in blocks:
        contents = block.words - form.HEADER - form.CHECKED if isinstance(block, Trace) else len(block)
        decoder.came += [0] * (contents + form.HEADER + form.CHECKED)
        decoder.give(block, int(commands.following(free)))
        decoder.advance()
        free = decoder.cycles.commands[-1] + 1
    return decoder.cycles


class DecoderCycles:
    """The decoder in time, as far as it follows from what is known of its words and of its taker: `advance` goes on when there is
    more. What it found never changes. Blocks must be whole ones.

    `came`: for each word that is known a cycle before which it is not offered, nor before the word in front of it is taken, nor
    first in one that is not of `offered`.
    """

    def __init__(self, ready: Ready, offered: Readiness = ALWAYS, *, lanes: int, word_units: int):
        self.ready, self.lanes, self.word_units = ready, lanes, word_units
        self.came: list[int] = []
        self.offered = None if offered.always else offered
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
        words = self.cycles.words
        if len(words) == len(self.came):
            return None
        offer = max(self.came[len(words)], words[-1] + 1 if words else 0)
        if self.offered:
            offer = int(self.offered.following(offer))
        words.append(max(offer, free))
        return words[-1]

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
                at = None
                while True:
                    weights.advance()
                    # The check word does not wait for words that have yet to leave.
                    if at is None and weights.over_at is not None:
                        at = self.take(weights.over_at + 1)
                    if at is not None and weights.whole:
                        break
                    yield
                self._block, through = None, found.given[-1] + 1
            else:
                for entry in block:
                    while (at := self.take(begin + 1)) is None:
                        yield
                    # A slot a cycle, and two before each symbol's.
                    begin = at + 2 + (entry.symbols * (entry.slots + 2) if entry.slots else 0)
                through = 0
                while (at := self.take(begin + 2)) is None:
                    yield
            found.done.append(max(at + CLOSED, through) + 1)
            free = found.done[-1] + 1


class _Block:
    """A block of weights that begins in a cycle. Its rounds are followed as far as words and taker are known."""

    def __init__(self, block: Trace, decoder: DecoderCycles, begin: int):
        self.block, self.decoder, self.begin, self.lanes = block, decoder, begin, decoder.lanes
        self.ahead, self.masks = form.STATES // self.lanes, form.LANES // self.lanes * (
            -(-len(block.there) // form.GROUP) if block.masked else 0)
        self.first_unit = self.ahead + self.masks               # round of values
        ends = np.cumsum(block.bits.reshape(-1, self.lanes).sum(axis=1))
        contents = block.words - form.HEADER - form.CHECKED
        self.needs = (-(-ends // 16)).tolist()                  # words of the block up to each round
        # The round whose bits make room for each word, -1 for none.
        full = 16 * np.arange(contents) - form.MOST_BITS
        self.over = np.where(full < 0, -1, np.searchsorted(ends, full, side="right")).tolist()
        self.puts: list[int] = []           # cycles of words
        self.takes: list[int] = []          # of rounds' bits
        self.move = -1                      # of the last round's symbols
        self.over_at: int | None = None     # the cycle behind that of the last round's bits
        self.whole = False                  # all is known
        padded = np.zeros(-(-len(block.there) // decoder.word_units) * decoder.word_units, bool)
        padded[:len(block.there)] = block.there
        self.out = _Out(self, decoder.word_units, padded.reshape(-1, decoder.word_units).sum(axis=1))

    @property
    def left(self) -> int:
        return max(len(self.needs) - len(self.takes), len(self.over) - len(self.puts), len(self.out.behind) - self.out.number)

    def advance(self) -> None:
        """Follows all that is known; `whole`, if that is all."""
        takes, needs, puts, over, out, first_unit = self.takes, self.needs, self.puts, self.over, self.out, self.first_unit
        move, number, pops = self.move, len(self.takes), self.out.pops
        while number < len(needs):
            if len(puts) < len(over) and over[len(puts)] < number:
                self._put(number)
            if out.needs <= number >= first_unit:
                out.advance(number)
            need, room = needs[number], number - first_unit - form.MOST_PARTS
            if need > len(puts) or room >= len(pops):
                break
            load = max(self.begin + 1, move)
            if number >= self.ahead:
                load = max(load, takes[number - self.ahead] + form.LOOKED_UP)
            before, move = move, max(load + 1, takes[-1] if takes else 0)
            if number == first_unit and self.masks:
                move = max(move, before + 2)            # units are counted
            at = move + 1
            if need and puts[need - 1] >= at:
                at = puts[need - 1] + 1
            if room >= 0 and pops[room] >= at:
                at = pops[room] + 1
            takes.append(at)
            number += 1
            if number == first_unit:
                out.masks_known = move + form.MASKS_READ
        self.move = move
        if number == len(needs):
            self.over_at = max(takes[-1] + 1, move + 2 if len(needs) == first_unit else 0)
            self.whole = out.advance(number)

    def _put(self, rounds: int) -> None:
        """All words for which there is known to be room, when so many rounds have their bits."""
        puts, over, takes, came, words = self.puts, self.over, self.takes, self.decoder.came, self.decoder.cycles.words
        number, offered, last = len(words), self.decoder.offered, words[-1]
        while len(puts) < len(over) and number < len(came):         # as `take`, but quick
            makes = over[len(puts)]
            if makes >= rounds:
                return
            free, at = takes[makes] + 1 if makes >= 0 else self.begin + 1, came[number]
            if at <= last:
                at = last + 1
            if offered:
                at = int(offered.following(at))
            last = at if at > free else free
            puts.append(last)
            words.append(last)
            number += 1


class _Out:
    """Parts of units on their way into words."""

    def __init__(self, block: _Block, word_units: int, units: np.ndarray):
        self.block, self.per_row = block, form.GROUP // word_units
        self.behind = (block.first_unit + form.UNIT // block.lanes * np.cumsum(units)).tolist()     # rounds up to each word
        self.needs = block.first_unit           # rounds, before there is something to do
        self.pops: list[int] = []               # cycles in which parts go into words
        self.begun = self.ended = block.begin   # of the last word
        self.number, self.given = 0, 0          # words that left, the last one in this cycle
        self.masks_known = 0
        self.row = 0
        # Of the next word, while it is not known when it leaves: its beginning, its masks' and its last part's cycle.
        self.full: tuple[int, int, int] | None = None

    def advance(self, rounds: int) -> bool:
        """Whether it is known when all words leave, so many rounds having their bits."""
        while self.number < len(self.behind):
            self.needs = self.behind[self.number]
            if self.needs > rounds or not self._word():
                return False
        self.needs = NEVER
        return True

    def _word(self) -> bool:
        """The next word, if it is known when it leaves. Its parts are known before: places of theirs are free for others."""
        if self.full is None:
            self.full = self._fill()
        begin, row, step = self.full
        leaves = int(self.block.decoder.ready.following(step + 1))
        if leaves >= NEVER:
            return False
        self.begun, self.ended, self.row, self.full = begin, step, row, None
        self.number, self.given = self.number + 1, leaves
        self.block.decoder.cycles.given.append(leaves)
        return True

    def _fill(self) -> tuple[int, int, int]:
        """Parts of the next word."""
        number, block, given = self.number, self.block, self.given
        begin, row = max(self.ended, block.begin + 1), self.row
        if block.block.masked:
            if number % self.per_row == 0:
                row = self.masks_known if not number else max(row + form.MASKS_APART, self.begun)
            begin = max(begin, row + 1)
        step, pops = begin, []
        for at in block.takes[block.first_unit + len(self.pops):self.behind[number]]:
            step = max(step + 1, at + form.VALUES_THERE, given)
            pops.append(step)
        self.pops += pops
        return begin, row, step if pops else max(step + 1, given)
