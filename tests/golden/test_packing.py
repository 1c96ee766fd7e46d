"""Packed frames: bits by the page, and frames that make no sense end, with nothing written outside their span."""
import numpy as np
import pytest

from arch.packing import HEAD, LIMIT, STREAM_WORDS, Head
from golden.packing import parameter, predicted, unpack


def stream(bits: str) -> list[int]:
    bits = bits.ljust(-(-len(bits) // 16) * 16, "0")
    return [int(bits[n:n + 16], 2) for n in range(0, len(bits), 16)]


def frame(bits: str, **fields) -> list[int]:
    head = Head(**{"address": 0x12345, "span": 1, "skip": 0, "row_words": 1, "three": False} | fields)
    return [*head.words, *stream(bits)]


def test_a_row_by_hand():
    """Two bytes, 131 and 100: 128 foretold, and 3 above it is number 6, in six ones and a zero, for nothing is around it; 131
    foretold (left, with 128 above and between), twice an unrest of 3 + 6 gives a further bit; 31 below is 61: 15 ones, 8 bits."""
    row = unpack(frame("1111110" + "1" * LIMIT + "00111101"))
    assert row.rows == [(0x12345, [131 | 100 << 8])] and not row.wrong and row.codes == [(6, 0), (LIMIT, 8)]


def test_channels_are_differences():
    """Pixels 130, 132, 131 and 130, 132, 133: the last one's difference is all that is not foretold."""
    bits = "11110" + "11110" + "10" + "00" + "0" + "11110"
    unpacked = unpack(frame(bits, row_words=3, span=3, three=True))
    words = [130 | 132 << 8, 131 | 130 << 8, 132 | 133 << 8]
    assert parameter(130, 128, 128, 4, False) == 0 and parameter(130, 128, 128, 5, False) == 1
    assert parameter(127, 128, 128, 3, True) == 0 and parameter(126, 128, 128, 3, True) == 1
    assert not unpacked.wrong and unpacked.rows == [(0x12345, words)]


def test_rows_are_apart_and_foretold_from_above():
    unpacked = unpack(frame("1111110" + "00" + "0" + "0" + "00", span=11, skip=4))
    assert unpacked.rows == [(0x12345 + 5 * n, [131 | 131 << 8]) for n in range(3)] and not unpacked.wrong
    assert predicted(10, 20, 30) == 10 and predicted(10, 20, 5) == 20 and predicted(10, 20, 14) == 16


@pytest.mark.parametrize("changes", [{"span": 2, "skip": 1}, {"span": 4, "skip": 3}, {"span": 3, "skip": 1, "row_words": 2},
                                     {"row_words": 2}, {"bits": ""}, {"bits": "1" * 16}, {"bits": "0" * 17}],
                         ids=lambda changes: ",".join(f"{name}={value}" for name, value in changes.items()))
def test_wrong_frames(changes):
    """A span that its rows do not fill; streams that end too early, or not with the last byte."""
    assert not unpack(frame("000")).wrong
    fields = dict(changes)
    assert unpack(frame(fields.pop("bits", "0" * 8), **fields)).wrong


def test_anything_ends_inside_its_span(seed=5):
    rng, whole = np.random.default_rng(seed), 0
    for number in range(300):
        words = rng.integers(0, 1 << 16, HEAD + int(rng.choice([1, 3, 40, STREAM_WORDS]))).tolist()
        words[1] &= 0xFF
        if number % 3:
            words[2:4] = int(rng.integers(1, 300)), int(rng.integers(0, 20))
        if number % 5 == 0:
            words[HEAD:] = [0] * (len(words) - HEAD)
        unpacked, head = unpack(words), Head.of(words)
        for address, row in unpacked.rows:
            assert head.address <= address and address + len(row) <= head.address + head.span, f"seed {seed}, {number}"
        whole += not unpacked.wrong
    assert whole < 30
