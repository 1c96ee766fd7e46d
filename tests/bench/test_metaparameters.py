"""The design space of SqueezeNet: the paper's points, its sizes, and a page of few of them."""
import json

import pytest

from bench import metaparameters
from bench.survey.published import DESIGN_SPACE
from nets.zoo.catalogue import blank


def test_series_are_the_paper_s():
    assert {(point.sr, point.pct3x3) for point in DESIGN_SPACE} <= {point for points in metaparameters.SERIES.values()
                                                                     for point in points}
    assert min(metaparameters.RATIOS) == 0.125 and max(metaparameters.RATIOS) == 1
    assert min(metaparameters.SHARES) == 0.01 and max(metaparameters.SHARES) == 0.99


@pytest.mark.parametrize("point", DESIGN_SPACE)
def test_sizes_are_those_of_the_paper(point):
    """The paper rounds, and counts some sizes in millions of bytes and some in 2**20."""
    graph, _ = blank(f"squeezenet:sr={point.sr},pct3x3={point.pct3x3}")
    assert 4 * graph.parameters / 2**20 * 0.97 < point.megabytes < 4 * graph.parameters / 1e6 * 1.03


def test_command(tmp_path, capsys):
    words = ["--only", "0.125,0.5", "--build", str(tmp_path / "kept"), "--page", str(tmp_path / "m.md"),
             "--plot", str(tmp_path / "m.svg"), "--json", str(tmp_path / "m.json")]
    assert metaparameters.main(words) == 0
    series = json.loads((tmp_path / "m.json").read_text())["series"]
    [point], rest = series["sr"], series["pct3x3"]
    assert point["parameters"] == 1_248_424 and point["top5"] == 80.3 and point["cycles"] > 3_200_000 and rest == []
    page = (tmp_path / "m.md").read_text()
    assert "python -m bench.metaparameters --only 0.125,0.5 --page" in page and "| 0.125 | 5.0 | 819 | 3." in page
    assert "squeeze ratio" in capsys.readouterr().out and b"<svg" in (tmp_path / "m.svg").read_bytes()


@pytest.mark.parametrize("text", ["0.3,0.5", "x", "0.5"])
def test_other_points_are_refused(text):
    with pytest.raises(SystemExit, match="2"):
        metaparameters.main(["--only", text])
