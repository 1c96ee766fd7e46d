"""Packs images for the line (docs/packing.md): what a board's unpacker makes of them is what WRITE would have brought."""
from collections.abc import Iterator
from math import lcm

import numpy as np

from arch.packing import ESCAPED_BITS, LIMIT, MIDDLE, ROW_WORDS, STREAM_WORDS, THRESHOLDS, Head
from arch.program import Tensor

__all__ = ["pack", "packed_frames"]

_MOST_SPAN = 0xFFFF
_PARAMETER = np.searchsorted(THRESHOLDS, np.arange(8 * 256), side="right").astype(np.int16)       # by unrest
_ONES = (np.int32(1) << np.minimum(np.arange(256), LIMIT).astype(np.int32)) - 1                 # so many


def packed_frames(tensor: Tensor, words: np.ndarray) -> list[np.ndarray] | None:
    """Arguments of the PACKED frames that bring a tensor's words (uint16) to where it lies; None where its bytes are not those of
    pixels with one or three channels side by side."""
    channels, _, width = tensor.shape
    if tensor.layout != "pixels" or channels not in (1, 3):
        return None
    return pack(words.reshape(-1, -(-width * channels // 2)), tensor.address, channels)


def pack(words: np.ndarray, address: int, channels: int) -> list[np.ndarray]:
    """Arguments of the frames that bring words (uint16, rows by words of a row) to storage from `address` on: strips of columns,
    each with as many rows as go into a frame. `channels` (1 or 3) of a pixel are bytes side by side."""
    rows, row_words = words.shape
    data = np.ascontiguousarray(words, "<u2").view(np.uint8).astype(np.int16)
    starts, edge = _strips(row_words, channels), np.zeros(2 * row_words, bool)
    for channel in range(channels):
        edge[np.minimum(2 * starts + channel, 2 * row_words - 1)] = True
    kinds = _codes(_values(data, channels), edge, channels)
    frames = list(_cut([_row_bits(length, starts) for _, length in kinds], row_words))
    kind = np.full((rows, len(starts)), 2, np.int8)
    for strip, row, count in frames:
        kind[row, strip] = 0
        kind[row + 1:row + min(2, count), strip] = 1
    kind = np.repeat(kind, np.diff([*starts, row_words]) * 2, axis=1)
    codes = [np.choose(kind, parts) for parts in zip(*kinds, strict=True)]
    ends = [*starts[1:], row_words]
    # In the order of the line: strip by strip, row by row.
    value, length = (np.concatenate([part[:, 2 * low:2 * high].ravel() for low, high in zip(starts, ends, strict=True)])
                     for part in codes)
    sizes = np.array([count * 2 * (ends[strip] - starts[strip]) for strip, _, count in frames])
    made = []
    for (strip, row, count), stream in zip(frames, _streams(value, length, sizes), strict=True):
        width = ends[strip] - starts[strip]
        head = Head(address=int(address + row * row_words + starts[strip]), span=int((count - 1) * row_words + width),
                    skip=int(row_words - width), row_words=int(width), three=channels == 3)
        made.append(np.concatenate([np.array(head.words, "<u2"), stream]))
    return made


def _strips(row_words: int, channels: int) -> np.ndarray:
    """The first word of each strip of columns: as few strips as can be, about equal, each of whole pixels."""
    unit = lcm(2, channels) // 2
    units, most = -(-row_words // unit), ROW_WORDS // unit
    count = -(-units // most)
    return np.arange(count) * units // count * unit


def _values(data: np.ndarray, channels: int) -> np.ndarray:
    """What is predicted: bytes, or of a pixel's further channels their differences from the one before."""
    values = data.copy()
    for channel in range(1, channels):
        part = values[:, channel::channels]
        part[...] = data[:, channel::channels] - data[:, channel - 1::channels][:, :part.shape[1]] + MIDDLE & 0xFF
    return values


def _codes(values: np.ndarray, edge: np.ndarray, channels: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each byte its code and the code's bits, where its row is a frame's first one, its second, or a later one. `edge`:
    columns that have nothing on their left."""
    def lefts(of: np.ndarray, none: int) -> np.ndarray:
        moved = np.full_like(of, none)
        moved[:, channels:] = of[:, :-channels]
        moved[:, edge] = none
        return moved

    def down(of: np.ndarray, none: int) -> np.ndarray:
        return np.concatenate([np.full_like(of[:1], none), of[:-1]])

    left, above = lefts(values, MIDDLE), down(values, MIDDLE)
    between = lefts(above, MIDDLE)
    along, across = left - between, above - between
    guess = np.maximum(np.minimum(left, above), np.minimum(np.maximum(left, above), left + across))
    number, top = _numbers(values - guess), _numbers(values - left)
    steps, top_steps = (along ^ along >> 15) + (across ^ across >> 15), left - MIDDLE
    top_unrest = (top_steps ^ top_steps >> 15) + lefts(top, 0)
    unrest = steps + lefts(number, 0)
    return [_code(top, top_unrest, channels), _code(number, unrest + down(top, 0), channels),
            _code(number, unrest + down(number, 0), channels)]


def _numbers(error: np.ndarray) -> np.ndarray:
    error = error.astype(np.int8).astype(np.int16)
    return 2 * error ^ error >> 15


def _code(number: np.ndarray, unrest: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    unrest[:, ::channels] *= 2
    further = _PARAMETER[unrest]
    ones = number >> further
    escaped = ones >= LIMIT
    length = np.where(escaped, LIMIT + ESCAPED_BITS, ones + further + 1)
    plain = (_ONES[ones] << further + 1) + (number & _ONES[further])
    return np.where(escaped, ((1 << LIMIT) - 1 << ESCAPED_BITS) + number.astype(np.int32), plain), length


def _row_bits(length: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Bits of each strip's rows: (rows, strips)."""
    return np.add.reduceat(length, 2 * starts, axis=1, dtype=np.int64)


def _cut(bits: list[np.ndarray], row_words: int) -> Iterator[tuple[int, int, int]]:
    """Strip, first row, and rows of each frame, from bits of rows that are a frame's first one, its second, or a later one."""
    top, second, later = bits
    rows, most = len(top), max(1, (_MOST_SPAN - ROW_WORDS) // row_words)
    for strip in range(top.shape[1]):
        before, row = np.concatenate([[0], np.cumsum(later[:, strip])]), 0
        while row < rows:
            room, end = 16 * STREAM_WORDS - int(top[row, strip]), row + 1
            if end < rows and second[end, strip] <= room:
                room += int(before[end + 1] - second[end, strip])
                end = min(int(np.searchsorted(before, room, side="right")) - 1, row + most, rows)
            yield strip, row, end - row
            row = end


def _streams(value: np.ndarray, length: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    """The words of each frame's codes; `sizes`: how many codes each frame has, an even number."""
    # In pairs, which are half as many.
    length, second = length[::2] + length[1::2], length[1::2]
    value, sizes = value[::2].astype(np.uint64) << second.astype(np.uint64) | value[1::2].astype(np.uint64), sizes // 2
    ends = np.cumsum(length, dtype=np.int64)
    last = np.cumsum(sizes)
    begin = np.concatenate([[0], ends[last[:-1] - 1]])
    counts = -(-(ends[last - 1] - begin) // 16)
    base = np.concatenate([[0], np.cumsum(counts)])
    at = ends - length + np.repeat(16 * base[:-1] - begin, sizes)
    # Two codes lie in four words at most, and no two bits in one place.
    parts = (value << (64 - (at & 15) - length).astype(np.uint64)).astype("<u8").view("<u2").reshape(-1, 4)
    words = sum(np.bincount((at >> 4) + part, parts[:, 3 - part], base[-1] + 4) for part in range(4))
    return np.split(words[:base[-1]].astype("<u2"), base[1:-1])
