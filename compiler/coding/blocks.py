"""Encodes weights in blocks (docs/weight_stream.md), all of a table at a time.

A decoder's states are made from the end on: what a state becomes when a symbol is decoded is known, and the one before it is
looked for among the symbol's slots.
"""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arch import weight_stream as form
from arch.weight_stream import Entry, Kind, check_word, first_word
from compiler.coding.tables import Codes, fit, ideal_bits

__all__ = ["Coded", "encode", "encode_blocks", "encode_table"]

GROUP_UNITS = form.GROUP // form.UNIT
MUCH_LESS = 0.8         # of the cycles without masks: worth the bits


@dataclass(frozen=True, eq=False)
class Coded:
    """Blocks that share a table, each as words of storage (uint16), or None where its weights are no shorter coded."""

    table: np.ndarray
    blocks: list[np.ndarray | None]


def _closed(words: Sequence[int] | np.ndarray) -> np.ndarray:
    """A block's words and its check word."""
    found = np.asarray(words, np.uint16)
    return np.append(found, np.uint16(check_word(found)))


def encode_table(values: Sequence[Entry], masks: Sequence[Entry] = ()) -> np.ndarray:
    """A table as a block: uint16. Without masks it is for blocks that have none."""
    length = form.HEADER + len(values) + len(masks) + form.CHECKED
    return _closed([first_word(Kind.TABLE, 0, bool(masks)), length, *(entry.word for entry in (*values, *masks))])


def encode(blocks: Sequence[np.ndarray], lanes: int | None = None) -> Coded:
    """Blocks of weights (int8, each of a multiple of 8, at most 8 * EIGHTS) with the table that suits them best.

    Masks are used where they save bits, or, for a decoder of so many `lanes`, a fifth of its cycles: each takes 16 bits at most,
    and `lanes` symbols. Zeros at random places take a few bits more with masks, but far fewer rounds; for less it is not worth
    that the first weights of each block come later. Never are masks used where their rounds would take longer than those of the
    units that they leave out.
    """
    def cycles(bits: float, rounds: int) -> float:
        return max(bits / 16, rounds * form.LANES / lanes) if lanes else 0.0

    whole = np.concatenate([np.ascontiguousarray(block).reshape(-1) for block in blocks])
    units = whole.reshape(-1, form.UNIT)
    there, masks = units.any(axis=1), np.concatenate([_masks(block).reshape(-1) for block in blocks])
    counts = np.bincount(whole.view(np.uint8), minlength=form.VALUES)
    plain = fit(counts)
    best, plain_bits = (plain, []), ideal_bits(counts, plain) + 16 * len(plain)
    if np.count_nonzero(~there) * form.GROUP >= len(there):
        counts = np.bincount(units[there].reshape(-1).view(np.uint8), minlength=form.VALUES)
        counts[0] += not there.any()            # a table has symbols
        mask_counts = np.bincount(masks, minlength=form.MASKS)
        sparse = fit(counts), fit(mask_counts)
        bits = sum(ideal_bits(*one) + 16 * len(one[1]) for one in zip((counts, mask_counts), sparse, strict=True))
        fewer = cycles(bits, np.count_nonzero(there) + len(masks) // form.LANES) < MUCH_LESS * cycles(plain_bits, len(units))
        if bits < plain_bits or fewer:
            best = sparse
    coded = encode_blocks(blocks, *best)
    return Coded(encode_table(*best), [words if 2 * len(words) < block.size else None
                                       for words, block in zip(coded, blocks, strict=True)])


def _masks(block: np.ndarray) -> np.ndarray:
    """A block's masks, (rounds, LANES): bit n is set where unit n of a group is there. Groups beyond the end are empty."""
    there = np.ascontiguousarray(block).reshape(-1, form.UNIT).any(axis=1)
    full = np.zeros((-(-len(there) // form.GROUP), form.LANES, GROUP_UNITS), np.int64)
    full.reshape(-1)[:len(there)] = there
    return (full << np.arange(GROUP_UNITS)).sum(axis=2)


def encode_blocks(blocks: Sequence[np.ndarray], values: Sequence[Entry], masks: Sequence[Entry] = ()) -> list[np.ndarray]:
    """Blocks coded with a given table, with masks if it has some: uint16 each.

    Raises ValueError for a block of another size than `encode` takes, or with a value without slots.
    """
    for block in blocks:
        if not 0 < block.size <= 8 * form.EIGHTS or block.size % 8:
            raise ValueError(f"a block must have a multiple of 8 weights, at most {8 * form.EIGHTS}, not {block.size}")
    rounds, mask_rounds = [], []
    for block in blocks:
        units = np.ascontiguousarray(block).reshape(-1, form.UNIT).view(np.uint8).astype(np.int64)
        first = _masks(block) if masks else np.zeros((0, form.LANES), np.int64)
        rounds.append(np.concatenate([first, units[units.any(axis=1)] if masks else units]))
        mask_rounds.append(len(first))
    order = sorted(range(len(blocks)), key=lambda n: -len(rounds[n]))           # those that are in a round come first
    found = _Encoder(values, masks).run([rounds[n] for n in order], np.array([mask_rounds[n] for n in order]))
    words: list[np.ndarray] = [np.empty(0, np.uint16)] * len(blocks)
    for number, contents in zip(order, found, strict=True):
        head = [first_word(Kind.WEIGHTS, blocks[number].size // 8, bool(masks)), form.HEADER + len(contents) + form.CHECKED]
        words[number] = _closed(np.concatenate([head, contents]))
    return words


class _Encoder:
    """Symbols of blocks as bits, with the codes of values and of masks."""

    def __init__(self, values: Sequence[Entry], masks: Sequence[Entry]):
        parts = [Codes(values), *([Codes(masks)] if masks else [])]
        names = "slots", "first", "raw_bits", "raw", "most_bits"
        self.slots, self.first, self.raw_bits, self.raw, self.most_bits = (
            np.concatenate([getattr(part, name) for part in parts]) for name in names)
        self.first[form.VALUES:] += form.SLOTS
        self.order = np.concatenate([part.order for part in parts])

    def run(self, rounds: Sequence[np.ndarray], mask_rounds: np.ndarray) -> list[np.ndarray]:
        """The contents, in words, of blocks with so many rounds (of LANES values; the first ones masks), the longest first."""
        lengths = np.array([len(each) for each in rounds])
        symbols = np.zeros((len(rounds), lengths[0], form.LANES), np.int64)
        for number, each in enumerate(rounds):
            symbols[number, :len(each)] = each
            symbols[number, :mask_rounds[number]] += form.VALUES
        for number, length in enumerate(lengths):
            if not self.slots[symbols[number, :length]].all():
                raise ValueError("each value must have slots in the table")
        bits, sizes = np.zeros_like(symbols), np.zeros_like(symbols)
        states = np.zeros((len(rounds), form.FINAL, form.LANES), np.int64)
        final = np.maximum(lengths - form.FINAL, mask_rounds)
        for turn in range(lengths[0] - 1, -1, -1):
            here = slice(0, np.searchsorted(-lengths, -turn))           # blocks with more rounds
            step = self._step(symbols[here, turn], states[here, turn % form.FINAL], (turn >= final[here])[:, None])
            bits[here, turn], sizes[here, turn], states[here, turn % form.FINAL] = step
        starts = np.full(form.STATES, form.STATE_BITS)
        return [_packed(np.concatenate([states[number].reshape(-1), bits[number, :length].reshape(-1)]),
                        np.concatenate([starts, sizes[number, :length].reshape(-1)]))
                for number, length in enumerate(lengths)]

    def _step(self, symbols: np.ndarray, after: np.ndarray, final: np.ndarray) -> tuple[np.ndarray, ...]:
        """Bits, how many, and states before the symbols, of the states behind them; of a final round any will do."""
        slots, state = self.slots[symbols], after + form.SLOTS
        size = self.most_bits[symbols]
        size = np.where(final, 0, size - (state < slots << size))
        rest = np.where(final, slots, state >> size)
        before = self.order[self.first[symbols] + rest - slots]
        return self.raw[symbols] << size | state & (1 << size) - 1, size + self.raw_bits[symbols], before


def _packed(bits: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Fields of so many bits (16 at most) one behind the other, the first in the lowest bits of the first word: uint16."""
    ends = np.cumsum(sizes)
    at = ends - sizes
    wide = bits << (at & 15)
    words = np.zeros(ends[-1] // 16 + 2)
    np.add.at(words, at >> 4, wide & 0xffff)
    np.add.at(words, (at >> 4) + 1, wide >> 16)
    return words[:-(-ends[-1] // 16)].astype(np.uint16)
