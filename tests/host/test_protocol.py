"""Frames and messages: whole ones pass, damaged ones never."""
from zlib import crc32

from hypothesis import example, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.protocol import FLAG, FRAME_WORDS, REPLY, Identity, Kind
from arch.slots import Outcome
from host.device import Device
from host.protocol import Deframer, Info, Message, ProtocolError, Status, checksum, counters, number, pair

messages = st.builds(Message.of, st.integers(0, 255), st.integers(0, 255),
                     st.lists(st.one_of(st.integers(0, 0xFFFF), st.sampled_from([0x7E7E, 0x7D7D, 0x7D7E, 0x5E7D])), max_size=40))
IDENTITY = Identity(digest=0x0123456789ABCDEF, storage_words=5000, clock_khz=140_000, name="ulx3s-85f")


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in zip(places, places[1:], strict=False)]


@settings(deadline=None)
@given(st.lists(messages, max_size=5), st.lists(st.integers(0, 10_000), max_size=6))
def test_messages_survive_any_cut(sent, cuts):
    deframer = Deframer()
    stream = b"".join(message.to_bytes() for message in sent)
    assert [message for part in pieces(stream, cuts) for message in deframer.feed(part)] == sent


@settings(deadline=None)
@given(st.binary(max_size=300), messages)
@example(b"\x7d", Message.of(1, 2, [3]))
@example(b"\x7e\x7d\x7d", Message.of(1, 2, [3]))
def test_any_noise_is_over_with_the_next_frame(noise, message):
    found = Deframer().feed(noise + message.to_bytes())
    assert found[-1] == message


@settings(deadline=None)
@given(messages, st.data())
def test_a_changed_frame_is_damaged(message, data):
    frame = bytearray(message.to_bytes())
    at = data.draw(st.integers(1, len(frame) - 2))
    value = data.draw(st.integers(0, 255).filter(lambda value: value not in (frame[at], FLAG)))
    frame[at] = value
    assert Deframer().feed(bytes(frame)) == [None]


@settings(deadline=None)
@given(messages)
def test_layout(message):
    frame = message.to_bytes()
    assert frame[0] == frame[-1] == FLAG and FLAG not in frame[1:-1]
    plain, escaped = bytearray(), False
    for byte in frame[1:-1]:
        if byte == 0x7D and not escaped:
            escaped = True
        else:
            plain.append(byte ^ 0x20 if escaped else byte)
            escaped = False
    assert plain[0] == message.kind and plain[1] == message.sequence
    assert plain[2:-4] == message.words.astype("<u2").tobytes() and plain[-4:] == crc32(plain[:-4]).to_bytes(4, "little")


@pytest.mark.parametrize("words, whole", [(FRAME_WORDS - 3, True), (FRAME_WORDS - 2, False)])
def test_longest_frame(words, whole):
    body = bytes([2, 0]) + b"\x11" * 2 * words
    frame = b"\x7e" + body + crc32(body).to_bytes(4, "little") + b"\x7e"
    (found,) = Deframer().feed(frame)
    assert (found is not None) == whole
    if not whole:
        with pytest.raises(ValueError, match="Arguments of a frame must be at most 509 words, not 510"):
            Message.of(2, 0, [0x1111] * words).to_bytes()


def test_endless_noise_takes_no_room():
    deframer = Deframer()
    for _ in range(100):
        assert deframer.feed(bytes(10_000)) == []
    assert len(deframer._buffer) < 20_000
    assert deframer.feed(b"\x7e") == [None]


def test_numbers():
    assert number(np.array(pair(0x89ABCDEF), "<u2")) == 0x89ABCDEF
    assert checksum(np.array([0x3231, 0x3433], np.uint16)) == crc32(b"1234")


def test_replies_and_their_meaning():
    device = Device(IDENTITY)
    reply = device.answer(Message.of(Kind.INFO, 9, [1, 2]))
    assert reply.kind == Kind.INFO | REPLY and Info.of(reply.words).identity == IDENTITY and Info.of(reply.words).nonce == 0x20001
    status = Status(running=False, finished=True, failed=True, fault=6, queue=3, opcode=9, index=70_000,
                    word=80_000, cycles=1 << 31, booted=True, program=77, outcome=Outcome(slot=1, trial=True))
    assert Status.of(np.array(status.words(), "<u2")) == status
    device.counters = list(range(12))
    assert list(counters(device.answer(Message.of(Kind.COUNTERS, 10)).words).values()) == list(range(12))
    for reader, words, message in ((Info.of, [1] * 19, "Reply to INFO must be 22 words, not 19"),
                                   (Info.of, [0xFFFF] * 12 + [0] * 10, "Reply to INFO makes no sense, storage_words must be"),
                                   (Status.of, [1], "Reply to STATUS must be 11 words, not 1"),
                                   (Status.of, [0] * 10 + [0xF], "Reply to STATUS makes no sense, 15 is not a valid Why"),
                                   (counters, [1], "Reply to COUNTERS must be 24 words, not 1")):
        with pytest.raises(ProtocolError, match=message):
            reader(np.array(words, "<u2"))


@pytest.mark.parametrize("change, message", [
    ({"digest": 1 << 64}, "digest must be 64 bits, not"), ({"storage_words": 0}, r"storage_words must be 1..268435456, not 0"),
    ({"clock_khz": 0}, "clock_khz must be 1..4294967295, not 0"), ({"name": "x" * 17}, "name must be at most 16 ASCII"),
])
def test_identities_out_of_range(change, message):
    good = {"digest": 1, "storage_words": 1, "clock_khz": 1, "name": "x"}
    with pytest.raises(ValueError, match=message):
        Identity(**(good | change))
