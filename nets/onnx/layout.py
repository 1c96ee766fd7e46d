"""In which order a view takes the elements of a tensor, so that reshapes and transposes cost nothing until someone minds.

An order is nested loops, outermost first, each a pair (count, step): the step is in elements of the tensor's own C order. All
together they visit each element once. Loops of one turn are left out, and two that step as one loop are one: a tensor in its
own order is ((size, 1),), or () if it has one element.
"""
from collections.abc import Iterable, Sequence
import math

import numpy as np

__all__ = ["Loops", "along", "channels_last", "joined", "own_order", "positions", "transposed"]

Loops = tuple[tuple[int, int], ...]


def own_order(size: int) -> Loops:
    """The loops of a tensor of that many elements in its own order."""
    return joined([(size, 1)])


def joined(loops: Iterable[tuple[int, int]]) -> Loops:
    """The same order in as few loops as possible."""
    result: list[tuple[int, int]] = []
    for count, step in loops:
        if count == 1:
            continue
        if result and result[-1][1] == count * step:
            count *= result.pop()[0]
        result.append((count, step))
    return tuple(result)


def along(loops: Loops, shape: Sequence[int]) -> list[Loops]:
    """The loops of each axis of a view of this shape. Raises ValueError where an axis ends inside a loop's turn."""
    waiting, axes = list(loops)[::-1], []
    for size in shape:
        axis: list[tuple[int, int]] = []
        while size > 1:
            count, step = waiting.pop()
            common = math.gcd(size, count)
            if common in (size, count):
                axis.append((common, step * (count // common)))
                size //= common
                if count > common:
                    waiting.append((count // common, step))
            else:
                raise ValueError("the axis ends inside a loop")
        axes.append(joined(axis))
    return axes


def transposed(loops: Loops, shape: Sequence[int], order: Sequence[int]) -> Loops:
    """The order with the axes of `shape` permuted. Raises ValueError as `along`."""
    axes = along(loops, shape)
    return joined(loop for axis in order for loop in axes[axis])


def channels_last(shape: Sequence[int]) -> Loops:
    """The order of a view with the channels last of an image of shape (channels, height, width)."""
    return transposed(own_order(math.prod(shape)), shape, (1, 2, 0))


def positions(loops: Loops) -> np.ndarray:
    """int64 (size,): where in the tensor's own order each element of the view is."""
    found = np.zeros(1, np.int64)
    for count, step in loops:
        found = (found[:, None] + step * np.arange(count)).ravel()
    return found
