"""The table of layers: counts that are known from elsewhere, its JSON, its drawing, its errors."""
import json

import numpy as np
from PIL import Image
import pytest
from rich.console import Console

from nets import info
from nets.graph import Conv, Graph, Input, Window
from nets.int8.file import save
from nets.model import Model
from nets.plot import plot_costs
from nets.preprocess import InputSpec
from nets.quantise import quantise


def shown(capsys, *arguments: str) -> tuple[int, str, str]:
    code = info.main(list(arguments))
    return code, *capsys.readouterr()


@pytest.mark.parametrize("model, parameters", [("squeezenet1_0", 1_248_424), ("squeezenet1_1", 1_235_496)])
def test_squeezenets_have_the_published_parameters(capsys, tmp_path, monkeypatch, model, parameters):
    monkeypatch.setenv("FIRELINE_DATA", str(tmp_path))      # no trained weights: the zoo's own
    code, out, err = shown(capsys, "--model", model, "--json", str(tmp_path / "info.json"))
    record = json.loads((tmp_path / "info.json").read_text(encoding="utf-8"))
    assert code == 0 and f"{parameters:,}" in out and "not trained" in err
    assert record["parameters"] == parameters == sum(layer["parameters"] for layer in record["layers"])
    assert record["macs"] == sum(layer["macs"] for layer in record["layers"])
    assert set(record["layers"][0]) == {"name", "op", "shape", "parameters", "macs"}


def test_macs_of_squeezenet1_1_are_those_of_the_brief(capsys, tmp_path):
    assert shown(capsys, "--model", "squeezenet1_1", "--json", str(tmp_path / "info.json"))[0] == 0
    record = json.loads((tmp_path / "info.json").read_text(encoding="utf-8"))
    assert round(record["macs"] / 1e6) == 349


def test_default_is_digits_with_every_layer(capsys):
    code, out, err = shown(capsys)
    assert (code, err) == (0, "")
    assert "fire2/expand3x3" in out and "32x7x7" in out and "total" in out


@pytest.mark.parametrize("suffix, start", [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_plot_has_the_format_of_its_suffix(capsys, tmp_path, suffix, start):
    path = tmp_path / f"costs{suffix}"
    assert shown(capsys, "--plot", str(path))[0] == 0
    assert path.read_bytes().startswith(start)
    if suffix == ".png":
        with Image.open(path) as picture:
            assert picture.width > 1000 and len(picture.convert("RGB").getcolors(1 << 20)) > 10


def test_names_of_any_kind_are_shown_and_drawn(capsys):
    name = "$x^{[bold]" + "deep/" * 30 + "conv"
    graph = Graph(name="$[/]$", output=name, layers=(
        Input(name="input", shape=(1, 4, 4)),
        Conv(name=name, inputs=("input",), weight=np.zeros((1, 1, 1, 1)), bias=np.zeros(1), window=Window(kernel=(1, 1)))))
    assert plot_costs(graph, ".png").startswith(b"\x89PNG")
    Console(width=200).print(info.table(graph))
    out = capsys.readouterr().out
    assert "$[/]$" in out and "$x^{[bold]deep/" in out


def test_a_quantised_file_is_listed_with_its_names_as_they_are(capsys, tmp_path):
    layers = (Input(name="x", shape=(1, 4, 4)), Conv(name="[/b] conv", inputs=("x",), weight=np.ones((2, 1, 3, 3), np.float32),
                                                     bias=np.zeros(2, np.float32), window=Window(kernel=(3, 3))))
    spec = InputSpec(size=(4, 4), channels="L", mean=(0.0,), std=(1.0,))
    model = Model(graph=Graph(name="[/i]", layers=layers, output="[/b] conv"), spec=spec)
    save(quantise(model, [np.full((1, 4, 4), 9, np.uint8)]), tmp_path / "net.fln")
    code, out, _ = shown(capsys, "--model", str(tmp_path / "net.fln"), "--json", str(tmp_path / "info.json"),
                         "--plot", str(tmp_path / "costs.png"))
    record = json.loads((tmp_path / "info.json").read_text(encoding="utf-8"))
    assert code == 0 and "[/b] conv" in out and "2x2x2" in out and record["model"] == "[/i]"
    assert (record["parameters"], record["macs"]) == (20, 72)


def test_names_stay_whole_where_nobody_watches(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    code, out, _ = shown(capsys, "--model", "squeezenet1_1")
    assert code == 0 and "fire2/relu_squeeze1x1 " in out and "total" in out


def test_folder_that_is_missing_is_one_line(capsys, tmp_path):
    code, out, err = shown(capsys, "--json", str(tmp_path / "no" / "info.json"))
    assert (code, out) == (2, "") and err.endswith("info.json: cannot be written: No such file or directory\n")


def test_plot_of_another_suffix_is_refused(capsys, tmp_path):
    code, _, err = shown(capsys, "--plot", str(tmp_path / "costs.doc"))
    assert code == 2 and err == "error: plot must end in .png, .svg, .pdf, not '.doc'\n"
    assert not list(tmp_path.iterdir())


def test_unknown_model_is_one_line_with_the_nearest_name(capsys):
    code, out, err = shown(capsys, "--model", "squeezenet1_2")
    assert (code, out) == (2, "") and err.count("\n") == 1 and "did you mean squeezenet1_" in err


def test_flags_reach_any_point_of_the_family(capsys):
    code, out, _ = shown(capsys, "--model", "squeezenet1_0", "--pct3x3", "0.25")
    assert code == 0 and "1,248,424" not in out
