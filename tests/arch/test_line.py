"""Bytes and time of a frame on the line: those that a session's messages take, byte by byte."""
import random

import numpy as np
import pytest

from arch.line import frame_exchange, message_bytes
from arch.protocol import DATA_WORDS, ESCAPE, FLAG, FRAME_WORDS, Identity, Kind
from host.device import Device
from host.protocol import Message, Status
from host.session import Session

BAUD = 3_000_000


def unescaped(data: bytes) -> int:
    """Bytes on a line on which nothing had to be escaped."""
    return len(data) - data.count(ESCAPE)


class TimedLine:
    """A `host.link.Link` on which every byte takes its time, in each direction on its own, to a board whose program takes
    `chip_s` seconds."""

    def __init__(self, chip_s: float, storage_words: int, baud: int):
        self.baud, self.chip_s = baud, chip_s
        self.device = Device(Identity(digest=1, storage_words=storage_words, clock_khz=1, name="t"), self._run)
        self.now, self.over, self.quiet = 0.0, 0.0, 0.0        # seconds: now, end of the program, of what the board sends
        self.sent, self.received, self.arriving = b"", b"", []

    def _run(self, address: int) -> Status:
        self.over = self.now + self.chip_s
        return Status(running=True, finished=False, failed=False)

    def write(self, data: bytes) -> None:
        self.now += unescaped(data) * 10 / self.baud
        self.sent += data
        if self.device.status.running and self.now >= self.over:
            self.device.status = Status(running=False, finished=True, failed=False)
        back = self.device.feed(data)
        if back:
            self.quiet = max(self.now, self.quiet) + unescaped(back) * 10 / self.baud
            self.arriving.append((self.quiet, back))

    def read(self, timeout_s: float) -> bytes:
        if self.arriving:
            self.now = max(self.now, self.arriving[0][0])
        ready = b"".join(back for when, back in self.arriving if when <= self.now)
        self.arriving = [one for one in self.arriving if one[0] > self.now]
        self.received += ready
        return ready

    def close(self) -> None:
        pass


@pytest.mark.parametrize("words", [0, 1, 3, DATA_WORDS + 2, FRAME_WORDS - 3])
def test_bytes_of_a_message(words):
    for seed in range(20):
        values = np.random.default_rng(seed).integers(0, 1 << 16, words, dtype=np.uint16)
        data = Message.of(Kind.WRITE, seed, values).to_bytes()
        assert unescaped(data) == message_bytes(words, escaped=0), seed
    assert len(Message.of(Kind.WRITE, 0, [FLAG | FLAG << 8] * words).to_bytes()) >= 2 + 2 * 2 * words


@pytest.mark.parametrize("input_words, output_words", [(75_264, 500), (512, 5), (DATA_WORDS, DATA_WORDS),
                                                       (1, 2 * DATA_WORDS + 1)])
@pytest.mark.parametrize("chip_s", [0, 1e-6, 1e-4, 3e-4, 9.92e-3])
@pytest.mark.parametrize("baud", [3_000_000, 115_200])
def test_a_frame_is_what_a_session_sends(input_words, output_words, chip_s, baud):
    """All bytes counted, and the time of a line that is simulated to the byte: no difference but what escapes take."""
    line = TimedLine(chip_s, input_words + output_words, baud)
    session = Session(line, clock=lambda: line.now, numbers=random.Random(1))
    session.connect()
    begun, line.sent, line.received = line.now, b"", b""
    session.write(0, np.random.default_rng(2).integers(0, 1 << 16, input_words, dtype=np.uint16))
    session.start(7)
    session.wait(10)
    session.read(input_words, output_words)
    expected = frame_exchange(input_words, output_words, baud=baud, chip_s=chip_s, escaped=0)
    assert session.sent_again == 0
    assert (unescaped(line.sent), unescaped(line.received)) == (expected.sent, expected.received)
    assert line.now - begun == pytest.approx(expected.seconds + chip_s, rel=1e-9)
    # What escapes add is random, but not by much.
    likely = frame_exchange(input_words, output_words, baud=baud, chip_s=chip_s)
    assert abs(len(line.sent) - likely.sent) < 6 * (2 + input_words / 128) ** .5 + .05 * likely.polls


def test_a_photograph_on_three_megabaud():
    """150,528 bytes: half a second, fifty times as long as the chip takes."""
    exchange = frame_exchange(150_528 // 2, 500, baud=BAUD, chip_s=9.92e-3)
    assert 1 / (exchange.seconds + 9.92e-3) == pytest.approx(1.9, abs=.02)
