"""Large matrices of weights, some rows at a time: what needs a float or two for each weight need not hold all of them."""
from collections.abc import Iterator

__all__ = ["MOST_ELEMENTS", "row_blocks"]

MOST_ELEMENTS = 1 << 23         # of a block: 64 MB of float64


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows` rows of `columns` elements each, as few as possible of at most `MOST_ELEMENTS`, or of single rows."""
    most = max(1, MOST_ELEMENTS // max(1, columns))
    for start in range(0, rows, most):
        yield slice(start, min(start + most, rows))
