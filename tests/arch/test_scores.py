"""Scores from their two bytes: every score that a limit or a fraction can make ambiguous."""
from fractions import Fraction
from math import floor

import numpy as np
import pytest

from arch.scores import joined


@pytest.mark.parametrize("zero_point, low, high", [(1, 1, 254), (128, 1, 254), (254, 1, 254), (40, 40, 90), (200, 90, 90)])
def test_bytes_of_every_score_become_it_again(zero_point, low, high):
    """Scores in eighths of a sub-step, far beyond both limits too."""
    eighths = np.arange(-300 * 2048, 300 * 2048 + 1, 3)
    whole = np.clip(zero_point + (eighths + 1024 >> 11), low - 1, high + 1)
    second = zero_point + (eighths >> 3) & 255
    found = joined(np.stack([whole, second], axis=1).astype(np.uint8)[:, None], zero_point, low, high)
    assert found.shape == (len(eighths), 1, 1) and found.dtype == np.uint16
    assert (found.ravel() == np.clip(256 * zero_point + (eighths >> 3), 256 * low, 256 * high)).all()


def test_rounded_scores_are_those_without_a_fraction():
    step = Fraction(12345, 4096)
    pair = np.array([[[10 + floor(step + Fraction(1, 2)), (10 + floor(256 * step)) % 256]]], np.uint8)
    score = int(joined(pair, 10, 1, 254).item())
    assert score == 2560 + floor(256 * step) and floor(Fraction(score, 256) + Fraction(1, 2)) == pair[0, 0, 0]
