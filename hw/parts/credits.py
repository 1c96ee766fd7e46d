"""Counting credits: the flow control of units that cannot be stopped half way."""
from amaranth import Cat, Module, ResetSignal, Signal
from amaranth.hdl import Assert
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Credits"]


class Credits(wiring.Component):
    """At most `limit` credits, and from a register whether there is one.

    A credit given in cycle t can be taken from cycle t + 1 on. After reset there are `initial`. Taking from an empty account and
    giving to a full one are assertion failures in simulation.

    Members
    -------
    give, take : ``In(1)``
    any : ``Out(1)``
        Registered.

    Attributes
    ----------
    number : Signal
        How many there are; for assertions, it comes late in the cycle.
    """

    give: In(1)
    take: In(1)
    any: Out(1)

    def __init__(self, limit: int, initial: int = 0):
        if not 0 <= initial <= limit or limit < 1:
            raise ValueError(f"Credits must be 0..{limit} at first, not {initial}")
        self.limit, self.initial, self.number = limit, initial, Signal(range(limit + 1), name="number")
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        # `count` is a cycle behind: what came or went in the last one shows in `more` and `less`. So the counter does not wait
        # for those who give and take, and `any` is a lookup table away from them.
        count, more, less = Signal(range(self.limit + 1), init=self.initial), Signal(), Signal()
        some = Signal(init=self.initial > 0)
        m.d.comb += [self.any.eq(some), self.number.eq(count + more - less)]
        m.d.sync += [more.eq(self.give & ~self.take), less.eq(self.take & ~self.give)]
        with m.If(more | less):         # one carry chain: 1 or -1 is added
            m.d.sync += count.eq(count + Cat(1, less.replicate(len(count) - 1)))
        none = (count == 0) & ~more | (count == 1) & less
        one = (count == 0) & more | (count == 1) & ~more & ~less | (count == 2) & less
        m.d.sync += some.eq(self.give | ~(none | one & self.take))
        if platform is None:
            # During a reset units may still be on their way to theirs.
            reset = ResetSignal(allow_reset_less=True)
            m.d.sync += [Assert(reset | ~self.take | some, "taken without a credit"),
                         Assert(reset | self.take | ~self.give | (self.number != self.limit), "given too many credits")]
        return m
