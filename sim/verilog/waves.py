"""Waveforms as the commands offer them: arguments for a window of cycles, and what a viewer shows of it first."""
import argparse
from dataclasses import dataclass
from pathlib import Path

from sim.verilog.export import Rtl
from sim.verilog.verilate import FST, VCD

__all__ = ["Window", "add_waves_arguments", "gtkwave_save", "window_of"]

SCOPE = "top"               # of the design's ports, in every waveform that Verilator writes


@dataclass(frozen=True, kw_only=True)
class Window:
    """Cycles `first` to `first + cycles - 1` of a run, written to `path` as a waveform of the kind that its suffix says."""

    path: Path
    first: int
    cycles: int

    @property
    def kind(self) -> str:
        """One of `sim.verilog.verilate.WAVES`."""
        return self.path.suffix.lower()


def add_waves_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """--vcd, --fst, --from and --cycles; `what` runs, for the help text."""
    group = parser.add_argument_group("waveform", f"every signal of a window of {what}; a save file for GTKWave or Surfer is "
                                                  "written beside it, unless there is one")
    kind = group.add_mutually_exclusive_group()
    kind.add_argument("--vcd", type=_path(VCD), metavar="FILE", help="write it as VCD: any viewer reads it")
    kind.add_argument("--fst", type=_path(FST), metavar="FILE", help="write it as FST: a far smaller file")
    group.add_argument("--from", type=_cycle, default=0, dest="first", metavar="CYCLE",
                       help="first cycle of the window, from the start (%(default)s)")
    group.add_argument("--cycles", type=_cycle, default=2000, metavar="N", help="length of the window (%(default)s)")


def window_of(args: argparse.Namespace) -> Window | None:
    """The window that the arguments ask for; None without one."""
    path = args.vcd or args.fst
    return Window(path=path, first=args.first, cycles=args.cycles) if path else None


def gtkwave_save(rtl: Rtl, waves: Path) -> str:
    """A save file for GTKWave: clock, reset, and the boundaries of the design by name, payloads in hexadecimal."""
    bits = {port.name: port.bits for port in rtl.ports}

    def entry(port: str) -> list[str]:
        wide = bits[port] > 1
        return ["@22" if wide else "@28", f"{SCOPE}.{port}" + (f"[{bits[port] - 1}:0]" if wide else "")]
    lines = ["[*] Written by Fireline", f'[dumpfile] "{waves.resolve()}"', "[timestart] 0", *entry("clk"), *entry("rst")]
    for name, ports in rtl.boundaries.items():
        lines += ["@200", f"-{name}"]
        for port in ports:
            if port is not None and port in bits:
                lines += entry(port)
    return "\n".join(lines) + "\n"


def _path(suffix: str):
    def path(text: str) -> Path:
        if not text.lower().endswith(suffix):
            raise argparse.ArgumentTypeError(f"must end in {suffix}, not {text!r}")
        return Path(text)
    return path


def _cycle(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, not {text!r}")
    return int(text)
