"""Chooses a table for the values that blocks of weights have: the fewest bits for both.

Runs of symbols are chosen by dynamic programming: each costs its word, its slots at a price, and the bits of its values. The
price of a slot is what makes all slots together as many as there are (a Lagrange multiplier).
"""
from collections.abc import Sequence
from functools import cache

import numpy as np

from arch import weight_stream as form
from arch.weight_stream import Entry

__all__ = ["Codes", "fit", "ideal_bits"]

WORD = 16               # bits of an entry
SYMBOLS, RAW_BITS = 32, 3       # of an entry at most
PRICES = 14             # that are tried


@cache
def _runs(values: int) -> tuple[np.ndarray, np.ndarray]:
    """All runs of symbols there may be of so many values, by where they end: (runs, 4) of first value, end, raw bits and symbols;
    and where those that end at each value begin."""
    widest = RAW_BITS if values == form.VALUES else 0
    runs = [(start, start + (count << raw), raw, count) for raw in range(widest + 1) for start in range(0, values, 1 << raw)
            for count in range(1, SYMBOLS + 1) if start + (count << raw) <= values]
    found = np.array(sorted(runs, key=lambda run: run[1]))
    return found, np.searchsorted(found[:, 1], np.arange(values + 2))


def _cheapest(counts: np.ndarray, price: float) -> tuple[np.ndarray, np.ndarray]:
    """The runs, in order, and the slots of each symbol of them that cost least at a price of so many bits a slot."""
    runs, ends = _runs(len(counts))
    totals = np.concatenate([[0], np.cumsum(counts)])
    many, symbols = totals[runs[:, 1]] - totals[runs[:, 0]], runs[:, 3]
    fewer = np.clip(many / (symbols * price * np.log(2)), 1, form.MOST_SLOTS).astype(np.int64)
    both = np.stack([fewer, np.minimum(fewer + 1, form.MOST_SLOTS)])
    costs = price * symbols * both - many * np.log2(both / form.SLOTS)
    slots = np.where(many > 0, both[costs.argmin(axis=0), np.arange(len(runs))], 0)
    cost = np.where(many > 0, costs.min(axis=0) + many * runs[:, 2], 0) + WORD
    least, chosen = np.zeros(len(counts) + 1), np.zeros(len(counts) + 1, np.int64)
    for end in range(1, len(counts) + 1):
        found = cost[ends[end]:ends[end + 1]] + least[runs[ends[end]:ends[end + 1], 0]]
        chosen[end] = ends[end] + found.argmin()
        least[end] = found.min()
    way, end = [], len(counts)
    while end:
        way.append(chosen[end])
        end = runs[way[-1], 0]
    return runs[way[::-1]], slots[way[::-1]]


def fit(counts: np.ndarray) -> list[Entry]:
    """Entries for values (256 bytes or 16 masks) that occur so often; all slots are taken.

    Raises ValueError if none occurs.
    """
    total = int(np.sum(counts))
    if not total:
        raise ValueError("counts must be of at least one value")
    low, high = total / form.SLOTS / 16, 16.0 * total
    best = None
    for _ in range(PRICES):
        price = (low * high) ** 0.5
        runs, slots = _cheapest(counts, price)
        if (runs[:, 3] * slots).sum() <= form.SLOTS:
            best, high = (runs, slots), price
        else:
            low = price
    if best is None:
        best = _cheapest(counts, high)
    runs, slots = best
    totals = np.concatenate([[0], np.cumsum(counts)])
    slots = _filled(totals[runs[:, 1]] - totals[runs[:, 0]], runs[:, 3], slots)
    return _complete([Entry(int(slots_), int(run[3]), int(run[2])) for run, slots_ in zip(runs, slots, strict=True)])


def _filled(many: np.ndarray, symbols: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Slots that are left go to the runs that gain most of them."""
    slots = slots.copy()
    while True:
        open_ = (symbols <= form.SLOTS - (symbols * slots).sum()) & (slots > 0) & (slots < form.MOST_SLOTS)
        if not open_.any():
            return slots
        gain = np.where(open_, many * np.log2((slots + 1) / np.maximum(slots, 1)) / symbols, -1.0)
        slots[gain.argmax()] += 1


def _complete(entries: list[Entry]) -> list[Entry]:
    """The same, and the slots that no run could take given to a single symbol: the last of a run that has none, or of the run
    with the most symbols."""
    left = form.SLOTS - sum(entry.slots * entry.symbols for entry in entries)
    if not left:
        return entries
    number = max(range(len(entries)), key=lambda n: (entries[n].slots == 0, entries[n].symbols))
    run = entries[number]
    head = [Entry(run.slots, run.symbols - 1, run.raw_bits)] if run.symbols > 1 else []
    return [*entries[:number], *head, Entry(run.slots + left, 1, run.raw_bits), *entries[number + 1:]]


def ideal_bits(counts: np.ndarray, entries: Sequence[Entry]) -> float:
    """Bits of values that occur so often, without what rounding of states costs."""
    codes = Codes(entries)
    there = counts > 0
    return float((counts[there] * (codes.raw_bits[there] - np.log2(codes.slots[there] / form.SLOTS))).sum())


class Codes:
    """What an encoder needs of each value: `slots` of its symbol, the `first` of them in `order`, `raw_bits` and `raw`, the bits
    that choose it, and `most_bits` that the state may give. `order`: all slots, symbol by symbol."""

    def __init__(self, entries: Sequence[Entry]):
        slots, raw_bits = (np.concatenate([np.full(entry.symbols, value) for entry, value in zip(entries, found, strict=True)])
                           for found in ([entry.slots for entry in entries], [entry.raw_bits for entry in entries]))
        first, self.order = np.cumsum(slots) - slots, form.slot_order(slots)
        self.slots, self.first, self.raw_bits = (np.repeat(found, 1 << raw_bits) for found in (slots, first, raw_bits))
        self.raw = np.arange(len(self.slots)) & (1 << self.raw_bits) - 1
        self.most_bits = form.STATE_BITS + 1 - np.frexp(np.maximum(self.slots, 1))[1]
