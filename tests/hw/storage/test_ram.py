# amaranth: UnusedElaboratable=no
"""Storage in block RAM: words, values and the cycle of every one of them."""
from dataclasses import replace

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, connect, flipped
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from golden.cycles.sdram import Request
from golden.cycles.storage import RamCycles
from golden.cycles.streams import Readiness
from hw.storage.arbiter import request_layout
from hw.storage.pulled_words import PulledWords
from hw.storage.ram import StorageRam
from sim.verilog.export import Boundary
from sim.verilog.native import Design

WORDS = 3072                # two banks


class Top(wiring.Component):
    request: In(stream.Signature(request_layout(12)))
    w: In(stream.Signature(16))

    def __init__(self):
        super().__init__()
        self.ram = StorageRam(WORDS)

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram, m.submodules.words = ram, words = self.ram, PulledWords()
        connect(m, flipped(self.request), ram.request)
        connect(m, flipped(self.w), words.i)
        m.d.comb += [words.take.eq(ram.take), ram.w.eq(words.word)]
        return m


@pytest.fixture(scope="module")
def design() -> Design:
    top = Top()
    ram = top.ram
    return Design(top, probes=lambda: {"read": Boundary(ram.r.valid, ram.r.data), "take": Boundary(ram.take, ram.take)})


def pattern(seed: int, share: float) -> np.ndarray:
    return np.append(np.random.default_rng(seed).random(97) < share, True)


def requests():
    """Within the words, but for reads that wrap."""
    return st.lists(st.builds(
        lambda write, address, length: Request(write=write, address=address, length=min(length, WORDS - address)),
        st.booleans(), st.integers(0, WORDS - 1), st.one_of(st.integers(0, 8), st.integers(0, 600))), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None, print_blob=True)
@given(asked=requests(), share=st.sampled_from([0.1, 0.6, 1]), seed=st.integers(0, 1 << 30))
def test_every_word_in_its_cycle(design, asked, share, seed):
    offers = Readiness(pattern(seed, share))
    # All words are written first, so that their values are known.
    asked = [Request(write=True, address=0, length=WORDS), *asked]
    total = sum(one.length for one in asked if one.write)
    words = np.random.default_rng(seed).integers(0, 1 << 16, total, dtype=np.uint16)
    model, served = RamCycles(WORDS), []
    for one in asked:
        before = served[-1].taken if served else -1
        served.append(model.request(replace(one, offered=int(offers.following(before + 1)))))
    always = np.ones(1, bool)
    with design.simulate() as sim:
        layout = request_layout(12)
        sim.feed("request", [layout.const({"write": one.write, "address": one.address, "length": one.length}).as_bits()
                             for one in asked], always if offers.always else offers.pattern)
        sim.feed("w", words.tolist())
        sim.step(max([served[-1].taken, *(int(one.words[-1]) for one in served if len(one.words))]) + 50)
        taken, read, written = (sim.beats(name) for name in ("request", "read", "take"))
    assert taken.cycle.tolist() == [one.taken for one in served], f"seed {seed}"
    memory, values, at = np.zeros(WORDS, np.uint16), [], 0
    for one in asked:
        place = slice(one.address, one.address + one.length)
        if one.write:
            memory[place] = words[at:at + one.length]
            at += one.length
        else:
            values += memory[place].tolist()
    for seen, write in ((written, True), (read, False)):
        expected = [cycle for one in served if one.request.write == write for cycle in one.words.tolist()]
        assert seen.cycle.tolist() == expected, f"seed {seed}"
    assert read.payload.view("<u2")[:, 0].tolist() == values, f"seed {seed}"


def test_reads_wrap(design):
    with design.simulate() as sim:
        sim.feed("request", [1 | 4 << 13, 4095 << 1 | 3 << 13])
        sim.feed("w", [5, 6, 7, 8])
        sim.step(50)
        assert sim.beats("read").payload.view("<u2")[1:, 0].tolist() == [5, 6]


@pytest.mark.parametrize("words", [0, 1000, 132096])
def test_refuses_other_sizes(words):
    with pytest.raises(ValueError, match=f"Words of storage must be 1024..131072 and a multiple of 1024, not {words}"):
        StorageRam(words)


def test_refuses_what_is_no_number():
    with pytest.raises(TypeError, match="Words of storage must be an integer, not '1024'"):
        StorageRam("1024")


@pytest.mark.parametrize("changes, message", [({"address": 4096}, "Address must be 0..4095 words, not 4096"),
                                              ({"length": 1 << 17}, "Length must be 0..131071 words, not 131072")])
def test_model_refuses_what_it_cannot_be_given(changes, message):
    with pytest.raises(ValueError, match=message):
        RamCycles(WORDS).request(replace(Request(write=False, address=0, length=1), **changes))
