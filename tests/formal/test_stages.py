"""Every claim is proved without a bound, its covers are reached, and each fault in it is found."""
from functools import partial

import pytest

from formal.prove import bounded, cover, prove
from formal.stages import CLAIMS, COVER_DEPTH, FAULT_DEPTH

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
    verdict = bounded(partial(CLAIMS[name], fault=fault), FAULT_DEPTH, timeout=TIMEOUT)
    assert verdict.holds is False, verdict.log
