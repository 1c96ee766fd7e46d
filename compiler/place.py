"""Where the buffers of each group lie in activation memory."""
from collections.abc import Sequence
from dataclasses import dataclass
import random

from arch.geometry import Geometry
from compiler.layer import Map
from compiler.schedule import Group, Local
from compiler.stages import Buffer

__all__ = ["PlaceError", "map_of", "place"]

TRIES = 400


class PlaceError(ValueError):
    """The buffers fit by their sizes, but no places were found for them."""


@dataclass(eq=False)
class _Item:
    locals: list[Local]
    first: int
    last: int
    size: int
    base: int = -1


def place(groups: Sequence[Group], geometry: Geometry) -> None:
    """Sets `base` of all locals, so that nothing overlaps in any group; what is kept stays where it is. Raises PlaceError."""
    items, kept = [], {}
    for number, group in enumerate(groups):
        for buffer, local in group.locals.items():
            item = kept.get(buffer)
            if item is None:
                items.append(_Item([local], number, number, local.size))
                item = items[-1]
            else:
                item.locals.append(local)
                item.last = number
            if buffer in group.kept:
                kept[buffer] = item
    rng = random.Random(0)
    order = sorted(items, key=lambda item: (-item.size * (1 + item.last - item.first), item.first))
    for attempt in range(TRIES):
        if _fits(order, geometry.activation_words):
            for item in items:
                for local in item.locals:
                    local.base = item.base
            return
        order = sorted(items, key=lambda item: (item.first, -item.size)) if not attempt else rng.sample(items, len(items))
    sizes = [sum(local.size for local in group.locals.values()) for group in groups]
    fullest = groups[sizes.index(max(sizes))].stages
    raise PlaceError(f"activation memory (activation_words) must have a place for each map and ring; those of {fullest[0].layer} "
                     f"to {fullest[-1].layer} take {max(sizes)} of {geometry.activation_words} words, and what is left between "
                     f"them is too small")


def _fits(order: Sequence[_Item], words: int) -> bool:
    """Each item as low as it goes, in this order."""
    done: list[_Item] = []
    for item in order:
        base = 0
        for other in sorted((o for o in done if o.first <= item.last and item.first <= o.last), key=lambda o: o.base):
            if base + item.size <= other.base:
                break
            base = max(base, other.base + other.size)
        if base + item.size > words:
            return False
        item.base = base
        done.append(item)
    return True


def map_of(local: Local, buffer: Buffer, words: range, lanes: int) -> Map:
    """The map of words `words` of a buffer's pixels."""
    beside = local.beside(words)
    return Map(base=local.base, channels=len(words) * lanes, height=buffer.height, width=buffer.width, pixel_words=len(beside),
               ring_rows=local.rows, offset=(words.start - beside.start) * lanes)
