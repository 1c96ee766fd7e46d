"""Hands each unit its part of a command."""
from amaranth import Cat, Module, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from arch import pipeline
from arch.command import Command
from hw.layout import command_layout, record_layout
from hw.primitives import Copy
from hw.queue import Queue
from hw.tokens import Tokens
from hw.weights import rules_layout

__all__ = ["Dispatch"]

RECORDS = Command.records()
QUEUE_BITS = 36         # of a record; each such part has a queue with addresses of its own


class Dispatch(wiring.Component):
    """Splits commands into a record for each unit, in a queue for each, so that units take them in their own time.

    A command is taken every `pipeline.COMMAND_SPACING` cycles at most, and when each unit has taken the one `pipeline.COMMANDS`
    before it `pipeline.COMMAND_BACK` cycles ago; its records are offered `pipeline.DISPATCH` cycles later, and not in the cycle
    after the unit took another. The units lie all over the chip, so what goes there and comes back has registers to itself:
    the payload, once for all and once for each queue, strobes, the record at the queue's output, the unit's taking it, and
    `command.ready`. Reset drops everything, commands taken during it too.

    Members: `command`, stream of `command_layout()`; streams `window`, `load`, `scale` (of `rules_layout()`), `pool`, `average`,
    `writer`.
    """

    def __init__(self):
        units = {name: record_layout(record) for name, record in RECORDS.items() if name != "requantise"}
        units["scale"] = rules_layout()
        self.units = list(units)
        super().__init__({"command": In(stream.Signature(command_layout())),
                          **{name: Out(stream.Signature(layout)) for name, layout in units.items()}})

    def elaborate(self, platform):
        m = Module()
        c = Signal(command_layout(), reset_less=True)
        taken, was_taken, put = Signal(), Signal(), Signal()
        m.d.sync += [c.eq(self.command.payload), was_taken.eq(taken)]
        # The strobes have no reset: what is taken in the last cycle of one must not reach them.
        m.d.comb += [taken.eq(self.command.valid & self.command.ready), put.eq(taken & ~ResetSignal())]
        ready = []
        for name in self.units:
            o = getattr(self, name)
            m.submodules[f"{name}_places"] = places = Tokens(pipeline.COMMANDS, pipeline.COMMANDS)
            m.submodules[f"{name}_strobe"] = strobe = Copy()
            offered, back = Signal(name=f"{name}_offered"), Signal(name=f"{name}_back")
            m.d.sync += back.eq(o.valid & o.ready)
            m.d.comb += [strobe.d.eq(put), places.take.eq(strobe.q), places.give.eq(back), o.valid.eq(offered)]
            given, present = Cat(c.load, c.requantise) if name == "scale" else c[name].as_value(), o.payload.as_value()
            for low in range(0, len(given), QUEUE_BITS):
                part = given[low:low + QUEUE_BITS]
                m.submodules[f"{name}_queue{low}"] = queue = Queue(len(part))
                m.submodules[f"{name}_write{low}"] = write = Copy()
                record, output = (Signal(len(part), name=f"{name}_{what}{low}", reset_less=True)
                                  for what in ("record", "present"))
                m.d.sync += record.eq(part)
                m.d.comb += [write.d.eq(strobe.q & ~ResetSignal()), queue.w_en.eq(write.q), queue.w_data.eq(record),
                             queue.o.ready.eq(~offered), present[low:low + QUEUE_BITS].eq(output)]
                with m.If(~offered):
                    m.d.sync += output.eq(queue.o.payload)
            with m.If(~offered):
                m.d.sync += offered.eq(queue.o.valid)
            with m.Elif(o.ready):
                m.d.sync += offered.eq(0)
            ready.append(places.any)
        # Tokens taken for a command are missed two cycles after it.
        accept = Signal(init=1)
        m.d.sync += accept.eq(Cat(ready).all() & ~taken & ~was_taken)
        m.d.comb += self.command.ready.eq(accept)
        assert (pipeline.DISPATCH, pipeline.COMMAND_SPACING, pipeline.COMMAND_BACK) == (4, 3, 3)
        assert pipeline.COMMANDS <= Queue.PLACES
        return m
