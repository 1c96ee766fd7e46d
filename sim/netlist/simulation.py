"""A packed netlist that runs: 64 copies of a chip at once, a host at its serial pins, all of them clocked by its PLL."""
from collections.abc import Callable
import ctypes
from fractions import Fraction
from functools import cache
from pathlib import Path
import subprocess

import numpy as np

from sim.netlist.reader import NetlistError, Tables
from sim.verilog.export import SimulationError
from sim.verilog.verilate import BUILD, cached, digest

__all__ = ["ALL", "LOCK_CYCLES", "NetlistLink", "PackedChip", "SPOILT", "clock_of_pll"]

ALL = (1 << 64) - 1                     # all copies
LOCK_CYCLES = 200                       # until the PLL says that it has locked
_SOURCE = Path(__file__).with_name("cells.cpp")
_COMPILE = ("g++", "-std=c++20", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o", "cells.so", "cells.cpp")
SPOILT = ("stuck at 0", "stuck at 1", "input inverted", "enable ignored", "reset ignored")     # ways, of a register


@cache
def _library(build: Path) -> ctypes.CDLL:
    source = _SOURCE.read_text(encoding="utf-8")

    def make(work: Path) -> None:
        (work / "cells.cpp").write_text(source, encoding="utf-8")
        done = subprocess.run(_COMPILE, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SimulationError(f"compiling the models of cells failed: {done.stderr.strip().splitlines()[:10]}")

    lib = ctypes.CDLL(str((cached(f"cells-{digest(source, *_COMPILE)}", make, build) / "cells.so").resolve()))
    handle, i32, u64, data = ctypes.c_void_p, ctypes.c_int32, ctypes.c_uint64, ctypes.c_void_p
    for name, result, arguments in (
            ("new", handle, [i32, data, ctypes.c_int64, data, data]), ("delete", None, [handle]), ("cycle", u64, [handle]),
            ("evaluated", u64, [handle]), ("set", None, [handle, i32, u64]), ("get", u64, [handle, i32]),
            ("change", None, [handle, i32, u64, ctypes.c_uint32]), ("spoil", None, [handle, i32, u64, i32]),
            ("watch", None, [handle]), ("toggles", None, [handle, data]), ("line", None, [handle, i32, i32, ctypes.c_double]),
            ("send", None, [handle, ctypes.c_char_p, u64]), ("unsent", u64, [handle]), ("received", u64, [handle]),
            ("take", None, [handle, data]), ("edges", u64, [handle]), ("take_edges", None, [handle, data]),
            ("run", None, [handle, u64, u64]), ("broken", u64, [handle]), ("excited", u64, [handle])):
        function = getattr(lib, f"nl_{name}")
        function.restype, function.argtypes = result, arguments
    return lib


def clock_of_pll(parameters: dict[str, object], input_mhz: Fraction) -> Fraction:
    """MHz of a PLL's CLKOP, by its dividers (FPGA-TN-02200: the feedback's divider times that of the output that it comes from).

    Raises NetlistError for a feedback that is not understood, or a VCO outside of 400..800 MHz.
    """
    def number(key: str) -> int:
        value = parameters.get(key, "1")
        return int(value, 2) if set(str(value)) <= {"0", "1"} and len(str(value)) > 2 else int(value)

    source = {"CLKOP": "CLKOP", "INT_OP": "CLKOP", "INT_OS": "CLKOS", "INT_OS2": "CLKOS2", "INT_OS3": "CLKOS3"}
    path = str(parameters.get("FEEDBK_PATH"))
    if path not in source:
        raise NetlistError(f"the PLL's feedback must be one of {', '.join(source)}, not {path}")
    vco = input_mhz / number("CLKI_DIV") * number("CLKFB_DIV") * number(f"{source[path]}_DIV")
    if not 400 <= vco <= 800:
        raise NetlistError(f"the PLL's oscillator must run at 400..800 MHz, not {float(vco):g}")
    return vco / number("CLKOP_DIV")


class PackedChip:
    """A netlist in simulation. A cycle is one of its clock, from the chip's configuration on."""

    def __init__(self, tables: Tables, *, build: Path = BUILD):
        self.tables, self._lib = tables, _library(build)
        self._code = np.ascontiguousarray(tables.code)
        self._handle = ctypes.c_void_p(self._lib.nl_new(
            tables.nets, self._code.ctypes.data, self._code.size, tables.first.ctypes.data, tables.readers.ctypes.data))

    def close(self) -> None:
        if self._handle:
            self._lib.nl_delete(self._handle)
            self._handle = None

    def __enter__(self) -> "PackedChip":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self):
        self.close()

    @property
    def cycle(self) -> int:
        return self._lib.nl_cycle(self._handle)

    @property
    def evaluated(self) -> int:
        """Lookup tables that were evaluated so far."""
        return self._lib.nl_evaluated(self._handle)

    def set(self, net: int, value: int) -> None:
        """Drives a net that comes from outside; bit k is the value in copy k."""
        self._lib.nl_set(self._handle, net, value)

    def get(self, net: int) -> int:
        """Value of a net in all copies."""
        return self._lib.nl_get(self._handle, net)

    def step(self, cycles: int = 1) -> None:
        self._lib.nl_run(self._handle, cycles, 0)

    def lock(self) -> None:
        """The PLL locks, as it does some time after the configuration."""
        self.step(LOCK_CYCLES)
        if self.tables.locked is not None:
            self.set(self.tables.locked, ALL)

    def change_table(self, node: int, copies: int, init: int) -> None:
        """A lookup table holds other bits in these copies."""
        self._lib.nl_change(self._handle, node, copies, init)

    def spoil_register(self, part: int, copies: int, how: str) -> None:
        """A register is spoilt in these copies, `how` of `SPOILT`."""
        self._lib.nl_spoil(self._handle, part, copies, SPOILT.index(how))

    def excited(self) -> int:
        """Copies in which a change or a spoilt register ever made a difference at its own output."""
        return self._lib.nl_excited(self._handle)

    def watch(self) -> Callable[[], np.ndarray]:
        """Counts from now on how often nets change; the result says how often each did (uint64)."""
        self._lib.nl_watch(self._handle)

        def counts() -> np.ndarray:
            found = np.zeros(self.tables.nets, np.uint64)
            self._lib.nl_toggles(self._handle, found.ctypes.data)
            return found
        return counts

    def line(self, rx: int, tx: int, cycles: float) -> None:
        """A host at the serial pins, whose bits take so many cycles."""
        self._lib.nl_line(self._handle, rx, tx, cycles)

    def send(self, data: bytes) -> None:
        self._lib.nl_send(self._handle, data, len(data))

    def receive(self) -> bytes:
        """Bytes that copy 0 has sent. Raises SimulationError if one of them had no start or stop bit."""
        if self._lib.nl_broken(self._handle):
            raise SimulationError(f"a byte on the chip's line has no stop bit, in cycle {self.cycle}")
        found = np.zeros(self._lib.nl_received(self._handle), np.uint8)
        self._lib.nl_take(self._handle, found.ctypes.data)
        return found.tobytes()

    def run(self, cycles: int, *, bytes_: int = 0) -> bool:
        """Runs so many cycles at most, less if all was sent and so many bytes (if any) came: whether that is so."""
        self._lib.nl_run(self._handle, cycles, bytes_)
        return bool(self._lib.nl_received(self._handle)) and not self._lib.nl_unsent(self._handle)

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """All changes of the pin `tx` so far: cycles and values of the copies, both uint64."""
        found = np.zeros((self._lib.nl_edges(self._handle), 2), np.uint64)
        self._lib.nl_take_edges(self._handle, found.ctypes.data)
        return found[:, 0], found[:, 1]


class NetlistLink:
    """A `host.link.Link` to copy 0 of a chip, with the bits that pass its serial pins; time is the chip's own."""

    def __init__(self, chip: PackedChip, *, rx: int, tx: int, clock_hz: float, baud: int):
        self.chip, self.baud, self.clock_hz = chip, baud, clock_hz
        chip.line(rx, tx, clock_hz / baud)

    def now(self) -> float:
        """Seconds since the configuration."""
        return self.chip.cycle / self.clock_hz

    def write(self, data: bytes) -> None:
        self.chip.send(data)

    def read(self, timeout_s: float) -> bytes:
        self.chip.run(max(1, round(timeout_s * self.clock_hz)), bytes_=1)
        return self.chip.receive()

    def close(self) -> None:
        self.chip.close()
