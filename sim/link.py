"""The link's gateware with storage and a machine that only counts starts, beside the reference of the board's side."""
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
import numpy as np

from arch.memory.calibration import PHASE_WORDS, Calibrated, Calibration
from arch.protocol import COUNTERS, Identity
from arch.slots import Outcome
from golden.packing import unpack
from host.device import Device
from host.protocol import Status
from hw.link.link import Link, status_layout
from hw.link.uart import byte_layout
from hw.storage.pulled_words import PulledWords
from hw.storage.ram import StorageRam
from sim.verilog.export import SimulationError
from sim.verilog.native import Design

__all__ = ["IDENTITY", "LinkBoard", "LinkTop", "Mirror", "STORAGE"]

STORAGE = 4096
FLIPPED, LAST, SCANNED = 0x5A, 0xA5, 0xC3
_LONGEST = 300_000              # cycles of a request; a packed frame of noise takes most
IDENTITY = Identity(digest=0xFEDCBA9876543210, storage_words=STORAGE - 96, clock_khz=140_000, name="bench",
                    flash_offset=1 << 20, flash_bytes=1 << 24, packing=True)
_STATUS = Status(running=False, finished=True, failed=True, fault=8, queue=3, opcode=9, index=123_456, word=654_321,
                 cycles=0xDEADBEEF, booted=True, program=0xABCDEF,
                 outcome=Outcome.of(0xD792))
_PHASE = Calibrated(state=Calibration.DONE, steps=250, chosen=181, width=99, last=230, mask=int("0123456789ABCDEF" * 4, 16))


class LinkTop(wiring.Component):
    """`program` keeps the last start's; `starts`, `clears` and `boots` count."""

    def __init__(self):
        self.link, self.storage = Link(IDENTITY, flash=True), StorageRam(STORAGE)
        super().__init__({"rx": In(stream.Signature(byte_layout())), "tx": Out(stream.Signature(8)),
                          "status": In(status_layout()), "counters": In(data.ArrayLayout(32, len(COUNTERS))),
                          "phase": In(data.ArrayLayout(16, PHASE_WORDS)),
                          "program": Out(24), "starts": Out(16), "clears": Out(16), "boots": Out(16), "heard": Out(16)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.link, m.submodules.storage = link, storage = self.link, self.storage
        connect(m, flipped(self.rx), link.rx)
        connect(m, flipped(self.tx), link.tx)
        m.submodules.words = words = PulledWords()
        connect(m, link.w, words.i)
        asked, request = link.request.payload, storage.request.payload
        m.d.comb += [storage.request.valid.eq(link.request.valid), link.request.ready.eq(storage.request.ready),
                     request.write.eq(asked.write), request.address.eq(asked.address), request.length.eq(asked.length),
                     words.take.eq(storage.take), storage.w.eq(words.word), link.r.eq(storage.r),
                     link.status.eq(self.status), link.phase.eq(self.phase)]
        m.d.sync += link.counter.eq(self.counters[link.index])
        # In a flash's place, something that answers each byte some cycles later, and tells the last one apart.
        wait, sent = Signal(3), Signal.like(link.exchange.payload)
        m.d.comb += [link.exchange.ready.eq(wait == 0), link.exchanged.valid.eq(wait == 1)]
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.Elif(link.exchange.valid):
            m.d.sync += [wait.eq(7), sent.eq(link.exchange.payload)]
        with m.If(wait == 2):
            m.d.sync += link.exchanged.data.eq(sent.data ^ Mux(sent.last, LAST, FLIPPED))
        # And what says which sector it is asked for.
        late = Signal(4)
        m.d.sync += late.eq(Mux(link.scan, 1, late + (late != 0)))
        m.d.comb += [link.scanned.eq(late == 15), link.scan_crc.eq(Cat(link.sector, Const(SCANNED, 8)))]
        m.d.sync += [self.program.eq(Mux(link.start, link.program, self.program)), self.starts.eq(self.starts + link.start),
                     self.clears.eq(self.clears + link.clear),
                     self.boots.eq(self.boots + link.boot), self.heard.eq(self.heard + link.heard)]
        return m


class Mirror:
    """What `LinkTop` has in a flash's place."""

    def scan(self, address: int) -> int:
        return address | SCANNED << 24

    def exchange(self, sent: bytes) -> bytes:
        return bytes(byte ^ (LAST if n == len(sent) - 1 else FLIPPED) for n, byte in enumerate(sent))


class LinkBoard:
    """The simulated link at the frame layer's door, a `sim.models.line.Board`; every byte that it answers is
    compared with `twin`'s."""

    design = None

    def __init__(self):
        if LinkBoard.design is None:
            LinkBoard.design = Design(LinkTop())
        self.sim = LinkBoard.design.simulate()
        self.twin = Device(IDENTITY, flash=Mirror(), unpack=unpack, phase=_PHASE)
        self.twin.status, self.twin.counters = _STATUS, [0x01234567 * n + 0x7E7D for n in range(len(COUNTERS))]
        self.sim.set("phase", sum(word << 16 * n for n, word in enumerate(_PHASE.words())))
        self.twin.run = lambda address: self.twin.status
        self._show(_STATUS)
        self.sim.set("counters", sum(value << 32 * n for n, value in enumerate(self.twin.counters)))
        self._sent = 0

    def close(self) -> None:
        """Frees the model."""
        self.sim.close()

    def _show(self, status: Status) -> None:
        self.twin.status = status
        fields = {name: getattr(status, name) for name in status_layout().members}
        self.sim.set("status", status_layout().const(fields | {"outcome": status.outcome.word}).as_bits())

    def running(self, running: bool) -> None:
        """Sets what the machine says."""
        self._show(Status(running=running, finished=False, failed=False))

    def feed(self, sent: bytes) -> bytes:
        """Takes bytes and returns what the board answers. Raises SimulationError if that is not what the reference does."""
        status = self.twin.status                  # which this machine does not change
        expected = self.twin.feed(sent)
        self.twin.status = status
        self.sim.feed("rx", np.stack([np.frombuffer(sent, np.uint8), np.zeros(len(sent), np.uint8)], 1))
        self._sent += len(expected)
        if expected:
            self.sim.run_until(beats=("tx", self._sent), deadline=_LONGEST)
        self.sim.run_until(drained="rx", deadline=_LONGEST)
        self.sim.step(60)
        back = self.sim.beats("tx").payload[:, 0].tobytes()
        if back != expected:
            raise SimulationError(f"the link answered {sent.hex()} with {back.hex()}, not {expected.hex()}")
        return back

    def reset(self) -> None:
        """Resets link and storage, whose words stay."""
        self.sim.set("rst", 1)
        self.sim.step(1)
        self.sim.set("rst", 0)
        status = self.twin.status
        self.twin.reset()
        self.twin.status = status
