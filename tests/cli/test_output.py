"""Whatever names and whatever output: commands print names as they are, and on a stream of plain ASCII something near them."""
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys

import onnx
import pytest
from rich.table import Table

from cli import bar, terminal
from nets import digits
from tests.smoke import PLAIN, RUNS, calibrated, environment_of

NAMES = [calibrated(run) for run in RUNS if not run.slow and "{model}" in run.words]


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> dict[str, str]:
    """The digits, a picture and its classes under names that are markup and not ASCII."""
    folder = tmp_path_factory.mktemp("odd")
    model = onnx.load(digits.MODEL)
    kept = {model.graph.input[0].name, *(one.name for one in model.graph.initializer)}
    for node in model.graph.node:
        node.name = f"[/b]é {node.name}"
        for names in (node.input, node.output):
            names[:] = [name if name in kept else f"[/red]é {name}" for name in names]
    model.graph.output[0].name = f"[/red]é {model.graph.output[0].name}"
    onnx.save(model, folder / "[bold]_é.onnx")
    shutil.copy(digits.MODEL.with_suffix(".json"), folder / "[bold]_é.json")
    shutil.copy(digits.IMAGES / "0_0078.png", folder / "[red]é.png")
    (folder / "labels.txt").write_text("[/b] é\n" * 10, encoding="utf-8")
    return {"folder": str(folder), "model": "[bold]_é.onnx --labels labels.txt", "image": "[red]é.png",
            "images": str(digits.CALIBRATION), "labelled": str(digits.IMAGES)}


@pytest.mark.parametrize("run", NAMES, ids=lambda run: run.module)
@pytest.mark.parametrize("environment", [{}, PLAIN], ids=["UTF-8", "ASCII"])
def test_commands_print_any_name_on_any_stream(odd, run, environment):
    words = run.words.format_map(odd).split()
    environment = environment_of({"COLUMNS": "80", "PYTHONPATH": str(Path.cwd()), **environment})
    done = subprocess.run([sys.executable, "-m", run.module, *words], cwd=odd["folder"], env=environment, capture_output=True)
    out, err = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
    assert done.returncode == run.code and re.search(run.says, out + err), out + err
    assert "Traceback" not in err
    if environment.get("PYTHONIOENCODING"):
        assert (out + err).isascii()
    elif run.module == "nets.info":
        assert "[/b]é" in out and "[bold]_é" in out
    if run.module != "bench.qdq":           # it prints lines, no table
        assert max(map(len, out.splitlines())) <= 80


def test_tables_are_whole_in_a_pipe_and_fit_where_columns_are_told(monkeypatch, capsys):
    table = Table("name", "value")
    table.add_column("number", no_wrap=True, overflow="ellipsis", justify="right")
    table.add_row("[/b]" + "x" * 100, "1", "12345678" * 5)
    for columns in (None, "80", "40"):
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns:
            monkeypatch.setenv("COLUMNS", columns)
        terminal().print(table)
        lines = capsys.readouterr().out.splitlines()
        assert ("[/b]" + "x" * 100 in lines[3]) == (columns is None)
        assert max(map(len, lines)) <= int(columns or 200)
        assert "".join(lines).count("x") == 100 and "…" not in "".join(lines)


def test_a_bar_has_the_columns_of_its_share():
    for share in (0, 0.3, 1):
        assert len(bar(share, 30)) == round(30 * share)


def test_only_cli_prints_through_rich_itself():
    """A console of one's own would read markup in names, and forget the stream's characters."""
    for path in Path().glob("*/**/*.py"):
        if path.parts[0] in ("cli", "tests", "build") or path.parts[0].startswith("."):
            continue
        text = path.read_text(encoding="utf-8")
        found = re.findall(r"\b(?:Console|Progress|Live|track)\(|from rich import print|█|━", text)
        assert not found, f"{path}: {found}: cli has it"


def test_environment_is_ours_to_choose():
    assert not {*PLAIN, "COLUMNS"} & set(environment_of({})) and os.environ["PATH"] == environment_of({})["PATH"]
