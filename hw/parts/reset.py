"""Resets as a tree of registers: one line to all registers of a chip would be its slowest."""
from amaranth import ClockDomain, ClockSignal, Module, ResetSignal
from amaranth.hdl import DomainRenamer

from hw.primitives import Copy

__all__ = ["late_domain", "own_reset"]


def late_domain(m: Module, name: str, reset=None):
    """Adds a domain to `m` with the clock of `sync`, in reset a cycle later than `sync`, or than `reset` is high. Returns its
    reset.

    Nothing may be given to it in the cycle after a reset. Units that count each other's credits must be equally late.
    """
    m.domains += (domain := ClockDomain(name, local=True))
    m.submodules[f"{name}_reset"] = copy = Copy()
    m.d.comb += [domain.clk.eq(ClockSignal()), domain.rst.eq(copy.q), copy.d.eq(ResetSignal() if reset is None else reset)]
    return copy.q


def own_reset(m: Module, name: str, unit, reset=None) -> None:
    """Adds `unit` as the submodule `name` of `m`, in a `late_domain` of that name."""
    late_domain(m, name, reset)
    m.submodules[name] = DomainRenamer(name)(unit)
