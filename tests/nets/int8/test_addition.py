"""Multipliers of an addition: products of an int8 weight and an 8-bit multiplier, near what was asked for."""
from hypothesis import given, settings
from hypothesis import strategies as st

from nets.int8.addition import factored, multipliers_of

FACTOR = st.floats(1e-3, 100)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(first=FACTOR, second=FACTOR)
def test_multipliers_are_products_and_near(first, second):
    multipliers, shift = multipliers_of((first, second))
    weights, common = factored(multipliers)
    assert all(1 <= weight <= 127 for weight in weights) and 1 <= common <= 255
    assert tuple(weight * common for weight in weights) == multipliers and 1 <= shift <= 39
    # Of 128 multipliers and a factor of two in shifts one comes near both; the steps of weights are the larger one's.
    worst = max(abs(value / 2 ** shift - factor) for value, factor in zip(multipliers, (first, second), strict=True))
    assert worst <= max(first, second) / 127


def test_equal_factors_are_exact_to_eight_bits():
    multipliers, shift = multipliers_of((0.5, 0.5))
    assert multipliers[0] == multipliers[1] and multipliers[0] / 2 ** shift == 0.5


def test_what_is_no_product():
    assert factored((32749, 32719)) is None            # primes
    assert factored((0, 254)) == ((0, 1), 254)
