"""The DMA's cycles: one pass in time finds what all at once does; every word is asked for once; long loads are fast."""
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import PRESETS, Geometry
from arch.instruction import CodedTransfer, Opcode, PixelTransfer, Transfer, storage_words
from arch.sdram import CHIPS
from arch.transfer import BURST_WORDS, CODED_WORD, LOADED, STORE_WORDS, WRITE
from compiler.coding.blocks import encode
from golden.cycles.coded import coded_blocks
from golden.cycles.dma import SOURCES, DmaCycles, bursts
from golden.cycles.storage import RamCycles, SdramStorage
from golden.cycles.streams import NEVER, Readiness, depart
from golden.cycles.weight_decoder import DecoderCycles, passed
from golden.weight_stream import decode_table, traces
from sim.damage import random_blocks

SMALL = Geometry(input_lanes=8, output_lanes=4, activation_words=512, weight_words=512)
DECODER = replace(SMALL, options=("decoder",))
TIMING = replace(CHIPS["as4c32m16sb-7"].timing(142), power_up=200)
RESULTS = ("load_done", "store_done", "load_taken", "store_taken", "activation_writes", "weight_writes", "coded_writes",
           "activation_reads", "pixels", "fetched", "fetch_taken", "requests")


def transfer(rng: np.random.Generator, opcode: Opcode) -> Transfer:
    words, runs = int(rng.integers(1, rng.choice([4, 120]))), int(rng.integers(1, 5))
    return Transfer(storage=int(rng.integers(0, 1 << 14)), storage_step=int(rng.integers(0, 3000)), chip=0, chip_step=1,
                    words=words, runs=runs)


def pixels(rng: np.random.Generator) -> PixelTransfer:
    return PixelTransfer(storage=int(rng.integers(0, 1 << 14)), storage_step=int(rng.integers(0, 3000)),
                         width=int(rng.integers(1, 1000)), channels=int(rng.integers(1, 5)), rows=int(rng.integers(1, 4)))


def coded(rng: np.random.Generator, count: int) -> list[tuple]:
    """A table, and blocks: loads, and what the decoder does for each."""
    weights, table, blocks, _ = random_blocks(rng, count, int(rng.choice([4, 150])), masked=bool(rng.integers(2)), multiple=2)
    stored, loads, at = [table, *blocks], [], 0
    for words, chip_words in zip(stored, [0, *(one.size // 16 for one in weights)], strict=True):
        loads.append(CodedTransfer(storage=at, words=len(words), chip=0, chip_words=chip_words))
        at += len(words)
    return list(zip([Opcode.LOAD_CODED] * len(loads), loads, coded_blocks(loads, np.concatenate(stored)), strict=True))


class _Taker:
    """Weight memory, known up to a cycle."""

    known = 0

    def following(self, cycle: int) -> int:
        return cycle if cycle < self.known else NEVER


@pytest.mark.parametrize("density", [0.0, 0.1, 0.6])
def test_what_a_decoder_takes_is_known_as_soon_as_its_taker_is(density):
    """Also behind a block's last round, while its words of zeros have yet to leave; others rely on that."""
    rng = np.random.default_rng(3)
    weights = np.clip(rng.laplace(0, 14, 4096), -127, 127).astype(np.int8)
    weights[rng.random(weights.size) > density] = 0
    encoded = encode(list(weights.reshape(2, -1)), 4)
    blocks = traces(encoded.blocks, decode_table(encoded.table))
    whole = passed(blocks, *[Readiness()] * 3, lanes=4, word_units=8)
    taker = _Taker()
    decoder = DecoderCycles(taker, lanes=4, word_units=8)
    decoder.came += [0] * sum(block.words for block in blocks)
    for block, offered in zip(blocks, whole.commands, strict=True):
        decoder.give(block, offered)
    for settled in range(whole.done[-1] + 10):
        taker.known = settled + WRITE
        decoder.advance()
        assert len(decoder.cycles.words) >= np.searchsorted(whole.words, settled + CODED_WORD)
    assert decoder.cycles == whole


def offers(rng: np.random.Generator, count: int) -> list[int]:
    return np.cumsum(rng.integers(0, rng.choice([2, 50, 3000]), count)).tolist()


@settings(max_examples=60, deadline=None, print_blob=True)
@given(seed=st.integers(0, 1 << 30), sdram=st.booleans())
def test_one_pass_in_time_is_enough(seed, sdram):
    one_pass(SMALL, seed, sdram)


@settings(max_examples=25, deadline=None, print_blob=True)
@given(seed=st.integers(0, 1 << 30), sdram=st.booleans())
def test_one_pass_in_time_is_enough_with_a_decoder(seed, sdram):
    one_pass(DECODER, seed, sdram)


def one_pass(geometry: Geometry, seed: int, sdram: bool) -> None:
    rng = np.random.default_rng(seed)
    kinds = [Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_ACTIVATIONS, Opcode.LOAD_PIXELS]
    opcodes = [kinds[n] for n in rng.integers(0, 4, rng.integers(0, 8))]
    loads = [(one, pixels(rng) if one is Opcode.LOAD_PIXELS else transfer(rng, one)) for one in opcodes]
    if geometry is DECODER:
        for one in coded(rng, int(rng.integers(1, rng.choice([4, 24])))):
            loads += [one, *([(Opcode.LOAD_WEIGHTS, transfer(rng, Opcode.LOAD_WEIGHTS))] * int(rng.integers(2)))]
    stores = [(transfer(rng, Opcode.STORE),) for _ in range(rng.integers(0, 6))]
    fetches = [(int(rng.integers(0, 1 << 14)), int(rng.integers(1, 513))) for _ in range(rng.integers(0, 8))]
    commands = {name: list(zip(offers(rng, len(these)), these, strict=True))
                for name, these in (("load", loads), ("store", stores), ("fetch", fetches))}
    ready = Readiness(np.append(rng.random(97) < rng.choice([0.05, 0.4, 1]), True))

    def model() -> DmaCycles:
        return DmaCycles(geometry, SdramStorage(TIMING) if sdram else RamCycles(1 << 17))

    def give(dma: DmaCycles, name: str, command: tuple, at: int) -> None:
        first, block = (command[:2], command[2:]) if name == "load" else (command, ())
        getattr(dma, name)(*first, at, *block)
    taken = np.zeros(0, np.int64)
    while True:
        whole = model()
        for name, these in commands.items():
            for at, command in these:
                give(whole, name, command, at)
        whole.take_pixels(taken)
        whole.finish()
        now = depart(whole.pixels, ready)
        if np.array_equal(now, taken):
            break
        taken = now
    assert len(whole.load_done) == len(loads) and len(whole.store_done) == len(stores)

    steps, now, until, given_pixels = model(), 0, 0, 0
    left = {name: list(these) for name, these in commands.items()}
    end = max([1, *(int(getattr(whole, name).max()) for name in RESULTS if getattr(whole, name).size)]) + 10
    while until < end:
        until += int(rng.integers(1, rng.choice([3, 400, 20000])))
        for name, these in left.items():
            while these and these[0][0] < until:
                at, command = these.pop(0)
                give(steps, name, command, at)
        more = int(np.searchsorted(taken, until))
        steps.take_pixels(taken[given_pixels:more])
        given_pixels = more
        while now < until:
            now, before = steps.follow(now, until, 1), now
            assert before < now <= until
        for name in RESULTS:        # all before that cycle is known, and nothing that is known is wrong
            known, expected = getattr(steps, name), getattr(whole, name)
            np.testing.assert_array_equal(known, expected[:len(known)], f"{name} until {until}, seed {seed}")
            if name != "requests":
                assert len(known) >= np.searchsorted(expected, until), f"{name} until {until}, seed {seed}"
    for name in RESULTS:
        np.testing.assert_array_equal(getattr(steps, name), getattr(whole, name), f"{name}, seed {seed}")


@pytest.mark.parametrize("lanes", [4, 8, 12, 16])
@pytest.mark.parametrize("opcode", [Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_ACTIVATIONS, Opcode.STORE])
def test_bursts_are_whole_words(lanes, opcode):
    geometry = Geometry(input_lanes=lanes, output_lanes=lanes // 2, activation_words=512, weight_words=512)
    size, body = storage_words(geometry, opcode), Transfer(storage=7, storage_step=5000, chip=0, chip_step=0, words=301, runs=2)
    found = list(bursts(geometry, opcode, body))
    assert all(one.length % size == 0 and one.length <= BURST_WORDS for one in found)
    if opcode is Opcode.STORE:
        assert max(one.length for one in found) == STORE_WORDS * size
    covered = np.concatenate([np.arange(one.address, one.address + one.length) for one in found])
    assert covered.tolist() == [*range(7, 7 + 301 * size), *range(5007, 5007 + 301 * size)]
    assert [one.end for one in found] == [False] * (len(found) - 1) + [True]


@pytest.mark.parametrize("chip", CHIPS)
def test_long_loads_use_the_pins(chip):
    """Of the cycles from first to last word at least 95 % bring one."""
    timing = replace(CHIPS[chip].timing(100), power_up=200)
    dma = DmaCycles(PRESETS["85f"], SdramStorage(timing))
    for n in range(4):
        body = Transfer(storage=50_000 * n + 77, storage_step=0, chip=0, chip_step=0, words=3000, runs=1)
        dma.load(Opcode.LOAD_WEIGHTS, body, 0)
    dma.finish()
    words, first = 4 * 3000 * 16, int(dma.requests[0, 0])
    assert words / (int(dma.load_done[-1]) - LOADED - first) >= 0.95
    assert {SOURCES[n] for n in dma.requests[:, 1]} == {"load"}
