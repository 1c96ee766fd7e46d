"""Sensitivities in a file: measured once, of one network, never written over something else."""
import json

import pytest

from cli import RequestError
from nets.compress import sensitivity
from nets.compress.compressor import Compressor
from tests.nets.compress.networks import images_for, small_model


@pytest.fixture
def counted(monkeypatch):
    """The layers that were measured."""
    names, measured = [], sensitivity._measured

    def count(graph, layer, *rest):
        names.append(layer.name)
        if len(names) == count.stop:
            raise KeyboardInterrupt
        return measured(graph, layer, *rest)
    count.stop = None
    monkeypatch.setattr(sensitivity, "_measured", count)
    return names, count


def test_what_was_measured_is_not_measured_again(tmp_path, counted):
    names, count = counted
    model, path = small_model(), tmp_path / "kept.json"
    images = images_for(model, 3)
    count.stop = 4
    with pytest.raises(KeyboardInterrupt):
        _ = Compressor(model, images, path).sensitivity
    assert list(json.loads(path.read_text())["layers"]) == names[:3] == ["stem", "depthwise", "left"]
    count.stop = None
    names.clear()
    found = Compressor(model, images, path).sensitivity
    assert names == ["right", "classes"] and list(found) == ["stem", "depthwise", "left", "right", "classes"]
    names.clear()
    assert Compressor(model, images, path).sensitivity == found and not names
    assert found == Compressor(model, images).sensitivity and len(names) == 5


@pytest.mark.parametrize(("text", "says"), [
    ("no JSON", "is no file of sensitivities"), ("[]", "is no file of sensitivities"), ('{"layers": {}}', "is no file of sens"),
    ('{"digest": "", "layers": {"a": {"size": 1}}}', "is no file of sens"),
    ('{"digest": "", "layers": {}}', "of another network or of other images: remove it")])
def test_other_files_are_refused_and_stay(tmp_path, text, says):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(RequestError, match=says):
        Compressor(small_model(), images_for(small_model(), 2), path)
    assert path.read_text() == text


def test_other_images_are_told(tmp_path):
    model, path = small_model(), tmp_path / "kept.json"
    images = images_for(model, 3)
    _ = Compressor(model, images[:2], path).sensitivity
    with pytest.raises(RequestError, match="other images"):
        Compressor(model, images, path)
