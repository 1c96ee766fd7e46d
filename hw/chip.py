"""A whole chip: pins, clocks, serial line, lights, and the accelerator."""
from collections.abc import Sequence

from amaranth import Cat, ClockDomain, Elaboratable, Module, Signal
from amaranth.build import Attrs, Pins, Resource
from amaranth.lib import io

from arch.geometry import Geometry
from arch.lights import LIGHTS
from arch.memory.calibration import Turn
from arch.pll import Pll
from arch.protocol import Identity
from arch.sdram import Timing
from arch.slots import Layout
from hw.accelerator import Accelerator
from hw.family.device import LATER
from hw.link.uart import UartReceiver, UartTransmitter
from hw.parts.lights import Lights
from hw.parts.reset import own_reset
from hw.primitives import ConfigClock, device_of
from hw.storage.sdram_pads import PIN_REGISTERS, add_pads

__all__ = ["Chip"]


class Chip(Elaboratable):
    """Top of a board's design; ports are those that it requests from the platform.

    `leds`: resources that show what `arch.lights.LIGHTS` says, as "resource.number" or
    "resource.number.part". With a `timing`, the platform must have the resource `sdram`, whose pins get registers
    (`hw.storage.sdram_pads`). `slots`: where model slots lie in the flash, the platform's `spi_flash` or `spi_flash_1x`; None
    without one. `rests`: balls that are driven, each with its level. `packing`: PACKED frames are unpacked.
    """

    def __init__(self, geometry: Geometry | None, *, name: str, pll: Pll, timing: Timing | None, storage_words: int, baud: float,
                 leds: Sequence[str] = (), calibrate: bool = True, slots: Layout | None = None,
                 rests: Sequence[tuple[str, int]] = (), packing: bool = False):
        if timing is not None and timing.pin_registers != PIN_REGISTERS:
            raise ValueError(f"pin_registers must be {PIN_REGISTERS}, not {timing.pin_registers}")
        self.pll, self.timing, self.baud, self.leds, self.rests = pll, timing, baud, tuple(leds), tuple(rests)
        flash = {} if slots is None else {"flash_offset": slots.offset, "flash_bytes": slots.flash_bytes}
        digest = geometry.digest if geometry else 0
        self.identity = Identity(digest=digest, storage_words=storage_words, clock_khz=round(pll.clock_mhz * 1000), name=name,
                                 packing=packing, **flash)
        self.turn = Turn.of(pll) if timing is not None and calibrate else None
        self.accelerator = Accelerator(geometry, self.identity, timing, self.turn)

    @classmethod
    def of(cls, board, *, engine: bool = True) -> "Chip":
        """The chip of a `boards.Board`; without an engine it is the self-test's."""
        return cls(board.geometry if engine else None, name=board.name, pll=board.pll, timing=board.timing,
                   storage_words=board.storage_words, baud=board.baud, leds=board.leds, slots=board.slots,
                   calibrate=board.calibrates, rests=board.rests, packing=board.packing and engine)

    def elaborate(self, platform):
        m = Module()
        m.domains += [ClockDomain("sync"), ClockDomain(LATER, reset_less=True)]
        m.submodules.clocks = clocks = device_of(platform).clocks(self.pll, self.turn is not None)
        accelerator = self.accelerator
        own_reset(m, "accelerator", accelerator)
        clock_hz = float(self.pll.clock_mhz) * 1e6

        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx_pin, m.submodules.tx_pin = rx_pin, tx_pin = io.Buffer("i", uart.rx), io.FFBuffer("o", uart.tx)
        receiver, transmitter = UartReceiver(clock_hz, self.baud), UartTransmitter(clock_hz, self.baud)
        own_reset(m, "receiver", receiver)
        own_reset(m, "transmitter", transmitter)
        m.d.comb += [
            receiver.rx.eq(rx_pin.i), tx_pin.o.eq(transmitter.tx),
            accelerator.rx.payload.eq(receiver.o.payload), accelerator.rx.valid.eq(receiver.o.valid),
            receiver.o.ready.eq(accelerator.rx.ready), transmitter.i.payload.eq(accelerator.tx.payload),
            transmitter.i.valid.eq(accelerator.tx.valid), accelerator.tx.ready.eq(transmitter.i.ready)]
        if self.timing is not None:
            if self.turn is not None:
                m.d.comb += clocks.step.eq(self.accelerator.step)
            port = platform.request("sdram", 0, dir="-")
            add_pads(m, self.accelerator.pins, port, self.timing)
            # The SDRAM's clock has the register that the others have in their buffers, so that it is delayed like them.
            m.submodules.sdram_clk = clock = io.DDRBuffer("o", port.clk, o_domain=LATER)
            m.d.comb += [clock.o[0].eq(1), clock.o[1].eq(0)]
        if self.identity.slots is not None:
            self._flash(m, platform)
        self._lights(m, platform, receiver.o.valid, clocks.alive)
        self._rest(m, platform)
        return m

    def _flash(self, m, platform):
        """Registers as near to the pins as they come; the clock's pin is reached through the configuration logic."""
        pins, name = self.accelerator.flash, "spi_flash"
        if (name, 0) not in platform.resources:
            name = "spi_flash_1x"
        # A clock that the platform names is the same pin, which cannot be had in this way.
        names = [part.name for part in platform.lookup(name, 0).ios]
        port = platform.request(name, 0, dir={part: "-" for part in names})
        m.submodules.flash_clk = clock = ConfigClock()
        m.submodules.flash_cipo = cipo = io.FFBuffer("i", port.cipo)
        m.d.comb += [clock.clk.eq(pins.clk), pins.cipo.eq(cipo.i)]
        for part, value in {"cs": ~pins.cs_n, "copi": pins.copi, "wp": 0, "hold": 0}.items():
            if part in names:                           # ports of pins that are active when low are inverted
                m.submodules[f"flash_{part}"] = buffer = io.Buffer("o", getattr(port, part))
                m.d.comb += buffer.o.eq(value)

    def _lights(self, m, platform, received, alive):
        """A light for each of `arch.lights.LIGHTS`, as far as there are LEDs."""
        accelerator, with_flash = self.accelerator, self.identity.slots is not None
        m.submodules.lights = lights = Lights(2)
        m.d.comb += lights.events.eq(Cat(received, accelerator.spoilt))
        values = {"received": lights.on[0], "failed": accelerator.failed, "busy": accelerator.busy, "damaged": lights.on[1],
                  "ready": accelerator.ready}
        if with_flash:
            values |= {"booted": accelerator.booted, "trial": accelerator.trial}
        resources = {}
        for led, light in zip(self.leds, (light for light in LIGHTS if with_flash or not light.flash), strict=False):
            name, number, *part = led.split(".")
            if (name, number) not in resources:
                resources[name, number] = platform.request(name, int(number), dir="-")
            port = resources[name, number]
            shown = alive                               # from another clock, which goes on without the PLL
            if light.name != "alive":
                shown = Signal(name=f"{name}{number}_value")
                m.d.sync += shown.eq(values[light.name])
            m.submodules[led.replace(".", "_")] = buffer = io.Buffer("o", getattr(port, part[0]) if part else port)
            m.d.comb += buffer.o.eq(Cat(shown))

    def _rest(self, m, platform):
        """Pins that nobody drives are pulled down, which some boards take for an order."""
        platform.add_resources([Resource("rest", n, Pins(ball, dir="o"), Attrs(IO_TYPE="LVCMOS33"))
                                for n, (ball, _) in enumerate(self.rests)])
        for n, (_, level) in enumerate(self.rests):
            m.submodules[f"rest{n}"] = buffer = io.Buffer("o", platform.request("rest", n, dir="-"))
            m.d.comb += buffer.o.eq(level)
