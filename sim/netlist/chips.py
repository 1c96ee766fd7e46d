"""Netlists of boards: from the chip to nextpnr's packed cells, as the build makes them."""
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from arch.geometry import Geometry
from boards import Board, find
from cli import RequestError
from hw.chip import Chip
from hw.ecp5.floorplan import plan_netlist
from hw.tools import flow, toolchain
from hw.tools.bitstream import part_of
from hw.tools.cache import Stages, digest_of_sources
from sim.netlist.mutants import Mutant, put
from sim.netlist.reader import NetlistError, Tables
from sim.netlist.simulation import ALL, NetlistLink, PackedChip, clock_of_pll

__all__ = ["SMALL", "Pins", "board_of", "link_to", "packed", "pins_of", "started"]

SMALL = "small"
# An engine as small as they come, and a clock so low that a bit of the line takes but eight cycles.
_GEOMETRY = Geometry(input_lanes=4, output_lanes=2, activation_words=512, weight_words=512, band_pixels=64, fifo_words=32)
_SOURCES = ("arch", "boards", "hw")


def board_of(name: str) -> Board:
    """A board by name, or `SMALL`: an ECP5 Versa with a small engine. Raises RequestError for one whose surroundings are not
    simulated here."""
    if name == SMALL:
        return replace(find("versa-ecp5"), geometry=_GEOMETRY, clock_mhz=25, storage_words=4096)
    board = find(name)
    if board.chips or board.flash:
        raise RequestError(f"{board.name} has an SDRAM or a flash, of which there is no model at a netlist's pins: take "
                           f"{SMALL}, versa-ecp5, ecpix5-45f or colorlight-5a75b")
    return board


def packed(board: Board, folder: Path) -> Path:
    """nextpnr's packed netlist of a board's chip, made anew only if something that it depends on has changed. Raises ToolError
    for what a tool refuses."""
    stages, platform = Stages(folder), board.platform()
    part, tools = part_of(platform), {name: toolchain.version(name) for name in ("yosys", "nextpnr-ecp5")}

    def elaborate(to: Path) -> None:
        plan = platform.prepare(Chip.of(board), "top")
        for name in ("top.il", "top.lpf"):
            content = plan.files[name]
            (to / name).write_bytes(content.encode() if isinstance(content, str) else content)

    def pack(to: Path) -> None:
        flow.pack_cells(to / "planned.json", part, to / "packed.json", constraints=to / "top.lpf")

    stages.make("elaboration", {"board": str(board), "sources": digest_of_sources(*_SOURCES)}, elaborate)
    stages.make("synthesis", {"tool": tools["yosys"], "die": part.die, "source": digest_of_sources("hw/tools/flow")},
                lambda to: flow.synthesise(to, part.die), ("top.il",))
    stages.make("floorplan", {"die": part.die, "source": digest_of_sources("hw/ecp5/floorplan")},
                lambda to: plan_netlist(to / "top.json", part.die).replace(to / "planned.json"), ("top.json",))
    stages.make("packed", {"tool": tools["nextpnr-ecp5"], "part": vars(part)}, pack, ("planned.json", "top.lpf"))
    return folder / "packed.json"


@dataclass(frozen=True, kw_only=True)
class Pins:
    """Nets of a chip's serial pins, and of its reset button with the level that it has when it is not pressed."""

    rx: int
    tx: int
    button: int | None


def pins_of(tables: Tables) -> Pins:
    """Raises NetlistError if the netlist has no serial pins."""
    pads = tables.pads
    found = {way: next((pad for name, pad in pads.items() if name.startswith("uart_0") and f"__{way}__" in name), None)
             for way in ("rx", "tx")}
    if found["rx"] is None or found["tx"] is None:
        raise NetlistError("the netlist must have the pins uart_0__rx and uart_0__tx")
    button = next((pad.outside for name, pad in pads.items() if name.startswith("rst_0")), None)
    return Pins(rx=found["rx"].outside, tx=found["tx"].out, button=button)


def started(tables: Tables, mutants: Sequence[Mutant] = ()) -> PackedChip:
    """The chip in simulation, configured, with its PLL locked and its button up (boards' buttons pull to ground). `mutants`: in
    its copies, from copy 1 on."""
    chip, pins = PackedChip(tables), pins_of(tables)
    put(chip, mutants)
    if pins.button is not None:
        chip.set(pins.button, ALL)
    chip.set(pins.rx, ALL)
    chip.lock()
    return chip


def link_to(chip: PackedChip, board: Board) -> NetlistLink:
    """A line to the chip at the board's rate. Raises NetlistError if its PLL does not make the clock that the board's record
    says."""
    clock = clock_of_pll(chip.tables.pll or {}, board.input_mhz)
    if clock != board.pll.clock_mhz:
        raise NetlistError(f"the PLL must make {float(board.pll.clock_mhz):g} MHz, not {float(clock):g}")
    pins = pins_of(chip.tables)
    return NetlistLink(chip, rx=pins.rx, tx=pins.tx, clock_hz=float(clock) * 1e6, baud=board.baud)

