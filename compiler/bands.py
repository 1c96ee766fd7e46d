"""Bands: the rows of a convolution's output that a command computes, and the rows of the pool's that they complete."""
from dataclasses import dataclass

from nets.graph import Window

__all__ = ["Band", "bands", "cut_bands"]


@dataclass(frozen=True, kw_only=True)
class Band:
    """Rows of the convolution's output, and the rows of the pool's output that they complete. `first` and `last` of the map."""

    rows: range
    pooled: range
    lead: int
    overhang: int
    first: bool
    last: bool


def bands(rows: int, columns: int, pixels: int, least: int = 1) -> list[range]:
    """Output rows cut into as few bands of at most `pixels` pixels as possible: of about one size if that gives each `least`
    rows, otherwise as large as possible but for the last."""
    most = min(rows, pixels // columns)
    count = -(-rows // most)
    if rows // count >= least:
        edges = [rows * n // count for n in range(count + 1)]
    else:
        edges = [*range(0, rows, most), rows]
    return [range(a, b) for a, b in zip(edges, edges[1:], strict=False)]


def cut_bands(cut: list[range], window: Window, pooled: int) -> list[Band]:
    """Bands of those rows of a convolution's output, each with the rows (of `pooled`) whose last window row it holds."""
    height = cut[-1].stop
    complete = [o * window.stride[0] - window.padding[0] + window.kernel[0] - 1 for o in range(pooled)]
    result, done = [], 0
    for rows in cut:
        overhang = max(0, complete[-1] + 1 - height) if rows.stop == height else 0
        until = done
        while until < pooled and complete[until] < rows.stop + overhang:
            until += 1
        lead = complete[done] - rows.start if until > done else len(rows) + overhang
        result.append(Band(rows=rows, pooled=range(done, until), lead=lead, overhang=overhang, first=rows.start == 0,
                           last=rows.stop == height))
        done = until
    return result
