# amaranth: UnusedElaboratable=no
"""The link's gateware: every reply is the reference's, whatever comes."""
from dataclasses import replace
import random

import numpy as np
import pytest

from arch.protocol import DATA_WORDS, FLAG, REFUSED, REPLY, Kind, Refusal
from host.packing import pack
from host.protocol import Message, checksum, pair
from host.session import Refused, Session
from sim.fuzz import fuzz
from sim.link import IDENTITY, LinkBoard
from sim.models.line import FAULTS, FaultyLine

PICTURE = (np.cumsum(np.random.default_rng(4).integers(-6, 7, (20, 90)), 1) + 120).astype(np.uint8).view("<u2")


@pytest.fixture
def board():
    made = LinkBoard()
    yield made
    made.close()


def session_on(board, rate=0.0, seed=1, **options):
    line = FaultyLine(board, seed=seed, rate=rate, **options)
    return line, Session(line, patience_s=0.01, clock=line.now, numbers=random.Random(seed))


def words(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 16, count, dtype=np.uint16)


def test_every_request(board):
    _, session = session_on(board)
    assert session.connect().identity == IDENTITY
    image = words(2500)
    image[:40] = 0x7D7E
    session.write(700, image)
    assert session.verify(700, image) and session.checksum(0, 4000) == checksum(board.twin.storage)
    for count in (1, 2, 15, 16, 17, 31, 32, 33, DATA_WORDS):
        assert np.array_equal(session.read(690, count), board.twin.storage[690:690 + count])
        assert session.checksum(695, count) == checksum(board.twin.storage[695:695 + count])
    session.start(0x123)
    assert (board.sim.get("program"), board.sim.get("starts")) == (0x123, 1)
    assert session.status() == board.twin.status
    assert list(session.counters().values()) == board.twin.counters
    session.clear()
    assert board.sim.get("clears") == 1
    for count in (1, 2, 5, DATA_WORDS):
        sent = words(count).astype(np.uint8).tobytes()
        assert session.exchange(sent) == board.twin.flash.exchange(sent)
    for sector in (0, 5 << 12, (1 << 24) - (1 << 12)):
        assert session.scan(sector) == board.twin.flash.scan(sector)
    for sector in (1, 0x800, 1 << 24, 1 << 31):
        with pytest.raises(Refused, match="RANGE"):
            session.scan(sector)


@pytest.mark.parametrize("kind", [*Kind, 0, 15, 0x80, 0xFF])
def test_refusals_are_the_references(board, kind):
    """All kinds with all numbers of arguments, at the limits of storage; `feed` compares."""
    rng = random.Random(kind)
    board.feed(Message.of(kind, 3, [1, 2]).to_bytes())          # unconnected
    board.feed(Message.of(Kind.INFO, 0, [1, 2]).to_bytes())
    sequence = 1
    for address in (0, 3990, 3999, 4000, 0xFFFFFF, 0x1000000, 0xFFFFFFFF):
        for count in (0, 1, 10, 504, 505, 4000, 1 << 24, (1 << 24) + 1, 1 << 25, 0xFFFFFFFF):
            low, high = pair(count)
            for arguments in ([], [7], pair(address), [*pair(address), low], [*pair(address), low, high],
                              [*pair(address), *(rng.randrange(1 << 16) for _ in range(min(count, 507)))]):
                if kind == Kind.CHECKSUM and rng.random() < 0.7:
                    continue
                if rng.random() < 0.5:
                    continue
                before = board.twin._awaited
                board.feed(Message.of(kind, sequence, arguments).to_bytes())
                if board.twin._awaited != before:
                    sequence = (sequence + 1) % 256
    for number in (sequence - 2, sequence - 1, sequence + 1):
        board.feed(Message.of(kind, number % 256, [0, 0]).to_bytes())


def test_busy(board):
    _, session = session_on(board)
    session.connect()
    session.start(5)
    board.running(True)
    for ask in (lambda: session.write(0, words(1)), lambda: session.read(0, 1), lambda: session.checksum(0, 1),
                lambda: session.start(0), lambda: session.exchange(b"x"), lambda: session.reboot(1),
                lambda: session.scan(0), lambda: session.write_packed(pack(PICTURE, 0, 1))):
        with pytest.raises(Refused, match="BUSY"):
            ask()
    assert session.status().running and board.sim.get("starts") == 1
    session.clear()
    board._show(replace(board.twin.status, running=False, booting=True))
    with pytest.raises(Refused, match="BUSY"):
        session.write(0, words(1))


def test_packed_words(board):
    """Pictures, and again what came last; frames that make no sense leave what the reference leaves."""
    _, session = session_on(board)
    session.connect()
    for channels, address in ((1, 100), (3, 3900 - PICTURE.size)):
        session.write_packed(pack(PICTURE, address, channels))
        assert session.verify(address, PICTURE.ravel())
    frame, next_ = pack(PICTURE, 100, 3)[0], board.twin._awaited
    sent = Message.of(Kind.PACKED, next_, frame).to_bytes()
    assert board.feed(sent)[1] == board.feed(sent)[1] == Kind.PACKED | REPLY
    for sequence in (next_ + 1, next_):                         # neither is obeyed, so the last good one may come again
        assert board.feed(Message.of(Kind.PACKED, sequence, [7, *frame[1:]]).to_bytes()) is not None
        assert board.feed(Message.of(Kind.PACKED, next_ + 1, [*frame, 1]).to_bytes())[3:4] == bytes([Refusal.CODED])
        assert board.feed(Message.of(Kind.PACKED, next_ + 1, frame[:-1]).to_bytes())[3:4] == bytes([Refusal.CODED])
    session.connect()
    assert session.verify(0, board.twin.storage)


def test_repeated_requests_are_obeyed_once(board):
    board.feed(Message.of(Kind.INFO, 255, [1, 2]).to_bytes())
    for sequence, (kind, counter) in enumerate(((Kind.START, "starts"), (Kind.CLEAR, "clears"), (Kind.BOOT, "boots"))):
        frame = Message.of(kind, sequence, [9, 0] if kind == Kind.START else []).to_bytes()
        assert board.feed(frame) == board.feed(frame)
        assert board.sim.get(counter) == 1
    assert board.sim.get("clears") == 2                         # a boot clears too
    # While it goes on, too: its reply may have been lost.
    board._show(replace(board.twin.status, booting=True))
    assert board.feed(frame)[1] == Kind.BOOT | REPLY
    assert board.feed(Message.of(Kind.BOOT, 3).to_bytes())[1] == REFUSED and board.sim.get("boots") == 1


def test_endless_and_empty_frames(board):
    board.feed(bytes(3000))
    board.feed(bytes([FLAG]) * 10)
    board.feed(b"\x7d\x7e\x7d\x7d\x7e\x11\x7e")
    longest = Message.of(Kind.WRITE, 0, [0x1111] * 509).to_bytes()
    board.feed(longest)                                         # whole, but too many words for its kind
    board.feed(longest[:-1] + b"\x11" + longest[-1:])
    board.feed(Message.of(Kind.INFO, 0, [1, 2]).to_bytes())


def test_a_lost_byte_is_damage(board):
    """The receiver's `error` spoils a frame, even beside a flag."""
    frame = Message.of(Kind.INFO, 0, [1, 2]).to_bytes()
    for at in range(1, len(frame)):
        board.sim.feed("rx", np.stack([np.frombuffer(frame, np.uint8), np.arange(len(frame)) == at], 1).astype(np.uint8))
        board.sim.feed("rx", np.array([[FLAG, 0]], np.uint8))
        board.sim.step(1500)
        back = board.sim.beats("tx").payload[:, 0].tobytes()
        assert back == Message.of(0xFF, 0, [2, 0]).to_bytes()
    board._sent = (len(frame) - 1) * len(back)
    board.twin.line |= {"damaged": len(frame) - 1, "lost": len(frame) - 1}
    _, session = session_on(board)
    session.connect()
    assert session.line() == board.twin.line == {"sound": 2, "damaged": len(frame) - 1, "unawaited": 0, "lost": len(frame) - 1}


def test_the_line_is_counted(board):
    """Each kind of event apart; a reset forgets."""
    _, session = session_on(board)
    for _ in range(2):
        session.connect()
        assert session.line() == dict(sound=2, damaged=0, unawaited=0, lost=0)
        board.feed(b"\x7e\x11\x22\x7e")
        session.status()
        board.feed(Message.of(Kind.STATUS, session._next + 7).to_bytes())
        board.feed(Message.of(0, session._next).to_bytes())             # refused, but for its kind
        assert session.line() == dict(sound=6, damaged=1, unawaited=1, lost=0)
        board.reset()


def test_slow_reader(board):
    """Back-pressure: replies are the same, however slowly they are taken."""
    rng = np.random.default_rng(3)
    frames = b"".join(Message.of(Kind.INFO, n, words(2, n)).to_bytes() for n in range(20))
    board.sim.pattern("tx__ready", rng.random(101) < 0.1)
    board.sim.feed("rx", np.stack([np.frombuffer(frames, np.uint8), np.zeros(len(frames), np.uint8)], 1))
    expected = board.twin.feed(frames)
    board._sent = len(expected)
    board.sim.run_until(beats=("tx", len(expected)), deadline=100_000)
    board.sim.step(2000)
    assert board.sim.beats("tx").payload[:, 0].tobytes() == expected


def test_reset_at_any_time(board):
    """In the middle of bytes, words, requests to storage and replies; storage is reset with the link, as on the chip."""
    image = words(40)
    frames = [Message.of(Kind.INFO, 0, [1, 2]), Message.of(Kind.WRITE, 1, [*pair(100), *image]),
              Message.of(Kind.READ, 2, [100, 0, 40]), Message.of(Kind.EXCHANGE, 3, image[:20]),
              Message.of(Kind.CHECKSUM, 4, [0, 0, 4000, 0])]
    sent = b"".join(frame.to_bytes() for frame in frames)
    for cycles in range(1, 2500, 17):
        board.sim.feed("rx", np.stack([np.frombuffer(sent, np.uint8), np.zeros(len(sent), np.uint8)], 1))
        board.sim.step(cycles)
        board.sim.set("rst", 1)
        while board.sim.pending("rx"):                          # what comes meanwhile is lost
            board.sim.step(1)
        board.sim.step(1)
        board.sim.set("rst", 0)
        board.twin.reset()
        board.sim.step(5)
        board.sim.beats("tx")
        board.sim.feed("rx", np.stack([np.frombuffer(sent, np.uint8), np.zeros(len(sent), np.uint8)], 1))
        expected = board.twin.feed(sent)
        board.sim.step(30_000)
        assert board.sim.beats("tx").payload[:, 0].tobytes() == expected, cycles


def test_bad_lines():
    """Random work over a bad line, resets included. `python -m sim.fuzz --rtl` does more of it."""
    record = fuzz(rtl=True, frames=1500, rate=0.2, seed=5)
    assert record["damaged"] >= 1500 and set(record["by_fault"]) == set(FAULTS)
