"""Progress where nobody watches: a plain line every few seconds, and none for what is quick."""
import re
import time

import pytest

from cli import counting, meters, progress, waiting


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(meters, "EVERY_S", 0.1)


def test_items_are_counted(often, capsys):
    taken = []
    for item in progress(range(6), "[/b] taking"):
        time.sleep(0.1)
        taken.append(item)
    out, err = capsys.readouterr()
    assert taken == list(range(6)) and out == ""
    counts = [int(count) for count in re.findall(r"^\[/b\] taking: (\d) of 6 \(\d+ s\)$", err, re.MULTILINE)]
    assert len(counts) == err.count("\n") >= 2 and counts == sorted(counts)


def test_items_without_a_length_and_unknown_work_are_told_by_time(often, capsys):
    with waiting("thinking"), counting("frames", None) as done:
        done(3)
        time.sleep(0.5)
    err = capsys.readouterr().err
    assert re.search(r"^thinking \(\d+ s\)$", err, re.MULTILINE) and re.search(r"^frames \(\d+ s\)$", err, re.MULTILINE)


def test_what_ended_is_told_once_unless_it_leaves_nothing(often, capsys):
    for transient in (False, True):
        with meters.meter(transient=transient) as shown:
            task = shown.add_task("synthesis", total=1)
            time.sleep(0.25)
            shown.update(task, completed=1, description="synthesis: done")
            time.sleep(0.25)
        assert capsys.readouterr().err.count("synthesis: done (") == (not transient)


def test_quick_work_says_nothing(capsys):
    assert list(progress([1, 2], "taking")) == [1, 2]
    with waiting("thinking"):
        pass
    assert capsys.readouterr() == ("", "")


def test_an_error_in_the_work_comes_through(often):
    with pytest.raises(ZeroDivisionError), waiting("dividing"):
        print(1 / 0)
