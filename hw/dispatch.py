"""Hands each unit its part of a command."""
from amaranth import Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from arch import pipeline
from arch.command import Command
from hw.layout import command_layout, record_layout
from hw.queue import Queue
from hw.tokens import Tokens
from hw.weights import rules_layout

__all__ = ["Dispatch"]

RECORDS = Command.records()


class Dispatch(wiring.Component):
    """Splits commands into a record for each unit, in a queue for each, so that units take them in their own time.

    A command is taken when each unit has taken the one `pipeline.COMMANDS` before it; its records are offered from the next
    cycle on. `command.ready` comes from registers. Reset drops everything.

    Members: `command`, stream of `command_layout()`; streams `window`, `load`, `scale` (of `rules_layout()`), `pool`, `average`,
    `writer`; `busy` Out(1), a record waits.
    """

    def __init__(self):
        units = {name: record_layout(record) for name, record in RECORDS.items() if name != "requantise"}
        units["scale"] = rules_layout()
        self.units = list(units)
        super().__init__({"command": In(stream.Signature(command_layout())), "busy": Out(1),
                          **{name: Out(stream.Signature(layout)) for name, layout in units.items()}})

    def elaborate(self, platform):
        m = Module()
        c = self.command.payload
        ready, busy = [], []
        for name in self.units:
            o = getattr(self, name)
            m.submodules[f"{name}_queue"] = queue = Queue(o.payload.shape())
            m.submodules[f"{name}_places"] = places = Tokens(pipeline.COMMANDS, pipeline.COMMANDS)
            taken = self.command.valid & self.command.ready
            m.d.comb += [queue.w_en.eq(taken), places.take.eq(taken), places.give.eq(o.valid & o.ready)]
            if name == "scale":
                m.d.comb += [queue.w_data.load.eq(c.load), queue.w_data.rule.eq(c.requantise)]
            else:
                m.d.comb += queue.w_data.eq(c[name])
            wiring.connect(m, wiring.flipped(o), queue.o)
            ready.append(places.any)
            busy.append(o.valid)
        m.d.comb += [self.command.ready.eq(Cat(ready).all()), self.busy.eq(Cat(busy).any())]
        return m
