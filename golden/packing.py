"""Unpacks images that went packed over the line (docs/packing.md), bit by bit, as the board does.

Whatever a frame holds, it ends, and nothing outside the span that it names is written.
"""
from collections.abc import Sequence
from dataclasses import dataclass, field

from arch.packing import ESCAPED_BITS, HEAD, LIMIT, MIDDLE, ROW_WORDS, THRESHOLDS, Head

__all__ = ["Unpacked", "parameter", "predicted", "unpack"]


@dataclass
class Unpacked:
    """What came out of a frame: `rows`, each with its address and the words that were whole before something was `wrong`, if
    anything was. `codes`: ones and further bits of each byte's code, those of the last one as far as they came if the stream
    `ended` in front of it or in it."""

    rows: list[tuple[int, list[int]]] = field(default_factory=list)
    codes: list[tuple[int, int]] = field(default_factory=list)
    wrong: bool = False
    ended: bool = False


class _Ended(Exception):
    """A bit is needed, and there is none."""


class _Bits:
    """Of words, the highest one of each first."""

    def __init__(self, words: Sequence[int]):
        self._words, self._at, self._left = words, 0, 0

    @property
    def all_begun(self) -> bool:
        return self._at == len(self._words)

    def next(self) -> int:
        if not self._left:
            if self.all_begun:
                raise _Ended
            self._at, self._left = self._at + 1, 16
        self._left -= 1
        return int(self._words[self._at - 1]) >> self._left & 1


def _steps(from_: int, to: int) -> int:
    """How far apart two values are; one less downwards, which saves the chip an adder."""
    return to - from_ if to >= from_ else from_ - to - 1


def predicted(left: int, above: int, between: int) -> int:
    """The median of left, above, and left + above - between: `between` is above left, and left of above."""
    return sorted((left, above, left + above - between))[1]


def parameter(left: int, above: int, between: int, numbers: int, first: bool) -> int:
    """Bits of the second part of a byte's code; `numbers`: the sum of those whose codes the bytes left and above had. `first`: of
    a pixel, whose errors are twice as large as differences'."""
    unrest = _steps(between, left) + _steps(between, above) + numbers << first
    return sum(unrest >= threshold for threshold in THRESHOLDS)


def _number(bits: _Bits, further: int, unpacked: Unpacked) -> int:
    """The number of the next code (0..255)."""
    ones = 0
    unpacked.codes.append((0, 0))
    while ones < LIMIT and bits.next():
        ones += 1
        unpacked.codes[-1] = ones, 0
    number, further = (0, ESCAPED_BITS) if ones == LIMIT else (ones, further)
    for n in range(further):
        number = 2 * number + bits.next()
        unpacked.codes[-1] = ones, n + 1
    return number & 0xFF


class _Row:
    """What a row leaves for the one below: what stands for its bytes, and the numbers of their codes."""

    def __init__(self, values: list[int], numbers: list[int]):
        self.values, self.numbers = values, numbers


def _row(bits: _Bits, above: _Row, count: int, channels: int, unpacked: Unpacked) -> _Row:
    """A row's bytes go into the last of the `unpacked` rows, two to a word."""
    row, numbers, words, before, low = [], [], unpacked.rows[-1][1], MIDDLE, 0
    for n in range(count):
        edge, first = n < channels, n % channels == 0
        left, between = (MIDDLE, MIDDLE) if edge else (row[n - channels], above.values[n - channels])
        around = above.numbers[n] + (0 if edge else numbers[n - channels])
        number = _number(bits, parameter(left, above.values[n], between, around, first), unpacked)
        numbers.append(number)
        row.append((predicted(left, above.values[n], between) + (number >> 1 ^ -(number & 1))) & 0xFF)
        # Channels but the first are their difference from the one before.
        before = row[n] + (0 if first else before - MIDDLE) & 0xFF
        if n % 2:
            words.append(low | before << 8)
        low = before
    return _Row(row, numbers)


def unpack(arguments: Sequence[int]) -> Unpacked:
    """Of the words of a PACKED frame (arrays of integers will do), behind its header."""
    head, bits, unpacked = Head.of(arguments), _Bits(arguments[HEAD:]), Unpacked()
    address, left, above = head.address, head.span, _Row([MIDDLE] * 2 * ROW_WORDS, [0] * 2 * ROW_WORDS)
    try:
        while left >= head.row_words:
            left -= head.row_words
            unpacked.rows.append((address, []))
            above = _row(bits, above, 2 * head.row_words, 3 if head.three else 1, unpacked)
            address += head.row_words + head.skip
            if not left:
                unpacked.wrong = not bits.all_begun
                return unpacked
            left -= head.skip                               # negative, or too little for a row: wrong
    except _Ended:
        unpacked.ended = True
    unpacked.wrong = True
    return unpacked
