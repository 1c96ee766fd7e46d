"""Sessions over good and bad lines: what is written is what was meant, and everything comes to an end."""
import random

import numpy as np
import pytest

from arch.protocol import DATA_WORDS, REFUSED, Identity, Kind, Refusal
from host.device import Device
from host.link import LinkError
from host.protocol import Message, ProtocolError, Status, checksum
from host.session import BoardReset, Refused, Session
from sim.fuzz import fuzz
from sim.models.line import FAULTS, FaultyLine

IDENTITY = Identity(digest=77, storage_words=6000, clock_khz=125_000, name="tests")


def pair(rate=0.0, seed=1, **options):
    device = Device(IDENTITY)
    line = FaultyLine(device, seed=seed, rate=rate, **options)
    return device, line, Session(line, clock=line.now, numbers=random.Random(seed))


def words(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 16, count, dtype=np.uint16)


def test_good_line():
    device, line, session = pair()
    assert session.connect().identity == IDENTITY
    image, heard = words(5500), []
    session.write(300, image, heard.append)
    assert heard[-1] == 5500 and heard == sorted(heard)
    assert np.array_equal(device.storage[300:5800], image) and session.verify(300, image)
    assert not session.verify(300, image[::-1])
    assert np.array_equal(session.read(250, 1200), device.storage[250:1450])
    assert session.checksum(0, 6000) == checksum(device.storage)
    session.start(17)
    assert device.starts == [17] and session.wait(1) == Status(running=False, finished=True, failed=False)
    device.counters[4] = 12345
    assert session.counters()["store_waiting"] == 12345
    session.clear()
    assert not session.status().finished and session.sent_again == 0
    assert len(session.read(0, 0)) == 0 and session.verify(0, words(0))


def test_uploads_use_the_line():
    """Time on the line beyond that of the words themselves: headers, CRCs, escapes."""
    _, line, session = pair()
    session.connect()
    before = line.now()
    session.write(0, words(6000))
    assert 12_000 * 10 / line.baud / (line.now() - before) > 0.97


@pytest.mark.parametrize("ask, reason", [
    (lambda session: session.write(5999, words(2)), Refusal.RANGE), (lambda session: session.read(6000, 1), Refusal.RANGE),
    (lambda session: session.checksum(0, 6001), Refusal.RANGE), (lambda session: session.start(1 << 24), Refusal.RANGE),
    (lambda session: session.write(5000, words(5 * DATA_WORDS)), Refusal.RANGE),
])
def test_refused_requests(ask, reason):
    device, _, session = pair()
    session.connect()
    with pytest.raises(Refused, match=f"The board refuses .*, {reason.name}: it has less storage"):
        ask(session)
    session.write(0, words(3))                  # the session goes on
    assert np.array_equal(device.storage[:3], words(3))


def test_busy():
    device, _, session = pair()
    session.connect()
    device.run = lambda address: Status(running=True, finished=False, failed=False)
    session.start(0)
    for ask in (lambda: session.write(0, words(1)), lambda: session.read(0, 1), lambda: session.checksum(0, 1),
                lambda: session.start(0)):
        with pytest.raises(Refused, match="BUSY: it runs a program"):
            ask()
    with pytest.raises(LinkError, match="does not end within 0 s"):
        session.wait(0)
    session.clear()
    session.write(0, words(1))


@pytest.mark.parametrize("slowness", [1, 1000])
def test_a_simulated_board_takes_its_time_for_a_checksum(slowness):
    class Silent:
        baud, now = 3_000_000, 0.0

        def write(self, data):
            pass

        def read(self, timeout_s):
            self.now += timeout_s
            return b""

    link = Silent()
    session = Session(link, clock=lambda: link.now, slowness=slowness)
    with pytest.raises(LinkError, match="does not answer .CHECKSUM."):
        session.checksum(0, 500_000)
    each = slowness * 500_000 * 10 / 25e6           # ten cycles a word at 25 MHz
    assert 8 * each < link.now < 8 * (each + 1)


def test_reset_of_the_board():
    device, _, session = pair()
    session.connect()
    device.reset()
    with pytest.raises(BoardReset, match="The board was reset meanwhile.*start the command again"):
        session.status()
    session.connect()
    session.status()


def test_silent_board():
    _, line, session = pair()
    line.board.feed = lambda data: b""
    with pytest.raises(LinkError, match="does not answer .INFO.: is this its port, .* 3,000,000 baud"):
        session.connect()


def test_other_version():
    device, _, session = pair()
    device.identity = type("Other", (), {"words": lambda self, counters: [1, 0]})()
    with pytest.raises(ProtocolError, match="must be version 3, not 1: build its bitstream"):
        session.connect()


def test_repeated_start_and_clear_are_obeyed_once():
    device = Device(IDENTITY)
    device.answer(Message.of(Kind.INFO, 255, [1, 2]))
    start = Message.of(Kind.START, 0, [5, 0])
    assert device.answer(start) == device.answer(start) and device.starts == [5]
    assert device.answer(Message.of(Kind.CLEAR, 0)).kind == REFUSED       # same number, other kind
    clear = Message.of(Kind.CLEAR, 1)
    device.answer(clear)
    device.status = Status(running=True, finished=False, failed=False)
    device.answer(clear)
    assert device.status.running


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_bad_lines(rate):
    """Random work over a bad line: storage is what was written, what is read is what is there, programs start once."""
    record = fuzz(rtl=False, frames=6000, rate=rate, seed=1)
    assert record["damaged"] >= 6000 and set(record["by_fault"]) == set(FAULTS)
