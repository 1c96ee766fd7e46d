"""How long weights are in formats that others use: bytes, with headers, tables and padding to words. Nothing is written.

Each takes the weights of a stage in blocks (int8) that can be decoded by themselves; a block that would grow stays as it is.
"""
from collections.abc import Callable, Sequence

import numpy as np

from compiler.coding.blocks import encode

__all__ = ["KINDS", "code_lengths", "entropy_bytes", "golomb_rice_bytes", "huffman_bytes", "mask_bytes", "stream_bytes"]

HEADER_BITS = 32            # of a block: its length, and how it is coded
PALETTE = 32                # values at most
DIVISORS = np.arange(8)     # of Golomb-Rice codes: bits behind the unary part
LONGEST_CODE = 15
LONGEST_RUN = 15            # of zeros before a value
WORD = 16

Blocks = Sequence[np.ndarray]


def _total(bits: Sequence[float] | np.ndarray, blocks: Blocks) -> int:
    """Bytes of blocks with so many bits, each padded to words, or as it is."""
    return sum(min(2 * -(-int(one + HEADER_BITS) // WORD), block.size) for one, block in zip(bits, blocks, strict=True))


def entropy_bytes(blocks: Blocks) -> float:
    """The order-0 entropy of all values together, without a table."""
    counts = np.unique(np.concatenate([block.reshape(-1) for block in blocks]), return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


def mask_bytes(blocks: Blocks) -> int:
    """A bit for each weight, and a byte for each that is not 0, as NVDLA has it."""
    return _total([block.size + 8 * np.count_nonzero(block) for block in blocks], blocks)


def golomb_rice_bytes(blocks: Blocks) -> int:
    """Golomb-Rice codes of values and, where they help, of the runs of zeros between them, as Arm's Ethos-U has it.

    The most frequent values are a palette of the stage, by frequency, the others follow by magnitude; divisors are those that are
    best for each block.
    """
    whole = np.concatenate([block.reshape(-1) for block in blocks])
    values, counts = np.unique(whole, return_counts=True)
    best = []
    for size in range(0, PALETTE + 1, 8):
        palette = values[np.argsort(-counts, kind="stable")][:size]
        index = np.zeros(256, np.int64)
        others = [value for value in sorted(range(-128, 128), key=lambda value: (abs(value), -value)) if value not in palette]
        index[np.array([*palette, *others], np.int64).astype(np.uint8)] = np.arange(256)
        best.append(_total([_golomb_rice_bits(block.reshape(-1), index) for block in blocks], blocks) + size + 2)
    return min(best)


def _golomb_rice_bits(block: np.ndarray, index: np.ndarray) -> int:
    def coded(numbers: np.ndarray) -> int:
        return min(int((numbers >> divisor).sum() + (1 + divisor) * len(numbers)) for divisor in DIVISORS)
    places = np.flatnonzero(block)
    runs = np.diff(np.concatenate([[-1], places, [len(block)]])) - 1
    found = index[block.view(np.uint8)]
    return min(coded(found), coded(found[places]) + coded(runs))


def huffman_bytes(blocks: Blocks) -> int:
    """Canonical Huffman codes of values, and in a second stream of the runs of zeros before them where they help, as Deep
    Compression has it. Code lengths of 4 bits are the table of a stage."""
    plain = [block.reshape(-1).view(np.uint8) for block in blocks]
    runs = [_runs(block.reshape(-1)) for block in blocks]
    return min(_huffman_total([(values,) for values in plain], (256,), blocks),
               _huffman_total(runs, (256, LONGEST_RUN + 1), blocks))


def _runs(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values, and the zeros before each: zeros bridge what is further."""
    zeros = np.diff(np.concatenate([[-1], np.flatnonzero(block), [len(block)]])) - 1
    bridges = zeros // (LONGEST_RUN + 1)
    ends = np.cumsum(bridges + 1) - 1
    values, runs = np.zeros(ends[-1] + 1, np.uint8), np.full(ends[-1] + 1, LONGEST_RUN)
    values[ends[:-1]], runs[ends] = block[block != 0].view(np.uint8), zeros % (LONGEST_RUN + 1)
    return values, runs


def _huffman_total(streams: Sequence[tuple[np.ndarray, ...]], sizes: tuple[int, ...], blocks: Blocks) -> int:
    bits = np.zeros(len(blocks))
    for number, size in enumerate(sizes):
        counts = [np.bincount(one[number], minlength=size) for one in streams]
        lengths = code_lengths(np.sum(counts, axis=0), LONGEST_CODE)
        bits += [-(-int(count @ lengths) // WORD) * WORD for count in counts]
    return _total(bits, blocks) + sum(sizes) // 2


def code_lengths(counts: np.ndarray, longest: int) -> np.ndarray:
    """Lengths of the best prefix code for symbols that occur so often, none above `longest`: the package-merge algorithm
    (Larmore and Hirschberg, "A fast algorithm for optimal length-limited Huffman codes", JACM 1990)."""
    there = np.flatnonzero(counts)
    lengths = np.zeros(len(counts), np.int64)
    if len(there) < 2:
        lengths[there] = 1
        return lengths
    coins = [(int(counts[symbol]), np.eye(1, len(counts), symbol, dtype=np.int64)[0]) for symbol in there]
    row = []
    for _ in range(longest):
        packages = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(row[::2], row[1::2], strict=False)]
        row = sorted([*coins, *packages], key=lambda coin: coin[0])
    return np.sum([coin[1] for coin in row[:2 * len(there) - 2]], axis=0)


def stream_bytes(blocks: Blocks) -> int:
    """The format of docs/weight_stream.md: really coded."""
    coded = encode(blocks)
    found = sum(block.size if words is None else 2 * len(words) for words, block in zip(coded.blocks, blocks, strict=True))
    return min(found + 2 * len(coded.table), sum(block.size for block in blocks))


KINDS: dict[str, Callable[[Blocks], float]] = {
    "order-0 entropy": entropy_bytes, "mask": mask_bytes, "Golomb-Rice": golomb_rice_bytes, "Huffman": huffman_bytes,
    "numeral systems": stream_bytes}
