"""The list of units: what follows from it, which files know a unit, and what a new one costs."""
import ast
from dataclasses import replace
from functools import cache
from pathlib import Path
import random
import re
import shutil
import subprocess
import sys

import pytest

from arch import pipeline, units
from arch.command import Command
from arch.geometry import PRESETS, Geometry
from sim.verilog.verilate import BUILD

ROOT = Path(__file__).resolve().parents[2]
RECIPE = (ROOT / "docs" / "adding_a_unit.md").read_text(encoding="utf-8")
ROOMS = ("arch.unit", "golden.unit", "golden.cycles", "hw.engine")
MOST = 8                # files that may know a unit
COPIED = ("arch", "cli", "compiler", "golden", "hw", "nets", "sim")
# What a receiver of a unit's record or component is called where a whole command or engine is at hand.
RECEIVERS = {"command", "body", "c", "dispatch", "engine"}


def sources() -> list[Path]:
    """Every module that is no test."""
    found = [path.relative_to(ROOT) for path in ROOT.glob("*/**/*.py")]
    return sorted(path for path in found if path.parts[0] not in ("tests", "build") and not path.parts[0].startswith("."))


class Facts:
    """What a file imports (modules, and names from packages as if they were some); what it takes out of something that is called
    as `RECEIVERS` are; and its attributes, texts and annotated names."""

    def __init__(self, text: str):
        self.imports, self.taken, self.words = set(), set(), set()
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Import():
                    self.imports |= {name.name for name in node.names}
                case ast.ImportFrom():
                    self.imports |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
                case ast.Attribute():
                    self.words.add(node.attr)
                    if getattr(node.value, "id", getattr(node.value, "attr", None)) in RECEIVERS:
                        self.taken.add(node.attr)
                case ast.Constant(value=str()):
                    self.words.add(node.value)
                case ast.AnnAssign(target=ast.Name()):
                    self.words.add(node.target.id)

    def knows(self, unit: units.Unit, modules: set[str]) -> bool:
        """Whether it imports a file of the unit, takes its record or component out of a command or an engine, or knows one of
        its sizes in the geometry."""
        sizes = {name for name in Geometry.__dataclass_fields__ if name.startswith(f"{unit.name}_") and unit in units.QUEUED}
        return bool(self.imports & modules or unit.name in self.taken or self.words & sizes)


@cache
def facts() -> dict[str, Facts]:
    return {path.as_posix(): Facts((ROOT / path).read_text(encoding="utf-8")) for path in sources()}


def _module(path: str) -> str:
    return path[:-3].replace("/", ".").removesuffix(".__init__")


def knowing(unit: units.Unit) -> set[str]:
    """Source files that know a unit. Parts of its gates in files of their own count with these, if nobody else imports them."""
    own = {f"{room}.{unit.name}" for room in ROOMS}
    gates = (f"hw/engine/{unit.name}_", f"hw/engine/{unit.name}/")
    parts = {path for path in facts() if unit in units.QUEUED and path.startswith(gates) and _module(path) not in own}
    modules = own | set(map(_module, parts))
    found = {path for path, one in facts().items() if _module(path) in own or one.knows(unit, modules)}
    return (found | {"arch/units.py"}) - parts


@pytest.mark.parametrize("unit", [*units.QUEUED, units.FIXED[-1]], ids=lambda unit: unit.name)
def test_few_files_know_a_unit(unit):
    files = knowing(unit)
    assert 3 <= len(files) <= MOST, sorted(files)


@pytest.mark.parametrize("unit", [unit for unit in units.QUEUED if unit.record], ids=lambda unit: unit.name)
def test_files_that_know_a_unit_are_those_of_the_recipe(unit):
    listed = re.findall(r"^\| `([^`]+)` \|", RECIPE, re.MULTILINE)
    assert len(listed) <= MOST
    patterns = [re.escape(name).replace("<unit>", unit.name).replace("<units>", r"\w+") for name in listed]
    patterns += [f"hw/engine/{unit.name}/__init__.py"]          # of a folder
    # The writer's values are places; what pools and the like can do decides what is fused; a mean so far is not golden's.
    patterns += {"writer": ["golden/places.py"], **dict.fromkeys(("pool", "lrn", "depthwise"), ["compiler/convolution.py"]),
                 "average": ["golden/compare.py"]}.get(unit.name, [])
    stray = [path for path in knowing(unit) if not any(re.fullmatch(pattern, path) for pattern in patterns)]
    assert not stray


def test_a_stranger_is_noticed():
    """The count itself: an import, a record or component taken, and a size each make a file one that knows the unit."""
    pool, modules = next(unit for unit in units.QUEUED if unit.name == "pool"), {f"{room}.pool" for room in ROOMS}
    for text in ("from arch.unit.pool import PoolConfig", "from hw.engine import pool", "import golden.cycles.pool",
                 "x = command.pool", "x = one.body.pool.rows", "x = geometry.pool_words", "name = 'pool_words'"):
        assert Facts(text).knows(pool, modules), text
    for text in ("from nets.graph import pool", "x = layer.pool.window", "x = geometry.fifo_words"):
        assert not Facts(text).knows(pool, modules), text


@pytest.mark.parametrize("geometry", PRESETS.values(), ids=PRESETS)
def test_what_follows_from_the_list(geometry):
    assert list(Command.records(geometry)) == ["window", "load", "requantise", "pool", "average", "writer"]
    assert units.boundaries(geometry) == ("array", "requantised", "fifo", "pooled", "averaged", "written")
    assert units.vector(geometry) == (pipeline.operand(geometry) + pipeline.array(geometry) + pipeline.REQUANTISE_LANE
                                      + geometry.pairs - 1)
    assert units.latency(geometry) == units.vector(geometry) + pipeline.OUTPUT_FIFO + 15 + 2 + pipeline.WRITE_GRANT


def test_an_option_that_no_unit_is():
    with pytest.raises(ValueError, match=r"^options of a geometry must be of carry, decoder, depthwise, lrn, table, not polish$"):
        units.units(replace(PRESETS["12f"], options=("polish",)))


@pytest.mark.parametrize("options, error, message", [
    (["table"], TypeError, r"options must be a tuple of names, not \['table'\]"),
    (("b", "a"), ValueError, "options must be different names in alphabetical order, not b, a"),
    (("a", "a"), ValueError, "options must be different names in alphabetical order, not a, a")])
def test_options_are_checked(options, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        replace(PRESETS["12f"], options=options)


def test_options_are_part_of_the_digest_and_no_option_is_not():
    plain = PRESETS["12f"]
    assert "options" not in plain.to_json() and Geometry.from_json(plain.to_json()) == plain
    other = replace(plain, options=("lrn", "table"))
    assert Geometry.from_json(other.to_json()) == other and other.digest != plain.digest


def test_a_new_unit_costs_its_own_files_and_one_line(tmp_path):
    """The recipe followed in a copy of the sources: a unit that inverts bytes, on the RTL, beat by beat and cycle by cycle."""
    for package in COPIED:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    files = Path(__file__).with_name("inverter")
    for name, place in (("record", "arch/unit"), ("values", "golden/unit"), ("cycles", "golden/cycles"), ("gates", "hw/engine")):
        shutil.copy(files / f"{name}.py", tmp_path / place / "invert.py")
    listed = tmp_path / "arch" / "units.py"
    text = listed.read_text(encoding="utf-8")
    line = ('    Unit(name="invert", record=invert.InvertConfig, latency=invert.LATENCY, boundary="inverted", optional=True),\n')
    text, count = re.subn(r'(?m)^    Unit\(name="writer"', line + r"\g<0>", text)
    text, imports = re.subn(r"(?m)^from arch\.unit import average,", r"\g<0> invert,", text)
    assert count == imports == 1
    listed.write_text(text, encoding="utf-8")
    shutil.copy(files / "check.py", tmp_path / "check.py")
    seed = random.randrange(1 << 32)
    print("seed", seed)
    done = subprocess.run([sys.executable, "check.py", str(ROOT / BUILD), str(seed)], cwd=tmp_path, capture_output=True,
                          text=True, timeout=1800)
    assert done.returncode == 0 and "are as expected" in done.stdout, done.stderr[-3000:]
