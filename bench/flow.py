"""Cores without a board, routed by the chip's own flow."""

from pathlib import Path
from threading import Event

from amaranth import Elaboratable
from amaranth.back import rtlil

from bench.heatmap import draw, read_maps
from hw.ecp5.floorplan import plan_netlist
from hw.primitives import Ecp5
from hw.tools import flow
from hw.tools.flow import Part, Routed

__all__ = ["DEVICES", "place_and_route", "synthesise"]

# Option of nextpnr for each part.
DEVICES = {"25f": "--25k", "45f": "--45k", "85f": "--85k"}

# A pin with a short way to the clock network: where the placer puts a clock that it may put anywhere has none at times.
_CLOCK_PIN = {"CABGA381": "G2"}


def synthesise(design: Elaboratable, directory: Path, device: str = "85f", *, name: str = "top", ports=None,
               stop_after: float | None = None) -> Path:
    """Synthesise `design` for an ECP5 and return the netlist's path.

    Raises ToolError with the reason Yosys gives. RTLIL, netlist and log stay in `directory`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    options = {} if ports is None else {"ports": ports}
    (directory / f"{name}.il").write_text(rtlil.convert(design, name=name, platform=Ecp5(), emit_src=False, **options),
                                          encoding="utf-8")
    return flow.synthesise(directory, device, name=name, stop_after=stop_after)


def place_and_route(netlist: Path, device: str, *, freq_mhz: float, seed: int = 1, plan: bool = True,
                    router: str = "router2", package: str = "CABGA381", options: tuple[str, ...] = flow.OPTIONS,
                    stop_after: float | None = None, heatmap: Path | None = None,
                    stop: Event | None = None) -> Routed:
    """Place and route `netlist` on `device` and return the figures, as `hw.tools.flow.place_and_route`, whose errors it raises.

    `plan` puts the array's multipliers in order first. Log and report stay beside the netlist, one per run. `heatmap` becomes a
    picture of the router's congestion, also if it found no end; with `router2` only.
    """
    source = plan_netlist(netlist, device) if plan else netlist
    stem = f"{netlist.stem}-{device}-{'planned' if plan else 'free'}-{router}-{seed}"
    pins = netlist.with_name(f"{stem}.lpf")
    pins.write_text(f'LOCATE COMP "clk" SITE "{_CLOCK_PIN[package]}";\n' if package in _CLOCK_PIN else "", encoding="utf-8")
    part = Part(option=DEVICES[device], package=package, speed="6", die=device)
    maps = () if heatmap is None else ("--router2-heatmap", stem)
    for old in netlist.parent.glob(f"{stem}_congestion_by_*.csv"):
        old.unlink()
    try:
        return flow.place_and_route(source, part, freq_mhz=freq_mhz, seed=seed, router=router, stem=stem, constraints=pins,
                                    options=(*options, "--lpf-allow-unconstrained", *maps), stop_after=stop_after, stop=stop)
    finally:
        if any(netlist.parent.glob(f"{stem}_congestion_by_coordinate_*.csv")):
            draw(read_maps(netlist.parent, stem), device, f"{netlist.parent.name}, {stem}", heatmap)
