"""Stages are made once, again when something changes, and never by halves."""
import pytest

from hw.tools.cache import Stages, digest_of_sources


def write(text):
    def action(folder):
        (folder / "a.txt").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep" / "b.txt").write_text(text * 2)
    return action


def test_made_once(tmp_path):
    stages = Stages(tmp_path)
    assert stages.make("one", {"n": 1}, write("x")) and not stages.make("one", {"n": 1}, write("y"))
    assert (tmp_path / "deep" / "b.txt").read_text() == "xx"
    assert stages.make("one", {"n": 2}, write("y")) and (tmp_path / "a.txt").read_text() == "y"


@pytest.mark.parametrize("name, text", [("a.txt", "other"), ("a.txt", None), ("one.stage.json", "{"), ("one.stage.json", "[]"),
                                        ("one.stage.json", None)])
def test_damage_is_seen(tmp_path, name, text):
    stages = Stages(tmp_path)
    stages.make("one", {"n": 1}, write("x"))
    (tmp_path / name).unlink()
    if text is not None:
        (tmp_path / name).write_text(text)
    assert stages.make("one", {"n": 1}, write("x")) and (tmp_path / "a.txt").read_text() == "x"


@pytest.mark.parametrize("why", [KeyboardInterrupt, ValueError])
def test_interrupted_leaves_what_was(tmp_path, why):
    stages = Stages(tmp_path)
    stages.make("one", {"n": 1}, write("x"))

    def broken(folder):
        (folder / "a.txt").write_text("half")
        (folder / "tool.log").write_text("reason")
        raise why(f"see {folder / 'tool.log'}")
    with pytest.raises(why) as caught:
        stages.make("one", {"n": 2}, broken)
    assert str(caught.value) == f"see {tmp_path / 'tool.log'}"
    assert stages.fresh("one", {"n": 1}) and (tmp_path / "a.txt").read_text() == "x"
    assert (tmp_path / "tool.log").read_text() == "reason" and not list(tmp_path.glob(".making-*"))


def test_inputs_count_and_are_not_outputs(tmp_path):
    stages = Stages(tmp_path)
    stages.make("one", {}, write("x"))

    def second(folder):
        (folder / "c.txt").write_text((folder / "a.txt").read_text() + "!")
    assert stages.make("two", {}, second, inputs=["a.txt"]) and not stages.make("two", {}, second, inputs=["a.txt"])
    stages.make("one", {"changed": True}, write("y"))
    assert stages.make("two", {}, second, inputs=["a.txt"]) and (tmp_path / "c.txt").read_text() == "y!"
    stages.forget("two")
    assert not (tmp_path / "c.txt").exists() and (tmp_path / "a.txt").exists() and not stages.fresh("two", {}, ["a.txt"])


def test_left_over_of_a_killed_run_is_removed(tmp_path):
    (tmp_path / ".making-one-abc").mkdir()
    Stages(tmp_path)
    assert not list(tmp_path.iterdir())


def test_sources_have_a_digest():
    assert digest_of_sources("hw", "arch") == digest_of_sources("hw", "arch") != digest_of_sources("arch")
    assert digest_of_sources("hw/tools/cache") != digest_of_sources("hw/tools/toolchain")
