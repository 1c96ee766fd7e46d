"""A whole chip: pins, clocks, serial line, lights, and the accelerator."""
from collections.abc import Sequence

from amaranth import Cat, Elaboratable, Module, Signal
from amaranth.lib import io

from arch.geometry import Geometry
from arch.pll import Pll
from arch.protocol import Identity
from arch.sdram import Timing
from hw.accelerator import Accelerator
from hw.pll import LATER, Clocks
from hw.uart import UartReceiver, UartTransmitter

__all__ = ["Chip"]

_SHOWN_BITS = 23                # cycles for which a frame lights its LED: about 60 ms


class Chip(Elaboratable):
    """Top of a board's design; ports are those that it requests from the platform.

    `leds`: resources that show link, busy and error, as "resource.number" or "resource.number.part". With a `timing`, the
    platform must have the resource `sdram`, each of whose pins gets a register (so its `pin_registers` must be 1).
    """

    def __init__(self, geometry: Geometry, *, name: str, pll: Pll, timing: Timing | None, storage_words: int, baud: float,
                 leds: Sequence[str] = ()):
        if timing is not None and timing.pin_registers != 1:
            raise ValueError(f"pin_registers must be 1, not {timing.pin_registers}")
        self.pll, self.timing, self.baud, self.leds = pll, timing, baud, tuple(leds)
        self.identity = Identity(digest=geometry.digest, storage_words=storage_words, clock_khz=round(pll.clock_mhz * 1000),
                                 name=name)
        self.accelerator = Accelerator(geometry, self.identity, timing)

    @classmethod
    def of(cls, board) -> "Chip":
        """The chip of a `boards.Board`."""
        return cls(board.geometry, name=board.name, pll=board.pll, timing=board.timing, storage_words=board.storage_words,
                   baud=board.baud, leds=board.leds)

    def elaborate(self, platform):
        m = Module()
        m.domains += Clocks.domains()
        m.submodules.clocks = Clocks(self.pll)
        m.submodules.accelerator = accelerator = self.accelerator
        clock_hz = float(self.pll.clock_mhz) * 1e6

        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx_pin, m.submodules.tx_pin = rx_pin, tx_pin = io.Buffer("i", uart.rx), io.FFBuffer("o", uart.tx)
        m.submodules.receiver = receiver = UartReceiver(clock_hz, self.baud)
        m.submodules.transmitter = transmitter = UartTransmitter(clock_hz, self.baud)
        m.d.comb += [
            receiver.rx.eq(rx_pin.i), tx_pin.o.eq(transmitter.tx),
            accelerator.rx.payload.eq(receiver.o.payload), accelerator.rx.valid.eq(receiver.o.valid),
            receiver.o.ready.eq(accelerator.rx.ready), transmitter.i.payload.eq(accelerator.tx.payload),
            transmitter.i.valid.eq(accelerator.tx.valid), accelerator.tx.ready.eq(transmitter.i.ready)]
        if self.timing is not None:
            self._sdram(m, platform.request("sdram", 0, dir="-"))
        self._lights(m, platform)
        return m

    def _sdram(self, m, port):
        """Every pin behind a register; the chip's clock too, so that it is delayed like the others."""
        pins = self.accelerator.pins
        # Ports of pins that are active when low are inverted, as are our names for them.
        outputs = {"clk_en": pins.cke, "cs": ~pins.cs_n, "ras": ~pins.ras_n, "cas": ~pins.cas_n, "we": ~pins.we_n, "ba": pins.ba,
                   "a": pins.a, "dqm": pins.dqm}
        for name, value in outputs.items():
            m.submodules[f"sdram_{name}"] = buffer = io.FFBuffer("o", getattr(port, name))
            m.d.comb += buffer.o.eq(value)
        m.submodules.sdram_dq = dq = io.FFBuffer("io", port.dq)
        m.d.comb += [dq.o.eq(pins.dq_o), dq.oe.eq(pins.dq_oe), pins.dq_i.eq(dq.i)]
        m.submodules.sdram_clk = clock = io.DDRBuffer("o", port.clk, o_domain=LATER)
        m.d.comb += [clock.o[0].eq(1), clock.o[1].eq(0)]

    def _lights(self, m, platform):
        accelerator, shown = self.accelerator, Signal(_SHOWN_BITS + 1)
        with m.If(accelerator.heard):
            m.d.sync += shown.eq(1 << _SHOWN_BITS)
        with m.Elif(shown[-1]):
            m.d.sync += shown.eq(shown + 1)                 # until it overflows
        resources = {}
        for led, value in zip(self.leds, (shown[-1], accelerator.busy, accelerator.failed), strict=False):
            name, number, *part = led.split(".")
            if (name, number) not in resources:
                resources[name, number] = platform.request(name, int(number), dir="-")
            port = resources[name, number]
            registered = Signal(name=f"{name}{number}_value")
            m.d.sync += registered.eq(value)
            m.submodules[led.replace(".", "_")] = buffer = io.Buffer("o", getattr(port, part[0]) if part else port)
            m.d.comb += buffer.o.eq(Cat(registered))
