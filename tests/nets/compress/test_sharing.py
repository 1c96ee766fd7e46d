"""Sharing: as few integers as were asked for, where the weights are; and sizes."""
import sys

import numpy as np
import pytest

from cli import WorkError
from nets.compress.sharing import all_levels, codebook
from nets.compress.size import entropy_bytes
from nets.int8.rounding import ALL_LEVELS, nearest_levels, round_weights


def worth_of(values: dict[int, float]) -> np.ndarray:
    worth = np.zeros(255)
    for value, much in values.items():
        worth[value + 127] = much
    return worth


def test_integers_are_the_middles_of_what_there_is():
    heaps = {-100: 1, -98: 1, 0: 50, 20: 3, 24: 1, 90: 1, 91: 2, 92: 1}
    assert codebook(4)(worth_of(heaps)).tolist() == [-99, 0, 21, 91]


def test_few_integers_stay_as_they_are():
    assert codebook(4)(worth_of({-3: 1, 7: 2, 9: 0.1})).tolist() == [-3, 0, 7, 9]
    assert len(codebook(3)(worth_of({-3: 1, 7: 2, 9: 0.1}))) == 3
    assert codebook(64)(np.zeros(255)).tolist() == [0]


@pytest.mark.parametrize("size", [2, 3, 16, 64, 255])
def test_never_more_than_asked_for_and_0_is_one(size):
    worth = np.random.default_rng(size).gamma(0.5, 1.0, 255)
    levels = codebook(size)(worth)
    assert len(levels) <= size and 0 in levels and np.abs(levels).max() <= 127
    assert levels.tolist() == codebook(size)(worth).tolist()


def test_without_sharing_all_integers_may_be_used():
    assert all_levels(np.ones(255)).tolist() == list(range(-127, 128))


def test_without_the_library_a_line_says_what_to_install(monkeypatch):
    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name == "sklearn":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(WorkError, match=r"--codebook\) needs sklearn: pip install -e '.\[compress\]'"):
        codebook(8)


@pytest.mark.parametrize("correlated", [False, True])
def test_weights_are_rounded_to_levels_and_zeros_stay(correlated):
    rng = np.random.default_rng(4)
    x = rng.normal(0, 0.3, (12, 500)) + rng.normal(0, 1, (1, 500))
    weight, levels = rng.normal(0, 30, (1, 8, 12)), np.array([-64, -20, -1, 0, 1, 9, 33, 127])
    weight[0, :, ::3] = 0
    covariance = x @ x.T / 500
    q = round_weights(weight, np.ones((1, 8, 1)), covariance[None] if correlated else None, levels)
    assert set(np.unique(q)) <= set(levels.tolist()) and not q[weight == 0].any()
    plain = nearest_levels(levels)[np.clip(np.rint(weight), -127, 127).astype(int) + 127]

    def error(q):
        return np.einsum("on,nm,om->", *[(weight - q)[0], covariance, (weight - q)[0]])
    assert error(q) < 0.7 * error(plain) if correlated else (q == plain).all()


def test_nearest_levels():
    assert nearest_levels(np.array([0, 10, -4])).tolist() == [-4] * 126 + [0] * 7 + [10] * 122
    np.testing.assert_array_equal(nearest_levels(ALL_LEVELS), ALL_LEVELS)


def test_size_is_the_order_0_entropy():
    four, rare = np.arange(4096, dtype=np.int8).reshape(64, 64) % 4, np.zeros(1024, np.int8)
    rare[:256] = -127
    assert entropy_bytes(four) == 4096 * 2 / 8
    assert entropy_bytes(rare) == pytest.approx(1024 * (0.25 * 2 + 0.75 * np.log2(4 / 3)) / 8)
    assert entropy_bytes(np.full(100, 5, np.int8)) == 0
