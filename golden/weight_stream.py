"""Decodes compressed weights (docs/weight_stream.md), many blocks of a table at a time.

Whatever words it is given, it ends, reads none beyond them, and says what is wrong with the first block that is damaged, where.
"""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arch import weight_stream as form
from arch.weight_stream import Entry, Fault, Kind, check_word

__all__ = ["StreamError", "Table", "Trace", "decode", "decode_table", "entries", "trace", "traces"]


TEXTS = {Fault.LENGTH: "it says another number of words", Fault.KIND: "it is of another kind",
         Fault.COUNT: "it says another number of weights", Fault.TABLE: "its table is wrong",
         Fault.OVERRUN: "it ends before its last weight", Fault.MASK: "a mask has units behind the last one",
         Fault.REST: "bits are left over", Fault.CHECK: "its check word is wrong"}


class StreamError(ValueError):
    """A damaged block: which one, `fault`, and the `word` of it at which it was noticed."""

    def __init__(self, fault: Fault, block: int, word: int):
        super().__init__(f"block {block} of the weight stream, word {word}: {TEXTS[fault]}")
        self.fault, self.block, self.word = fault, block, word


@dataclass(frozen=True, eq=False)
class Table:
    """What each slot stands for, for values [0] and masks [1]: `symbol` (2, SLOTS) the first value, `raw_bits` that choose one
    from there on, `rest` (f .. 2 f - 1 for a symbol with f slots) what stays of the state. `masked`: whether it has masks."""

    symbol: np.ndarray
    raw_bits: np.ndarray
    rest: np.ndarray
    masked: bool

    @property
    def state_bits(self) -> np.ndarray:
        """Bits that make a state of what stays of the one before: (2, SLOTS)."""
        return form.STATE_BITS + 1 - np.frexp(np.maximum(self.rest, 1))[1]


def _opened(words: np.ndarray, kind: Kind, block: int) -> tuple[int, bool]:
    """Count and `masked` of a block's first word."""
    if len(words) < form.HEADER + form.CHECKED or words[1] != len(words):
        raise StreamError(Fault.LENGTH, block, 1)
    first = int(words[0])
    if first >> 12 & 7 != kind:
        raise StreamError(Fault.KIND, block, 0)
    return first & form.EIGHTS, bool(first & form.MASKED)


def _closed(words: np.ndarray, block: int) -> None:
    if check_word(words[:-1]) != words[-1]:
        raise StreamError(Fault.CHECK, block, len(words) - 1)


def decode_table(words: np.ndarray, block: int = 0) -> Table:
    """The table of a block (uint16). Raises StreamError, which names the block by the number given."""
    count, masked = _opened(words, Kind.TABLE, block)
    if count:
        raise StreamError(Fault.KIND, block, 0)
    at, found = form.HEADER, np.zeros((3, 2, form.SLOTS), np.int64)
    for part, values in enumerate((form.VALUES, form.MASKS)[:1 + masked]):
        own: list[Entry] = []
        value = slot = 0
        while value < values and slot <= form.SLOTS:
            entry = Entry.of(int(words[at]))
            bent = value % (1 << entry.raw_bits) or (part and entry.raw_bits)
            value, slot = value + entry.values, slot + entry.slots * entry.symbols
            if at == len(words) - form.CHECKED or bent or value > values:
                raise StreamError(Fault.TABLE, block, at)
            own.append(entry)
            at += 1
        if slot != form.SLOTS:
            raise StreamError(Fault.TABLE, block, at - 1)
        found[:, part] = _filled(own)
    if at != len(words) - form.CHECKED:
        raise StreamError(Fault.REST, block, at)
    _closed(words, block)
    return Table(*found, masked)


def entries(words: np.ndarray) -> list[Entry]:
    """All entries of a table's block. Raises StreamError where `decode_table` does."""
    decode_table(words)
    return [Entry.of(int(word)) for word in words[form.HEADER:-form.CHECKED]]


def _filled(entries: Sequence[Entry]) -> np.ndarray:
    """First value, raw bits and rest of each slot: (3, SLOTS)."""
    symbols = [entry.symbols for entry in entries]
    slots, raw_bits = (np.repeat([getattr(entry, name) for entry in entries], symbols) for name in ("slots", "raw_bits"))
    values = np.cumsum(1 << raw_bits) - (1 << raw_bits)
    rest = np.arange(form.SLOTS) - np.repeat(np.cumsum(slots) - 2 * slots, slots)
    found = np.empty((3, form.SLOTS), np.int64)
    found[:, form.slot_order(slots)] = np.repeat(values, slots), np.repeat(raw_bits, slots), rest
    return found


class _Bits:
    """The contents of blocks as bits. `at`: the next bit of each block, from its beginning on."""

    def __init__(self, blocks: Sequence[np.ndarray]):
        sizes = np.array([len(block) for block in blocks])
        self.words = np.concatenate([*blocks, np.zeros(2, np.uint16)]).astype(np.int64)
        self.start, self.end = 16 * (np.cumsum(sizes) - sizes), 16 * (sizes - form.CHECKED)
        self.at = np.full(len(blocks), 16 * form.HEADER)
        self.overrun = np.zeros(len(blocks), np.int64)        # the bit at which it was noticed
        self.taken: list[tuple[np.ndarray, np.ndarray]] = []        # which blocks, and the sizes

    def take(self, which: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """The next bits of some blocks: of sizes (blocks, n) each, at most 12; 0 beyond a block's end."""
        ends = self.at[which, None] + np.cumsum(sizes, axis=1)
        over = (ends[:, -1] > self.end[which]) & (self.overrun[which] == 0)
        self.overrun[which[over]] = self.end[which[over]]
        at = np.minimum(self.start[which, None] + ends - sizes, 16 * (len(self.words) - 2))
        low = at >> 4
        bits = (self.words[low] | self.words[low + 1] << 16) >> (at & 15) & (1 << sizes) - 1
        self.at[which] = ends[:, -1]
        self.taken.append((which, sizes))
        return np.where(ends > self.end[which, None], 0, bits)


class _Rounds:
    """The states of blocks: (blocks, FINAL, LANES)."""

    def __init__(self, table: Table, bits: _Bits, count: int):
        self.table, self.bits, self.state_bits = table, bits, table.state_bits
        sizes = np.full((count, form.LANES), form.STATE_BITS)
        self.states = np.stack([bits.take(np.arange(count), sizes) for _ in range(form.FINAL)], axis=1)
        self.round = np.zeros(count, np.int64)

    def step(self, which: np.ndarray, part: int, final: np.ndarray) -> np.ndarray:
        """A round of some blocks: its symbols' values (blocks, LANES). `final`: no state is needed any more."""
        turn = self.round[which] % form.FINAL
        states = self.states[which, turn]
        raw_bits, state_bits = self.table.raw_bits[part, states], self.state_bits[part, states]
        state_bits = np.where(final[:, None], 0, state_bits)
        bits = self.bits.take(which, state_bits + raw_bits)
        self.states[which, turn] = ((self.table.rest[part, states] << state_bits) + (bits & (1 << state_bits) - 1)) % form.SLOTS
        self.round[which] += 1
        return self.table.symbol[part, states] + (bits >> state_bits)


@dataclass(frozen=True, eq=False)
class Trace:
    """What a block of weights takes: so many `words`, `bits` of each symbol, (rounds, LANES), states first. `masked`: its first
    rounds behind the states are masks. `there`: which units have values."""

    words: int
    bits: np.ndarray
    masked: bool
    there: np.ndarray


def trace(words: np.ndarray, table: Table) -> Trace:
    """Of a block. Raises StreamError where `decode` does."""
    return traces([words], table)[0]


def traces(blocks: Sequence[np.ndarray], table: Table) -> list[Trace]:
    """Of blocks that share a table. Raises StreamError where `decode` does."""
    if not blocks:
        return []
    eights, masked = np.array([_begun(words, number, table) for number, words in enumerate(blocks)]).T
    bits = _Bits(blocks)
    _, there = _decoded(blocks, table, bits, eights, masked)
    which, sizes = (np.concatenate(parts) for parts in zip(*bits.taken, strict=True))
    order = np.argsort(which, kind="stable")
    each = np.split(sizes[order], np.cumsum(np.bincount(which, minlength=len(blocks)))[:-1])
    return [Trace(len(words), own, bool(masked[n]), there[n, :2 * int(eights[n])])
            for n, (words, own) in enumerate(zip(blocks, each, strict=True))]


def decode(blocks: Sequence[np.ndarray], table: Table | None, eights: Sequence[int] | None = None) -> list[np.ndarray]:
    """The weights of blocks (uint16) that share a table: int8 each. Raises StreamError for the first damaged one, or that has not
    as many `eights` of weights as are to come."""
    if not blocks:
        return []
    opened, damage = [], None
    for number, words in enumerate(blocks):
        try:
            opened.append(_begun(words, number, table, None if eights is None else eights[number]))
        except StreamError as error:
            damage, blocks = error, blocks[:number]
            break
    found = _decoded(blocks, table, _Bits(blocks), *np.array(opened, np.int64).T)[0] if opened else []
    if damage:
        raise damage
    return found


def _begun(words: np.ndarray, block: int, table: Table | None, eights: int | None = None) -> tuple[int, bool]:
    """Eights of weights of a block that begins well, as many as are to come, and whether it is masked."""
    count, masked = _opened(words, Kind.WEIGHTS, block)
    if not count or eights is not None and count != eights:
        raise StreamError(Fault.COUNT, block, 0)
    if table is None or masked and not table.masked:
        raise StreamError(Fault.TABLE, block, 0)
    return count, masked


def _decoded(blocks: Sequence[np.ndarray], table: Table, bits: _Bits, eights: np.ndarray, masked: np.ndarray
             ) -> tuple[list[np.ndarray], np.ndarray]:
    """The weights of blocks that begin well, and which of their units have values."""
    rounds, units = _Rounds(table, bits, len(blocks)), 2 * eights
    mask_rounds = np.where(masked, -(-units // form.GROUP), 0)
    masks = np.zeros((len(blocks), max(mask_rounds.max(), -(-units.max() // form.GROUP)), form.LANES), np.int64)
    for number in range(mask_rounds.max()):
        which = np.flatnonzero(number < mask_rounds)
        masks[which, number] = rounds.step(which, 1, np.zeros(len(which), bool))
    there = (masks[..., None] >> np.arange(form.GROUP // form.UNIT) & 1).astype(bool).reshape(len(blocks), -1)
    inside = np.arange(there.shape[1]) < units[:, None]
    beyond = (there & ~inside).any(axis=1)
    there = np.where(masked[:, None] == 1, there, True) & inside
    coded = there.sum(axis=1)
    values = np.zeros((len(blocks), coded.max(), form.LANES), np.int64)
    for number in range(coded.max()):
        which = np.flatnonzero(number < coded)
        values[which, number] = rounds.step(which, 0, number >= coded[which] - form.FINAL)
    found = []
    for number, words in enumerate(blocks):
        _check_end(bits, number, words, bool(beyond[number]), int(mask_rounds[number]))
        weights = np.zeros((there.shape[1], form.UNIT), np.uint8)
        weights[there[number]] = values[number, :coded[number]]
        found.append(weights[:units[number]].view(np.int8).reshape(-1))
    return found, there


def _check_end(bits: _Bits, number: int, words: np.ndarray, beyond: bool, mask_rounds: int) -> None:
    """Raises StreamError unless the bits that were taken are all of a block's."""
    if bits.overrun[number]:
        raise StreamError(Fault.OVERRUN, number, int(bits.overrun[number]) // 16)
    if beyond:
        raise StreamError(Fault.MASK, number, form.HEADER + form.STATE_WORDS)
    at = int(bits.at[number])
    if at % 16 and int(words[at // 16]) >> at % 16:
        raise StreamError(Fault.REST, number, at // 16)
    if -(-at // 16) != len(words) - form.CHECKED:
        raise StreamError(Fault.REST, number, -(-at // 16))
    _closed(words, number)
