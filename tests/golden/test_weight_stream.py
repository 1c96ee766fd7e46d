"""Compressed weights: what the page says, bit by bit, and every damage noticed."""
import numpy as np
import pytest

from arch.weight_stream import Entry, Fault, Kind, check_word, first_word
from compiler.coding.blocks import encode, encode_blocks, encode_table
from compiler.coding.tables import fit
from golden.weight_stream import StreamError, decode, decode_table

RNG = np.random.default_rng(16)


def sparse(count, density=0.3, spread=20, rng=RNG):
    return np.where(rng.random(count) < density, np.clip(rng.laplace(0, spread, count), -127, 127), 0).astype(np.int8)


def closed(words):
    words = np.asarray(words, np.uint16)
    return np.append(words, np.uint16(check_word(words)))


def checked_again(words):
    """A block with its length and check word put right."""
    words = np.array(words, np.uint16)
    words[1] = len(words)
    return closed(words[:-1])


def by_the_page(words, table):
    """Weights of a block, one bit after the other, as docs/weight_stream.md describes it; lists of a table's entries."""
    slots = []
    for entries in table:
        found, number, value = [None] * 512, 0, 0
        for entry in entries:
            for _ in range(entry.symbols):
                places = []
                for k in range(number, number + entry.slots):
                    row = int(f"{k % 8:03b}"[::-1], 2)
                    places.append(row * 64 + k // 8)
                for n, place in enumerate(sorted(places)):
                    found[place] = (value, entry.raw_bits, entry.slots + n)
                number, value = number + entry.slots, value + 2 ** entry.raw_bits
        slots.append(found)
    bits = [int(word) >> n & 1 for word in words[2:-1] for n in range(16)]
    at = 0

    def take(count):
        nonlocal at
        at += count
        return sum(bit << n for n, bit in enumerate(bits[at - count:at]))
    units, masked = 2 * (int(words[0]) & 0xfff), bool(words[0] >> 15)
    states = [take(9) for _ in range(32)]
    turn = 0

    def symbol(part, final):
        nonlocal turn
        value, raw_bits, rest = slots[part][states[turn % 32]]
        count = 0
        while rest << count < 512 and not final:
            count += 1
        states[turn % 32] = (rest << count) + take(count) - 512
        turn += 1
        return value + take(raw_bits)
    there = [True] * units
    if masked:
        masks = [symbol(1, False) for _ in range(-(-units // 16) * 4)]
        there = [masks[unit // 4] >> unit % 4 & 1 for unit in range(units)]
    left, found = sum(there), []
    for here in there:
        left -= bool(here)
        found += [symbol(0, left < 8) for _ in range(4)] if here else [0] * 4
    assert len(bits) - at < 16 and not any(bits[at:])
    return np.array(found, np.uint8).view(np.int8)


@pytest.mark.parametrize("size, density", [(8, 1), (40, 0.5), (312, 0.1), (640, 0.9), (1000, 0.02)])
def test_both_decoders_and_the_page_agree(size, density):
    blocks = [sparse(size, density), sparse(2 * size, density)]
    whole = np.concatenate(blocks)
    units = whole.reshape(-1, 4)
    values = fit(np.bincount(whole.view(np.uint8), minlength=256))
    masks = fit(np.array([1] * 16))
    for table in ((values,), (fit(np.bincount(units[units.any(axis=1)].reshape(-1).view(np.uint8), minlength=256)), masks)):
        coded = encode_blocks(blocks, *table)
        found = decode(coded, decode_table(encode_table(*table)))
        for block, words, weights in zip(blocks, coded, found, strict=True):
            np.testing.assert_array_equal(weights, block)
            np.testing.assert_array_equal(by_the_page(words, table), block)


def test_blocks_decode_alone_and_together():
    blocks = [sparse(size, density) for size, density in ((4096, 0.4), (8, 1), (2048, 0.05), (520, 0))]
    coded = encode(blocks)
    table = decode_table(coded.table)
    words = [words for words in coded.blocks if words is not None]
    together = decode(words, table)
    for one, weights in zip(words, together, strict=True):
        np.testing.assert_array_equal(decode([one], table)[0], weights)
    assert decode([], table) == []


def test_a_count_that_is_not_to_come_is_a_fault():
    coded = encode([sparse(4096, 0.2), sparse(2048, 0.2)])
    table = decode_table(coded.table)
    assert [len(weights) for weights in decode(coded.blocks, table, [512, 256])] == [4096, 2048]
    with pytest.raises(StreamError, match="block 1 of the weight stream, word 0: it says another number of weights") as error:
        decode(coded.blocks, table, [512, 257])
    assert error.value.fault is Fault.COUNT


@pytest.fixture(scope="module")
def small():
    """A block of few words, with masks, and its table."""
    weights = sparse(160, 0.3)
    units = weights.reshape(-1, 4)
    values = fit(np.bincount(units[units.any(axis=1)].reshape(-1).view(np.uint8), minlength=256))
    masks = fit(np.array([3, *[1] * 15]))
    return weights, encode_table(values, masks), encode_blocks([weights], values, masks)[0]


def test_every_bit_turned_is_noticed(small):
    _, table, block = small
    ready = decode_table(table)
    for words, decoder in ((block, lambda words: decode([words], ready)), (table, decode_table)):
        for bit in range(16 * len(words)):
            damaged = words.copy()
            damaged[bit // 16] ^= 1 << bit % 16
            with pytest.raises(StreamError) as error:
                decoder(damaged)
            assert 0 <= error.value.word < len(words) and error.value.block == 0


def test_every_cut_is_noticed(small):
    _, table, block = small
    ready = decode_table(table)
    for words, decoder in ((block, lambda words: decode([words], ready)), (table, decode_table)):
        for length in range(len(words)):
            with pytest.raises(StreamError, match="word 1: it says another number of words"):
                decoder(words[:length])
            if length >= 3:                             # the length is put right, what is missing shows elsewhere
                with pytest.raises(StreamError):
                    decoder(checked_again(words[:length]))
        with pytest.raises(StreamError, match="bits are left over"):
            decoder(checked_again([*words, 0]))


def test_what_passes_the_check_word_decodes_or_is_refused(small):
    """Bits turned, and the check word put right: as many weights as before, or a fault."""
    _, table, block = small
    ready, seen, rng = decode_table(table), set(), np.random.default_rng(4)
    for words, decoder in ((block, lambda words: decode([words], ready)[0]), (table, decode_table)):
        for _ in range(250):
            damaged = words.copy()
            for bit in rng.integers(0, 16 * (len(words) - 1), rng.integers(1, 4)):
                damaged[bit // 16] ^= 1 << bit % 16
            try:
                found = decoder(closed(damaged[:-1]))
                assert words is table or found.size == 8 * (int(damaged[0]) & 0xfff)
            except StreamError as error:
                seen.add(error.fault)
    assert seen == {Fault.LENGTH, Fault.KIND, Fault.TABLE, Fault.OVERRUN, Fault.MASK, Fault.REST}


@pytest.mark.parametrize("length", [0, 1, 2, 3, 20, 300])
def test_noise_ends(small, length):
    ready = decode_table(small[1])
    for _ in range(4):
        noise = RNG.integers(0, 1 << 16, length).astype(np.uint16)
        for words in (noise, np.concatenate([[first_word(Kind.WEIGHTS, 4095, True), length + 3], noise, [0]]).astype(np.uint16)):
            with pytest.raises(StreamError):
                decode([words], ready)


def test_faults_have_names_and_places(small):
    weights, table, block = small
    ready = decode_table(table)

    def fault(words, table=ready):
        with pytest.raises(StreamError) as error:
            decode([block, words], table)
        return error.value.fault, error.value.block, error.value.word

    def changed(place, value, words=block):
        damaged = words.copy()
        damaged[place] = value
        return closed(damaged[:-1])
    assert fault(table) == (Fault.KIND, 1, 0)
    assert fault(changed(0, first_word(Kind.WEIGHTS, 0, True))) == (Fault.COUNT, 1, 0)
    assert fault(changed(0, first_word(Kind.WEIGHTS, 4095, True))) == (Fault.OVERRUN, 1, len(block) - 1)
    assert fault(changed(0, first_word(Kind.WEIGHTS, 1, True)))[0] in (Fault.MASK, Fault.REST)
    assert fault(checked_again([*block, 0])) == (Fault.REST, 1, len(block) - 1)
    assert fault(np.append(block[:-1], block[-1] ^ 1)) == (Fault.CHECK, 1, len(block) - 1)
    plain = encode_blocks([weights], fit(np.bincount(weights.view(np.uint8), minlength=256)))[0]
    with pytest.raises(StreamError, match=r"block 0 of the weight stream, word 0: its table is wrong"):
        decode([block], decode_table(encode_table(fit(np.bincount(weights.view(np.uint8), minlength=256)))))
    with pytest.raises(StreamError, match="its table is wrong"):
        decode([plain], None)
    with pytest.raises(StreamError, match=r"block 7 of the weight stream, word 0: it is of another kind"):
        decode_table(plain, 7)


@pytest.mark.parametrize("entries, word", [
    ([Entry(2, 32, 3)], 2),                                                     # slots are left
    ([Entry(17, 32, 3)], 2), ([Entry(0, 1, 0), Entry(0, 32, 0), Entry(0, 32, 3)], 4),   # too many slots, values
    ([Entry(1, 1, 0), Entry(2, 31, 3)], 3),                                     # values that are not neighbours
    ([], 2), ([Entry(2, 31, 3)], 3)])                                           # no more entries
def test_tables_that_do_not_fill_their_slots_are_refused(entries, word):
    with pytest.raises(StreamError) as error:
        decode_table(encode_table(entries))
    assert (error.value.fault, error.value.word) == (Fault.TABLE, word)
    with pytest.raises(StreamError, match="table is wrong"):
        decode_table(encode_table([Entry(16, 32, 3)], [Entry(64, 8, 1)]))       # masks of which bits choose
