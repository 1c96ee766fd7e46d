"""Light networks with noise for weights: the same for the same seed, and files that import."""
import pytest

from bench import light
from nets.graph import Conv
from nets.onnx.importer import import_onnx


def test_command_writes_files_that_import(tmp_path, capsys):
    assert light.main(["--out", str(tmp_path), "--only", "light_squeezenet", "--only", "light_shufflenet"]) == 0
    paths = capsys.readouterr().out.split()
    assert paths == [str(tmp_path / f"light_{name}.onnx") for name in ("squeezenet", "shufflenet")]
    for path in paths:
        convolutions = [layer for layer in import_onnx(path).layers if isinstance(layer, Conv)]
        assert all(len(set(layer.weight.ravel().tolist())) > layer.weight.size / 2 for layer in convolutions)


def test_weights_follow_the_seed():
    first, same, other = (light.filled("light_squeezenet", seed).SerializeToString(deterministic=True) for seed in (3, 3, 4))
    assert first == same != other


def test_a_file_that_is_there_stays(tmp_path):
    path = light.file_of("light_squeezenet", tmp_path)
    path.write_bytes(b"mine")
    assert light.file_of("light_squeezenet", tmp_path) == path and path.read_bytes() == b"mine"


@pytest.mark.parametrize("words, message", [
    (["--only", "resnet50"], "error: --only must be one of light_bvlc_alexnet, .*, not resnet50"),
    (["--seed", "-1"], "error: --seed must be at least 0, not -1")])
def test_bad_requests(words, message, tmp_path, capsys):
    assert light.main(["--out", str(tmp_path), *words]) == 2
    import re
    assert re.match(message, capsys.readouterr().err)
