"""The notebooks in examples/ run from top to bottom."""
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
MOST_BYTES = 200_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs_and_ends_with_plots(path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert path.stat().st_size < MOST_BYTES
    notebook = nbformat.read(path, as_version=4)
    # Run from here, so that the simulation that other tests have built is found.
    client = nbclient.NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(ROOT)}})
    client.execute()
    assert any("image/png" in output.get("data", {}) for output in notebook.cells[-1].outputs)


def test_there_is_a_notebook():
    assert [path.name for path in NOTEBOOKS] == ["tour.ipynb"]
