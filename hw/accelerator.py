"""Machine, storage and link: the chip but for its pins and clocks."""
from amaranth import Cat, Const, Module, Mux, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.geometry import Geometry
from arch.memory.calibration import Calibration, Turn
from arch.protocol import Identity
from arch.sdram import Timing
from arch.slots import Outcome
from hw.link.boot import Boot
from hw.link.link import Link
from hw.link.spi import SpiPins
from hw.link.uart import byte_layout
from hw.machine import Machine
from hw.no_machine import NoMachine
from hw.parts.reset import own_reset
from hw.parts.slot import Slot
from hw.primitives import Copy
from hw.storage.calibrator import Calibrator
from hw.storage.ram import StorageRam
from hw.storage.sdram import Sdram, SdramPins

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """What obeys the host protocol's bytes.

    Parameters
    ----------
    geometry : Geometry or None
        Without one there is no engine, and nothing that runs programs: what tests a board is left.
    identity : Identity
        Its digest must be the geometry's, 0 without one; its words of storage are those of the SDRAM that are used, or those of
        block RAM. If it has slots in flash, there are pins to a flash.
    timing : Timing or None
        Of the SDRAM; without one storage is block RAM.
    turn : Turn or None
        Of the phase of the SDRAM's clock, which is calibrated after each reset; None if it is not.

    Members
    -------
    rx : ``In(stream.Signature(byte_layout()))``
    tx : ``Out(stream.Signature(8))``
    pins : ``Out(SdramPins())``
        If there is a `timing`.
    step : ``Out(1)``
        Of the PLL, see `hw.storage.calibrator.Calibrator`. If there is a `turn`.
    flash : ``Out(SpiPins())``
        If there is one.
    booted, trial : ``Out(1)``
        A slot in flash was booted since the reset, and it is on trial.
    spoilt, busy, failed : ``Out(1)``
        A damaged frame came, for a cycle; a program runs; it stopped with an error.
    ready : ``Out(1)``
        Storage serves: its clock is calibrated, or, where that is not done, it has offered to take something since the reset.
    idle : ``Out(1)``
        No program runs, and the link has nothing to do.
    """

    def __init__(self, geometry: Geometry | None, identity: Identity, timing: Timing | None, turn: Turn | None = None):
        digest = geometry.digest if geometry else 0
        if identity.digest != digest:
            raise ValueError(f"digest must be the geometry's, {digest:#x}, not {identity.digest:#x}")
        self.link = Link(identity, flash=identity.slots is not None)
        self.boot = None if identity.slots is None else Boot(identity, identity.slots)
        self.storage = StorageRam(identity.storage_words) if timing is None else Sdram(timing, renews=turn is not None)
        bits = self.storage.address_bits if timing is None else timing.address_bits
        sizes = {"address_bits": bits, "storage_words": identity.storage_words}
        self.machine = Machine(geometry, **sizes) if geometry else NoMachine(**sizes)
        # Of what is used of it: the greatest power of two.
        self.calibrator = None if turn is None else Calibrator(turn, timing, identity.storage_words.bit_length() - 1)
        pins = {} if timing is None else {"pins": Out(SdramPins())}
        pins |= {} if turn is None else {"step": Out(1)}
        pins |= {} if self.boot is None else {"flash": Out(SpiPins()), "booted": Out(1), "trial": Out(1)}
        super().__init__({"rx": In(stream.Signature(byte_layout())), "tx": Out(stream.Signature(8)), **pins, "spoilt": Out(1),
                          "busy": Out(1), "failed": Out(1), "ready": Out(1), "idle": Out(1)})

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
        if self.calibrator is None:
            with m.If(storage.request.ready):
                m.d.sync += self.ready.eq(1)
        running, status = Signal(), link.status
        starts, clears, program = link.start, link.clear, link.program
        calibrates = None if self.calibrator is None else self._calibrator(m)
        askers = [(calibrates, self.calibrator)]
        if self.boot is None:
            m.d.comb += status.outcome.eq(Outcome().word)
        else:
            boot, boots = self.boot, self._boot(m)
            m.d.comb += [boot.running.eq(status.running), boot.failed.eq(status.failed)]
            askers.append((boots, boot))
            # What the host clears meanwhile is none of its.
            starts, clears = link.start | boot.start, link.clear & ~boots | boot.clear
            program = Mux(boot.start, boot.program, link.program)
        self._ask_one(m, askers, asked, words)

        # The machine runs some cycles after it was told to; to the host it does at once.
        starting, error = Signal(), machine.error
        m.d.sync += [machine.start.eq(starts), machine.clear.eq(clears)]
        m.d.comb += running.eq(starting | starts | machine.start | machine.running)
        with m.If(starts):
            m.d.sync += [machine.program.eq(program), starting.eq(1)]
        with m.Elif(machine.running | clears):
            m.d.sync += starting.eq(0)
        shown = Signal(3)                                   # a frame that asks comes much later
        m.d.sync += shown.eq(Cat(running, machine.finished & ~running, error.valid & ~running))
        m.d.comb += [
            status.running.eq(shown[0]), status.finished.eq(shown[1]), status.failed.eq(shown[2]),
            status.fault.eq(error.code), status.queue.eq(error.queue), status.opcode.eq(error.opcode),
            status.index.eq(error.index), status.word.eq(error.word), status.cycles.eq(machine.cycles),
            machine.index.eq(link.index), link.counter.eq(machine.counter), self.spoilt.eq(link.spoilt), self.busy.eq(running),
            self.failed.eq(status.failed), self.idle.eq(link.idle & ~running & ~status.booting & ~status.calibrating)]
        return m

    def _calibrator(self, m):
        """The calibration of the SDRAM's clock, which comes first; returns a register: storage is its own."""
        calibrator, link, found = self.calibrator, self.link, self.calibrator.found
        own_reset(m, "calibrator", calibrator)
        m.submodules.calibrates = calibrates = Copy(init=1)
        renew = Signal()
        m.d.sync += renew.eq(calibrator.busy | calibrator.fails)         # a wrong phase may change the mode at any time
        m.d.comb += [
            calibrates.d.eq(calibrator.busy), calibrator.r.eq(self.machine.host_r), self.storage.renew.eq(renew),
            self.step.eq(calibrator.step), self.ready.eq(found.state == Calibration.DONE),
            link.status.calibrating.eq(calibrator.busy), link.status.no_window.eq(calibrator.fails),
            link.phase[0].eq(found.state),
            link.phase[1].eq(calibrator.turn.steps), link.phase[2].eq(found.chosen), link.phase[3].eq(found.width),
            link.phase[4].eq(found.last), link.phase.as_value()[5 * 16:].eq(found.mask)]
        return calibrates.q

    def _ask_one(self, m, askers, asked, words):
        """Storage is that unit's, of those that there are, whose register says so, else the link's."""
        units = [(mine, unit) for mine, unit in askers if unit is not None]
        for n, (mine, unit) in enumerate([*units, (Const(1), self.link)]):
            with m.Elif(mine) if n else m.If(mine):
                self._ask(m, unit, asked, words)

    def _boot(self, m):
        """The boot between link and flash; returns a register: storage is its own."""
        boot, link, status = self.boot, self.link, self.link.status
        m.submodules.boots, m.submodules.anew = boots, anew = Copy(), Copy()
        waits, barred = (0, 0) if self.calibrator is None else (self.calibrator.busy, self.calibrator.fails)
        m.d.comb += [anew.d.eq(ResetSignal() | link.boot | waits), boot.barred.eq(barred)]
        own_reset(m, "boot", boot, anew.q)
        connect(m, boot.pins, flipped(self.flash))
        connect(m, link.exchange, boot.exchange)
        # The link hears of the end some time after storage is its own.
        m.d.comb += [
            link.exchanged.eq(boot.exchanged), status.booting.eq(boot.busy), status.booted.eq(boot.booted),
            status.program.eq(boot.program), status.outcome.eq(boot.outcome), boot.r.eq(self.machine.host_r),
            boots.d.eq(boot.busy), self.booted.eq(boot.booted), self.trial.eq(boot.trial), boot.scan.eq(link.scan),
            boot.sector.eq(link.sector), link.scanned.eq(boot.scanned), link.scan_crc.eq(boot.scan_crc)]
        return boots.q

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
