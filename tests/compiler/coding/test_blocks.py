"""Tables and blocks of compressed weights: nothing is lost, nothing grows, and files of others come out as short as wanted."""
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch import weight_stream as form
from arch.weight_stream import Entry
from bench.weights.compare import stage_blocks
from compiler.coding.blocks import encode, encode_blocks, encode_table
from compiler.coding.tables import Codes, fit, ideal_bits
from compiler.lowering.lower import lower
from compiler.target import target_of
from golden.cycles.streams import Readiness
from golden.cycles.weight_decoder import passed
from golden.weight_stream import decode, decode_table, traces
from nets.load import load_model
from nets.quantise import quantise


def bytes_of(coded, blocks):
    return 2 * len(coded.table) + sum(
        block.size if words is None else 2 * len(words) for words, block in zip(coded.blocks, blocks, strict=True))


def assert_same(coded, blocks):
    short = [n for n, words in enumerate(coded.blocks) if words is not None]
    for number, weights in zip(short, decode([coded.blocks[n] for n in short], decode_table(coded.table)), strict=True):
        np.testing.assert_array_equal(weights, blocks[number].reshape(-1))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 32), st.lists(st.integers(1, 130), min_size=1, max_size=5), st.floats(0, 1), st.floats(0, 8),
       st.booleans())
def test_nothing_is_lost_and_nothing_grows(seed, eights, density, width, clusters):
    rng = np.random.default_rng(seed)
    blocks = []
    for count in eights:
        there = rng.random(8 * count if not clusters else count) < density
        values = np.clip(rng.laplace(0, 2 ** width, 8 * count), -128, 127)
        blocks.append(np.where(there if not clusters else np.repeat(there, 8), values, 0).astype(np.int8))
    coded = encode(blocks)
    assert_same(coded, blocks)
    assert all(words is None or 2 * len(words) < block.size for words, block in zip(coded.blocks, blocks, strict=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from([form.VALUES, form.MASKS]), st.floats(0, 6))
def test_tables_are_whole_and_near_the_entropy(seed, size, skew):
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(20_000, rng.dirichlet(np.full(size, 10 ** -skew / 2 + 1e-3)))
    entries = fit(counts)
    assert sum(entry.values for entry in entries) == size
    assert sum(entry.slots * entry.symbols for entry in entries) == form.SLOTS
    decode_table(encode_table(entries) if size == form.VALUES else encode_table([Entry(16, 32, 3)], entries))
    there = counts[counts > 0]
    entropy = -(there * np.log2(there / there.sum())).sum()
    assert ideal_bits(counts, entries) <= 1.05 * entropy + 0.02 * counts.sum()


def test_smooth_values_take_few_bits_more_than_their_entropy():
    """Rounding of states, too: slots of a symbol that lie badly cost 3 %."""
    values = np.clip(np.random.default_rng(1).laplace(0, 15, 1 << 16), -127, 127).astype(np.int8)
    values[np.random.default_rng(2).random(values.size) < 0.6] = 0
    counts = np.unique(values, return_counts=True)[1]
    entropy = -(counts * np.log2(counts / counts.sum())).sum() / 8
    blocks = [values[at:at + 16384] for at in range(0, values.size, 16384)]
    assert bytes_of(encode(blocks), blocks) < 1.02 * entropy


def test_values_of_a_palette_take_no_more():
    rng = np.random.default_rng(3)
    palette = rng.choice(255, 64, replace=False) - 127
    values = palette[np.minimum(rng.geometric(0.06, 1 << 15) - 1, 63)].astype(np.int8)
    counts = np.unique(values, return_counts=True)[1]
    entropy = -(counts * np.log2(counts / counts.sum())).sum() / 8
    blocks = [values[:1 << 14], values[1 << 14:]]
    assert bytes_of(encode(blocks), blocks) < 1.02 * entropy


def test_zeros_take_nothing():
    """4096 of them: two words of header, 18 of states, and a bit for perhaps one of two masks at most, and the check word."""
    zeros = np.zeros(4096, np.int8)
    coded = encode([zeros])
    assert_same(coded, [zeros])
    assert len(coded.blocks[0]) < 2 + 18 + 256 // 16 + 1 and len(coded.table) < 12


@pytest.mark.parametrize("lanes", [2, 4])
def test_zeros_at_random_places_are_skipped_where_a_decoder_gains_by_it(lanes):
    """As many bits as without masks, nearly; the decoder takes a round for each unit otherwise, of zeros too."""
    rng = np.random.default_rng(5)
    weights = np.clip(rng.laplace(0, 15, 1 << 15), -127, 127).astype(np.int8)
    weights[rng.random(weights.size) > 0.09] = 0
    blocks = list(weights.reshape(-1, 4096))
    ends = []
    for coded in (encode(blocks), encode(blocks, lanes)):
        assert_same(coded, blocks)
        taken = passed(traces(coded.blocks, decode_table(coded.table)), *[Readiness()] * 3, lanes=lanes, word_units=8)
        ends.append((taken.done[-1], bytes_of(coded, blocks)))
    (slow, short), (fast, longer) = ends
    assert 2 * fast < slow and short < longer < 1.05 * short


def test_masks_that_save_no_cycle_are_not_used():
    """Where each cycle's 16 bits are the bound, the fewest bits are the fewest cycles."""
    rng = np.random.default_rng(6)
    weights = np.clip(rng.laplace(0, 30, 1 << 14), -127, 127).astype(np.int8)
    weights[rng.random(weights.size) > 0.6] = 0
    blocks = list(weights.reshape(-1, 4096))
    assert [np.array_equal(*pair) for pair in zip(encode(blocks).blocks, encode(blocks, 4).blocks, strict=True)] == [True] * 4


def test_noise_stays_as_it_is():
    noise = np.random.default_rng(4).integers(-128, 128, 4096).astype(np.int8)
    assert encode([noise]).blocks == [None]


def test_what_no_block_may_be_is_refused():
    table = fit(np.ones(256, np.int64))
    for size in (0, 12, 8 * 4096):
        with pytest.raises(ValueError, match=f"multiple of 8 weights, at most 32760, not {size}"):
            encode_blocks([np.zeros(size, np.int8)], table)
    missing = np.flatnonzero(Codes(table := fit(10_000 * np.eye(1, 256, 4, dtype=np.int64)[0])).slots == 0)[0]
    with pytest.raises(ValueError, match="slots in the table"):
        encode_blocks([np.full(8, missing, np.uint8).view(np.int8)], table)
    with pytest.raises(ValueError, match="at least one value"):
        fit(np.zeros(256, np.int64))


@pytest.mark.parametrize("name, dead_channels, raw, most", [
    ("mlperf_tiny_vww_int8", False, 30464, 24600), ("mlperf_tiny_vww_int8", True, 200960, 31200),
    ("mlperf_tiny_ad_int8", False, 266240, 173700)])
def test_files_of_mlperf_tiny(data, name, dead_channels, raw, most):
    """Of AD the order-0 entropy is 170,562 bytes; 1/4.6 of VWW's 208,112 weights, 200,960 of them the engine's, are 45,241."""
    network = quantise(load_model(str(data / "models" / "tflite" / f"{name}.tflite")), (), dead_channels=dead_channels)
    stages = lower(network, target_of("ulx3s").serving(network).geometry).stages
    found = 0
    for stage in (stage for stage in stages if stage.work.weights.size):
        blocks = stage_blocks(stage.work.weights)
        coded = encode(blocks)
        assert_same(coded, blocks)
        found += bytes_of(coded, blocks)
    assert sum(stage.work.weights.size for stage in stages) == raw and most - 600 < found <= most
