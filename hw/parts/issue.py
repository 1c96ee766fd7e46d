"""How prepared steps of a command leave their queue, each in the cycle in which what it needs is there."""
from collections.abc import Callable

from amaranth import Module, Mux, ResetSignal, Signal
from amaranth.hdl import Assert, Value

from hw.parts.credits import Credits
from hw.parts.queue import Queue
from hw.primitives import Copy

__all__ = ["issue_steps"]


def issue_steps(m: Module, platform, unit, queue: Queue, space: Credits, *, rests: str,
                late: Callable[[Value, Value], Value] | None = None) -> None:
    """Steps of ``unit`` leave the queue, one a cycle at most.

    A step that is ``real`` takes a vector of ``unit.vector``, and one with ``emit`` waits until ``unit.room``. Drives
    ``unit.step``, ``unit.made``, ``unit.result`` and ``unit.vector.ready``, which depends on registers only.

    Parameters
    ----------
    unit :
        Component with members `vector`, `room`, `made`, `step` and `result` as those of `PoolSteps`.
    queue : Queue
        Of prepared steps, of the layout of ``unit.step``.
    space : Credits
        Of prepared steps; each comes back as its step is made.
    rests : str
        Field of a step: two cycles pass behind it.
    late : Callable[[Value, Value], Value] | None
        From whether a step is made, and whether one may be made but for what it needs, both in this cycle: whether it has to
        wait for something else, from registers only.
    """
    layout = unit.step.shape()
    step, go, hold = unit.step, Signal(), Signal()
    # One more step is kept in front of the queue: what decides whether a step is made does not reach back to it.
    kept, spare = Signal(layout, reset_less=True), Signal()
    present, waiting, refill = Signal(layout, reset_less=True), Signal(), Signal()
    with m.If(~spare):
        m.d.sync += kept.eq(queue.o.payload)
    with m.If(refill):
        m.d.sync += present.eq(Mux(spare, kept, queue.o.payload))
    m.d.sync += [spare.eq(~refill & (spare | queue.o.valid)), waiting.eq(~refill | spare | queue.o.valid)]
    # `due`: the step may be made, but for what it needs. Both ways are worked out before it is known which.
    clear, after, still, dues = Signal(), Signal(), Signal(), []
    for name in ("due", "due_refill", "due_result"):
        m.submodules[name] = copy = Copy()
        m.d.comb += copy.d.eq(Mux(go, after, still) & ~ResetSignal())
        dues.append(copy.q)
    due, there = dues[0], unit.vector.valid | ~step.real
    held_back = late and late(go, due)
    room, result = unit.room | ~step.emit, dues[2] & step.emit & there & unit.room
    m.d.comb += [after.eq((spare | queue.o.valid) & ~step[rests] & ~hold),
                 still.eq((waiting | spare | queue.o.valid) & ~hold)]
    m.d.sync += hold.eq(go & step[rests])
    m.d.comb += [step.eq(present), clear.eq(room & ~held_back if late else room),
                 unit.vector.ready.eq(clear & due & step.real), go.eq(clear & due & there),
                 refill.eq(~waiting | clear & dues[1] & there), queue.o.ready.eq(~spare), space.give.eq(go), unit.made.eq(go),
                 unit.result.eq(result & ~held_back if late else result)]
    if platform is None:
        # Steps prepared and not yet made, wherever they are: proofs that go on from any state need to know.
        under_way = queue.held.number + queue.w_en[0] + spare + waiting
        m.d.comb += Assert(ResetSignal() | (space.number + under_way == unit.places) & (waiting | ~(spare | due))
                           & (due == dues[1]) & (due == dues[2])
                           & (unit.result == (go & step.emit)), "steps got lost")
