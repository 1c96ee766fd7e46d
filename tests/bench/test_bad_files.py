"""The bench of damaged files: its cases come again from their seed, and none of a sample of them misbehaves."""
from collections import Counter
import json
from pathlib import Path

import pytest

from bench import bad_files
from bench.bad_files import GOOD, Case, find_samples, main, make_cases, run_cases


def small_samples():
    return [sample for sample in find_samples(None) if len(sample.data) < 1 << 18]


def test_cases_come_again():
    first, second = (list(make_cases(small_samples(), 100, seed=5)) for _ in range(2))
    assert first == second != list(make_cases(small_samples(), 100, seed=6))
    assert len({case.mutation for case in first}) > 20


def test_damaged_files_load_or_are_refused(tmp_path):
    outcomes = list(run_cases(make_cases(small_samples(), 220, seed=7), tmp_path, timeout=60))
    wrong = [outcome for outcome in outcomes if outcome.outcome not in GOOD]
    assert not wrong, f"seed 7: {wrong}"
    counts = Counter(outcome.outcome for outcome in outcomes)
    assert sum(counts.values()) == 220 and min(counts["loaded"], counts["refused"]) > 10


def test_shared_files_too(tmp_path, data):
    samples = [sample for sample in find_samples(data) if len(sample.data) >= 1 << 18]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "labels.txt").write_text((data / "images" / "labels.txt").read_text())
    wrong = [outcome for outcome in run_cases(make_cases(samples, 50, seed=8), tmp_path, timeout=60)
             if outcome.outcome not in GOOD]
    assert len(samples) == 7 and not wrong, f"seed 8: {wrong}"


def test_hangs_crashes_and_tracebacks_are_found(tmp_path, monkeypatch):
    """What a worker does badly is told, and the next case gets a new worker."""
    workers = []

    class Bad:
        def __init__(self):
            self.alive = True
            workers.append(self)

        def ask(self, path: Path, timeout: float):
            return {"case0.onnx": ("hang", ""), "case1.onnx": ("crash", ""), "case2.onnx": ("traceback", "")}.get(
                path.name, ("loaded", "agrees"))

        def close(self):
            pass

    monkeypatch.setattr(bad_files, "_Worker", Bad)
    cases = [Case(number=k, sample="a.onnx", mutation="noise", data=b"x", side=b"{}") for k in range(4)]
    outcomes = [outcome.outcome for outcome in run_cases(cases, tmp_path, timeout=1)]
    assert outcomes == ["hang", "crash", "traceback", "loaded"] and len(workers) == 3
    assert list((tmp_path / "models").iterdir()) == []


def test_a_worker_that_does_not_answer_in_time_is_a_hang(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(small_samples()[0].data)
    worker = bad_files._Worker()
    try:
        assert worker.ask(path, 0.0)[0] == "hang"
    finally:
        worker.close()


def test_command(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FIRELINE_DATA", raising=False)
    target = tmp_path / "outcomes.json"
    assert main(["--count", "12", "--seed", "3", "--json", str(target)]) == 0
    record = json.loads(target.read_text())
    assert record["seed"] == 3 and len(record["outcomes"]) == 12
    assert "12 damaged files, seed 3" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--count", "0"], ["--timeout", "0"], ["--count", "x"], ["--data", "/nonexistent"]])
def test_bad_requests(words):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
