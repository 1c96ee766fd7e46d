"""From a chip to its bitstream, in stages: elaborate, synthesise, check, floorplan, a route for each seed, pack, read back."""
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
import json
from pathlib import Path
from threading import Event

from amaranth.hdl import Elaboratable
from amaranth.vendor import LatticeECP5Platform

from hw.ecp5.floorplan import plan_netlist
from hw.ecp5.netlist_rules import broken_rules
from hw.tools import flow, toolchain
from hw.tools.cache import Stages, digest_of_sources
from hw.tools.flow import Part, Routed
from hw.tools.toolchain import Stopped, ToolError
from hw.tools.unpacked import check_bitstream

__all__ = ["BITSTREAM", "Bitstream", "ClockMissed", "Watch", "build_bitstream", "part_of", "told"]

BITSTREAM = "top.bit"
TOOLS = ("yosys", "nextpnr-ecp5", "ecppack")
_FAULTS_SHOWN = 3
_DIES = {"12F": "25f", "25F": "25f", "45F": "45f", "85F": "85f"}        # a 12F is a 25F's die


class ClockMissed(Exception):
    """No seed met the clock; `best` is the fastest one."""

    def __init__(self, wanted_mhz: float, routed: list[Routed]):
        self.best = best = max(routed, key=lambda one: one.clock_mhz)
        self.routed = routed
        path = best.path
        where = (f"; its critical path, {path['logic_ns']} ns of logic and {path['routing_ns']} ns of wires, leads from "
                 f"{path['from']} to {path['to']}" if path else "")
        super().__init__(f"the clock must be {wanted_mhz:g} MHz and is {best.clock_mhz:g} MHz at best, with seed {best.seed} of "
                         f"{len(routed)}{where}. --freq {int(best.clock_mhz)} would close; so may more --seeds")


class Watch:
    """What is told of the stages: the base class tells nobody. May be called from several threads."""

    def begin(self, stage: str) -> None:
        """A stage begins."""

    def end(self, stage: str, result: str) -> None:
        """It ended: "reused" when it was not necessary, otherwise what came out."""


@dataclass(frozen=True, kw_only=True)
class Bitstream:
    """A finished bitstream; `routed` are the seeds tried, the one that was taken last."""

    path: Path
    routed: list[Routed]
    tools: dict[str, str]

    @property
    def best(self) -> Routed:
        return self.routed[-1]


def part_of(platform: LatticeECP5Platform) -> Part:
    """The chip of a platform, in the words of nextpnr."""
    package = platform._nextpnr_package_options[platform.package].upper()
    return Part(option=platform._nextpnr_device_options[platform.device], package=package, speed=platform.speed,
                die=_DIES[platform.device.rpartition("-")[2]])


@contextmanager
def told(watch: Watch, stage: str) -> Iterator[Callable[[str], None]]:
    """Tells of a stage, also when it fails; yields what takes its result."""
    said = ["failed"]
    watch.begin(stage)
    try:
        yield lambda result: said.__setitem__(0, result)
    except (Stopped, KeyboardInterrupt):
        said[0] = "stopped"
        raise
    finally:
        watch.end(stage, said[0])


def build_bitstream(stages: Stages, platform: LatticeECP5Platform, chip: Callable[[], Elaboratable], *,
                    depends: Mapping[str, object], clock_mhz: float, seeds: int = 8, jobs: int = 1, watch: Watch | None = None,
                    options: tuple[str, ...] = flow.OPTIONS, room: int | None = None) -> Bitstream:
    """Builds `chip()` for a platform. `depends`: all that the chip's elaboration depends on, as JSON. `room`: bytes that the
    bitstream may take, if something follows it in flash.

    Seeds 1..`seeds` are routed in turn, `jobs` at a time, until one meets `clock_mhz`. Raises ToolError for what a tool refuses,
    ClockMissed if no seed is fast enough; there is no bitstream then.
    """
    watch, tools = watch or Watch(), {name: toolchain.version(name) for name in TOOLS}

    def stage(name: str, action: Callable[[Path], None], inputs: tuple[str, ...] = (), **further: object) -> None:
        with told(watch, name) as say:
            say("done" if stages.make(name, further, action, inputs) else "reused")

    def elaborate(folder: Path) -> None:
        plan = platform.prepare(chip(), "top")
        for name in ("top.il", "top.lpf"):
            content = plan.files[name]
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    def check(folder: Path) -> None:
        if faults := broken_rules(json.loads((folder / "top.json").read_text(encoding="utf-8"))):
            more = f", and {len(faults) - _FAULTS_SHOWN} more" if len(faults) > _FAULTS_SHOWN else ""
            raise ToolError(f"the netlist breaks rules of hw/ecp5/netlist_rules.py: {'; '.join(faults[:_FAULTS_SHOWN])}{more}")

    def floorplan(folder: Path) -> None:
        plan_netlist(folder / "top.json", part.die).replace(folder / "planned.json")

    part = part_of(platform)
    stage("elaboration", elaborate, **depends)
    stage("synthesis", lambda folder: flow.synthesise(folder, part.die), ("top.il",), tool=tools["yosys"], die=part.die,
          source=digest_of_sources("hw/tools/flow"))
    stage("netlist rules", check, ("top.json",), source=digest_of_sources("hw/ecp5/netlist_rules"))
    stage("floorplan", floorplan, ("top.json",), die=part.die, source=digest_of_sources("hw/ecp5/floorplan"))
    routed = _route(stages, part, clock_mhz, seeds, jobs, watch, options, tools["nextpnr-ecp5"])
    if routed[-1].clock_mhz < clock_mhz:
        stages.forget("bitstream")
        raise ClockMissed(clock_mhz, routed)
    config = f"seed{routed[-1].seed}.config"
    try:
        stage("bitstream", lambda folder: flow.pack(folder / config, folder / BITSTREAM, room), (config,), tool=tools["ecppack"],
              room=room, source=digest_of_sources("hw/tools/flow"))
        stage("read back", lambda folder: check_bitstream(
            folder / config, folder / BITSTREAM, device=platform.device, clock_mhz=clock_mhz, input_mhz=_input_mhz(platform)),
            (config, BITSTREAM), tool=tools["ecppack"], clock_mhz=clock_mhz, source=digest_of_sources("hw/tools/unpacked"))
    except ToolError:
        stages.forget("bitstream")          # that of an earlier build, or a wrong one
        raise
    return Bitstream(path=stages.folder / BITSTREAM, routed=routed, tools=tools)


def _input_mhz(platform: LatticeECP5Platform) -> Fraction:
    """Of the oscillator that a platform names."""
    return Fraction(round(platform.lookup(platform.default_clk).clock.frequency), 1_000_000)


def _route(stages: Stages, part: Part, clock_mhz: float, seeds: int, jobs: int, watch: Watch, options: tuple[str, ...],
           tool: str) -> list[Routed]:
    """Seeds that were routed, in order; the last one meets the clock, unless none does."""
    stop = Event()

    def route(seed: int) -> Routed:
        name = f"seed{seed}"
        if stop.is_set():
            raise Stopped(name)

        def action(folder: Path) -> None:
            flow.place_and_route(folder / "planned.json", part, freq_mhz=clock_mhz, seed=seed, stem=name,
                                 constraints=folder / "top.lpf", options=options, stop=stop)
        with told(watch, name) as say:
            made = stages.make(name, {"clock_mhz": clock_mhz, "options": options, "part": vars(part), "tool": tool}, action,
                               ("planned.json", "top.lpf"))
            result = flow.read_report(stages.folder / f"{name}.report.json", seed)
            say(f"{result.clock_mhz:g} MHz" + ("" if made else ", reused"))
        return result

    waiting, routed, failed = list(range(1, seeds + 1)), [], None
    with ThreadPoolExecutor(jobs) as pool:
        running: set[Future] = set()
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    running.add(pool.submit(route, waiting.pop(0)))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    try:
                        routed.append(one.result())
                    except ToolError as error:
                        failed = error
                if any(one.clock_mhz >= clock_mhz for one in routed):
                    break
        finally:
            stop.set()          # whatever still runs is not wanted any more
    if not routed:
        raise failed
    return sorted(routed, key=lambda one: (one.clock_mhz >= clock_mhz, one.seed if one.clock_mhz < clock_mhz else -one.seed))
