"""Sizes of weights in the formats of others, by hand."""
import numpy as np

from bench.weights.compare import main, sizes
from bench.weights.kinds import KINDS, code_lengths, entropy_bytes, golomb_rice_bytes, huffman_bytes, mask_bytes


def test_order_0_entropy():
    assert entropy_bytes([np.array([0] * 8 + [1] * 8, np.int8)]) == 2
    assert entropy_bytes([np.zeros(8, np.int8)]) == 0


def test_masks():
    block = np.zeros(160, np.int8)
    block[:3] = 5
    assert mask_bytes([block]) == 4 + 20 + 4            # header, a bit each, three bytes in whole words
    assert mask_bytes([np.ones(160, np.int8)]) == 160   # longer coded: as it is


def test_golomb_rice():
    block = np.zeros(256, np.int8)
    block[100] = 7
    # Without runs 256 bits for a palette that begins with 0. With them, and without a palette: the 13th value by magnitude with 3
    # bits behind a unary part of 2, runs of 100 and 155 with 7 bits behind unary parts of 1 and 2.
    assert golomb_rice_bytes([block]) == 4 + 4 + 2


def test_huffman():
    np.testing.assert_array_equal(code_lengths(np.array([8, 4, 2, 1, 1, 0]), 15), [1, 2, 3, 4, 4, 0])
    np.testing.assert_array_equal(code_lengths(np.array([8, 4, 2, 1, 1]), 3), [1, 3, 3, 3, 3])
    block = np.zeros(640, np.int8)
    block[[99, 299]] = 1, -1
    # Runs: zeros in 15s, bridges between; one stream of values of 256 lengths takes less than two with 16 more only where zeros
    # are few.
    assert huffman_bytes([block]) < huffman_bytes([np.arange(640).astype(np.int8)])
    assert sum(2.0 ** -length for length in code_lengths(np.arange(1, 257), 9)) == 1


def test_every_format_of_a_network(capsys, tmp_path):
    dense = np.clip(np.random.default_rng(0).normal(0, 30, 8192), -127, 127).astype(np.int8)
    found = sizes([dense, np.zeros(0, np.int8)])
    assert list(found) == ["raw", *KINDS] and found["raw"] == 8192
    assert found["order-0 entropy"] < found["numeral systems"] < found["Huffman"] < 8192 == found["mask"]
    assert main(["--page", str(tmp_path / "page.md")]) == 0
    assert "digits" in capsys.readouterr().out and "| digits |" in (tmp_path / "page.md").read_text()
