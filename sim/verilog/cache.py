"""Verilog that is kept: making it of a whole machine takes longer than finding out that nothing has changed."""
from collections.abc import Callable
import json
from pathlib import Path

import amaranth

from sim.verilog.export import Port, Rtl
from sim.verilog.verilate import BUILD, cached, digest

__all__ = ["kept", "sources"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("arch", "hw", "sim")        # whatever a simulated component is made of


def sources() -> str:
    """Every source file that Verilog could depend on, as one text."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return "\0".join([amaranth.__version__, *(f"{path.relative_to(ROOT)}\0{path.read_text(encoding='utf-8')}" for path in files)])


def kept(key: str, make: Callable[[], Rtl], build: Path = BUILD) -> Rtl:
    """What `make` gives, or gave before from the same sources: `key` must tell apart everything else that it depends on."""
    def fill(work: Path) -> None:
        rtl = make()
        ports = [[port.name, port.bits, port.is_input] for port in rtl.ports]
        (work / "top.v").write_text(rtl.verilog)
        (work / "rtl.json").write_text(json.dumps({"ports": ports, "boundaries": rtl.boundaries}))
    path = cached("rtl-" + digest(key, sources()), fill, build)
    record = json.loads((path / "rtl.json").read_text())
    return Rtl((path / "top.v").read_text(), tuple(Port(*port) for port in record["ports"]),
               {name: tuple(ports) for name, ports in record["boundaries"].items()})
