"""Link and serial line together, bit by bit: what goes in at the rate of the line is obeyed; what is too much is refused."""
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect
import numpy as np
import pytest

from arch.protocol import REPLY, Kind, Refusal
from golden.packing import unpack
from host.device import Device
from host.protocol import Deframer, Message, pair
from hw.link.link import status_layout
from hw.link.uart import UartReceiver, UartTransmitter
from sim.link import IDENTITY, LinkTop
from sim.verilog.native import Design

CLOCK, BAUD = 100e6, 5e6                    # twenty cycles a bit: less time for each frame than on any board, and quick
BIT = CLOCK / BAUD


class Serial(wiring.Component):
    def __init__(self):
        super().__init__({"rx": In(1, init=1), "line": Out(stream.Signature(1)), "status": In(status_layout())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = LinkTop()
        m.submodules.receiver = receiver = UartReceiver(CLOCK, BAUD)
        m.submodules.transmitter = transmitter = UartTransmitter(CLOCK, BAUD)
        connect(m, receiver.o, link.rx)
        connect(m, link.tx, transmitter.i)
        m.d.comb += [receiver.rx.eq(self.rx), self.line.payload.eq(transmitter.tx), self.line.valid.eq(1),
                     link.status.eq(self.status)]
        return m


@pytest.fixture(scope="module")
def design() -> Design:
    return Design(Serial())


def wave(data: bytes, cycles_per_bit: float) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(-1, 1), axis=1, bitorder="little")
    levels = np.concatenate([np.zeros((len(bits), 1), np.uint8), bits, np.ones((len(bits), 1), np.uint8)], 1).ravel()
    edges = np.round(np.arange(len(levels) + 1) * cycles_per_bit).astype(int)
    return np.concatenate([np.ones(60), np.repeat(levels, np.diff(edges)), np.ones(40_000)]).astype(bool)


def bytes_of(line: np.ndarray) -> bytes:
    """What a receiver with the right rate makes of the levels."""
    found, at = bytearray(), 0
    while (rest := np.flatnonzero(~line[at:])).size:
        at += int(rest[0])
        middles = at + np.round((np.arange(10) + 0.5) * BIT).astype(int)
        levels = line[middles]
        assert not levels[0] and levels[9]
        found += np.packbits(levels[1:9], bitorder="little").tobytes()
        at = int(middles[9])
    return bytes(found)


def answer(design: Design, data: bytes, off: float = 0) -> bytes:
    line = wave(data, BIT * (1 + off))
    with design.simulate() as sim:
        sim.pattern("rx", line)
        sim.step(len(line) - 1)
        return bytes_of(sim.beats("line").payload[:, 0].astype(bool))


@pytest.mark.parametrize("off", [-0.02, 0, 0.02])
def test_frames_at_the_rate_of_the_line(design, off):
    """Uploads without a gap between frames: none is lost, each reply is the reference's."""
    rng = np.random.default_rng(1)
    frames = [Message.of(Kind.INFO, 9, [1, 2])]
    for n, count in enumerate((504, 504, 1, 100, 504, 3)):
        frames.append(Message.of(Kind.WRITE, 10 + n, [*pair(500 * n), *rng.integers(0, 1 << 16, count)]))
    frames.append(Message.of(Kind.CHECKSUM, 16, [0, 0, 3000, 0]))
    data = b"".join(frame.to_bytes() for frame in frames)
    assert answer(design, data, off) == Device(IDENTITY, unpack=unpack).feed(data)


def test_too_many_frames(design):
    """Requests whose replies take longer than they do, without a wait: some are lost and refused, none is obeyed out of turn, and
    then all is well again."""
    data = b"".join(Message.of(Kind.READ, n, [n, 0, 100]).to_bytes() for n in range(1, 40))
    data = Message.of(Kind.INFO, 0, [1, 2]).to_bytes() + data + b"\xff" * 400 + Message.of(Kind.INFO, 99, [3, 4]).to_bytes()
    replies = Deframer().feed(answer(design, data))
    assert None not in replies
    reads = [reply.sequence for reply in replies if reply.kind == Kind.READ | REPLY]
    assert reads and reads == list(range(1, len(reads) + 1)) and len(reads) < 39
    refusals = {reply.words[0] for reply in replies if reply.kind == 0xFF}
    assert refusals <= {Refusal.DAMAGED, Refusal.SEQUENCE} and refusals
    assert replies[-1].kind == Kind.INFO | REPLY and replies[-1].sequence == 99
