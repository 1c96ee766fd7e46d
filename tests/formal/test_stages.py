"""Every claim is proved, without a bound where it has none, its covers are reached, and each fault in it is found."""
from functools import partial

import pytest

from formal.claims import CLAIMS, COVER_DEPTH, checked
from formal.prove import cover

TIMEOUT = 900
FAULTS = [(name, fault) for name, claim in CLAIMS.items() for fault in claim.faults]


@pytest.mark.parametrize("name", CLAIMS)
def test_proved(name):
    verdict = checked(CLAIMS[name], CLAIMS[name].depth, timeout=TIMEOUT)
    assert verdict.holds, verdict.log


@pytest.mark.parametrize("name", CLAIMS)
def test_covered(name):
    verdict = cover(CLAIMS[name], COVER_DEPTH, timeout=TIMEOUT)
    assert verdict.holds, verdict.log


@pytest.mark.parametrize("name, fault", FAULTS)
def test_a_fault_is_found(name, fault):
    verdict = checked(partial(CLAIMS[name], fault=fault), CLAIMS[name].depth, timeout=TIMEOUT, replay=False)
    assert verdict.holds is False, verdict.log
