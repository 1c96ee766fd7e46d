# amaranth: UnusedElaboratable=no
"""The SDRAM controller with a chip that keeps the rules: words, values and the cycle of every one of them."""
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.sdram import CHIPS
from golden.cycles.sdram import Request, serve
from golden.cycles.streams import Readiness
from sim.verilog.export import SimulationError
from tests.hw.storage.sdram_bench import REAL, STRESS, SdramBench, request_bits

SLOW = CHIPS["is42s16160b-7"].timing(25, late=1)
LONG = replace(STRESS, row_bits=2, column_bits=12, power_up=2100)      # columns around A10; time to fill it


@pytest.fixture(scope="module")
def stress() -> SdramBench:
    return SdramBench(STRESS, window=1 << STRESS.address_bits)


@pytest.fixture(scope="module")
def real() -> SdramBench:
    return SdramBench(REAL, window=16 << REAL.column_bits)


@pytest.fixture(scope="module")
def slow() -> SdramBench:
    return SdramBench(SLOW, window=16 << SLOW.column_bits)


@pytest.fixture(scope="module")
def long() -> SdramBench:
    return SdramBench(LONG, window=1 << LONG.address_bits)


def requests(bench: SdramBench, longest: int):
    words = 1 << bench.timing.address_bits
    whole = bench.window == words           # only then a request may wrap
    return st.lists(st.builds(
        lambda write, address, length: Request(write=write, address=address, length=length if whole else
                                               min(length, bench.window - address)),
        st.booleans(), st.integers(0, bench.window - 1),
        st.one_of(st.integers(0, 8), st.integers(0, longest))), min_size=1, max_size=30)


def patterns():
    def pattern(seed, share, hold):
        bits = np.repeat(np.random.default_rng(seed).random(97) < share, hold)
        return Readiness(np.append(bits, True))
    return st.one_of(st.just(Readiness()), st.builds(
        pattern, st.integers(0, 1 << 30), st.sampled_from([0.05, 0.5, 0.9]), st.sampled_from([1, 20])))


@settings(max_examples=150, deadline=None, print_blob=True)
@given(data=st.data(), asked=patterns(), seed=st.integers(0, 1 << 30))
def test_every_word_in_its_cycle(stress, data, asked, seed):
    stress.check(data.draw(requests(stress, 150)), asked=asked, seed=seed)


@settings(max_examples=12, deadline=None, print_blob=True)
@given(data=st.data(), asked=patterns(), seed=st.integers(0, 1 << 30))
@pytest.mark.parametrize("name", ["real", "slow", "long"])
def test_other_chips(request, name, data, asked, seed):
    bench = request.getfixturevalue(name)
    bench.check(data.draw(requests(bench, 2000)), asked=asked, seed=seed)


def share(served) -> float:
    words = np.concatenate([one.words for one in served])
    return len(words) / (words[-1] - words[0] + 1)


@pytest.mark.parametrize("name", ["real", "slow"])
def test_long_reads_use_the_pins(request, name):
    """At least 95 % of the clocks carry a word, for requests of 4 KB and for one of 32 KB."""
    bench = request.getfixturevalue(name)
    assert share(bench.check([Request(write=False, address=77 + 2048 * n, length=2048) for n in range(3)])) >= 0.95
    assert share(bench.check([Request(write=False, address=100, length=bench.window - 200)])) >= 0.95


def test_longest_request(stress):
    (served,) = stress.check([Request(write=False, address=3, length=(1 << 17) - 1)])
    assert len(served.words) == (1 << 17) - 1


def test_nothing_is_asked_for(stress):
    served = stress.check([Request(write=False, address=9, length=0), Request(write=True, address=0, length=0),
                           Request(write=False, address=9, length=1)])
    assert [len(one.words) for one in served] == [0, 0, 1] and [one.taken for one in served] == [0, 2, 4]


def test_past_the_end_comes_the_beginning(stress):
    end = 1 << STRESS.address_bits
    stress.check([Request(write=True, address=end - 3, length=7), Request(write=False, address=end - 40, length=80)])


def test_refreshes_go_on_while_nobody_asks(stress):
    """For thousands of cycles; the chip watches the interval."""
    silence = Readiness(np.arange(5000) == 4999)
    stress.check([Request(write=False, address=0, length=40)] * 2, asked=silence)


def test_words_outlive_a_long_silence(stress):
    """Each of the chip's 16 rows is refreshed every 16th time; a chip that forgets sooner has lost some."""
    silence, everything = Readiness(np.arange(30_000) == 29_999), [Request(write=False, address=0, length=2048)]
    stress.check(everything, asked=silence, retention=16 * STRESS.period + 40)
    with pytest.raises(AssertionError, match="values, seed 0: 2048 of 2048"):
        stress.check(everything, asked=silence, retention=15 * STRESS.period)


def test_rows_stay_open_between_requests(stress):
    """The second request for a row waits for no row command."""
    first, second = stress.check([Request(write=False, address=64, length=8), Request(write=False, address=72, length=8)])
    assert second.words[0] == first.words[-1] + 1


def test_reset_in_the_middle(stress):
    """The chip starts again, keeps its words, and everything is as after the first reset."""
    ask = Request(write=False, address=7, length=500)
    with stress.simulate(seed=5) as sim:
        for after in (1, 60, STRESS.ready + 30, STRESS.ready + 300):
            sim.feed("request", [request_bits(STRESS, ask)])
            sim.step(after)
            sim.set("rst", 1)
            sim.step(2)
            sim.set("rst", 0)
            sim.beats("r")
            start = sim.cycle
            pending = sim.pending("request")
            sim.feed("request", [request_bits(STRESS, ask)] * (1 - pending))
            sim.run_until(beats=("r", 500), deadline=5000) if after == 1 else sim.step(2000)
            got = sim.beats("r")
            (served,) = serve(STRESS, [ask])
            assert (got.cycle - start).tolist() == served.words.tolist()
            assert got.payload.copy().view("<u2")[:, 0].tolist() == stress.before(5)[7:507].tolist()


def load(seed: int) -> list[Request]:
    """Short and long requests of every kind, some at once after another in another row of the bank."""
    rng = np.random.default_rng(seed)
    end = 1 << STRESS.address_bits
    return [Request(write=bool(rng.integers(2)), address=int(rng.integers(end)), length=int(rng.choice([1, 2, 6, 90])))
            for _ in range(600)]


# A chip that asks for one clock more than the controller was told. The mode register and the power-up wait are followed by
# more clocks than needed, always as many: what the controller's other steps take.
SPARE = {"mrd": 7, "power_up": 5}
RULES = {"rcd": "tRCD", "rp": "tRP", "ras": "tRAS", "rc": "tRC", "rfc": "tRFC", "rrd": "tRRD", "wr": "tWR", "mrd": "tMRD",
         "power_up": "power-up wait", "refreshes": "activate before the start is complete"}


@pytest.mark.parametrize("name", RULES)
def test_one_clock_too_short_stops_the_run(stress, name, capfd):
    figure = getattr(STRESS, name) + SPARE.get(name, 0)
    stress.check(load(1), seed=1, **{name: figure})
    with pytest.raises(SimulationError, match="an assertion of the design failed"):
        stress.check(load(1), seed=1, **{name: figure + 1})
    said = "".join(capfd.readouterr())
    assert f"SDRAM: {RULES[name]}," in said or f"SDRAM: {RULES[name]} before" in said


@pytest.mark.parametrize(("change", "rule"), [
    ({"interval": STRESS.period - 1}, "refresh interval"), ({"cas": 2}, "CAS latency of the mode register")])
def test_other_faults_stop_the_run(stress, change, rule, capfd):
    with pytest.raises(SimulationError, match="an assertion of the design failed"):
        stress.check(load(1), seed=1, **change)
    assert f"SDRAM: {rule}," in "".join(capfd.readouterr())
