"""Which engine a board holds, by the digest of its geometry that it tells."""
from functools import cache
from itertools import chain, combinations

from arch.geometry import PRESETS, Geometry
from arch.units import OPTIONAL
from boards import BOARDS
from host.link import LinkError

__all__ = ["engine_of"]


@cache
def _engines() -> dict[int, Geometry]:
    """Those of boards and presets, with any of the optional units, by digest."""
    found = {board.geometry for board in BOARDS.values()} | set(PRESETS.values())
    chosen = chain.from_iterable(combinations(OPTIONAL, count) for count in range(len(OPTIONAL) + 1))
    return {one.digest: one for units in chosen for one in (geometry.with_options(units) for geometry in found)}


def engine_of(digest: int) -> Geometry:
    """The engine of a digest, among those of boards and presets with any optional units. Raises LinkError for another one, and
    for 0, which says that there is none."""
    if not digest:
        raise LinkError("The board holds the self-test's chip, which has no engine and runs no network: load its own "
                        "(python -m hw.build --program)")
    if digest not in _engines():
        raise LinkError(f"The board's engine is of no board or preset here (digest {digest:016x}): compile with the --geometry "
                        "that it was built with, and give the file to --program")
    return _engines()[digest]
