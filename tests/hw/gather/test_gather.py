# amaranth: UnusedElaboratable=no
"""The gather against im2col in NumPy: every word, its place, and the cycle of every pixel and word."""
from hypothesis import assume, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.gather import bands, line_bytes, line_memory, words_per_pixel
from arch.geometry import Geometry
from golden.cycles.gather import gathered, slots
from golden.cycles.streams import Readiness
from hw.gather.gather import Gather
from hw.gather.packer import Packer
from sim.verilog.export import Boundary
from sim.verilog.native import Design, beats_of_ints

LANES = (4, 16)


def geometry(lanes: int) -> Geometry:
    return Geometry(input_lanes=lanes, output_lanes=4, activation_words=32768, weight_words=512)


@pytest.fixture(scope="module")
def designs() -> dict[int, Design]:
    made = {}
    for lanes in LANES:
        gather = Gather(geometry(lanes))
        made[lanes] = Design(gather, probes=lambda g=gather: {"word": Boundary(g.w_en, g.w_data),
                                                              "place": Boundary(g.w_en, g.w_addr),
                                                              "last": Boundary(g.last, g.w_en)})
    return made


def im2col(image, kernel, stride, top, left, rows, columns, zero_point, lanes) -> np.ndarray:
    """uint8 (rows, columns, words, lanes)."""
    channels, height, width = image.shape
    size = [(n - 1) * stride + kernel + more for n, more in ((rows, height), (columns, width))]
    padded = np.full((channels, *size), zero_point, np.uint8)
    padded[:, top:top + height, left:left + width] = image
    words = -(-kernel * kernel * channels // lanes)
    out = np.zeros((rows, columns, words * lanes), np.uint8)
    for y in range(rows):
        for x in range(columns):
            window = padded[:, y * stride:y * stride + kernel, x * stride:x * stride + kernel]
            out[y, x, :window.size] = window.transpose(1, 2, 0).ravel()
    return out.reshape(rows, columns, words, lanes)


def check(designs, lanes, image, configs, ring_rows, kernel, stride, padding, allow, slow, grant, *, times=1):
    """An image that comes so many times, and the cycles of all that passes."""
    config = configs[0]
    rows = sum(config.rows for config in configs)
    pixels = np.random.default_rng(1).integers(0, 256, (image.shape[1] * image.shape[2], 4)).astype(np.uint8)
    pixels[:, :len(image)] = image.transpose(1, 2, 0).reshape(-1, len(image))
    expected = im2col(image, kernel, stride, *padding, rows, config.columns, config.zero_point, lanes)
    words = expected.shape[2]
    places = config.base + (np.arange(rows)[:, None] % ring_rows * config.row_words + np.arange(config.columns * words)).ravel()
    configs, pixels, places, expected = configs * times, np.tile(pixels, (times, 1)), np.tile(places, times), [expected] * times
    expected = np.concatenate(expected)
    with designs[lanes].simulate() as sim:
        sim.feed("command", [config.pack() for config in configs], slow)
        sim.feed("i", pixels, allow)
        sim.pattern("grant", grant)
        sim.run_until(beats=("word", len(places)), deadline=400_000)
        sim.run_until(drained="i", deadline=100_000)
        sim.step(60)
        seen = {name: sim.beats(name) for name in ("command", "i", "word", "place", "last")}

    def offers(pattern, cycles):
        return Readiness(pattern).following(np.concatenate(([0], cycles[:-1] + 1))) if len(cycles) else cycles
    assert seen["word"].payload.tobytes() == expected.tobytes()
    assert seen["place"].payload.tobytes() == beats_of_ints((places % (1 << 15)).tolist(), 15).tobytes()
    result = gathered(configs, offers(slow, seen["command"].cycle), offers(allow, seen["i"].cycle), Readiness(grant).later(),
                      line_bytes=line_bytes(geometry(lanes)), lanes=lanes)
    for name, cycles in zip(("command", "i", "word", "last"), result, strict=True):
        assert seen[name].cycle.tolist() == cycles.tolist(), name
    return seen


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data(), st.sampled_from(LANES), st.integers(1, 4), st.integers(1, 11), st.integers(1, 4),
       st.tuples(*[st.sampled_from([0.2, 0.7, 1.0, 1.0])] * 3), st.integers(0, 2**32 - 1))
def test_words_and_cycles(designs, drawn, lanes, channels, kernel, stride, chances, seed):
    rng = np.random.default_rng(seed)
    top, left, bottom, right = drawn.draw(st.tuples(*[st.integers(0, kernel - 1)] * 4))
    height, width = drawn.draw(st.tuples(*[st.integers(1, 16)] * 2))
    assume(height + top + bottom >= kernel and width + left + right >= kernel)
    rows = (height + top + bottom - kernel) // stride + 1
    columns = (width + left + right - kernel) // stride + 1
    cuts = sorted(drawn.draw(st.sets(st.integers(1, max(rows - 1, 1)), max_size=3)) - {rows})
    image = rng.integers(0, 256, (channels, height, width)).astype(np.uint8)
    ring_rows = drawn.draw(st.integers(1, rows))
    zero_point, base = drawn.draw(st.sampled_from([0, 128, 255])), drawn.draw(st.integers(0, 3000))
    configs = bands(geometry(lanes), shape=image.shape, kernel=kernel, stride=stride, padding=(top, left), columns=columns,
                    rows=np.diff([0, *cuts, rows]).tolist(), zero_point=zero_point, base=base, ring_rows=ring_rows)
    if rng.random() < 0.5:          # a line memory just large enough, so that lines wait for rows
        lines = int(rng.integers(kernel, kernel + stride + 1))
        configs = [type(config)(**{**vars(config), "lines": lines, "line_ring": lines * config.line_words,
                                   "line_step": stride % lines * config.line_words,
                                   "read_start": config.first_row % lines * config.line_words,
                                   "write_start": config.next_row % lines * config.line_words}) for config in configs]
    patterns = [np.append(rng.random(173) < chance, True) for chance in chances]
    check(designs, lanes, image, configs, ring_rows, kernel, stride, (top, left), *patterns)


@pytest.mark.parametrize("lanes", LANES)
def test_the_next_image_begins_where_the_last_row_is_left_over(designs, lanes):
    """No window needs the last row, whose last byte goes to a word of its own: it comes when the next command has begun."""
    image, always = np.random.default_rng(3).integers(1, 256, (3, 6, 11)).astype(np.uint8), np.ones(1, bool)
    configs = bands(geometry(lanes), shape=image.shape, kernel=1, stride=4, padding=(0, 0), rows=[2], columns=3, zero_point=0,
                    base=0, ring_rows=2)
    check(designs, lanes, image, configs, 2, 1, 4, (0, 0), always, always, always, times=3)


@pytest.mark.parametrize("size, kernel, stride, padding, columns, per_pixel", [
    (224, 3, 2, (0, 0), 111, 8),        # SqueezeNet v1.1
    (227, 3, 2, (0, 0), 113, 8),
    (227, 7, 2, (0, 0), 111, 60),       # v1.0: 10 passes for each of 6 output blocks
    (227, 11, 4, (0, 0), 55, 138)])     # AlexNet
def test_first_layers_keep_the_array_busy(designs, size, kernel, stride, padding, columns, per_pixel):
    """At most so many cycles a pixel, from the first word to the last."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, size, size)).astype(np.uint8)
    place = geometry(16)
    if kernel == 11:
        place = Geometry(input_lanes=16, output_lanes=4, activation_words=32768, weight_words=512, line_pixels=1024)
        assert line_memory(place) >= 15 * 86
    rows = 12
    configs = bands(place, shape=(3, (rows - 1) * stride + kernel, size), kernel=kernel, stride=stride, padding=padding,
                    rows=[4, 4, 4], columns=columns, zero_point=0, base=0, ring_rows=8)
    image = image[:, :(rows - 1) * stride + kernel]
    assert words_per_pixel(place, channels=3, kernel=kernel) == -(-kernel * kernel * 3 // 16)
    if kernel == 11:
        cycles = len(slots(configs[0], line_bytes=8, lanes=16)) / columns
    else:
        always = np.ones(1, bool)
        seen = check(designs, 16, image, configs, 8, kernel, stride, padding, always, always, always)
        cycles = (seen["word"].cycle[-1] - seen["word"].cycle[0]) / (rows * columns)
    assert cycles <= per_pixel


@pytest.mark.parametrize("size, lanes, message", [
    (3, 6, "Bytes of a chunk must be a power of two and at least 2, not 3"),
    (8, 12, "Bytes of a word must be a multiple of 8, not 12")])
def test_packer_refuses(size, lanes, message):
    with pytest.raises(ValueError, match=message):
        Packer(size, lanes)


def test_bands_refuse_lines_that_do_not_fit():
    with pytest.raises(ValueError, match="line memory must hold 11 lines of 258 words, not 3"):
        bands(geometry(8), shape=(4, 100, 512), kernel=11, stride=1, padding=(0, 0), rows=[10], columns=506, zero_point=0, base=0,
              ring_rows=1)


def test_other_lanes_have_no_gather():
    with pytest.raises(ValueError, match="input_lanes of a gather must be a multiple of 4, not 6"):
        Gather(Geometry(input_lanes=6, output_lanes=6, activation_words=512, weight_words=512))
