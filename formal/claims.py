"""All claims by name, and what becomes of one."""
from collections.abc import Callable

from formal import filters, gathers, lines, load_orders, loaders, normalisations, passes, pools, queues, stages, tables, transfers
from formal.prove import Verdict, bounded, prove
from formal.stages import StageClaim

__all__ = ["CLAIMS", "COVER_DEPTH", "checked"]

COVER_DEPTH = 40            # cycles within which every cover statement is reached
CLAIMS: dict[str, type[StageClaim]] = (
    stages.CLAIMS | passes.CLAIMS | queues.CLAIMS | loaders.CLAIMS | pools.CLAIMS | gathers.CLAIMS | lines.CLAIMS
    | tables.CLAIMS | normalisations.CLAIMS | filters.CLAIMS | transfers.CLAIMS | load_orders.CLAIMS)


def checked(claim: Callable[[], StageClaim], depth: int | None, *, timeout: int, replay: bool = True) -> Verdict:
    """Whether a claim holds: in all runs, or in the first `depth` cycles of all runs. `replay` of counterexamples by a solver of
    another kind."""
    if depth is None:
        return prove(claim, timeout=timeout, replay=replay)
    return bounded(claim, depth, timeout=timeout, replay=replay)
