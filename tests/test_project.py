"""The project as a whole: lint, the direction of imports, commands that answer --help, and a README that is true."""
import ast
from importlib.util import find_spec
from pathlib import Path
import re
import subprocess
import sys

import pytest

from tests.smoke import ON_A_BOARD, RUNS, SERVER

ROOT = Path(__file__).resolve().parents[1]
MAY_READ = {         # arrows point one way; the reference never sees the hardware, nor the hardware the reference
    "arch": set(),
    "cli": set(),
    "nets": {"cli"},
    "boards": {"arch", "cli"},
    "compiler": {"nets", "arch", "cli"},
    "golden": {"nets", "arch", "cli"},
    "hw": {"arch", "cli"},
    "host": {"arch", "nets", "boards", "compiler", "cli"},
    "sim": {"arch", "nets", "compiler", "hw", "golden", "host", "boards", "cli"},
    "formal": {"arch", "hw", "sim", "cli"},
}
for above in ("explore", "bench", "fireline"):      # each reads everything before it, and nobody reads it
    MAY_READ[above] = set(MAY_READ)
PACKAGES = {package for package in MAY_READ if (ROOT / package).is_dir()}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Our packages that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return {name.split(".")[0] for name in names} & PACKAGES


def commands() -> list[str]:
    """Modules and packages of ours that users run with python -m: not `fireline` itself, and not what only SymbiYosys runs."""
    found = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
             for package in sorted(PACKAGES) for path in modules(package)
             if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8") and path.name != "yosys_abc.py"]
    return [name for name in found if name != "fireline"]


def test_lint_is_clean():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_point_one_way(package):
    for path in modules(package):
        allowed = MAY_READ[package] | {package}
        if path == ROOT / "hw" / "build.py":
            allowed |= {"boards", "compiler", "nets"}
        if path in [ROOT / "compiler" / name for name in ("compile.py", "explain.py", "figures.py", "target.py")]:
            allowed |= {"boards", "golden"}         # commands: a board's name, and predicted cycles
        if path in [ROOT / "host" / name for name in ("bundle.py", "load.py", "selftest/network.py")]:
            allowed |= {"golden"}                   # commands: what a self-test must compute
        if path == ROOT / "compiler" / "coding" / "choice.py":
            allowed |= {"golden"}                   # what is compressed follows from predicted cycles
        if path == ROOT / "nets" / "compress" / "__main__.py":
            allowed |= {"golden"}                   # a command: int8 accuracy
        assert imported(path) <= allowed, f"{path.relative_to(ROOT)} imports {imported(path) - allowed}"


def test_every_command_has_a_short_run():
    """.ci/run starts each in the environment of README's first command, and from a wheel."""
    assert {run.module for run in (*RUNS, *ON_A_BOARD)} | {SERVER} == {*commands()} - {"fireline.completion"}


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))],
                         ids=lambda page: page.name)
def test_pages_name_only_commands_that_are_run(page):
    known = {*commands(), "pytest", "venv"}
    assert set(re.findall(r"python3? -m ([\w.]*\w)", page.read_text(encoding="utf-8"))) <= known


@pytest.mark.parametrize("command", commands())
def test_every_command_has_help(command):
    done = subprocess.run([sys.executable, "-m", command, "--help"], cwd=ROOT, capture_output=True, text=True)
    if command == "nets.digits.train" and not (find_spec("torch") and find_spec("sklearn")):
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and "pip install -e '.[train]'" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout and done.stderr == ""
