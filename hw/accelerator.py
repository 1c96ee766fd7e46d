"""Machine, storage and link: the chip but for its pins and clocks."""
from amaranth import Cat, Module, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.geometry import Geometry
from arch.protocol import Identity
from arch.sdram import Timing
from hw.link.boot import Boot
from hw.link.link import Link
from hw.link.spi import SpiPins
from hw.link.uart import byte_layout
from hw.machine import Machine
from hw.parts.reset import own_reset
from hw.parts.slot import Slot
from hw.primitives import Copy
from hw.storage.ram import StorageRam
from hw.storage.sdram import Sdram, SdramPins

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """What obeys the host protocol's bytes.

    Parameters
    ----------
    geometry : Geometry
    identity : Identity
        Its digest must be the geometry's; its words of storage are those of the SDRAM that are used, or those of block RAM.
    timing : Timing or None
        Of the SDRAM; without one storage is block RAM.
    flash_offset : int or None
        Where a program to boot begins in flash, bytes; None without a flash.

    Members
    -------
    rx : ``In(stream.Signature(byte_layout()))``
    tx : ``Out(stream.Signature(8))``
    pins : ``Out(SdramPins())``
        If there is a `timing`.
    flash : ``Out(SpiPins())``
        If there is a `flash_offset`.
    heard, busy, failed : ``Out(1)``
        A frame came; a program runs; it stopped with an error.
    idle : ``Out(1)``
        No program runs, and the link has nothing to do.
    """

    def __init__(self, geometry: Geometry, identity: Identity, timing: Timing | None, flash_offset: int | None = None):
        if identity.digest != geometry.digest:
            raise ValueError(f"digest must be the geometry's, {geometry.digest:#x}, not {identity.digest:#x}")
        self.link = Link(identity, flash=flash_offset is not None)
        self.boot = None if flash_offset is None else Boot(identity, flash_offset)
        self.storage = StorageRam(identity.storage_words) if timing is None else Sdram(timing)
        bits = self.storage.address_bits if timing is None else timing.address_bits
        self.machine = Machine(geometry, address_bits=bits, storage_words=identity.storage_words)
        pins = {} if timing is None else {"pins": Out(SdramPins())}
        pins |= {} if flash_offset is None else {"flash": Out(SpiPins())}
        super().__init__({"rx": In(stream.Signature(byte_layout())), "tx": Out(stream.Signature(8)), **pins, "heard": Out(1),
                          "busy": Out(1), "failed": Out(1), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        link, machine, storage = self.link, self.machine, self.storage
        for name in ("link", "machine"):
            own_reset(m, name, getattr(self, name))
        m.submodules.way = way = Copy()                     # storage is where its pins are
        m.d.comb += way.d.eq(ResetSignal())
        own_reset(m, "storage", storage, way.q)
        asked, words = self._host(m)
        connect(m, flipped(self.rx), link.rx)
        connect(m, link.tx, flipped(self.tx))
        connect(m, machine.request, storage.request)
        if isinstance(storage, Sdram):
            connect(m, storage.pins, flipped(self.pins))
        m.d.comb += [machine.r.eq(storage.r), machine.take.eq(storage.take), storage.w.eq(machine.w), link.r.eq(machine.host_r)]
        if self.boot is None:
            self._ask(m, link, asked, words)
        else:
            boot = self.boot
            own_reset(m, "boot", boot)
            connect(m, boot.pins, flipped(self.flash))
            connect(m, link.exchange, boot.exchange)
            m.d.comb += [link.exchanged.eq(boot.exchanged), link.status.booting.eq(boot.busy), link.status.booted.eq(boot.booted),
                         link.status.program.eq(boot.program)]
            # The link hears of the end some time after storage is its own.
            m.submodules.boots = boots = Copy()
            m.d.comb += boots.d.eq(boot.busy)
            with m.If(boots.q):
                self._ask(m, boot, asked, words)
            with m.Else():
                self._ask(m, link, asked, words)

        # The machine runs some cycles after it was told to; to the host it does at once.
        starting, running, error = Signal(), Signal(), machine.error
        m.d.sync += [machine.start.eq(link.start), machine.clear.eq(link.clear)]
        m.d.comb += running.eq(starting | link.start | machine.start | machine.running)
        with m.If(link.start):
            m.d.sync += [machine.program.eq(link.program), starting.eq(1)]
        with m.Elif(machine.running | link.clear):
            m.d.sync += starting.eq(0)
        status, shown = link.status, Signal(3)              # a frame that asks comes much later
        m.d.sync += shown.eq(Cat(running, machine.finished & ~running, error.valid & ~running))
        m.d.comb += [
            status.running.eq(shown[0]), status.finished.eq(shown[1]), status.failed.eq(shown[2]),
            status.fault.eq(error.code), status.queue.eq(error.queue), status.opcode.eq(error.opcode),
            status.index.eq(error.index), status.word.eq(error.word), status.cycles.eq(machine.cycles),
            machine.index.eq(link.index), link.counter.eq(machine.counter), self.heard.eq(link.heard), self.busy.eq(running),
            self.failed.eq(status.failed), self.idle.eq(link.idle & ~running & ~status.booting)]
        return m

    def _host(self, m):
        """Registers on the way from whom storage serves besides the machine: streams of requests and of words."""
        port = self.machine.host_request
        m.submodules.asked, m.submodules.words = asked, words = Slot(port.payload.shape()), Slot(16)
        connect(m, asked.o, port)
        connect(m, words.o, self.machine.host_w)
        return asked.i, words.i

    def _ask(self, m, unit, port, words):
        """Storage is this unit's."""
        asked = unit.request.payload
        m.d.comb += [
            port.valid.eq(unit.request.valid), unit.request.ready.eq(port.ready), port.payload.write.eq(asked.write),
            port.payload.address.eq(asked.address), port.payload.length.eq(asked.length), words.payload.eq(unit.w.payload),
            words.valid.eq(unit.w.valid), unit.w.ready.eq(words.ready)]
