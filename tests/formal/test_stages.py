"""Every claim is proved without a bound, its covers are reached, and each fault in it is found."""
from functools import partial

import pytest

from formal.prove import cover, prove
from formal.stages import CLAIMS, COVER_DEPTH

TIMEOUT = 900
FAULTS = [(name, fault) for name, claim in CLAIMS.items() for fault in claim.faults]


@pytest.mark.parametrize("name", CLAIMS)
def test_proved(name):
    verdict = prove(CLAIMS[name], timeout=TIMEOUT)
    assert verdict.holds, verdict.log


@pytest.mark.parametrize("name", CLAIMS)
def test_covered(name):
    verdict = cover(CLAIMS[name], COVER_DEPTH, timeout=TIMEOUT)
    assert verdict.holds, verdict.log


@pytest.mark.parametrize("name, fault", FAULTS)
def test_a_fault_is_found(name, fault):
    verdict = prove(partial(CLAIMS[name], fault=fault), timeout=TIMEOUT)
    assert verdict.holds is False, verdict.log
