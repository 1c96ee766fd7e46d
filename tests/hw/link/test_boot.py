# amaranth: UnusedElaboratable=no
"""Boot from flash: what the reference boots is in storage afterwards, anything else is ignored."""
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
import numpy as np
import pytest

from arch.flash import Boot as Program
from arch.flash import Command, Status, boot_image, booted
from arch.protocol import Identity
from hw.link.boot import Boot
from hw.link.spi import SpiMaster, answer_layout, exchange_layout
from hw.storage.pulled_words import PulledWords
from hw.storage.ram import StorageRam
from sim.models.flash import ADDRESS_BITS, FlashChip, SpiFlash, with_flash
from sim.verilog.export import Boundary, convert
from sim.verilog.native import Design

OFFSET, WORDS = 1 << 16, 1024
IDENTITY = Identity(digest=0xFEDCBA9876543210, storage_words=WORDS - 24, clock_khz=100_000, name="bench")
WRITTEN = np.arange(300, dtype=np.uint16) * 211 + 0x7E7D


class Top(wiring.Component):
    """Boot, flash, storage; the flash is the bench's when all is done."""

    def __init__(self):
        self.boot, self.flash, self.storage = Boot(IDENTITY, OFFSET), SpiFlash(), StorageRam(WORDS)
        super().__init__({"exchange": In(stream.Signature(exchange_layout())), "exchanged": Out(answer_layout()),
                          "load": In(stream.Signature(self.flash.load.payload.shape())),
                          "over": Out(1), "booted": Out(1), "program": Out(24)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.boot, m.submodules.flash, m.submodules.storage = boot, flash, storage = self.boot, self.flash, self.storage
        connect(m, boot.pins, flash.pins)
        connect(m, flipped(self.load), flash.load)
        connect(m, flipped(self.exchange), boot.exchange)
        m.submodules.words = words = PulledWords()
        connect(m, boot.w, words.i)
        asked, request = boot.request.payload, storage.request.payload
        m.d.comb += [words.take.eq(storage.take), storage.w.eq(words.word),
                     storage.request.valid.eq(boot.request.valid), boot.request.ready.eq(storage.request.ready),
                     request.write.eq(asked.write), request.address.eq(asked.address), request.length.eq(asked.length),
                     self.exchanged.eq(boot.exchanged), self.over.eq(~boot.busy), self.booted.eq(boot.booted),
                     self.program.eq(boot.program)]
        return m


@pytest.fixture(scope="module")
def design() -> Design:
    top = Top()
    boot = top.boot
    return Design.of(with_flash(convert(top, probes=lambda: {
        "words": Boundary(boot.w.valid, boot.w.payload, boot.w.ready),
        "requests": Boundary(boot.request.valid, boot.request.payload.as_value(), boot.request.ready),
        "back": Boundary(boot.exchanged.valid, boot.exchanged.data)})))


def image(**changes) -> bytes:
    figures = {"program": 0x123456, "words": WRITTEN} | changes
    return boot_image(Program(**figures), IDENTITY.digest)


def damaged(at: int) -> bytes:
    data = bytearray(image())
    data[at] ^= 0x10
    return bytes(data)


CASES = {
    "good": image(), "one word": image(words=WRITTEN[:1], program=0), "full": image(words=np.resize(WRITTEN, WORDS - 24)),
    "blank": b"", "magic": damaged(1), "digest": damaged(9), "count": damaged(12), "no words": image(words=WRITTEN[:0]),
    "too many": image(words=np.resize(WRITTEN, WORDS - 23)), "program": damaged(16), "data": damaged(20), "last": damaged(619),
    "crc": damaged(623), "zeros": bytes(700)}


@pytest.mark.parametrize("name", CASES)
def test_boots_what_the_reference_boots(design, name):
    data = CASES[name]
    expected = booted(data.ljust(4000, b"\xff"), digest=IDENTITY.digest, storage_words=IDENTITY.storage_words)
    with design.simulate() as sim:
        if data:
            sim.feed("load", [OFFSET + n | byte << ADDRESS_BITS for n, byte in enumerate(data)])
        sim.run_until(high="over", deadline=200_000)
        words = sim.beats("words").payload.view("<u2").ravel()
        assert bool(sim.get("booted")) is (expected is not None)
        if expected is not None:
            assert np.array_equal(words, expected.words) and sim.get("program") == expected.program
            requests = [int.from_bytes(row.tobytes(), "little") for row in sim.beats("requests").payload]
            assert [request >> 1 & 0xFFFFFF for request in requests] == list(range(len(words)))
        elif name not in ("count", "program", "data", "last", "crc"):
            assert not len(words)


def test_the_chip_is_the_references(design):
    """Exchanges after the boot, with the flash in Verilog and in Python: every byte that comes back is the same."""
    twin, rng = FlashChip(), np.random.default_rng(7)
    twin.exchange(bytes([Command.RELEASE]))
    with design.simulate() as sim:
        sim.run_until(high="over", deadline=200_000)
        sim.beats("back")

        def both(*sent: int, rest: bytes = b"") -> bytes:
            data = bytes(sent) + rest
            sim.feed("exchange", [byte | (n == len(data) - 1) << 8 for n, byte in enumerate(data)])
            sim.run_until(drained="exchange", deadline=100_000)
            sim.step(100)
            back = sim.beats("back").payload[:, 0].tobytes()
            assert back[1:] == twin.exchange(data)[1:], data.hex()
            return back

        def ready():
            while sim_busy():
                pass
            twin.busy, twin.enabled = 0, False

        def sim_busy() -> int:
            sim.feed("exchange", [Command.STATUS, 1 << 8])
            sim.run_until(drained="exchange", deadline=1000)
            sim.step(100)
            return sim.beats("back").payload[-1, 0] & Status.BUSY

        both(Command.IDENTIFY, 0, 0, 0)
        page = rng.integers(0, 256, 256, dtype=np.uint8).tobytes()
        both(Command.PROGRAM, 1, 0, 0, rest=page)                           # not enabled
        both(Command.READ, 1, 0, 0, rest=bytes(5))
        for start, part in ((0, page), (0x1F0, page[:40]), (0, page[::-1])):        # wraps in its page; bits are only cleared
            both(Command.WRITE_ENABLE)
            assert both(Command.STATUS, 0)[1] == Status.WRITE_ENABLED
            both(Command.PROGRAM, 1, *start.to_bytes(2, "big"), rest=part)
            assert both(Command.STATUS, 0)[1] == Status.BUSY | Status.WRITE_ENABLED
            twin.busy = 1
            both(Command.READ, 1, 0, 0, rest=bytes(3))                      # busy
            ready()
            both(Command.READ, 0, 0xFF, 0xFE, rest=bytes(600))
        for start in (0x0FF0, 0x1000):                                      # on both sides of a sector's end
            both(Command.WRITE_ENABLE)
            both(Command.PROGRAM, 1, *start.to_bytes(2, "big"), rest=page[:16])
            ready()
        both(Command.WRITE_ENABLE)
        both(Command.ERASE_SECTOR, 1, 0x02, 3)
        ready()
        assert both(Command.READ, 1, 0x0F, 0xF0, rest=bytes(40))[4:20] == b"\xff" * 16
        both(Command.WRITE_ENABLE)
        both(Command.ERASE_BLOCK, 1, 2, 3)
        ready()
        assert both(Command.READ, 1, 0, 0, rest=bytes(300))[4:] == b"\xff" * 300


@pytest.mark.parametrize("make, message", [
    (lambda: SpiMaster(1), "Half a period must be at least 2 cycles, not 1"),
    (lambda: Boot(IDENTITY, 1 << 24), "Offset in flash must be below 16777216, not 16777216")])
def test_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
