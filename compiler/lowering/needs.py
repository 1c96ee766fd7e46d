"""Which optional units of the engine the layers of a network need, and what is said of an engine that lacks one."""
from collections.abc import Callable, Mapping

from arch.geometry import Geometry
from nets.int8.network import QLayer, QNetwork, QTable

__all__ = ["NEEDS", "lacking", "needed"]

# By unit: whether it is a layer's. A network is compiled for a board's engine with all units that its layers have here.
NEEDS: Mapping[str, Callable[[QLayer], bool]] = {"table": lambda layer: isinstance(layer, QTable)}


def needed(network: QNetwork) -> tuple[str, ...]:
    """Names of the units that its layers need, in alphabetical order."""
    return tuple(sorted(name for name, need in NEEDS.items() if any(map(need, network.layers))))


def lacking(layer: QLayer, geometry: Geometry) -> str:
    """What is said where an engine has not the unit that a layer needs; empty if it has."""
    for name, need in NEEDS.items():
        if name not in geometry.options and need(layer):
            return f'the engine has no unit "{name}": --units {name} adds it, and hw.build --units {name} makes such a chip'
    return ""
