"""The units of the engine in the order in which data pass them: the one place where that order is said.

`arch.command` has a record for each of them, the engine connects them, the reference follows them, benches look at what passes
between them, and latencies are summed, all in this order. What a unit does to values (`golden.units`), when (`golden/cycles`) and
in which gates (`hw/engine`) is said three times, independently: only the order is shared. `docs/adding_a_unit.md` is the recipe.
"""
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from arch import pipeline
from arch.geometry import Geometry
from arch.record import Record
from arch.unit import average, depthwise, load, lrn, pool, requantise, table, window, writer

__all__ = ["BESIDE", "FIXED", "OPTIONAL", "QUEUED", "UNITS", "Unit", "boundaries", "latency", "queued", "units", "vector"]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit of the engine.

    - `name`: of its record in a command and of its component in the engine; those of `QUEUED` are in `golden/cycles/<name>.py`
      and `hw/engine/<name>.py`.
    - `record`: what it is told with each command; None if nothing.
    - `latency`: cycles from what it is given to what it gives, at least: a number, or a function of the geometry.
    - `boundary`: name of what it gives to the next unit, where a bench looks at it; empty where none does.
    - `optional`: only engines whose `Geometry.options` name it have it.
    - `extended`: by name, what such options tell it instead, a record with further fields.
    """

    name: str
    record: type[Record] | None = None
    latency: int | Callable[[Geometry], int] = 0
    boundary: str = ""
    optional: bool = False
    extended: Mapping[str, type[Record]] = field(default_factory=dict)

    def told(self, geometry: Geometry) -> type[Record] | None:
        """Its record in an engine."""
        return next((record for option, record in self.extended.items() if option in geometry.options), self.record)

    def cycles(self, geometry: Geometry) -> int:
        """Its latency in an engine."""
        return self.latency if isinstance(self.latency, int) else self.latency(geometry)


# What cannot wait: from a beat of the window generator to the vector that is made of it. Weights and parameters come from beside.
FIXED = (
    Unit(name="window", record=window.WindowConfig, latency=pipeline.operand, extended={"carry": window.CarryConfig}),
    Unit(name="load", record=load.LoadConfig),
    Unit(name="array", latency=pipeline.array, boundary="array"),
    Unit(name="requantise", record=requantise.RequantiseConfig, boundary="requantised",
         latency=lambda geometry: requantise.latency(geometry.output_lanes)))
# What can: streams of vectors, whose taker says when.
QUEUED = (
    Unit(name="fifo", latency=pipeline.OUTPUT_FIFO, boundary="fifo"),
    Unit(name="table", record=table.TableConfig, latency=table.LATENCY, boundary="mapped", optional=True),
    Unit(name="depthwise", record=depthwise.DepthwiseConfig, latency=depthwise.PASS, boundary="filtered", optional=True),
    Unit(name="pool", record=pool.PoolConfig, latency=pool.LATENCY, boundary="pooled"),
    Unit(name="lrn", record=lrn.LrnConfig, latency=lrn.PASS, boundary="normalised", optional=True),
    Unit(name="average", record=average.AverageConfig, latency=average.PASS, boundary="averaged"),
    Unit(name="writer", record=writer.WriterConfig, latency=pipeline.WRITE_GRANT, boundary="written"))
UNITS = FIXED + QUEUED
# Options of the machine that are no units of this chain: the DMA's decoder of compressed weights.
BESIDE = ("decoder",)
# Names of what only some engines have, in alphabetical order: units, what units are told besides, and what is beside them.
OPTIONAL = tuple(sorted([unit.name for unit in UNITS if unit.optional] + [option for unit in UNITS for option in unit.extended]
                        + [*BESIDE]))


def units(geometry: Geometry, among: tuple[Unit, ...] = UNITS) -> tuple[Unit, ...]:
    """Those that an engine has, in order. Raises ValueError if it is to have an option that there is not."""
    if unknown := [name for name in geometry.options if name not in OPTIONAL]:
        raise ValueError(f"options of a geometry must be of {', '.join(OPTIONAL)}, not {', '.join(unknown)}")
    return tuple(unit for unit in among if not unit.optional or unit.name in geometry.options)


def queued(geometry: Geometry) -> tuple[Unit, ...]:
    """Those that vectors pass as streams, from the output queue to the writer."""
    return units(geometry, QUEUED)


def boundaries(geometry: Geometry) -> tuple[str, ...]:
    """What passes between them, as benches name it, in order."""
    return tuple(unit.boundary for unit in units(geometry) if unit.boundary)


def vector(geometry: Geometry) -> int:
    """Beat of a last pass issued -> its requantised vector."""
    return sum(unit.cycles(geometry) for unit in units(geometry, FIXED))


def latency(geometry: Geometry) -> int:
    """Beat of a last pass issued -> its vector written, at least."""
    return sum(unit.cycles(geometry) for unit in units(geometry))
