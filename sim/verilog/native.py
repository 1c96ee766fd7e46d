"""Full-speed simulation: a Verilator model in this process, fed from and recorded into NumPy arrays."""
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
import ctypes
from functools import cache
import itertools
from pathlib import Path
from typing import Self

from amaranth.lib import wiring
import numpy as np

from sim.verilog.export import Boundary, Rtl, SimulationError, convert
from sim.verilog.verilate import BUILD, VCD, library
from sim.verilog.waves import gtkwave_save

__all__ = ["Beats", "Design", "Simulation", "beats_of_ints", "ints_of_beats"]


def beats_of_ints(values: Iterable[int], bits: int) -> np.ndarray:
    """uint8 array (n, ceil(bits / 8)) of little-endian values, as streams are fed; negative values wrap to `bits`."""
    width = (bits + 7) // 8
    mask = (1 << bits) - 1
    return np.frombuffer(b"".join((value & mask).to_bytes(width, "little") for value in values), np.uint8).reshape(-1, width)


def ints_of_beats(payload: np.ndarray) -> list[int]:
    """Inverse of `beats_of_ints`, for non-negative values."""
    return [int.from_bytes(row.tobytes(), "little") for row in payload]


class Beats:
    """What passed a boundary: `cycle` int64 (n,), counted from the end of reset, and `payload` uint8 (n, bytes)."""

    def __init__(self, cycle: np.ndarray, payload: np.ndarray):
        self.cycle = cycle
        self.payload = payload

    def __len__(self) -> int:
        return len(self.cycle)


class Design:
    """A component compiled for simulation. The compiled library is kept in `build` under the digest of its Verilog.

    `probes` makes signals inside the design visible as boundaries, see `sim.verilog.export.convert`. `waves`: the kind of
    waveform that it can write, one of `sim.verilog.verilate.WAVES`; "" for none, which is faster.

    `record`, of the class: a folder into which every simulation writes all of its cycles; None: nowhere. Tests set it.
    """

    record: Path | None = None

    def __init__(self, component: wiring.Component, *, probes: Callable[[], Mapping[str, Boundary]] | None = None,
                 build: Path = BUILD, waves: str = ""):
        self._compile(convert(component, probes=probes), build, waves)

    @classmethod
    def of(cls, rtl: Rtl, *, build: Path = BUILD, waves: str = "") -> Self:
        """The design of Verilog that was made before, as by `sim.verilog.cache`."""
        design = cls.__new__(cls)
        design._compile(rtl, build, waves)
        return design

    def _compile(self, rtl: Rtl, build: Path, waves: str):
        self.rtl = rtl
        self.waves = waves or (VCD if self.record else "")
        self.path = library(self.rtl, build, waves=self.waves)
        self.ports = {port.name: (index, port) for index, port in enumerate(self.rtl.ports)}
        self._library = _load(self.path.resolve(), bool(self.waves))

    def simulate(self) -> "Simulation":
        """A new instance of the design, reset, in cycle 0."""
        return Simulation(self)


@cache
def _load(path: Path, waves: bool = False) -> ctypes.CDLL:
    lib = ctypes.CDLL(str(path))
    handle, i, u64, u32, data = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_char_p
    for name, result, arguments in (
            ("new", handle, []), ("delete", None, [handle]), ("cycle", u64, [handle]),
            ("set", None, [handle, i, data]), ("get", None, [handle, i, ctypes.c_void_p]),
            ("pattern", None, [handle, i, data, u64]), ("source", i, [handle, i, i, i, u32]),
            ("feed", None, [handle, i, data, u64]), ("allow", None, [handle, i, data, u64]), ("pending", u64, [handle, i]),
            ("boundary", i, [handle, i, i, i, u32]), ("log_bytes", u64, [handle, i]),
            ("take", None, [handle, i, ctypes.c_void_p]), ("run", i, [handle, u64, i, i, u64, i]),
            *([("waves_begin", i, [handle, data, u64]), ("waves_end", None, [handle])] if waves else [])):
        function = getattr(lib, f"fl_{name}")
        function.restype, function.argtypes = result, arguments
    return lib


class Simulation:
    """One run of a design. Cycle 0 is the first after reset.

    Every boundary of the design is recorded; `beats` hands over what was recorded. Inputs keep their value until set again;
    they start at 0, the `ready` of output streams at 1.
    """

    def __init__(self, design: Design):
        self.design = design
        self._lib = design._library
        self._handle = ctypes.c_void_p(self._lib.fl_new())
        self._sources: dict[str, tuple[int, int]] = {}
        self._origin = 0
        self.set("rst", 1)
        self._run(2)
        self.set("rst", 0)
        self._origin = self._lib.fl_cycle(self._handle)
        if design.record:
            self._record(design.record)
        self._boundaries = {name: self._boundary(*ports) for name, ports in design.rtl.boundaries.items()}
        for _, ready, _ in design.rtl.boundaries.values():
            if ready is not None and design.ports[ready][1].is_input:
                self.set(ready, 1)

    def _record(self, folder: Path) -> None:
        """Writes all cycles from now on to a file of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        number = next(n for n in itertools.count() if not (folder / f"{n}{VCD}").exists())
        self._begin_waves(folder / f"{number}{VCD}")

    def close(self) -> None:
        """Frees the model; the simulation cannot be used afterwards."""
        if self._handle:
            self._lib.fl_delete(self._handle)
            self._handle = None

    def __enter__(self) -> "Simulation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self):
        self.close()

    def _index(self, name: str | None) -> int:
        return self.design.ports[name][0] if name in self.design.ports else -1

    def _bytes(self, name: str) -> int:
        return (self.design.ports[name][1].bits + 7) // 8 if name in self.design.ports else 0

    def _boundary(self, valid: str, ready: str | None, payload: str) -> tuple[int, int]:
        width = self._bytes(payload)
        indices = self._index(valid), self._index(ready), self._index(payload)
        return self._lib.fl_boundary(self._handle, *indices, width), width

    @property
    def cycle(self) -> int:
        """Number of the current cycle."""
        return self._lib.fl_cycle(self._handle) - self._origin

    def set(self, port: str, value: int) -> None:
        """Drives an input from the current cycle on."""
        index, record = self.design.ports[port]
        if not record.is_input:
            raise ValueError(f"port must be an input, not {port!r}")
        self._lib.fl_set(self._handle, index, (value & (1 << record.bits) - 1).to_bytes(self._bytes(port), "little"))

    def get(self, port: str) -> int:
        """Value of a port in the current cycle, before its clock edge."""
        buffer = ctypes.create_string_buffer(self._bytes(port))
        self._lib.fl_get(self._handle, self.design.ports[port][0], buffer)
        return int.from_bytes(buffer.raw, "little")

    def pattern(self, port: str, values: np.ndarray) -> None:
        """Drives a one-bit input with `values` (bool, one a cycle), repeated; value k falls on cycle k."""
        index, record = self.design.ports[port]
        if not record.is_input or record.bits != 1:
            raise ValueError(f"port must be an input of one bit, not {port!r}")
        self._lib.fl_pattern(self._handle, index, *self._rolled(values))

    def _rolled(self, values: np.ndarray) -> tuple[bytes, int]:
        flat = np.asarray(values, bool)
        if flat.ndim != 1 or not flat.size:
            raise ValueError(f"pattern must be one value or more in a row, not of shape {flat.shape}")
        return np.roll(flat, self._origin % flat.size).astype(np.uint8).tobytes(), flat.size

    def feed(self, stream: str, payload: np.ndarray | Iterable[int], allow: np.ndarray | None = None) -> None:
        """Queues beats for an input stream: uint8 (n, bytes), or integers.

        A beat is offered in the first cycle k with allow[k % len(allow)] (any cycle without `allow`) and stays until taken.
        """
        bits = self.design.ports[f"{stream}__payload"][1].bits if f"{stream}__payload" in self.design.ports else 0
        if stream not in self._sources:
            valid, ready = self._index(f"{stream}__valid"), self._index(f"{stream}__ready")
            if valid < 0 or not self.design.ports[f"{stream}__valid"][1].is_input:
                raise ValueError(f"stream must be an input of the design, not {stream!r}")
            width = max(1, (bits + 7) // 8)
            payload_index = self._index(f"{stream}__payload")
            self._sources[stream] = self._lib.fl_source(self._handle, valid, ready, payload_index, width), width
        source, width = self._sources[stream]
        if not isinstance(payload, np.ndarray):
            payload = beats_of_ints(payload, bits or 1)
        if payload.dtype != np.uint8 or payload.ndim != 2 or payload.shape[1] != width:
            raise ValueError(f"payload must be uint8 of shape (n, {width}), not {payload.dtype} of shape {payload.shape}")
        if allow is not None:
            self._lib.fl_allow(self._handle, source, *self._rolled(allow))
        self._lib.fl_feed(self._handle, source, np.ascontiguousarray(payload).tobytes(), len(payload))

    def pending(self, stream: str) -> int:
        """Beats queued for an input stream and not yet taken."""
        return self._lib.fl_pending(self._handle, self._sources[stream][0]) if stream in self._sources else 0

    def step(self, cycles: int = 1) -> None:
        """Runs the given number of cycles. Raises SimulationError when an assertion of the design fails."""
        self._run(cycles)

    def _run(self, cycles: int, port: int = -1, boundary: int = -1, beats: int = 0, source: int = -1) -> bool:
        result = self._lib.fl_run(self._handle, cycles, port, boundary, beats, source)
        if result == 2:
            raise SimulationError(f"an assertion of the design failed in cycle {self.cycle - 1}; Verilator printed which")
        return bool(result)

    def run_until(self, *, high: str | None = None, beats: tuple[str, int] | None = None, drained: str | None = None,
                  deadline: int) -> None:
        """Runs until a port is high (seen before its clock edge), a boundary has passed so many beats in total, or an input
        stream is empty. Raises SimulationError after `deadline` cycles, or when an assertion of the design fails."""
        boundary, count = (self._boundaries[beats[0]][0], beats[1]) if beats else (-1, 0)
        if drained is not None and not self.pending(drained) or beats and count <= 0:
            return
        source = self._sources[drained][0] if drained is not None else -1
        if not self._run(deadline, self._index(high), boundary, count, source):
            waiting = f"{high} high" if high else f"{beats[1]} beats at {beats[0]}" if beats else f"{drained} drained"
            raise SimulationError(f"no end after {deadline} cycles: waiting for {waiting}")

    def advance(self, cycles: int, *, high: str) -> bool:
        """Runs so many cycles, or until a port is high (seen before its clock edge): whether it was."""
        return self._run(cycles, self._index(high))

    @contextmanager
    def waves(self, path: Path) -> Iterator[None]:
        """Writes all signals of the cycles that are run inside to a file: ten time units a cycle, time 0 in cycle 0; beside it a
        save file for GTKWave, which Surfer reads too, with the boundaries of the design, unless there is one.

        The file is of the kind that the design was compiled with (`waves`). Raises OSError if it cannot be written.
        """
        self._begin_waves(path)
        try:
            yield
        finally:
            self._lib.fl_waves_end(self._handle)
        save = path.with_suffix(".gtkw")
        if not save.exists():
            save.write_text(gtkwave_save(self.design.rtl, path), encoding="utf-8")

    def _begin_waves(self, path: Path) -> None:
        if self._lib.fl_waves_begin(self._handle, str(path).encode(), self._origin):
            raise OSError(0, "cannot be written", str(path))

    def beats(self, boundary: str) -> Beats:
        """What passed a boundary since the last call."""
        index, width = self._boundaries[boundary]
        size = self._lib.fl_log_bytes(self._handle, index)
        raw = np.empty(size, np.uint8)
        self._lib.fl_take(self._handle, index, raw.ctypes.data)
        rows = raw.reshape(-1, 8 + width)
        return Beats(rows[:, :8].copy().view(np.int64)[:, 0] - self._origin, rows[:, 8:].copy())
