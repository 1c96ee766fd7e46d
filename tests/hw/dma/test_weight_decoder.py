# amaranth: UnusedElaboratable=no
"""The decoder of compressed weights against golden: every weight, and the cycle of every word on both sides; damaged blocks."""
from pathlib import Path

import numpy as np
import pytest

from arch import weight_stream as form
from arch.weight_stream import Fault
from compiler.coding.blocks import encode_blocks, encode_table
from compiler.coding.tables import fit
from golden.cycles.streams import Readiness
from golden.cycles.weight_decoder import passed
from golden.weight_stream import decode_table, trace
from hw.dma.decoder.unit import WeightDecoder
from sim.benches.run import compile_bench, run_bench
from sim.damage import DamageError, random_blocks
from sim.verilog.native import Beats, Design
from sim.weights import Seen, check_blocks, fuzz, run_blocks

FORMS = {"85f": (4, 8), "25f": (2, 4)}


def patterns(rng, chances):
    return [np.append(rng.random(211) < chance, True) for chance in chances]


class Blocks:
    """A table and blocks behind it, whose words are offered and taken in patterns of cycles."""

    def __init__(self, seed, chances, form_, *, masked, count=3, most=60):
        self.rng, self.lanes, self.word_units = np.random.default_rng(seed), *FORMS[form_]
        self.weights, table, blocks, entries = random_blocks(self.rng, count, most, masked=masked)
        eights = [one.size // 8 for one in self.weights]
        self.blocks = [(table, 0), *zip(blocks, eights, strict=True)]
        self.patterns = patterns(self.rng, chances)
        ready = decode_table(table)
        self.traces = [[entry for part in entries for entry in part], *(trace(words, ready) for words in blocks)]

    def check(self, seen: Seen):
        assert seen.faults == [0] * len(self.blocks)
        for number, weights in enumerate(self.weights, 1):
            padded = np.pad(weights, (0, -weights.size % (form.UNIT * self.word_units)))
            np.testing.assert_array_equal(seen.weights(number), padded)
        expected = passed(self.traces, *map(Readiness, self.patterns), lanes=self.lanes, word_units=self.word_units)
        for name, cycles in (("command", expected.commands), ("i", expected.words), ("o", expected.given)):
            assert seen.beats[name].cycle.tolist() == cycles, name
        assert seen.done == expected.done


@pytest.fixture(scope="module", params=FORMS)
def designed(request) -> tuple[str, Design]:
    lanes, word_units = FORMS[request.param]
    return request.param, Design(WeightDecoder(lanes=lanes, word_units=word_units))


@pytest.mark.parametrize("chances", [(1, 1, 1), (0.3, 0.4, 1), (1, 1, 0.15), (0.6, 0.7, 0.6)],
                         ids=["full rate", "gaps", "back-pressure", "both"])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masks"])
@pytest.mark.parametrize("seed", range(3))
def test_weights_and_cycles(designed, chances, masked, seed):
    form_, design = designed
    drawn = Blocks([seed, masked], chances, form_, masked=masked)
    drawn.check(run_blocks(design, drawn.blocks, drawn.patterns))


def test_a_word_more_or_less_would_be_noticed(designed):
    """The bench itself: other weights, another cycle."""
    form_, design = designed
    drawn = Blocks(1, (1, 1, 1), form_, masked=False)
    seen = run_blocks(design, drawn.blocks, drawn.patterns)
    seen.beats["o"].payload[5, 3] ^= 1
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        drawn.check(seen)
    seen.beats["o"].payload[5, 3] ^= 1
    seen.beats["i"].cycle[40] += 1
    with pytest.raises(AssertionError, match="i"):
        drawn.check(seen)


def rate(design, lanes, word_units, weights, *, masked=False):
    """Weights a cycle of a block of them, from its command to the next one's."""
    values = fit(np.bincount(weights.view(np.uint8), minlength=256))
    masks = fit(np.array([1000, *[1] * 15])) if masked else []
    block = encode_blocks([weights], values, masks)[0]
    seen = run_blocks(design, [(encode_table(values, masks), 0), *[(block, weights.size // 8)] * 2])
    return weights.size / (seen.done[2] - seen.done[1]), 16 * len(block) / (seen.done[2] - seen.done[1])


def test_rates(designed):
    """Dense weights take 16 bits a cycle, short ones are given `lanes` a cycle, zeros faster."""
    form_, design = designed
    lanes, word_units = FORMS[form_]
    rng = np.random.default_rng(5)
    dense = np.clip(rng.laplace(0, 25, 16384), -127, 127).astype(np.int8)
    short = rng.choice([0, 1], 16384, p=[0.9, 0.1]).astype(np.int8)
    zeros = np.zeros(16384, np.int8)
    if lanes == 4:
        assert rate(design, lanes, word_units, dense)[1] > 15.8
    assert lanes * 0.97 < rate(design, lanes, word_units, short)[0] <= lanes
    assert rate(design, lanes, word_units, zeros, masked=True)[0] > (12 if lanes == 4 else 9)


def test_damaged_blocks(designed):
    form_, design = designed
    found = fuzz(design, form.UNIT * FORMS[form_][1], 48, 3)
    assert found["damaged"] == 48 and len(found["by_fault"]) >= 6


def test_each_fault(designed):
    """One block of each, and whole ones between."""
    form_, design = designed
    drawn = Blocks(2, (1, 1, 1), form_, masked=True, count=1, most=20)
    table, (block, eights) = drawn.blocks[0][0], drawn.blocks[1]
    plain = encode_table(fit(np.ones(256, np.int64)))

    def changed(words, place, value):
        words = words.copy()
        words[place] = value
        words[1] = len(words)
        words[-1] = form.check_word(words[:-1])
        return words
    damaged = [
        (block[:-1], Fault.LENGTH), (block[:2], Fault.LENGTH), (changed(block, 0, block[0] ^ 1 << 13), Fault.KIND),
        (changed(block, 0, 1 << 12), Fault.COUNT), (changed(block, 0, block[0] ^ 1), Fault.COUNT),
        (changed(block[:-2], 0, block[0]), Fault.OVERRUN),
        (changed(np.append(block, 0), len(block), 0), Fault.REST), (np.append(block[:-1], block[-1] ^ 1), Fault.CHECK)]
    blocks = [(table, 0)]
    for words, _ in damaged:
        blocks += [(words, eights), (block, eights)]
    blocks += [(changed(table, 2, 0xffff), 0), (block, eights), (plain, 0), (block, eights), (table, 0), (block, eights)]
    blocks += [(block, eights + (1 << 12)), (block, eights)]
    faults = [
        0, *(number for _, fault in damaged for number in (int(fault), 0)), Fault.TABLE, Fault.TABLE, 0, Fault.TABLE, 0, 0,
        Fault.COUNT, 0]
    assert run_blocks(design, blocks).faults == faults
    check_blocks(design, blocks, 0, form.UNIT * FORMS[form_][1])
    with pytest.raises(DamageError, match="seed 7, block 1: fault 8 instead of 0"):
        check_blocks(WrongCheck(design), blocks[:1] + blocks[2:3], 7, form.UNIT * FORMS[form_][1])


class WrongCheck:
    """A design whose streams are fed with a last word that is another one."""

    def __init__(self, design):
        self.design = design

    def simulate(self):
        simulation = self.design.simulate()
        feed = simulation.feed

        def spoilt(stream, payload, allow=None):
            if stream == "i":
                payload = payload.copy()
                payload[-1, 0] ^= 1
            feed(stream, payload, allow)
        simulation.feed = spoilt
        return simulation


@pytest.fixture(scope="module")
def cocotb_program() -> Path:
    return compile_bench(WeightDecoder(lanes=2, word_units=4))


@pytest.mark.parametrize("chances", [(1, 1, 1), (0.6, 0.7, 0.5)], ids=["full rate", "gaps and back-pressure"])
def test_under_cocotb(cocotb_program, tmp_path, chances):
    drawn = Blocks(8, chances, "25f", masked=True, most=30)
    case, found = tmp_path / "case.npz", tmp_path / "seen.npz"
    np.savez(case, commands=[len(words) | eights << 16 for words, eights in drawn.blocks],
             words=np.concatenate([words for words, _ in drawn.blocks]), offer=drawn.patterns[0], allow=drawn.patterns[1],
             ready=drawn.patterns[2])
    run_bench(cocotb_program, "tests.sim.cocotb_weights", environment={"FIRELINE_CASE": str(case), "FIRELINE_SEEN": str(found)})
    seen = np.load(found)
    beats = {name: Beats(seen[f"cycle {name}"], seen[f"payload {name}"]) for name in ("command", "i", "o")}
    done = seen["done"].tolist()
    drawn.check(Seen(seen["faults"].tolist(), done, np.searchsorted(beats["o"].cycle, done).tolist(), beats))


@pytest.mark.parametrize("lanes, word_units, message", [(3, 8, "lanes must be 2 or 4, not 3"),
                                                        (4, 3, "word_units must be 2, 4 or 8, not 3")])
def test_sizes_that_there_are_not(lanes, word_units, message):
    with pytest.raises(ValueError, match=message):
        WeightDecoder(lanes=lanes, word_units=word_units)
