# amaranth: UnusedElaboratable=no
"""The DMA alone: random transfers of all kinds at once, every value and every cycle; faults; clear in the middle of anything."""
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.instruction import Opcode, PixelTransfer, Transfer, storage_words
from golden.cycles.streams import Readiness
from tests.hw.dma_bench import DmaBench, Work, small
from tests.hw.sdram_bench import REAL, STRESS

ROWS = replace(REAL, row_bits=3, column_bits=9, power_up=300)        # a real chip's timings, few rows
BENCHES = {"stress": (small(4), STRESS), "ram": (small(8), 3072), "rows": (small(16, activation_words=1024), ROWS)}


@pytest.fixture(scope="module", params=BENCHES)
def bench(request) -> DmaBench:
    return DmaBench(*BENCHES[request.param])


def patterns():
    def pattern(seed, share, hold):
        bits = np.repeat(np.random.default_rng(seed).random(97) < share, hold)
        return Readiness(np.append(bits, True))
    return st.one_of(st.just(Readiness()), st.builds(
        pattern, st.integers(0, 1 << 30), st.sampled_from([0.02, 0.3, 0.9]), st.sampled_from([1, 20])))


def _runs(draw, words: int, limit: int) -> tuple[int, int, int]:
    """Start, step and number of runs of `words` words inside `limit` words."""
    start = draw(st.integers(0, limit - words))
    runs = draw(st.integers(1, 5))
    step = draw(st.integers(0, (limit - words - start) // max(runs - 1, 1)))
    return start, step, runs


@st.composite
def transfers(draw, bench: DmaBench, opcode: Opcode) -> Transfer:
    g = bench.geometry
    size = storage_words(g, opcode)
    memory = {Opcode.LOAD_WEIGHTS: g.weight_words, Opcode.LOAD_PARAMETERS: g.parameter_words}.get(opcode, g.activation_words)
    most = min(memory, bench.words // size)
    words = draw(st.one_of(st.integers(1, 6), st.integers(1, min(most, 1500 // size))))
    chip, chip_step, runs = _runs(draw, words, memory)
    storage, storage_step, more = _runs(draw, words * size, bench.words)
    runs = min(runs, more)
    return Transfer(storage=storage, storage_step=storage_step, chip=chip, chip_step=chip_step, words=words, runs=runs)


@st.composite
def pixel_transfers(draw, bench: DmaBench) -> PixelTransfer:
    channels = draw(st.integers(1, 4))
    width = draw(st.one_of(st.integers(1, 9), st.integers(1, 1023)))
    size = -(-width * channels // 2)
    storage, step, rows = _runs(draw, min(size, bench.words), bench.words)
    return PixelTransfer(storage=storage, storage_step=step, width=width, channels=channels, rows=rows)


@st.composite
def loads(draw, bench: DmaBench):
    opcode = draw(st.sampled_from([Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_ACTIVATIONS, Opcode.LOAD_PIXELS]))
    return opcode, draw(pixel_transfers(bench) if opcode is Opcode.LOAD_PIXELS else transfers(bench, opcode))


@st.composite
def works(draw, bench: DmaBench) -> Work:
    fetches = st.builds(lambda at, length: (at, min(length, bench.words - at)), st.integers(0, bench.words - 1),
                        st.one_of(st.integers(1, 4), st.integers(1, 512)))
    work = Work(loads=draw(st.lists(loads(bench), max_size=6)),
                stores=draw(st.lists(transfers(bench, Opcode.STORE), max_size=4)), fetches=draw(st.lists(fetches, max_size=6)))
    work.patterns = {name: draw(patterns()) for name in ("load", "store", "fetch", "pixels")}
    return work


@settings(max_examples=40, deadline=None, print_blob=True)
@given(data=st.data(), seed=st.integers(0, 1 << 30))
def test_every_word_in_its_cycle(bench, data, seed):
    bench.check(data.draw(works(bench)), seed)
