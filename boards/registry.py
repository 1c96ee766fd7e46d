"""The boards: one record each.

Pins come from amaranth-boards, memory chips from `arch.sdram`. Serial adapters, as the makers' pages name them: ULX3S and Icepi
Zero FT231X, the Lattice boards and ECPIX-5 FT2232H, both of which reach 3 Mbaud exactly; the ECP5-5G Evaluation Board's must
first be wired to the chip by moving two resistors (its user guide, section 6.2). No rate was measured on a board.

Clocks are those that routed chips keep (docs/boards.md).

A 12F is the die of a 25F, all of which the open tools use: so the ULX3S 12F has the 25F's engine.

Not here: OrangeCrab, ButterStick and Logicbone have no serial port on board; the SuperCon badge's 8 MHz are below what the PLL's
phase detector takes.

No boot from flash on the Versa, ECPIX-5 and Colorlight boards: amaranth-boards 0.0.21 has the data pins of their flash the wrong
way round. The FPGA itself boots from it, so MOSI must be the ball with the function D0.
"""
from dataclasses import replace
from difflib import get_close_matches

from arch.geometry import PRESETS, Geometry
from boards.board import Board

__all__ = ["ALIASES", "BOARDS", "find"]

_FT231X, _FT2232H = (0x0403, 0x6015), (0x0403, 0x6010)

_EIGHT = tuple(f"led.{n}" for n in range(8))

_ULX3S = Board(
    # Of an SDRAM of 64 MB the first half of each row is used.
    name="ulx3s-85f", title="Radiona ULX3S 85F", source="amaranth_boards.ulx3s:ULX3S_85F_Platform", geometry=PRESETS["85f"],
    clock_mhz=140, network="squeezenet1_1", storage_words=1 << 24,
    chips=("as4c16m16sa-7", "as4c16m16sa-6", "is42s16160g-7", "mt48lc16m16a2-6a", "m12l2561616a-6t", "w9825g6kh-6",
           "as4c32m16sb-7", "as4c32m16sb-6"),
    # GPIO0 of the ESP32: low tells its firmware to take the FPGA over. Pins that nobody drives are pulled down.
    rests=(("L2", 1),), usb=(_FT231X,), leds=_EIGHT, program=("-b", "ulx3s"))

_EVN = Board(
    name="ecp5-5g-evn", title="Lattice ECP5-5G Evaluation Board", source="amaranth_boards.ecp5_5g_evn:ECP55GEVNPlatform",
    geometry=PRESETS["45f"], clock_mhz=100, network="digits", storage_words=64 << 10, usb=(_FT2232H,),
    leds=_EIGHT, program=("-b", "ecp5_evn"))

_VERSA = Board(
    name="versa-ecp5", title="Lattice ECP5 Versa", source="amaranth_boards.versa_ecp5:VersaECP5Platform", geometry=PRESETS["12f"],
    clock_mhz=100, network="digits", storage_words=32 << 10, usb=(_FT2232H,),
    leds=_EIGHT[:6], flash=False)

_ECPIX = Board(
    name="ecpix5-85f", title="LambdaConcept ECPIX-5 85F", source="amaranth_boards.ecpix5:ECPIX585Platform",
    geometry=PRESETS["45f"], clock_mhz=100, network="digits", storage_words=64 << 10, usb=(_FT2232H,),
    leds=("rgb_led.0.g", "rgb_led.0.b", "rgb_led.0.r"), flash=False, program=("-b", "ecpix5"))

BOARDS = {board.name: board for board in (
    replace(_ULX3S, name="ulx3s-12f", title="Radiona ULX3S 12F", source="amaranth_boards.ulx3s:ULX3S_12F_Platform",
            geometry=PRESETS["25f"], clock_mhz=125),
    replace(_ULX3S, name="ulx3s-25f", title="Radiona ULX3S 25F", source="amaranth_boards.ulx3s:ULX3S_25F_Platform",
            geometry=PRESETS["25f"], clock_mhz=125),
    replace(_ULX3S, name="ulx3s-45f", title="Radiona ULX3S 45F", source="amaranth_boards.ulx3s:ULX3S_45F_Platform",
            geometry=PRESETS["45f"], clock_mhz=125),
    _ULX3S,
    # Batches with an AS4C32M16SB: 10 bits of column instead of 9.
    replace(_ULX3S, name="ulx3s-85f-64mb", title="Radiona ULX3S 85F, 64 MB", chips=("as4c32m16sb-7", "as4c32m16sb-6"),
            storage_words=1 << 25),
    Board(name="icepi-zero", title="Icepi Zero v1.3", source="amaranth_boards.icepi_zero:IcepiZero1_3Platform",
          geometry=PRESETS["25f"], clock_mhz=125, network="squeezenet1_1", chips=("w9825g6kh-6",), storage_words=1 << 24,
          usb=(_FT231X,), leds=("led.0", "led.1", "led.2", "led.3", "led.4"), program=("-b", "icepi-zero")),
    # Its serial adapter is a microcontroller: no rate above this one is promised anywhere. openFPGALoader has no name for the
    # board, and finds its debugger only by number.
    Board(name="icesugar-pro", title="MuseLab iCESugar-Pro", source="amaranth_boards.icesugar_pro:ICESugarProPlatform",
          geometry=PRESETS["25f"], clock_mhz=125, network="squeezenet1_1", chips=("is42s16160b-7",), storage_words=1 << 24,
          baud=921_600, usb=((0x1d50, 0x602b),), leds=("rgb_led.0.g", "rgb_led.0.b", "rgb_led.0.r"),
          program=("-c", "cmsisdap", "--vid", "0x1d50", "--pid", "0x602b")),
    _EVN,
    _VERSA,
    replace(_VERSA, name="versa-ecp5-5g", title="Lattice ECP5-5G Versa",
            source="amaranth_boards.versa_ecp5_5g:VersaECP55GPlatform"),
    replace(_ECPIX, name="ecpix5-45f", title="LambdaConcept ECPIX-5 45F", source="amaranth_boards.ecpix5:ECPIX545Platform",
            geometry=PRESETS["12f"], storage_words=32 << 10),
    _ECPIX,
    # Two SDRAMs side by side, without masks and clock enable: not used. So half of the block RAM is storage, and the engine is
    # small. Serial on the pins of a button and the only LED.
    Board(name="colorlight-5a75b", title="Colorlight 5A-75B R7.0", clock_mhz=100, network="digits",
          geometry=Geometry(input_lanes=4, output_lanes=4, activation_words=1024, weight_words=1024),
          source="amaranth_boards.colorlight_5a75b_r7_0:Colorlight_5A75B_R70Platform", storage_words=26 << 10, baud=115_200,
          flash=False, program=("-b", "colorlight")),
)}
ALIASES = {"ulx3s": "ulx3s-85f", "ulx3s-64mb": "ulx3s-85f-64mb"}


def find(name: str) -> Board:
    """The board of a name or alias. Raises ValueError, naming those that there are."""
    board = BOARDS.get(ALIASES.get(name, name))
    if board is None:
        near = get_close_matches(name, [*ALIASES, *BOARDS], n=1)
        raise ValueError(f"board must be one of {', '.join([*ALIASES, *BOARDS])}, not {name!r}"
                         + (f": did you mean {near[0]}?" if near else ""))
    return board
