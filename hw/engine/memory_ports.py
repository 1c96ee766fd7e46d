"""The ways of others to the engine's memories."""
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch.geometry import OPTION_WORDS, Geometry
from hw.engine.weights import bias_layout, scale_layout, weight_layout

__all__ = ["MemoryAccess", "MemoryWrites", "constants_write", "parameter_layout"]


def parameter_layout() -> data.StructLayout:
    """A parameter word: biases, multipliers and shifts of a pair's two columns."""
    return data.StructLayout({"biases": bias_layout(), "scales": scale_layout()})


def _write(depth: int, shape, enables: int = 1) -> wiring.Signature:
    return wiring.Signature({"addr": Out(ceil_log2(depth)), "data": Out(shape), "en": Out(enables)})


def constants_write(option: str, bits: int = bias_layout().size) -> wiring.Signature:
    """Write port of an option's constants, seen from whoever writes: so many low bits of parameter words, those of the biases if
    not otherwise said."""
    return _write(OPTION_WORDS[option], bits)


class MemoryWrites(wiring.Signature):
    """Write ports, seen from whoever writes: `addr`, `data`, `en` of each memory.

    Members
    -------
    activations : words of PI bytes, with a bit of `en` for each vector of PO bytes
    weights : words of PI pairs of weights
    parameters : words of `parameter_layout()`; those behind the parameter memory are the optional units'
    """

    def __init__(self, geometry: Geometry):
        super().__init__({
            "activations": Out(_write(geometry.activation_words, 8 * geometry.input_lanes, geometry.blocks_per_word)),
            "weights": Out(_write(geometry.weight_words, weight_layout(geometry))),
            "parameters": Out(_write(geometry.parameter_places, parameter_layout()))})


class MemoryAccess(wiring.Signature):
    """Everything that somebody else does with the engine's memories, seen from him; all from registers.

    Members
    -------
    writes : ``MemoryWrites(geometry)``
        An activation is readable `pipeline.ACTIVATION_WRITE` + `pipeline.ACTIVATION_TO_READ` cycles later.
    write_grant : ``Out(1)``
        The engine may write activations; low `pipeline.WRITE_GRANT` cycles before each write of an activation.
    read : ``addr``, ``data``
        A word of activations, `pipeline.WINDOW` + `pipeline.ACTIVATION_READ` cycles after its address.
    read_grant : ``Out(1)``
        The engine may read; low in the cycle of an address.
    """

    def __init__(self, geometry: Geometry):
        read = {"addr": Out(ceil_log2(geometry.activation_words)), "data": In(8 * geometry.input_lanes)}
        super().__init__({"writes": Out(MemoryWrites(geometry)), "write_grant": Out(1, init=1),
                          "read": Out(wiring.Signature(read)), "read_grant": Out(1, init=1)})
