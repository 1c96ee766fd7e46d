"""From a netlist to a bitstream for an ECP5: what Yosys, nextpnr and ecppack are asked, and what their reports say.

Every function reads and writes files of one folder, where the tools run.
"""
from dataclasses import asdict, dataclass, field
import json
from pathlib import Path
import re
from threading import Event

from hw.tools import toolchain
from hw.tools.toolchain import ToolError

__all__ = ["OPTIONS", "Part", "Resource", "Routed", "pack", "pack_cells", "place_and_route", "read_report", "synthesise"]

# With nextpnr's own weight of 10 the placer leaves wires of 5 ns where units meet; a whole chip on an 85F has a third of the slow
# wires with 100 that it has with 30. And it would search for hours for a place that
# is not there; a design that fits needs some thousand attempts a cell, and gets max(10,000, cells^2 / 10,000).
OPTIONS = ("--placer-heap-timingweight", "100", "--placer-heap-cell-placement-timeout", "10000")

# All eight registers of a tile share their reset, the two of a slice their enable, and where a slice's multiplexers are used its
# registers take no data from elsewhere: in a full chip nextpnr finds no place for a lone register with a reset of its own. So
# resets and enables of few registers become logic, and so do multiplexers; "few" is more where chips are four fifths full.
_SYNTHESIS = "synth_ecp5 -nowidelut -top"
_REGISTERS = ("dfflegalize -minsrst {reset_least} -mince 4 -cell $_DFF_?_ 01 -cell $_DFF_?P?_ r -cell $_SDFF_?P?_ r "
              "-cell $_DFFE_??_ 01 -cell $_DFFE_?P??_ r -cell $_SDFFE_?P??_ r")
_RESET_LEAST = {"25f": 80, "45f": 16, "85f": 16}

# How the chip reads its bitstream from flash: at the 2.4 MHz that it begins with an 85F takes six seconds. Every maker's flash
# keeps 50 MHz of fast reads, which need no bit of the flash to be set; the oscillator is 15 % off at most.
_CONFIGURATION = ("--freq", "38.8", "--spimode", "fast-read")

# Names in nextpnr's utilisation report.
_CELLS = {"lut4": "TRELLIS_COMB", "ff": "TRELLIS_FF", "block_ram": "DP16KD", "multipliers": "MULT18X18D"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A chip: `option` of nextpnr, package, speed grade, and `die` as `hw.ecp5.floorplan` knows it."""

    option: str
    package: str
    speed: str
    die: str


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Cells of one kind: used by the design, available in the device."""

    used: int
    available: int


@dataclass(frozen=True, kw_only=True)
class Routed:
    """Result of one place and route run: clock of the slowest domain, cells, and the critical path in short."""

    clock_mhz: float
    seed: int
    resources: dict[str, Resource]
    path: dict = field(default_factory=dict)

    def to_json(self) -> dict:
        """Plain dictionaries and numbers."""
        return asdict(self)


def synthesise(folder: Path, die: str = "85f", *, name: str = "top", stop_after: float | None = None,
               stop: Event | None = None) -> Path:
    """Netlist `<name>.json` of `<name>.il`, for a `die` as `Part` has it.

    Raises ToolError with the reason that Yosys gives; its log is `yosys.log`.
    """
    netlist, plain = folder / f"{name}.json", folder / f"{name}.plain.il"
    netlist.unlink(missing_ok=True)
    plain.write_text(_without_brackets((folder / f"{name}.il").read_text(encoding="utf-8")), encoding="utf-8")
    synth, registers = f"{_SYNTHESIS} {name}", _REGISTERS.format(reset_least=_RESET_LEAST[die])
    script = (f"read_rtlil {plain.name}; {synth} -run begin:map_ffs; opt_clean; {registers}; "
              f"{synth} -run map_ffs: -json {netlist.name}; stat")
    try:
        toolchain.yosys(script, log=folder / "yosys.log", stop_after=stop_after, stop=stop)
    finally:
        plain.unlink()
    return netlist


def _without_brackets(rtlil: str) -> str:
    """RTLIL whose identifiers hold no brackets.

    Amaranth names the elements of an array, which have many bits each, `array[3]`. That is what Yosys calls bit 3 of `array`
    where it hands a netlist to ABC and takes it back: with both in one design it stops at an assertion (seen in 0.70).
    """
    return re.sub(r"\\\S+", lambda identifier: identifier[0].replace("[", "(").replace("]", ")"), rtlil)


def place_and_route(netlist: Path, part: Part, *, freq_mhz: float, seed: int = 1, router: str = "router2", stem: str = "",
                    constraints: Path | None = None, options: tuple[str, ...] = OPTIONS, stop_after: float | None = None,
                    stop: Event | None = None) -> Routed:
    """Routes a netlist whose hard blocks are in their places; writes `<stem>.config`, `.report.json` and `.log` beside it.

    Without `constraints` pins go anywhere. A missed `freq_mhz` is no failure. Raises ToolError if the design does not fit or
    does not route, Stopped when `stop` is set.
    """
    folder, stem = netlist.parent, stem or f"seed{seed}"
    report = folder / f"{stem}.report.json"
    report.unlink(missing_ok=True)
    where = ["--lpf", constraints.name] if constraints else ["--lpf-allow-unconstrained"]
    toolchain.run("nextpnr-ecp5", [
        part.option, "--package", part.package, "--speed", part.speed, "--json", netlist.name, "--freq", f"{freq_mhz:g}",
        "--seed", str(seed), "--router", router, "--timing-allow-fail", "--report", report.name, "--textcfg", f"{stem}.config",
        *where, *options], log=folder / f"{stem}.log", stop_after=stop_after, stop=stop)
    return read_report(report, seed)


def pack_cells(netlist: Path, part: Part, packed: Path, *, constraints: Path | None = None) -> None:
    """Writes `packed`, a netlist of the cells that nextpnr makes of those of `netlist`, before it places them. Raises
    ToolError."""
    where = ["--lpf", constraints.name] if constraints else ["--lpf-allow-unconstrained"]
    toolchain.run("nextpnr-ecp5", [
        part.option, "--package", part.package, "--speed", part.speed, "--json", netlist.name, "--pack-only", "--write",
        packed.name, *where], log=packed.with_suffix(".log"))


def pack(config: Path, bitstream: Path, room: int | None = None) -> None:
    """The bitstream of a routed design. Raises ToolError, also if it has more bytes than `room`: what follows it in flash would
    be lost."""
    toolchain.run("ecppack", ["--compress", *_CONFIGURATION, "--input", config.name, "--bit", bitstream.name],
                  log=config.parent / "ecppack.log")
    size = bitstream.stat().st_size
    if room is not None and size > room:
        bitstream.unlink()
        raise ToolError(f"the bitstream takes {size:,} bytes, but what the board boots from begins at byte {room:,} of its "
                        "flash: its record needs a greater flash_offset")


def _critical_path(report: dict) -> dict:
    paths = [path for path in report["critical_paths"] if path["from"] == path["to"]]
    if not paths:
        return {}
    worst = max(paths, key=lambda path: sum(step["delay"] for step in path["path"]))["path"]
    total = {"routing": 0.0, "logic": 0.0}
    for step in worst:
        total["routing" if step["type"] == "routing" else "logic"] += step["delay"]
    return {"from": worst[0]["from"].get("cell", ""), "to": worst[-1]["to"].get("cell", ""),
            "logic_ns": round(total["logic"], 2), "routing_ns": round(total["routing"], 2)}


def read_report(report: Path, seed: int) -> Routed:
    """Reads nextpnr's JSON report."""
    figures = json.loads(report.read_text(encoding="utf-8"))
    domains = figures["fmax"].values()
    wanted = max(domain["constraint"] for domain in domains)
    # A slower domain, as that of the oscillator, says nothing of the clock as long as it keeps its own.
    clock = min(domain["achieved"] for domain in domains
                if domain["constraint"] >= wanted or domain["achieved"] < domain["constraint"])
    used = figures["utilization"]
    return Routed(clock_mhz=round(clock, 2), seed=seed, path=_critical_path(figures), resources={
        key: Resource(**used.get(cell, {"used": 0, "available": 0})) for key, cell in _CELLS.items()})
