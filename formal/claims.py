"""All claims by name, and what becomes of one."""
from collections.abc import Callable
from functools import partial

from formal import gathers, loaders, pools, queues, stages
from formal.prove import Verdict, bounded, cover, prove
from formal.stages import StageClaim

__all__ = ["CLAIMS", "checked", "covered"]

COVER_DEPTH = 40            # cycles within which every cover statement is reached
CLAIMS: dict[str, type[StageClaim]] = stages.CLAIMS | queues.CLAIMS | loaders.CLAIMS | pools.CLAIMS | gathers.CLAIMS


def checked(claim: Callable[[], StageClaim], depth: int | None, *, timeout: int) -> Verdict:
    """Whether a claim holds: in all runs, or in the first `depth` cycles of all runs."""
    return prove(claim, timeout=timeout) if depth is None else bounded(claim, depth, timeout=timeout)


def covered(claim: type[StageClaim], *, timeout: int) -> Verdict:
    """Whether all that a claim is about happens within `COVER_DEPTH` cycles."""
    return cover(partial(claim, ease=True), COVER_DEPTH, timeout=timeout)
