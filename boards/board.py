"""What the project knows of a board beyond the pins that amaranth-boards lists."""
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import import_module
from re import fullmatch

from arch.flash import BLOCK_BYTES, BOOT_OFFSET
from arch.geometry import Geometry
from arch.lights import LIGHTS
from arch.memory.calibration import Turn
from arch.pll import Pll, solve
from arch.record import STORAGE
from arch.sdram import CHIPS, MOST_WORDS, Chip, Timing
from arch.slots import Layout, layout
from boards.phase import Phase, best_phase, phases

__all__ = ["BOARD_NAME_BYTES", "Board", "MOST_STORAGE_MB"]

BOARD_NAME_BYTES = 16           # of a name, as the chip tells it to the host
MOST_STORAGE_MB = MOST_WORDS >> 19
_USUAL = "as4c16m16sa-7"        # imagined beside a board without an SDRAM


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board. To add one, write one of these into `boards.registry`.

    - `name` of up to 16 lower-case characters, `title` for people, `source` the platform as "module:Class".
    - `geometry` of the engine that fits, `network` that is built when none is named.
    - `clock_mhz`: wanted; `pll` says which one there really is.
    - `chips`: the SDRAMs of `arch.sdram.CHIPS` that batches of it carry, one on each board; timings fit all of them. None: it has
      no SDRAM. `storage_words`: capacity used, in words of 16 bits; without an SDRAM it is block RAM beside the engine, 1024
      words each.
    - `sdram_phase_degrees`: how much later than ours the SDRAM's clock rises; None: as `boards.phase` finds it for the clock.
    - `calibrates`: whether a chip looks for that phase itself after each reset, from there on (docs/boards.md).
    - `rests`: balls that must be driven for the board to stay as it is, each with its level, 0 or 1.
    - `baud` of the UART, 9600..3000000.
    - `usb`: vendor and product of the serial adapter on it, by which the host finds it.
    - `leds`: what shows the first ones of `arch.lights.LIGHTS`, as "resource.number" or "resource.number.part".
    - `flash`: whether models are booted from slots in the SPI flash, of which the platform has pins; `flash_bytes` of it, and
      `flash_offset` of the slots, behind the bitstream, multiples of 65536. `public_key`: 64 hexadecimal digits of the Ed25519
      key by which `host.update` knows its bundles, if it is given no other; empty for none.
    - `program`: arguments of openFPGALoader that choose the board, empty if it does not know it.
    - `packing`: its chip unpacks images that the host packs for the line.
    - `imagined`: there is no such board, see `with_storage`.

    Raises ValueError for values out of range.
    """

    name: str
    title: str
    source: str
    geometry: Geometry
    clock_mhz: float
    network: str
    storage_words: int
    chips: tuple[str, ...] = ()
    sdram_phase_degrees: float | None = None
    calibrates: bool = True
    rests: tuple[tuple[str, int], ...] = ()
    baud: int = 3_000_000
    usb: tuple[tuple[int, int], ...] = ()
    leds: tuple[str, ...] = ()
    flash: bool = True
    flash_offset: int = BOOT_OFFSET
    flash_bytes: int = 16 << 20
    public_key: str = ""
    program: tuple[str, ...] = ()
    packing: bool = False
    imagined: bool = False

    def __post_init__(self):
        if not 1 <= len(self.name) <= BOARD_NAME_BYTES or not self.name.isascii() or self.name != self.name.lower():
            raise ValueError(f"Board name must be 1..{BOARD_NAME_BYTES} lower-case characters, not {self.name!r}")
        if unknown := [name for name in self.chips if name not in CHIPS]:
            raise ValueError(f"chips must be of {', '.join(CHIPS)}, not {unknown[0]!r}")
        most = 1 << STORAGE if not self.chips else MOST_WORDS if self.imagined else self._any_chip.bytes // 2
        if not 1 <= self.storage_words <= most:
            raise ValueError(f"storage_words must be 1..{most}, not {self.storage_words}")
        if not 9600 <= self.baud <= 3_000_000:
            raise ValueError(f"baud must be 9600..3000000, not {self.baud}")
        if not 0 < self.flash_offset < 1 << 24 or self.flash_offset % BLOCK_BYTES:
            raise ValueError(f"flash_offset must be a multiple of {BLOCK_BYTES} below 16777216, not {self.flash_offset}")
        layout(self.flash_bytes, self.flash_offset)
        if self.public_key and not fullmatch("[0-9a-f]{64}", self.public_key):
            raise ValueError(f"public_key must be 64 hexadecimal digits, not {self.public_key!r}")
        if len(self.leds) > len(LIGHTS):
            names = ", ".join(light.name for light in LIGHTS)
            raise ValueError(f"leds must be at most {len(LIGHTS)}: {names}, not {len(self.leds)}")

    def with_storage(self, megabytes: int) -> "Board":
        """The board as if it had so many MB of storage: in an SDRAM like its own, with longer rows if need be; in a usual one if
        it has none. Such a board can be estimated and simulated, not built. Raises ValueError for a size out of range."""
        if not 1 <= megabytes <= MOST_STORAGE_MB:
            raise ValueError(f"Storage must be 1..{MOST_STORAGE_MB} MB, not {megabytes}")
        return replace(self, chips=self.chips or (_USUAL,), storage_words=megabytes << 19, imagined=True)

    def with_chip(self, name: str) -> "Board":
        """The board of a batch that carries this SDRAM. Raises ValueError if none does."""
        if name not in self.chips:
            raise ValueError(f"SDRAM of {self.name} must be one of {', '.join(self.chips) or 'none'}, not {name!r}")
        return replace(self, chips=(name,))

    def with_flash(self, megabytes: int) -> "Board":
        """The board of a batch whose flash has so many MB. Raises ValueError if it boots from none, or for a size out of
        range."""
        if not self.flash:
            raise ValueError(f"{self.name} boots from no flash: its size does not matter")
        return replace(self, flash_bytes=megabytes << 20)

    @property
    def slots(self) -> Layout | None:
        """Where model slots lie in its flash; None without one."""
        return layout(self.flash_bytes, self.flash_offset) if self.flash else None

    @property
    def platform_class(self) -> type:
        """The class in amaranth-boards."""
        module, name = self.source.split(":")
        return getattr(import_module(module), name)

    def platform(self):
        """A new platform to build for."""
        return self.platform_class()

    @property
    def device(self) -> str:
        """Such as "LFE5U-85F"."""
        return self.platform_class.device

    @property
    def package(self) -> str:
        """Such as "BG381"."""
        return self.platform_class.package

    @property
    def speed(self) -> str:
        """Speed grade, "6".."8"."""
        return self.platform_class.speed

    @property
    def input_mhz(self) -> Fraction:
        """Of the oscillator."""
        clock = self.platform_class.default_clk
        (resource,) = (entry for entry in self.platform_class.resources if entry.name == clock)
        return Fraction(round(resource.clock.frequency), 1_000_000)

    @property
    def pll(self) -> Pll:
        """Dividers, exact clock and exact phase."""
        return replace(self._clock, phase_steps=self.phase.steps) if self.chips else self._clock

    @property
    def turn(self) -> Turn | None:
        """Of the phase that the chip calibrates; None if it does not."""
        return Turn.of(self.pll) if self.chips and self.calibrates else None

    @property
    def phase(self) -> Phase | None:
        """The phase of the SDRAM's clock, in which clock words come, and how safe they are. Raises ValueError if no phase is safe
        at this clock; a phase that the record gives is taken as it is."""
        if not self.chips:
            return None
        if self.sdram_phase_degrees is None:
            return best_phase(self._clock, self.sdram, self.speed)
        steps = solve(float(self.input_mhz), self.clock_mhz, self.sdram_phase_degrees).phase_steps
        return max((one for one in phases(self._clock, self.sdram, self.speed) if one.steps == steps),
                   key=lambda one: one.margin_ns)

    @property
    def window(self) -> tuple[float, float] | None:
        """The least and the greatest phase, in degrees, around `phase` at which words that come in the same clock are safe; None
        if it is not safe itself."""
        phase = self.phase
        safe = [one.margin_ns > 0 for one in phases(self._clock, self.sdram, self.speed) if one.late == phase.late]
        if not safe[phase.steps]:
            return None
        first = next((n for n in range(phase.steps, -1, -1) if not safe[n]), -1) + 1
        last = next((n for n in range(phase.steps, len(safe)) if not safe[n]), len(safe)) - 1
        return 360 * first / len(safe), 360 * last / len(safe)

    @property
    def _clock(self) -> Pll:
        return solve(float(self.input_mhz), self.clock_mhz)

    @property
    def _any_chip(self) -> Chip:
        return Chip.any_of([CHIPS[name] for name in self.chips])

    @property
    def sdram(self) -> Chip | None:
        """The chip's data: what any batch's is good for."""
        return self._any_chip.holding(self.storage_words) if self.chips else None

    @property
    def timing(self) -> Timing | None:
        """The controller's timings at the exact clock, with a register at each pin."""
        if not self.chips:
            return None
        return self.sdram.timing(float(self._clock.clock_mhz), pin_registers=2, late=self.phase.late)
