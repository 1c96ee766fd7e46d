# amaranth: UnusedElaboratable=no
"""The depthwise convolution against golden's of whole maps, in bands: every result, and the cycle of every vector and result;
also under cocotb."""
from collections.abc import Mapping, Sequence
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.geometry import Geometry
from arch.unit.depthwise import LATENCY, PAIR_WORDS, PASS, WINDOW, DepthwiseConfig
from compiler.images import filter_words
from golden.cycles.depthwise import passed
from golden.unit.depthwise import Depthwise as Values
from golden.unit.rules import UnitError
from golden.values import conv
from hw.engine.depthwise import Depthwise
from nets.graph import Window
from nets.int8.network import QConv, Requantise
from sim.benches.run import compile_bench
from sim.verilog.native import Beats, Design
from tests.hw.engine.unit_stream import UnitStream
from tests.hw.engine.unit_stream import patterns as drawn_patterns

LANES = 4
GEOMETRY, WIDE = (Geometry(input_lanes=lanes, output_lanes=lanes, activation_words=512, weight_words=512, options=("depthwise",))
                  for lanes in (LANES, 16))


@pytest.fixture(scope="module")
def design() -> Design:
    return Design(Depthwise(GEOMETRY))


class Map:
    """A map to be convolved: random values, the result as golden has it, the commands for its bands of rows, and its constants
    from word `words` of each plane on."""

    def __init__(self, shape, window, *, enable=True, zero_points=(0, 0), limits=(0, 255), bands, base=0, words=0, lanes=LANES,
                 rng):
        self.enable, self.window, self.bands, self.words, self.lanes = enable, window, bands, words, lanes
        channels, height, width = shape
        self.q = rng.choice([rng.integers(0, 256, shape), np.full(shape, 255), rng.choice([0, 255], shape)]).astype(np.uint8)
        weight = rng.choice([rng.integers(-127, 128, (channels, 1, 3, 3)), rng.choice([-127, 127], (channels, 1, 3, 3))])
        self.conv = QConv(
            name="filter", inputs=("x",), weight=weight.astype(np.int8), groups=channels, window=window,
            bias=rng.choice([0, 1000, 1 << 29], channels).astype(np.int32) * rng.choice([-1, 1], channels).astype(np.int32),
            requantise=Requantise(multiplier=rng.integers(0, 256, channels), shift=rng.integers(9, 24, channels),
                                  zero_point=zero_points[1], low=limits[0], high=limits[1]))
        self.out = conv(self.q, self.conv, zero_points[0]) if enable else self.q
        self.blocks, (_, self.rows, self.columns) = channels // lanes, self.out.shape
        top, left, _, _ = window.padding
        reach = (self.rows - 1) * window.stride[0] - top + 3 if enable else height
        self.configs, self.given, first = [], [], 0
        for rows in bands:
            end = height + max(reach - height, 0) if first + rows == height else first + rows
            lasts = [row - first for row in self.complete() if first <= row < end]
            self.configs.append(DepthwiseConfig(
                enable=int(enable), stride_y=window.stride[0], stride_x=window.stride[1], left=left, rows=rows, columns=width,
                out_rows=len(lasts), out_columns=self.columns, output_blocks=self.blocks, history=min(first, 2),
                lead=lasts[0] if lasts else 0, overhang_rows=end - first - rows, padding=zero_points[0],
                zero_point=zero_points[1], low=limits[0], high=limits[1], base=base * enable, words=words))
            given = [n for n, row in enumerate(self.complete()) if first <= row < end]
            self.given.append((self.q[:, first:first + rows], self.out[:, given]))
            first += rows

    def __repr__(self):
        return f"Map({self.q.shape}, {self.window}, {self.configs})"

    def complete(self) -> list[int]:
        """Row of the map that completes each row of the result."""
        if not self.enable:
            return list(range(self.rows))
        return [n * self.window.stride[0] - self.window.padding[0] + 2 for n in range(self.rows)]

    def commands(self) -> list[tuple[DepthwiseConfig, np.ndarray, np.ndarray]]:
        """Of each band, with what it takes and gives: (vectors, lanes)."""
        return [(config, *(vectors(part, self.lanes) for part in given))
                for config, given in zip(self.configs, self.given, strict=True)]


def vectors(part: np.ndarray, lanes: int) -> np.ndarray:
    return part.reshape(len(part) // lanes, lanes, *part.shape[1:]).transpose(0, 2, 3, 1).reshape(-1, lanes)


def constants(maps: Sequence[Map], geometry: Geometry = GEOMETRY) -> Mapping[int, np.ndarray]:
    """Words of storage of all maps by their places among those of the unit."""
    found = {}
    for one in maps:
        if one.enable:
            for plane, stored in enumerate(filter_words(geometry, one.conv)):
                for n, word in enumerate(stored.reshape(-1, 6)):
                    found[plane * PAIR_WORDS + (one.words + n) % PAIR_WORDS] = word
    return found


def on_chip(word: np.ndarray) -> int:
    """A word of storage as the port takes it."""
    biases = int.from_bytes(word[:4].astype("<u2").tobytes(), "little")
    low, high = int(word[5]) & 0x3F, int(word[5]) >> 8 & 0x3F
    return biases | int(word[4]) << 64 | low << 80 | high << 86


@st.composite
def maps(draw, largest=12, base=0, words=None):
    stride = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    height, width = draw(st.integers(1, largest)), draw(st.integers(3, largest))
    assume(height + padding[0] + padding[2] >= 3)
    cuts = sorted(draw(st.sets(st.integers(1, max(height - 1, 1)), max_size=3)) - {height})
    low, high = sorted(draw(st.tuples(st.integers(0, 255), st.integers(0, 255))))
    return Map((LANES * draw(st.integers(1, 3)), height, width), Window(kernel=(3, 3), stride=stride, padding=padding),
               enable=draw(st.sampled_from([True, True, True, False])),
               zero_points=draw(st.sampled_from([(0, 0), (7, 128), (255, 3), (128, 255)])),
               limits=draw(st.sampled_from([(0, 255), (low, high)])), bands=np.diff([0, *cuts, height]).tolist(), base=base,
               words=draw(st.integers(0, PAIR_WORDS - 1)) if words is None else words,
               rng=np.random.default_rng(draw(st.integers(0, 2**32 - 1))))


def apart(drawn: Sequence[Map]) -> list[Map]:
    """Those whose constants do not lie over one another's."""
    kept, used = [], set()
    for one in drawn:
        own = {int(word) for config in one.configs for word in config.constants(GEOMETRY)}
        if not own & used:
            kept.append(one)
            used |= own
    return kept


def patterns(seed, chances):
    return drawn_patterns(np.random.default_rng(seed), chances, 311)


def stream(words: Mapping[int, np.ndarray], commands, slow, allow, ready, geometry: Geometry = GEOMETRY) -> UnitStream:
    """Commands with what they take and give, in the order in which they come, and the constants of all of them."""
    configs, into, out = zip(*commands, strict=True)
    return UnitStream(passed, geometry, configs, np.concatenate(into), np.concatenate(out), slow, allow, ready,
                      {address: on_chip(word) for address, word in words.items()})


def check(design, drawn: Sequence[Map], commands, slow, allow, ready, geometry: Geometry = GEOMETRY) -> Mapping[str, Beats]:
    """Runs the commands; what passed each stream."""
    all_of_them = stream(constants(drawn, geometry), commands, slow, allow, ready, geometry)
    seen = all_of_them.simulated(design)
    all_of_them.check(seen)
    return seen


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(maps(), min_size=1, max_size=3), st.tuples(*[st.sampled_from([0.2, 0.7, 1.0, 1.0])] * 3),
       st.integers(0, 2**32 - 1))
def test_maps_in_bands(design, drawn, chances, seed):
    drawn = apart(drawn)
    check(design, drawn, sum((one.commands() for one in drawn), []), *patterns(seed, chances))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(maps(words=500), maps(base=100, words=100), st.integers(0, 2**32 - 1))
def test_interleaved_maps_keep_apart(design, one, other, seed):
    """Also where one of them passes, whose record says nothing of places."""
    both = [one.commands(), other.commands()]
    commands = [part[n] for n in range(4) for part in both if n < len(part)]
    check(design, [one, other], commands, *patterns(seed, (0.8, 1, 0.8)))


@pytest.mark.parametrize("chances", [(1, 1, 1), (0.5, 0.4, 0.2)], ids=["full rate", "gaps"])
def test_sixteen_lanes(chances):
    design, rng = Design(Depthwise(WIDE)), np.random.default_rng(8)
    drawn = [Map((32, 9, 11), Window(kernel=(3, 3), padding=(1, 1, 1, 1)), zero_points=(9, 20), bands=[4, 1, 4], words=100,
                 lanes=16, rng=rng),
             Map((16, 4, 5), Window(kernel=(3, 3)), enable=False, bands=[4], lanes=16, rng=rng),
             Map((48, 7, 6), Window(kernel=(3, 3), stride=(2, 2), padding=(0, 0, 1, 1)), limits=(10, 200), bands=[4, 3],
                 base=40, words=500, lanes=16, rng=rng)]
    check(design, drawn, sum((one.commands() for one in drawn), []), *patterns(11, chances), WIDE)


@pytest.mark.parametrize("stride, padding", [(1, (1, 1, 1, 1)), (2, (0, 0, 1, 1))])
def test_a_whole_map_at_full_rate(design, stride, padding):
    """A cycle for each pixel, those of the padding behind the map included, and two more for each window."""
    one = Map((LANES, 20, 20), Window(kernel=(3, 3), stride=(stride, stride), padding=padding), bands=[20],
              rng=np.random.default_rng(1))
    always = np.ones(1, bool)
    seen = check(design, [one], one.commands(), always, always, always)
    last = int(seen["o"].cycle[-1]) - LATENCY
    assert last + WINDOW - int(seen["i"].cycle[0]) == 21 * 21 + (WINDOW - 1) * len(seen["o"].cycle)


def test_vectors_pass_at_full_rate(design):
    one = Map((2 * LANES, 20, 20), Window(kernel=(3, 3)), enable=False, bands=[20], rng=np.random.default_rng(2))
    always = np.ones(1, bool)
    seen = check(design, [one], one.commands(), always, always, always)
    assert (np.diff(seen["o"].cycle) == 1).all() and (seen["o"].cycle - seen["i"].cycle == PASS).all()


@pytest.fixture(scope="module")
def cocotb_program() -> Path:
    return compile_bench(Depthwise(GEOMETRY))


def two_maps() -> list[Map]:
    rng = np.random.default_rng(5)
    return [Map((2 * LANES, 6, 7), Window(kernel=(3, 3), padding=(1, 1, 1, 1)), zero_points=(9, 20), bands=[2, 1, 3], rng=rng),
            Map((LANES, 4, 5), Window(kernel=(3, 3)), enable=False, bands=[4], rng=rng),
            Map((LANES, 7, 6), Window(kernel=(3, 3), stride=(2, 2), padding=(0, 0, 1, 1)), limits=(10, 200), bands=[4, 3],
                base=40, words=500, rng=rng)]


@pytest.mark.parametrize("chances", [(1, 1, 1), (0.5, 0.4, 1), (1, 1, 0.1), (0.6, 0.7, 0.3)],
                         ids=["full rate", "gaps", "back-pressure", "both"])
def test_under_cocotb(cocotb_program, tmp_path, chances):
    drawn = two_maps()
    both = stream(constants(drawn), sum((one.commands() for one in drawn), []), *patterns(7, chances))
    both.check(both.under_cocotb(cocotb_program, tmp_path))


def test_cocotb_notices_a_wrong_weight(cocotb_program, tmp_path):
    one, words = two_maps()[0], dict(constants(two_maps()[:1]))
    drawn = stream(words, one.commands(), *patterns(3, (1, 1, 1)))
    drawn.check(drawn.under_cocotb(cocotb_program, tmp_path))
    heard = next(n for n, part in enumerate(one.out) if np.unique(part).size > 9)       # not all at the limits
    pair = heard // LANES * GEOMETRY.pairs + GEOMETRY.pairs - 1 - heard % LANES // 2
    place = (1 + heard % 2) * PAIR_WORDS + pair
    drawn.constants[place] = on_chip(words[place] ^ np.array([0, 0, 64, 0, 0, 0], np.uint16))
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        drawn.check(drawn.under_cocotb(cocotb_program, tmp_path))


def values(drawn: Sequence[Map]) -> Values:
    unit = Values(GEOMETRY)
    words = constants(drawn)
    if words:
        unit.write(np.array(list(words)), np.array(list(words.values())))
    return unit


@settings(max_examples=150, deadline=None, derandomize=True)
@given(maps(), maps(base=100))
def test_values_of_bands_are_those_of_whole_maps(one, other):
    """The unit's values, from its constants and lines, against the operator of the network."""
    drawn = apart([one, other])
    unit = values(drawn)
    for n in range(4):
        for part in drawn:
            if n < len(part.configs):
                into, out = part.given[n]
                q = unit.step(part.configs[n], into.reshape(len(into) // LANES, LANES, *into.shape[1:]))
                np.testing.assert_array_equal(q.reshape(out.shape), out)


@pytest.mark.parametrize("change, message", [
    ({"output_blocks": 3}, r"depthwise convolution must take \(2, 6, 7\) blocks, rows and columns, not \(3, 6, 7\)"),
    ({"base": 499}, "places of the depthwise convolution must end at 512, not at 513"),
    ({"lead": 3}, "rows must be complete after 7 rows, not after 9")])
def test_records_that_do_not_fit(change, message):
    one = Map((2 * LANES, 6, 7), Window(kernel=(3, 3), padding=(1, 1, 1, 1)), bands=[6], rng=np.random.default_rng(1))
    config = DepthwiseConfig(**{field.name: getattr(one.configs[0], field.name) for field in DepthwiseConfig.fields()} | change)
    with pytest.raises(UnitError, match=f"^{message}$"):
        values([one]).step(config, one.q.reshape(2, LANES, 6, 7))


def test_problems_of_records():
    one = Map((LANES, 6, 3), Window(kernel=(3, 3)), bands=[6], rng=np.random.default_rng(1)).configs[0]
    fields = {field.name: getattr(one, field.name) for field in DepthwiseConfig.fields()}
    assert list(Values.problems(one)) == []
    assert list(Values.problems(DepthwiseConfig(**fields | {"columns": 2}))) == [
        "columns of a depthwise convolution must be at least 3, not 2"]
    assert list(Values.problems(DepthwiseConfig(**fields | {"enable": 0}))) == [
        "out_rows without a depthwise convolution must be 6, not 4"]
