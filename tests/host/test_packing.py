"""Images packed for the line: the board's side makes the same words of them, whatever their shape and whatever gets lost."""
import random

import numpy as np
import pytest

from arch.line import input_bytes
from arch.packing import HEAD, LIMIT, STREAM_WORDS, Head
from arch.program import Tensor
from arch.protocol import Identity
from golden.packing import unpack
from host.device import Device
from host.packing import pack, packed_frames
from host.session import Refused, Session
from sim.models.line import FAULTS, FaultyLine

SHAPES = ((1, 1), (2, 50), (28, 14), (7, 33), (5, 41), (40, 100), (300, 2), (3, 336))
IDENTITY = Identity(digest=1, storage_words=20_000, clock_khz=100_000, name="reference", packing=True)


def picture(rows: int, row_words: int, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Words (rows, row_words): noise, black, or something smooth."""
    if kind == "noise":
        return rng.integers(0, 1 << 16, (rows, row_words), dtype=np.uint16)
    steps = rng.integers(-2, 3, (rows, 2 * row_words)) if kind == "smooth" else np.zeros((rows, 2 * row_words), int)
    return (np.cumsum(np.cumsum(steps, 0), 1) // 4 + 100).astype(np.uint8).view("<u2")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["noise", "flat", "smooth"])
def test_words_come_back(channels, kind, seed=7):
    rng = np.random.default_rng(seed)
    for rows, row_words in SHAPES:
        words, address = picture(rows, row_words, kind, rng), 1000
        storage, times = np.zeros(address + words.size, np.uint16), np.zeros(address + words.size, int)
        for frame in pack(words, address, channels):
            assert len(frame) <= HEAD + STREAM_WORDS
            unpacked = unpack(frame.tolist())
            assert not unpacked.wrong, f"seed {seed}: {rows} rows of {row_words}"
            for at, row in unpacked.rows:
                storage[at:at + len(row)] = row
                times[at:at + len(row)] += 1
        assert np.array_equal(storage[address:], words.ravel()) and (times[address:] == 1).all() and not times[:address].any()


def test_frames_are_as_long_as_may_be(seed=8):
    """Another row would not have gone into any frame but the last of a strip; and tall strips keep within a span's 16 bits."""
    words = picture(120, 96, "smooth", np.random.default_rng(seed))
    frames = pack(words, 0, 3)
    sizes = {}
    for frame in frames:
        sizes.setdefault(Head.of(frame).address % 96, []).append(len(frame) - HEAD)
    assert len(sizes) == 4 and all(size >= STREAM_WORDS - 20 for strip in sizes.values() for size in strip[:-1])
    flat = pack(np.zeros((300, 600), np.uint16), 0, 1)
    assert max(Head.of(frame).span for frame in flat) > 60_000


def test_photographs_and_other_tensors(data):
    """A photograph of 150,528 bytes; inputs that have no pixels of one or three channels are not packed."""
    from nets.preprocess import InputSpec, find_images, load_image
    spec = InputSpec(size=(224, 224), resize=256)
    pixels = load_image(find_images(data / "images" / "imagenet-sample")[7], spec)
    tensor = Tensor(name="data", address=5000, words=75_264, shape=(3, 224, 224), layout="pixels")
    words = np.ascontiguousarray(pixels.transpose(1, 2, 0)).reshape(-1).view("<u2")
    sizes = [len(frame) for frame in packed_frames(tensor, words)]
    assert 0.2 < input_bytes(tensor.words, packed=sizes) / input_bytes(tensor.words) < 0.6
    assert packed_frames(Tensor(name="data", address=0, words=8, shape=(4, 2, 2), layout="pixels"), np.zeros(8, "<u2")) is None
    assert packed_frames(Tensor(name="data", address=0, words=8, shape=(1, 2, 2), layout="map"), np.zeros(8, "<u2")) is None


def test_escapes_are_at_the_limit(seed=9):
    """All numbers of ones that a code can have do occur in noise, and none above."""
    codes = [unpack(frame.tolist()).codes for frame in pack(picture(60, 32, "noise", np.random.default_rng(seed)), 0, 1)]
    assert {ones for frame in codes for ones, _ in frame} == set(range(LIMIT + 1))


def session_on(rate: float, seed: int) -> tuple[Device, Session, FaultyLine]:
    device = Device(IDENTITY, unpack=unpack)
    line = FaultyLine(device, seed=seed, rate=rate, faults=[fault for fault in FAULTS if "reset" not in fault])
    session = Session(line, patience_s=0.01, clock=line.now, numbers=random.Random(seed))
    session.connect()
    return device, session, line


@pytest.mark.parametrize("rate", [0, 0.2])
def test_a_line_that_loses_frames(rate, seed=10):
    device, session, line = session_on(rate, seed)
    words = picture(40, 96, "noise", np.random.default_rng(seed))
    session.write_packed(pack(words, 700, 3))
    assert session.verify(700, words.ravel()) and bool(line.damaged.total()) == bool(rate)


def test_what_makes_no_sense_is_refused(seed=11):
    device, session, _ = session_on(0, seed)
    good, = pack(picture(4, 20, "smooth", np.random.default_rng(seed)), 100, 1)
    for wrong in (good[:-1], [*good, 0], [*good[:2], 79, *good[3:]], [*good[:3], 1, *good[4:]]):
        with pytest.raises(Refused, match="CODED"):
            session.write_packed([np.asarray(wrong, "<u2")])
    for wrong in ([IDENTITY.storage_words - 19, 0, *good[2:]], [0, 1, *good[2:]], [*good[:2], 0, *good[3:]]):
        with pytest.raises(Refused, match="RANGE"):
            session.write_packed([np.asarray(wrong, "<u2")])
    session.write_packed([good])
    assert session.checksum(100, 80) == session.checksum(100, 80)


def test_a_board_that_cannot_says_so():
    with pytest.raises(ValueError, match="unpack must be given"):
        Device(IDENTITY)
    device = Device(Identity(digest=1, storage_words=4000, clock_khz=100_000, name="plain"))
    line = FaultyLine(device, seed=1, rate=0)
    session = Session(line, patience_s=0.01, clock=line.now, numbers=random.Random(1))
    assert not session.connect().identity.packing
    with pytest.raises(Refused, match="UNKNOWN"):
        session.write_packed(pack(np.zeros((4, 4), np.uint16), 0, 1))
