"""A SPI flash: the behaviour of `sim/models/flash.v` for the RTL, and the same in Python, an exchange at a time."""
from dataclasses import replace
from pathlib import Path
from zlib import crc32

from amaranth import ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from arch.flash import BLOCK_BYTES, PAGE_BYTES, SECTOR_BYTES, Command, Status
from hw.link.spi import SpiPins
from hw.primitives import ConfigClock
from sim.verilog.export import Rtl

__all__ = ["ADDRESS_BITS", "FlashChip", "SpiFlash", "with_flash"]

ADDRESS_BITS = 24               # 16 MB
_MODEL = Path(__file__).with_suffix(".v")
_IDENTITY = bytes([0xEF, 0x40, 0x18])


class SpiFlash(wiring.Component):
    """A chip in the RTL, compiled by designs whose Verilog went through `with_flash`. It knows no reset.

    Parameters
    ----------
    erase_cycles : int
        For which it is busy erasing a block.

    Members
    -------
    pins : ``In(SpiPins())``
    load : ``In(stream.Signature(...))``
        An address and the byte there; one a cycle, at any time.
    """

    def __init__(self, *, erase_cycles: int = 5000):
        self.erase_cycles = erase_cycles
        byte = data.StructLayout({"address": ADDRESS_BITS, "data": 8})
        super().__init__({"pins": In(SpiPins()), "load": In(stream.Signature(byte))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.clock = clock = ConfigClock()
        cipo = Signal()
        m.submodules.chip = Instance(
            "fireline_flash", p_ADDRESS_BITS=Const(ADDRESS_BITS, 32), p_ERASE_CYCLES=Const(self.erase_cycles, 32),
            i_clk=ClockSignal(), i_cs_n=self.pins.cs_n, i_sck=clock.pin, i_copi=self.pins.copi, o_cipo=cipo,
            i_load=self.load.valid, i_load_address=self.load.payload.address, i_load_data=self.load.payload.data)
        m.d.comb += [clock.clk.eq(self.pins.clk), self.load.ready.eq(1)]
        m.d.sync += self.pins.cipo.eq(cipo)             # the register at the pin
        return m


def with_flash(rtl: Rtl) -> Rtl:
    """The same with the model of the chip."""
    return replace(rtl, verilog=rtl.verilog + _MODEL.read_text())


class FlashChip:
    """A chip for `host.device.Device`: busy for `slow` exchanges after each page, sector and block."""

    def __init__(self, size: int = 1 << ADDRESS_BITS, *, slow: int = 1):
        self.bytes, self.slow = bytearray(b"\xff" * size), slow
        self.busy, self.enabled, self.asleep = 0, False, True
        self.ignored = 0                                # exchanges that did nothing, because it slept, was busy or not enabled

    def read(self, address: int, count: int | None = None) -> bytes:
        """What is there, to the end if there is no `count`."""
        return bytes(self.bytes[address:None if count is None else address + count])

    def scan(self, address: int) -> int:
        """CRC-32 of the sector there; that of ones while the chip is busy or asleep, which answers nothing then."""
        silent = self.asleep or self.busy
        return crc32(b"\xff" * SECTOR_BYTES if silent else self.read(address, SECTOR_BYTES))

    def exchange(self, sent: bytes) -> bytes:
        """The bytes that come back while these are sent."""
        command, busy = sent[0], self.busy > 0
        back = bytearray(b"\xff" * len(sent))
        if command == Command.RELEASE:
            self.asleep = False
        if command == Command.STATUS and not self.asleep:
            back[1:] = bytes([Status.BUSY * busy | Status.WRITE_ENABLED * self.enabled]) * (len(sent) - 1)
            self.busy = max(0, self.busy - 1)
            self.enabled = self.enabled and not (busy and self.busy == 0)
            return bytes(back)
        if self.asleep or busy:
            self.ignored += 1
            return bytes(back)
        address = int.from_bytes(sent[1:4], "big") % len(self.bytes)
        match command:
            case Command.WRITE_ENABLE if len(sent) == 1:
                self.enabled = True
            case Command.READ if len(sent) > 4:
                back[4:] = (self.bytes[address:address + len(sent) - 4] + self.bytes[:len(sent)])[:len(sent) - 4]
            case Command.IDENTIFY:
                back[1:4] = _IDENTITY[:len(sent) - 1]
            case Command.PROGRAM if len(sent) > 4 and self.enabled:
                page, start = address - address % PAGE_BYTES, address % PAGE_BYTES
                given = {(start + n) % PAGE_BYTES: byte for n, byte in enumerate(sent[4:])}
                for n, byte in given.items():
                    self.bytes[page + n] &= byte
                self.busy = self.slow
            case Command.ERASE_SECTOR | Command.ERASE_BLOCK if len(sent) == 4 and self.enabled:
                size = SECTOR_BYTES if command == Command.ERASE_SECTOR else BLOCK_BYTES
                start = address - address % size
                self.bytes[start:start + size] = b"\xff" * size
                self.busy = self.slow
            case Command.PROGRAM | Command.ERASE_SECTOR | Command.ERASE_BLOCK:
                self.ignored += 1
        return bytes(back)
