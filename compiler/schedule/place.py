"""Where the buffers of each group lie in activation memory."""
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
import random

from arch.geometry import Geometry
from compiler import costs
from compiler.residency import Residency
from compiler.schedule.groups import Group
from compiler.stages import Buffer

__all__ = ["PlaceError", "place"]


class PlaceError(ValueError):
    """The buffers fit by their sizes, but no places were found for them."""


@dataclass(eq=False)
class _Item:
    """`size` words of a buffer from group `first` to group `last`."""

    first: int
    last: int
    size: int
    base: int = -1
    near: list["_Item"] = field(default_factory=list)       # on the chip at the same time


def place(groups: Sequence[Group], geometry: Geometry) -> list[Group]:
    """The groups with a place for all that they have on the chip: nothing overlaps in any group, and what is kept stays where it
    is. Raises PlaceError.
    """
    items: list[_Item] = []
    found: list[dict[Residency, _Item]] = []
    kept: dict[Buffer, _Item] = {}
    for number, group in enumerate(groups):
        found.append({})
        for buffer, resident in group.residents.items():
            item = kept.get(buffer)
            if item is None:
                item = _Item(number, number, resident.size)
                items.append(item)
            item.last = number
            found[-1][resident] = item
            if buffer in group.kept:
                kept[buffer] = item
        for resident in group.apart.values():
            items.append(_Item(number, number, resident.size))
            found[-1][resident] = items[-1]
    for number, here in enumerate(found):
        for item in here.values():
            item.near += [other for other in here.values() if other is not item and max(item.first, other.first) == number]
    _find_places(groups, items, geometry.activation_words)
    return [replace(group, **{name: {buffer: replace(resident, base=here[resident].base)
                                     for buffer, resident in getattr(group, name).items()} for name in ("residents", "apart")})
            for group, here in zip(groups, found, strict=True)]


def _find_places(groups: Sequence[Group], items: Sequence[_Item], words: int) -> None:
    rng = random.Random(0)
    order = sorted(items, key=lambda item: (-item.size * (1 + item.last - item.first), item.first))
    for attempt in range(costs.PLACE_TRIES):
        if _fits(order, words):
            return
        order = sorted(items, key=lambda item: (item.first, -item.size)) if not attempt else rng.sample(items, len(items))
    sizes = [sum(resident.size for resident in group.places) for group in groups]
    fullest = groups[sizes.index(max(sizes))].stages
    raise PlaceError(f"activation memory (activation_words) must have a place for each map and ring; those of {fullest[0].layer} "
                     f"to {fullest[-1].layer} take {max(sizes)} of {words} words, and what is left between them is too small")


def _fits(order: Sequence[_Item], words: int) -> bool:
    """Each item as low as it goes, in this order."""
    for item in order:
        item.base = -1
    for item in order:
        base = 0
        for other in sorted((other for other in item.near if other.base >= 0), key=lambda other: other.base):
            if base + item.size <= other.base:
                break
            base = max(base, other.base + other.size)
        if base + item.size > words:
            return False
        item.base = base
    return True
