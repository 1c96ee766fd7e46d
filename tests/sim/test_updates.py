"""Cuts and faults in updates, a few of each kind; and that a host which does it wrong is found out."""
import json

import pytest

from host.link import LinkError
import host.slots
import host.update
from sim import updates
from sim.models.updated_board import UpdateError, lives


def test_a_few_of_each_kind(tmp_path, capsys):
    out = tmp_path / "updates.json"
    assert updates.main(["--cuts", "15", "--faults", "2", "--json", str(out)]) == 0
    record = json.loads(out.read_text())
    assert sum(record["booted"].values()) == 15 and record["without_model"] == 0
    assert {kind: sum(counts.values()) for kind, counts in record["by_fault"].items()} == dict.fromkeys(updates.FAULTS, 2)
    assert "25 cuts and faults, 0 boards without a model that was whole" in capsys.readouterr().out


def last_cuts() -> set[str | None]:
    """What boots when the states of an update are cut."""
    life = next(lives(2))
    life.restore()
    before = life.board.chip.changes
    life.work()
    count = life.board.chip.changes - before
    return {updates.cut(life, change) for change in range(count - 5, count)} | {updates.cut(life, count)}


def test_cuts_of_the_states():
    assert last_cuts() == {"old", "new", None}


def test_a_host_that_erases_the_state_that_counts(monkeypatch):
    found = host.slots.newest
    monkeypatch.setattr(host.slots, "newest", lambda states: None if states[0] is None else found(states))
    with pytest.raises((UpdateError, LinkError)):
        last_cuts()


def test_a_host_that_overwrites_the_model_that_runs(monkeypatch):
    monkeypatch.setattr(host.update, "plan", lambda *where: host.slots.plan(*where)[::-1])
    with pytest.raises(UpdateError, match="seed 2, model 1, cut at change 0: none of model 0, model 1 boots"):
        updates.campaign(1, 1, 2)
