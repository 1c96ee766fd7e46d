"""What a packed byte is foretold to be, how far it may be off, and what it is (docs/packing.md)."""
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from arch.packing import MIDDLE, THRESHOLDS

__all__ = ["Foretell"]

_CHANNELS = 3


def _reaches(value, threshold: int):
    """Whether a value is a constant or more: some lookup tables, where a comparison would be a carry chain."""
    reached = Const(1)
    for n, bit in enumerate(value):                 # of the bits up to this one
        reached = bit & reached if threshold >> n & 1 else bit | reached
    return reached


class Foretell(wiring.Component):
    """One byte after the other. The inputs stand still from byte to byte, but for those that are high for a cycle.

    Members
    -------
    begin : ``In(1)``
        For a cycle: the next byte is a row's first one.
    first : ``In(1)``
        The byte is a pixel's first one.
    above, number_above : ``In(8)``, ``In(8)``
        What stands for the byte above, and the number that its code had.
    further : ``Out(len(THRESHOLDS))``
        So many ones, lowest bits first, as the byte's code has further bits: `LATENCY` cycles after `above`.
    number : ``In(8)``
        The code's number.
    value, byte : ``Out(8)``
        What stands for the byte, a cycle after the last bit of `number`, and the byte, two cycles after it; both stand still
        until the third cycle behind a `move`.
    move : ``In(1)``
        The next byte is in turn: three times the same byte, if pixels have one.
    """

    LATENCY = 6

    def __init__(self):
        super().__init__({"begin": In(1), "first": In(1), "above": In(8), "number_above": In(8), "further": Out(len(THRESHOLDS)),
                          "number": In(8), "value": Out(8), "byte": Out(8), "move": In(1)})

    def elaborate(self, platform):
        m = Module()
        # Of the last pixel, the oldest channel behind.
        lefts, betweens, numbers = ([Signal(8, name=f"{name}{n}", reset_less=True) for n in range(_CHANNELS)]
                                    for name in ("left", "between", "number"))
        before = Signal(8, reset_less=True)                         # the byte of the channel before
        with m.If(self.move):
            m.d.sync += before.eq(self.byte)
        for places, new, edge in ((lefts, self.value, MIDDLE), (betweens, self.above, MIDDLE), (numbers, self.number, 0)):
            with m.If(self.move):
                m.d.sync += Cat(places).eq(Cat(new, places))
            with m.If(self.begin):
                m.d.sync += [place.eq(edge) for place in places]
        left, between = lefts[-1], betweens[-1]

        # What they are apart, less 1 where downwards.
        along, across = Signal(9, reset_less=True), Signal(9, reset_less=True)
        steps_along, steps_across = Signal(8, reset_less=True), Signal(8, reset_less=True)
        alike, sum_ = Signal(reset_less=True), Signal(8, reset_less=True)
        steps, around, farther = Signal(9, reset_less=True), Signal(9, reset_less=True), Signal(reset_less=True)
        unrest, scaled = Signal(10, reset_less=True), Signal(11, reset_less=True)
        guess = Signal(8, reset_less=True)
        m.d.sync += [
            along.eq(left - between), across.eq(self.above - between),
            steps_along.eq(along[:8] ^ along[8].replicate(8)), steps_across.eq(across[:8] ^ across[8].replicate(8)),
            alike.eq(along[8] == across[8]), sum_.eq(left + across),
            steps.eq(steps_along + steps_across), around.eq(numbers[-1] + self.number_above),
            farther.eq(steps_along >= steps_across),
            # Both on one side of `between`: the farther one is the median, since their sum less `between` is farther still.
            guess.eq(Mux(alike, Mux(farther, left, self.above), sum_)),
            unrest.eq(steps + around), scaled.eq(Mux(self.first, Cat(0, unrest), unrest)),
            self.further.eq(Cat(_reaches(scaled, threshold) for threshold in THRESHOLDS))]
        error = self.number[1:] ^ self.number[0].replicate(8)
        m.d.sync += [self.value.eq(guess + error),
                     self.byte.eq(self.value + Mux(self.first, 0, before ^ MIDDLE))]
        return m
