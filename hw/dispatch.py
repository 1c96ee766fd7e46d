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
            m.submodules[f"{name}_queue"] = queue = Queue(o.payload.shape())
            m.submodules[f"{name}_places"] = places = Tokens(pipeline.COMMANDS, pipeline.COMMANDS)
            m.submodules[f"{name}_strobe"] = strobe = Copy()
            m.submodules[f"{name}_write"] = write = Copy()
            record, offered = Signal(o.payload.shape(), name=f"{name}_record", reset_less=True), Signal(name=f"{name}_offered")
            present, back = Signal(o.payload.shape(), name=f"{name}_present", reset_less=True), Signal(name=f"{name}_back")
            if name == "scale":
                m.d.sync += [record.load.eq(c.load), record.rule.eq(c.requantise)]
            else:
                m.d.sync += record.eq(c[name])
            m.d.sync += back.eq(o.valid & o.ready)
            m.d.comb += [strobe.d.eq(put), write.d.eq(strobe.q & ~ResetSignal()), places.take.eq(strobe.q), places.give.eq(back),
                         queue.w_en.eq(write.q), queue.w_data.eq(record), queue.o.ready.eq(~offered),
                         o.valid.eq(offered), o.payload.eq(present)]
            with m.If(~offered):
                m.d.sync += [present.eq(queue.o.payload), offered.eq(queue.o.valid)]
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
