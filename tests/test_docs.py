"""Documents that are true: paths, links and commands that they name exist."""
from importlib.util import find_spec
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
WRITTEN = {"docs/schedule.png"}             # by a command that the text names


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def missing_paths(text: str) -> list[str]:
    """Paths below our packages and docs/ that a text names and that do not exist."""
    found = re.findall(rf"\b((?:{'|'.join(sorted(SOURCES | {'docs', 'examples'}))})/[\w/.]*\w)(?![\w/<]|\.\w)", text)
    return [name for name in found if "..." not in name and not (ROOT / name).exists() and name not in WRITTEN]


def missing_modules(text: str) -> list[str]:
    """Modules of ours that a text runs with `python -m` and that do not exist."""
    found = re.findall(r"python3? -m ([a-z_][\w.]*)", text)
    return [name for name in found if name.split(".")[0] in SOURCES and find_spec(name.rstrip(".")) is None]


def broken_links(path: Path) -> list[str]:
    """Relative links of a Markdown file that lead nowhere."""
    links = re.findall(r"\]\(([^)#\s]+)", text_of(path))
    return [link for link in links if "://" not in link and not (path.parent / link).exists()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_documents_name_exists(path):
    assert not missing_paths(text_of(path)) and not missing_modules(text_of(path)) and not broken_links(path)


def test_what_does_not_exist_is_found(tmp_path):
    assert missing_paths("see hw/engine/pool.py and hw/engine/test_<unit>.py, hw/engine/flux.py.") == ["hw/engine/flux.py"]
    assert missing_modules("python -m sim.walk --all; python -m sim.run") == ["sim.walk"]
    page = tmp_path / "page.md"
    page.write_text("[here](page.md) [there](nowhere.md) [web](https://example.org)")
    assert broken_links(page) == ["nowhere.md"]
