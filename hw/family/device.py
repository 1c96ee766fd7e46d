"""What the gateware needs of a family of FPGAs beyond lookup tables, registers and Amaranth's own platform."""
from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Elaboratable, Module

from arch.pll import Pll

__all__ = ["LATER", "Device"]

LATER = "later"                 # domain of the second clock, without a reset


@dataclass(frozen=True, kw_only=True)
class Device:
    """A family: the shapes of its block RAM, and what makes each primitive of `hw.primitives` from its cells.

    Each function adds the cells of one primitive, given as its second argument, to the module that stands for it, with just the
    ports, latencies and first values that the primitive's docstring promises: its behavioural twin is what it is held against.
    Registers at pins are Amaranth's `lib.io`, which the platform of a board fills in.
    """

    name: str
    # Rows and bits of the shapes of a block RAM tile, the widest first. Its address and its data have registers.
    tiles: tuple[tuple[int, int], ...]
    block_ram: Callable[[Module, Elaboratable], None]
    multiplier: Callable[[Module, Elaboratable], None]
    # A register that synthesis keeps apart from others with the same input.
    copy: Callable[[Module, Elaboratable], None]
    # Sums and differences whose operands are gated inside the carry chain.
    gated_add: Callable[[Module, Elaboratable], None]
    gated_subtract: Callable[[Module, Elaboratable], None]
    gated_difference: Callable[[Module, Elaboratable], None]
    chosen_add: Callable[[Module, Elaboratable], None]
    # The clock pin of the flash that configures the chip.
    config_clock: Callable[[Module, Elaboratable], None]
    # Drives the domains `sync`, in reset until the clock is steady, and `LATER` from the platform's clock; its attribute `alive`
    # blinks by that one. If `LATER` is to be stepped, each falling edge of the attribute `step` makes it a step of the PLL later.
    clocks: Callable[[Pll, bool], Elaboratable]
