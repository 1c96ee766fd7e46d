"""Examples in docs/api.md and in docstrings give what stands below them."""
import doctest
from importlib import import_module
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "api.md"
MODULES = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
                 for path in (ROOT / "fireline").glob("*.py") if path.name != "__main__.py")


def run(examples: doctest.DocTest) -> None:
    runner, said = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS), []
    runner.run(examples, out=said.append)
    assert not said, "".join(said)


def test_page(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = re.sub(r"^```.*$", "", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)     # else output would seem to go on
    examples = doctest.DocTestParser().get_doctest(text, {}, "api.md", str(PAGE), 0)
    assert len(examples.examples) > 30
    run(examples)


@pytest.mark.parametrize("module", MODULES)
def test_docstrings(module, monkeypatch):
    monkeypatch.chdir(ROOT)
    for examples in doctest.DocTestFinder(exclude_empty=True).find(import_module(module)):
        run(examples)


def test_page_names_every_public_object():
    import fireline
    text = PAGE.read_text(encoding="utf-8")
    records = {"Accuracy", "BoardInfo", "Classification", "Layer", "LayerPrediction", "LayerRun", "Loss",
               "Resource", "Score", "TopClass"}
    missing = [name for name in fireline.__all__ if name not in records and not re.search(rf"\b{name}\b", text)]
    assert not missing
