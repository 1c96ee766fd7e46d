"""What is claimed of streams, as assertions that a solver can prove for all runs."""
from collections.abc import Sequence

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring

from formal.prove import Claim
from hw.parts.delay import delayed

__all__ = ["assert_stable", "assume_long_resets", "keeps_order", "saboteur", "watched", "SABOTAGES"]


def _held(m: Module, stream: wiring.PureInterface, name: str) -> Value:
    """False in a cycle in which a beat that was offered and not taken has gone or changed."""
    stalled, payload = Signal(name=f"{name}_stalled"), Signal(len(Value.cast(stream.payload)), name=f"{name}_before")
    m.d.sync += [stalled.eq(stream.valid & ~stream.ready), payload.eq(Value.cast(stream.payload))]
    return ~stalled | (stream.valid & (Value.cast(stream.payload) == payload))


def assume_long_resets(m: Module, cycles: int) -> None:
    """A reset lasts for so many cycles or longer: what is under way in registers that have none must come out of them first."""
    before = [ResetSignal()]
    for n in range(cycles):
        before.append(delayed(m, before[-1], 1, f"reset{n}_"))
    m.d.comb += Assume(ResetSignal() | ~before[1] | Cat(before[1:]).all())


def assert_stable(m: Module, stream: wiring.PureInterface, name: str) -> None:
    """The unit keeps it. Covered: a beat that waits for several cycles and is then taken."""
    m.d.comb += Assert(_held(m, stream, name))
    waited = Signal(2, name=f"{name}_waited")
    with m.If(~stream.valid | stream.ready):
        m.d.sync += waited.eq(0)
    with m.Elif(waited != 3):
        m.d.sync += waited.eq(waited + 1)
    m.d.comb += Cover((waited == 3) & stream.valid & stream.ready)


def keeps_order(claim: Claim, m: Module, *, put: Value, value: Value | Sequence[Value], take: Value, taken: Value, most: int,
                patience: int, waiting: Value, ahead_of: int = 2) -> Value:
    """Every beat put in comes out once, in order, unchanged; at most `most` are inside; returns how many are.

    `put` beats come in a cycle, the first ones of `value` where that is a sequence. The solver picks one beat of any run and
    follows it: the number of beats before it is counted at its entry, and the beat that leaves after as many others must be it.
    As any beat could have been picked, no two are swapped and none is lost, repeated or changed. That nothing stays inside for
    ever is claimed too: while beats are inside and the unit does not offer one (`waiting`), at most `patience` cycles pass.
    Covered: the picked beat leaves after `ahead_of` others, or as many as there can be.
    """
    values = [value] if isinstance(value, Value) else list(value)
    inside, ahead = Signal(range(most + 1)), Signal(range(most + 1))
    saved = Signal(max(len(Value.cast(one)) for one in values))
    picked, gone = Signal(), Signal()
    pick = claim.free(range(len(values) + 1), "pick")
    m.d.comb += [Assert(~take | (inside != 0)), Assert(inside + put - take <= most)]
    m.d.sync += inside.eq(inside + put - take)
    chosen = (pick != 0) & (pick <= put) & ~picked
    before = (inside - take + pick - 1)[:len(ahead)]
    with m.If(chosen):
        m.d.sync += [picked.eq(1), ahead.eq(before)]
        for n, one in enumerate(values):
            with m.If(pick == n + 1):
                m.d.sync += saved.eq(one)
    due = picked & ~gone & take & (ahead == 0)
    with m.If(picked & ~gone & take):
        m.d.sync += [ahead.eq(ahead - 1), gone.eq(ahead == 0)]
    m.d.comb += [Assert(~due | (taken == saved)), Assert(~(picked & ~gone) | (ahead < inside))]

    followed = Signal()
    with m.If(chosen):
        m.d.sync += followed.eq(before == min(ahead_of, most - 1))
    m.d.comb += Cover(due & followed)
    idle = Signal(range(patience + 2))
    m.d.sync += idle.eq(0)
    with m.If((inside != 0) & waiting):
        m.d.sync += idle.eq(idle + 1)
    m.d.comb += Assert(idle <= patience)
    return inside


def watched(m: Module, stream: wiring.PureInterface, value: Value) -> wiring.PureInterface:
    """The stream with `value`, a part of its payload or what stands for it, in place of the payload."""
    members = {"payload": wiring.Out(len(value)), "valid": wiring.Out(1), "ready": wiring.In(1)}
    view = wiring.Signature(members).create()
    m.d.comb += [view.payload.eq(value), view.valid.eq(stream.valid), stream.ready.eq(view.ready)]
    return view


SABOTAGES = ("drop", "repeat", "swap", "change", "waver")


def saboteur(claim: Claim, m: Module, stream: wiring.PureInterface, how: str | None) -> wiring.PureInterface:
    """The stream with one fault behind it, of the solver's timing: a beat dropped, repeated, swapped with the next, changed, or
    wavering while it waits. Proofs must fail with each of them, or they claim nothing. Without a fault, the stream itself."""
    if how is None:
        return stream
    members = {"payload": wiring.Out(len(Value.cast(stream.payload))), "valid": wiring.Out(1), "ready": wiring.In(1)}
    out = wiring.Signature(members).create()
    strike, struck = claim.free(1, "strike"), Signal()
    payload = Value.cast(stream.payload)
    m.d.comb += [out.payload.eq(payload), out.valid.eq(stream.valid), stream.ready.eq(out.ready)]
    if how == "drop":
        with m.If(stream.valid & strike & ~struck):
            m.d.comb += [out.valid.eq(0), stream.ready.eq(1)]
            m.d.sync += struck.eq(1)
    elif how == "repeat":
        with m.If(stream.valid & out.ready & strike & ~struck):
            m.d.comb += stream.ready.eq(0)
            m.d.sync += struck.eq(1)
    elif how == "swap":
        held = Signal(len(payload))
        full = Signal()
        with m.If(stream.valid & strike & ~struck):         # takes one aside, lets the next pass
            m.d.comb += [out.valid.eq(0), stream.ready.eq(1)]
            m.d.sync += [struck.eq(1), full.eq(1), held.eq(payload)]
        passed = Signal()
        with m.If(full & ~strike):
            with m.If(~passed):
                with m.If(stream.valid & out.ready):
                    m.d.sync += passed.eq(1)
            with m.Else():
                m.d.comb += [out.valid.eq(1), out.payload.eq(held), stream.ready.eq(0)]
                with m.If(out.ready):
                    m.d.sync += full.eq(0)
    elif how == "change":
        with m.If(strike & ~struck):
            m.d.comb += out.payload.eq(payload ^ 1)
            with m.If(stream.valid & out.ready):
                m.d.sync += struck.eq(1)
    elif how == "waver":
        m.d.comb += out.valid.eq(stream.valid & ~strike)
        m.d.comb += stream.ready.eq(out.ready & ~strike)
    else:
        raise ValueError(f"sabotage must be one of {', '.join(SABOTAGES)}, not {how!r}")
    return out
