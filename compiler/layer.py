"""One convolution, with the table and the pool fused behind it, as commands and memory images; nothing else beside it."""
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from arch.command import Command
from arch.geometry import Geometry
from cli import RequestError
from compiler.bands import Band, bands
from compiler.commands import command
from compiler.convolution import Convolution, Pool
from compiler.maps import Map
from nets.int8.network import QConv, QTable

__all__ = ["LayerError", "LayerPlan", "Phase", "plan_layer"]


class LayerError(RequestError):
    """A layer cannot run on an engine; `reasons` say which resources or rules stand against it, and how much is missing."""

    def __init__(self, *reasons: str):
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True, kw_only=True, eq=False)
class Phase:
    """Commands that use one part of the weight and parameter memories, and what must be there before they start: those of output
    blocks `blocks`, or one of a portion of the sums of a single one, by its number.

    `weights` int8 (words, PI, 2) from word `weight_base` on (wrapping); `biases` int64, `multipliers`, `shifts`, (words, 2) each,
    from word `parameter_base` on.
    """

    weight_base: int
    weights: np.ndarray
    parameter_base: int
    biases: np.ndarray
    multipliers: np.ndarray
    shifts: np.ndarray
    commands: tuple[Command, ...]
    blocks: range
    portion: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerPlan:
    """Phases in order; `side_by_side` consecutive ones fit the memories together: two, or one. `table`: what the first words of
    the engine's tables must hold, if anything."""

    phases: tuple[Phase, ...]
    macs: int               # of the layer, without what idle lanes do
    side_by_side: int = 2
    table: QTable | None = None

    @property
    def commands(self) -> tuple[Command, ...]:
        return tuple(one for phase in self.phases for one in phase.commands)


def _require(condition: bool, message: str):
    if not condition:
        raise LayerError(message)


def plan_layer(geometry: Geometry, conv: QConv, *, source: Map, target: Map, zero_point: int, pool: Pool | None = None,
               table: QTable | None = None, table_zero_point: int = 0, weight_base: int = 0, parameter_base: int = 0
               ) -> LayerPlan:
    """Commands and images for `conv`, and `table` and `pool` behind it, from map `source` to map `target`.

    `zero_point` is the input's; the pool's is `table_zero_point`, or without a table that of the convolution's output. Weights
    go into the weight memory from `weight_base` on, wrapping. Raises LayerError if the layer does not fit the engine.
    """
    _require(source.channels == conv.weight.shape[1], f"source must have {conv.weight.shape[1]} channels, not {source.channels}")
    _require(source.offset % geometry.input_lanes == 0, f"source offset must be a multiple of {geometry.input_lanes}, "
                                                       f"not {source.offset}")
    work = Convolution(geometry=geometry, conv=conv, pool=pool, height=source.height, width=source.width, zero_point=zero_point,
                       spare=True, table=table, table_zero_point=table_zero_point)
    if against := [reason for _, reason in work.against()]:
        raise LayerError(*against)
    _require((target.channels, target.height, target.width) == work.shape,
             f"target must be {work.shape}, not {(target.channels, target.height, target.width)}")
    _require(target.offset % geometry.output_lanes == 0, f"target offset must be a multiple of {geometry.output_lanes}, "
                                                        f"not {target.offset}")
    cut = work.bands(bands(*work.size, geometry.band_pixels, work.pool_window.kernel[0]))
    phases = []
    for blocks, together, portion in _parts(work, cut):
        pairs = slice(blocks.start * geometry.pairs, blocks.stop * geometry.pairs)
        first, of_portion = blocks.start * work.block_words, work.portion_words[portion]
        part = slice(first + of_portion.start, first + (len(blocks) - 1) * work.block_words + of_portion.stop)
        commands = tuple(command(work, sources=[source], target=target, band=band, blocks=blocks, weights=weight_base,
                                 parameters=parameter_base, portion=portion) for band in together)
        biases, multipliers, shifts = (values[pairs] for values in work.parameters)
        phases.append(Phase(weight_base=weight_base, weights=work.weights[part], parameter_base=parameter_base, blocks=blocks,
                            portion=portion, commands=commands, biases=biases, multipliers=multipliers, shifts=shifts))
        weight_base = (weight_base + part.stop - part.start) % geometry.weight_words
        parameter_base = (parameter_base + len(blocks) * geometry.pairs) % geometry.parameter_words
    together = max((len(one.weights) + len(other.weights) for one, other in pairwise(phases)), default=0)
    return LayerPlan(phases=tuple(phases), macs=work.macs, table=table, side_by_side=1 if together > geometry.weight_words else 2)


def _parts(work: Convolution, cut: list[Band]) -> Iterator[tuple[range, list[Band], int]]:
    """Output blocks, bands and portion of each phase."""
    if len(work.portions) > 1:          # which follow each other
        for block, band, portion in product(range(work.blocks), cut, range(len(work.portions))):
            yield range(block, block + 1), [band], portion
    else:
        # A global average of several bands has one running sum.
        for blocks in _block_ranges(work, single=work.average and len(cut) > 1):
            yield blocks, cut, 0


def _block_ranges(work: Convolution, single: bool) -> Iterator[range]:
    """Output blocks of each phase: all of them, or so few that two phases fit the memories; one if `single`."""
    geometry, blocks, per_block = work.geometry, work.blocks, work.block_words
    most = work.most_places // work.pooled[1]
    if blocks * per_block > geometry.weight_words or blocks * geometry.pairs > geometry.parameter_words:
        most = min(most, geometry.weight_words // (2 * per_block), geometry.parameter_words // (2 * geometry.pairs))
    most = 1 if single else max(1, most)
    for start in range(0, blocks, most):
        yield range(start, min(start + most, blocks))
