"""The layout stays readable: folders of a size that a person takes in, functions that fit a screen, arrows that point one way."""
import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES_OF_A_FOLDER, LINES_OF_A_FUNCTION, ARROWS_IN_HW = 20, 80, 39
SOURCES = sorted(path for package in ROOT.iterdir() if (package / "__init__.py").exists() and package.name != "tests"
                 for path in package.rglob("*.py"))


def folder_of(module: str) -> str:
    """The folder below hw/ that a module lies in; "" for hw/ itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "hw" / parts[1]).is_dir() else ""


def arrows() -> set[tuple[str, str]]:
    """Which folder of hw/ imports from which other one."""
    found = set()
    for path in (path for path in SOURCES if path.relative_to(ROOT).parts[0] == "hw"):
        here = folder_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {(here, folder_of(name)) for name in names if name.split(".")[0] == "hw" and name != "hw"}
    return {(source, target) for source, target in found if source != target}


def circles(edges: set[tuple[str, str]]) -> Iterator[str]:
    """What stays when everything that reads nothing of the rest has been taken away, again and again."""
    rest = {name for edge in edges for name in edge}
    while leaves := {name for name in rest if not any(source == name and target in rest for source, target in edges)}:
        rest -= leaves
    yield from sorted(rest)


def long_functions(path: Path) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{node.lineno} {node.name}, {node.end_lineno - node.lineno + 1} lines"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= LINES_OF_A_FUNCTION]


def test_folders_are_small():
    sizes = Counter(path.parent.relative_to(ROOT).as_posix() for path in SOURCES)
    assert not {folder: count for folder, count in sizes.items() if count > FILES_OF_A_FOLDER}


@pytest.mark.parametrize("package", sorted({path.relative_to(ROOT).parts[0] for path in SOURCES}))
def test_functions_fit_a_screen(package):
    assert not [line for path in SOURCES if path.relative_to(ROOT).parts[0] == package for line in long_functions(path)]


def test_folders_of_the_gateware_do_not_import_in_circles():
    assert len(arrows()) <= ARROWS_IN_HW and not list(circles(arrows()))


def test_a_circle_is_found():
    assert list(circles({("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")})) == ["a", "b", "c"]
