"""The boot in front of a flash and a storage, with a machine that does what `tests.golden.flashes.program` says."""
from collections.abc import Iterator
from dataclasses import dataclass

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
import numpy as np

from arch.flash import Command
from arch.protocol import Identity
from arch.slots import Layout, Outcome
from hw.link.boot import Boot
from hw.link.spi import answer_layout, exchange_layout
from hw.storage.arbiter import request_layout
from hw.storage.pulled_words import PulledWords
from hw.storage.ram import StorageRam
from sim.models.flash import ADDRESS_BITS, SpiFlash, with_flash
from sim.verilog.export import Boundary, convert
from sim.verilog.native import Design
from tests.golden.flashes import DIGEST, STORAGE_WORDS, Flash, program

__all__ = ["Bench", "BootTop", "Found", "boots", "design_of"]

WORDS = 1024
LOOK_BITS = 7                           # so that a flash that is always busy does not take long
IDENTITY = Identity(digest=DIGEST, storage_words=STORAGE_WORDS, clock_khz=100_000, name="bench")


class BootTop(wiring.Component):
    """`stops`: the boot is over, or the machine was started or cleared; both are remembered until the bench clears `heard`. While
    `running` storage is the bench's, through `own` and `own_w`."""

    def __init__(self, layout: Layout, erase_cycles: int):
        self.boot, self.flash = Boot(IDENTITY, layout, look_bits=LOOK_BITS), SpiFlash(erase_cycles=erase_cycles)
        self.storage = StorageRam(WORDS)
        requests = stream.Signature(request_layout(self.storage.address_bits))
        super().__init__({
            "exchange": In(stream.Signature(exchange_layout())), "exchanged": Out(answer_layout()),
            "load": In(stream.Signature(self.flash.load.payload.shape())), "stops": Out(1), "over": Out(1),
            "booted": Out(1), "program": Out(24), "outcome": Out(16), "running": In(1), "failed": In(1), "heard": In(1),
            "started": Out(1), "cleared": Out(1), "first": Out(24), "own": In(requests), "own_w": In(stream.Signature(16)),
            "scan": In(1), "sector": In(24), "scanned": Out(1), "scan_crc": Out(32)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.boot, m.submodules.flash, m.submodules.storage = boot, flash, storage = self.boot, self.flash, self.storage
        connect(m, boot.pins, flash.pins)
        connect(m, flipped(self.load), flash.load)
        connect(m, flipped(self.exchange), boot.exchange)
        m.submodules.words = words = PulledWords()
        m.d.comb += [words.take.eq(storage.take), storage.w.eq(words.word), boot.r.eq(storage.r)]
        with m.If(self.running):
            connect(m, flipped(self.own_w), words.i)
            connect(m, flipped(self.own), storage.request)
        with m.Else():
            asked, request = boot.request.payload, storage.request.payload
            m.d.comb += [
                words.i.valid.eq(boot.w.valid), words.i.payload.eq(boot.w.payload), boot.w.ready.eq(words.i.ready),
                storage.request.valid.eq(boot.request.valid), boot.request.ready.eq(storage.request.ready),
                request.write.eq(asked.write), request.address.eq(asked.address), request.length.eq(asked.length)]
        m.d.comb += [
            self.exchanged.eq(boot.exchanged), self.over.eq(~boot.busy), self.booted.eq(boot.booted),
            boot.scan.eq(self.scan), boot.sector.eq(self.sector), self.scanned.eq(boot.scanned), self.scan_crc.eq(boot.scan_crc),
            self.outcome.eq(boot.outcome), self.program.eq(boot.program), boot.running.eq(self.running),
            boot.failed.eq(self.failed), self.stops.eq(self.over | self.started | self.cleared)]
        with m.If(self.heard):
            m.d.sync += [self.started.eq(0), self.cleared.eq(0)]
        with m.If(boot.start):
            m.d.sync += [self.started.eq(1), self.first.eq(boot.program)]
        with m.If(boot.clear):
            m.d.sync += self.cleared.eq(1)
        return m


def design_of(layout: Layout, erase_cycles: int = 5000) -> Design:
    top = BootTop(layout, erase_cycles)
    boot = top.boot
    return Design.of(with_flash(convert(top, probes=lambda: {
        "words": Boundary(boot.w.valid, boot.w.payload, boot.w.ready),
        "requests": Boundary(boot.request.valid, boot.request.payload.as_value(), boot.request.ready),
        "back": Boundary(boot.exchanged.valid, boot.exchanged.data)})))


@dataclass
class Found:
    """What a boot of gates came to: as `golden.boot.Booted`, storage as it must be then, and what flash holds of the states."""

    booted: bool
    outcome: Outcome
    program: int
    storage: np.ndarray
    states: tuple[bytes, bytes]


class _Machine:
    """Follows what the boot writes to storage, and runs its programs."""

    bits = (WORDS - 1).bit_length()

    def __init__(self, sim, storage: np.ndarray):
        self.sim, self.storage = sim, storage

    def catch_up(self) -> None:
        words = self.sim.beats("words").payload.copy().view("<u2").ravel()
        requests = [int.from_bytes(row.tobytes(), "little") for row in self.sim.beats("requests").payload]
        places = [request >> 1 & 0xFFFFFF for request in requests if request & 1]
        assert len(places) == len(words) and all(request >> 25 == 1 for request in requests)
        for place, word in zip(places, words, strict=True):
            self.storage[place] = word

    def hear(self) -> None:
        self.sim.set("heard", 1)
        self.sim.step()
        self.sim.set("heard", 0)

    def run(self) -> None:
        """From the start that was seen to the end, or until it is cleared."""
        sim = self.sim
        self.catch_up()
        sim.set("running", 1)
        self.hear()
        before = self.storage.copy()
        cycles = program(self.storage, sim.get("first"))
        for place in np.flatnonzero(before != self.storage):
            sim.feed("own_w", [int(self.storage[place])])
            sim.step(4)
            sim.feed("own", [1 | int(place) << 1 | 1 << 1 + self.bits])
            sim.run_until(drained="own", deadline=100)
        sim.step(8)
        sim.set("failed", cycles is None)
        sim.advance(cycles or 50, high="cleared")
        sim.set("running", 0)


def boots(design: Design, flash: Flash, count: int = 1) -> Iterator[Found]:
    """Boots from a flash, and again after each reset; storage is one array that goes on."""
    with Bench(design, flash) as bench:
        for turn in range(count):
            if turn:
                bench.reset()
            yield bench.boot()


class Bench:
    """A board with a flash, in its first boot."""

    def __init__(self, design: Design, flash: Flash):
        self.sim, self.flash = design.simulate(), flash
        for start, end in flash.spans:
            self.sim.feed("load", [at | flash.bytes[at] << ADDRESS_BITS for at in range(start, end)])
        self.machine = _Machine(self.sim, np.zeros(STORAGE_WORDS, np.uint16))

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_) -> None:
        self.sim.close()

    def reset(self) -> None:
        """Presses the button."""
        self.sim.set("rst", 1)
        self.sim.step(2)
        self.sim.set("rst", 0)

    def boot(self) -> Found:
        """What the boot comes to that is under way."""
        sim, machine = self.sim, self.machine
        while not (sim.run_until(high="stops", deadline=2_000_000) or sim.get("over")):
            if sim.get("started"):
                machine.run()
            else:
                machine.hear()
        machine.catch_up()
        return Found(booted=bool(sim.get("booted")), outcome=Outcome.of(sim.get("outcome")), program=sim.get("program"),
                     storage=machine.storage, states=self.states())

    def scan(self, address: int) -> int:
        """The CRC of a sector, as the boot has it."""
        self.sim.set("sector", address)
        self.sim.set("scan", 1)
        self.sim.step()
        self.sim.set("scan", 0)
        self.sim.run_until(high="scanned", deadline=400_000)
        return self.sim.get("scan_crc")

    def states(self) -> tuple[bytes, bytes]:
        """What flash holds of both sectors, once the boot is over."""
        return tuple(self.exchange(Command.READ, self.flash.layout.state(sector), 40)[4:] for sector in (0, 1))

    def exchange(self, command: int, address: int | None = None, count: int = 0) -> bytes:
        """Bytes that come back from flash, as the host asks it."""
        self.sim.beats("back")
        sent = bytes([command]) + (b"" if address is None else address.to_bytes(3, "big")) + bytes(count)
        self.sim.feed("exchange", [byte | (n == len(sent) - 1) << 8 for n, byte in enumerate(sent)])
        self.sim.run_until(drained="exchange", deadline=100_000)
        self.sim.step(100)
        return self.sim.beats("back").payload[:, 0].tobytes()
