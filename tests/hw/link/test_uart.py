# amaranth: UnusedElaboratable=no
"""The serial line at the level of bits: rates that differ, jitter, spikes, breaks, and bytes that nobody takes."""
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
import numpy as np
import pytest

from hw.link.uart import UartReceiver, UartTransmitter, byte_layout
from sim.verilog.native import Design

CLOCK, BAUD = 140e6, 3e6
TEXT = bytes([0, 255, 0x55, 0xAA, 0x7E, 1, 128]) + np.random.default_rng(4).bytes(60)


class Uart(wiring.Component):
    def __init__(self, clock_hz, baud):
        self.rate = clock_hz, baud
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(byte_layout())), "i": In(stream.Signature(8)),
                          "tx": Out(1), "line": Out(stream.Signature(1))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(*self.rate)
        m.submodules.transmitter = transmitter = UartTransmitter(*self.rate)
        connect(m, receiver.o, flipped(self.o))
        connect(m, flipped(self.i), transmitter.i)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), self.line.payload.eq(self.tx), self.line.valid.eq(1)]
        return m


@pytest.fixture(scope="module")
def design() -> Design:
    return Design(Uart(CLOCK, BAUD))


def wave(data: bytes, cycles_per_bit: float, gap_bits: float = 0, jitter: float = 0, seed: int = 0) -> np.ndarray:
    """Levels of the line, cycle by cycle."""
    rng = np.random.default_rng(seed)
    levels = [1] * 20
    for byte in data:
        levels += [0, *(byte >> n & 1 for n in range(8)), 1]
        levels += [1] * int(rng.integers(0, int(4 * gap_bits) + 1))
    edges = 100 + np.arange(len(levels) + 1) * cycles_per_bit + rng.uniform(-jitter, jitter, len(levels) + 1)
    out = np.ones(int(edges[-1]) + 1000, bool)
    for level, start, end in zip(levels, edges, edges[1:], strict=False):
        out[round(start):round(end)] = level
    return out


def received(design: Design, line: np.ndarray) -> tuple[bytes, list[int]]:
    with design.simulate() as sim:
        sim.pattern("rx", line)
        sim.step(len(line) - 200)
        payload = sim.beats("o").payload
    return payload[:, 0].tobytes(), payload[:, 1].tolist()


@pytest.mark.parametrize("off", [-0.04, -0.02, 0, 0.02, 0.04])
@pytest.mark.parametrize("gap", [0, 1.5])
def test_rates_may_differ(design, off, gap):
    for seed in range(5):
        data, errors = received(design, wave(TEXT, CLOCK / BAUD * (1 + off), gap, seed=seed))
        assert data == TEXT and not any(errors)


def test_jitter_and_spikes(design):
    """Edges a twentieth of a bit too early or late at 2 % off, and spikes of a cycle, one in ten cycles, never two at once."""
    for seed, off in enumerate((-0.02, 0.02)):
        line = wave(TEXT, CLOCK / BAUD * (1 + off), 1, jitter=2.3, seed=seed)
        at = np.cumsum(np.random.default_rng(seed).integers(5, 15, len(line) // 10 - 10))
        line[at[at < len(line)]] ^= True
        data, errors = received(design, line)
        assert data == TEXT and not any(errors), seed


@pytest.mark.parametrize("clock, baud", [(140e6, 115_200), (100e6, 12.5e6)])
def test_other_rates(clock, baud):
    design = Design(Uart(clock, baud))
    data, errors = received(design, wave(TEXT, clock / baud, 1))
    assert data == TEXT and not any(errors)


def test_break_is_an_error_and_then_over(design):
    bit = CLOCK / BAUD
    line = np.concatenate([wave(b"ab", bit)[:-900], np.zeros(int(30 * bit), bool), wave(b"cd", bit)])
    data, errors = received(design, line)
    assert data[:2] == b"ab" and data[-2:] == b"cd" and errors == [0, 0, 1, 0, 0]


def test_short_low_is_no_byte(design):
    line = np.concatenate([np.ones(100, bool), np.zeros(int(CLOCK / BAUD * 0.4), bool), wave(b"x", CLOCK / BAUD)])
    assert received(design, line) == (b"x", [0])


def test_bytes_that_nobody_takes_are_an_error(design):
    line = wave(b"abc", CLOCK / BAUD)
    with design.simulate() as sim:
        sim.pattern("rx", line)
        sim.set("o__ready", 0)
        sim.step(len(line) - 200)
        sim.set("o__ready", 1)
        sim.step(10)
        assert sim.beats("o").payload.tolist() == [[ord("c"), 1]]


def test_sent_bits_have_their_length(design):
    """Within a cycle, over hundreds of bits: the rate is exact, and bytes follow without a gap."""
    with design.simulate() as sim:
        sim.feed("i", np.frombuffer(TEXT, np.uint8).reshape(-1, 1))
        sim.run_until(drained="i", deadline=100_000)
        sim.step(1000)
        line = sim.beats("line").payload[:, 0].astype(bool)
    start = int(np.argmin(line))
    bit = CLOCK / BAUD
    levels = [level for byte in TEXT for level in (0, *(byte >> n & 1 for n in range(8)), 1)]
    for n, level in enumerate(levels):
        middle = line[start + round(n * bit) + 2:start + round((n + 1) * bit) - 2]
        assert (middle == level).all(), n


def test_there_and_back(design):
    """What the transmitter sends the receiver takes."""
    with design.simulate() as sim:
        sim.feed("i", np.frombuffer(TEXT, np.uint8).reshape(-1, 1))
        sim.run_until(drained="i", deadline=100_000)
        sim.step(1000)
        line = sim.beats("line").payload[:, 0].astype(bool)
    assert received(design, np.append(line, np.ones(300, bool))) == (TEXT, [0] * len(TEXT))


@pytest.mark.parametrize("baud", [17.6e6, 8500])
def test_rates_out_of_range(baud):
    with pytest.raises(ValueError, match=r"Baud rate must be 8545\.\.17500000 at 140 MHz, not"):
        UartReceiver(140e6, baud)
