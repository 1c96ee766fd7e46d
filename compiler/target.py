"""What a program is made for: a board, or an engine of one's own."""
import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from arch.geometry import PRESETS, Geometry
from arch.sdram import Timing
from arch.units import OPTIONAL
from boards import ALIASES, BOARDS, find
from boards.board import MOST_STORAGE_MB
from cli import OutputError, positive, print_notes
from compiler.lowering.needs import needed
from nets.int8.network import QNetwork

__all__ = ["Target", "add_storage_argument", "add_target_arguments", "add_units_argument", "engine_for", "target_from_arguments",
           "target_of"]

USUAL = "ulx3s"         # the board whose SDRAM an engine without a board has


@dataclass(frozen=True)
class Target:
    """What a program is made for. `storage_words` words of 16 bits; `timing` of the SDRAM, None for block RAM. `own`: the engine
    is one of the user's own, to which nothing is added."""

    name: str
    geometry: Geometry
    storage_words: int
    timing: Timing | None = None
    own: bool = False

    @property
    def title(self) -> str:
        """Its name, and the optional units of its engine."""
        options = self.geometry.options
        return f"{self.name} with {', '.join(options)}" if options else self.name

    def serving(self, network: QNetwork) -> "Target":
        """The same with the optional units that a network needs, which a note names; an engine of the user's own as it is."""
        return self if self.own else replace(self, geometry=engine_for(network, self.geometry, self.name))


def engine_for(network: QNetwork, geometry: Geometry, name: str) -> Geometry:
    """The engine of the board `name` with the optional units that a network needs, which a note names."""
    added = [unit for unit in needed(network, geometry) if unit not in geometry.options]
    if added:
        print_notes([f"{network.name} needs {', '.join(added)}: an optional unit of the engine, which {name} is given"])
    return geometry.with_options(added)


def target_of(board: str, geometry: Path | None = None, storage_mb: int | None = None) -> Target:
    """The board of this name, or for the name of a preset an engine with the SDRAM of the usual board; with another engine if a
    file names one, as if with so much storage if `storage_mb` says how much.

    Raises ValueError for an unknown name or a size out of range, OutputError for a file that holds no geometry.
    """
    if board in PRESETS:
        found = replace(find(USUAL), name=board, geometry=PRESETS[board])
    else:
        try:
            found = find(board)
        except ValueError as error:
            raise ValueError(f"{error}; or an engine of {', '.join(PRESETS)}") from None
    if storage_mb is not None:
        found = found.with_storage(storage_mb)
    target = Target(found.name, found.geometry, found.storage_words, found.timing)
    if geometry is None:
        return target
    try:
        return replace(target, geometry=Geometry.from_json(geometry.read_text(encoding="utf-8")), own=True)
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(f"{geometry}: {getattr(error, 'strerror', None) or error}") from None


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Which board or engine; see `target_from_arguments`."""
    parser.add_argument("--board", default="ulx3s", metavar="B",
                        help=f"board or engine: {', '.join([*ALIASES, *BOARDS, *PRESETS])} (%(default)s)")
    parser.add_argument("--geometry", type=Path, metavar="FILE", help="another engine than the board's, as JSON")
    add_storage_argument(parser)
    add_units_argument(parser)


def add_units_argument(parser: argparse.ArgumentParser,
                       meaning: str = "optional units of the engine beside those that the network needs") -> None:
    """Names of optional units."""
    parser.add_argument("--units", type=_units, default=(), metavar="U,...", help=f"{meaning}: {', '.join(OPTIONAL)}, or all")


def _units(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in ("all", *OPTIONAL)]:
        raise argparse.ArgumentTypeError(f"must be of {', '.join(OPTIONAL)}, or all, not {', '.join(map(repr, unknown))}")
    return OPTIONAL if "all" in names else names


def add_storage_argument(parser: argparse.ArgumentParser) -> None:
    """As if a board had another storage than it has."""
    parser.add_argument("--storage-mb", type=positive, metavar="N",
                        help=f"as if the board had N MB of storage, in an SDRAM like its own: 1..{MOST_STORAGE_MB}")


def target_from_arguments(args: argparse.Namespace) -> Target:
    """What the arguments name. Raises as `target_of`."""
    target = target_of(args.board, args.geometry, args.storage_mb)
    return replace(target, geometry=target.geometry.with_options(args.units))
