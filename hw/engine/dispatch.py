"""Hands each unit its part of a command."""
from amaranth import Cat, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch import pipeline
from arch.command import Command
from arch.geometry import Geometry
from hw.engine.weights import RULES, rules_layout
from hw.parts.credits import Credits
from hw.parts.layout import command_layout, record_layout
from hw.parts.reset import own_reset
from hw.primitives import Copy

__all__ = ["Dispatch"]

SLICE_BITS = 36         # of a record; each such part lies in distributed RAM with addresses of its own


class _RecordQueue(wiring.Component):
    """The records of one unit, up to `pipeline.COMMANDS`.

    Members: `put`, In(1), the record `i` of this cycle and the next two is put in; `o`, stream; `room`, Out(1), there is a place,
    known two cycles after a `put` took one.
    """

    def __init__(self, layout):
        super().__init__({"put": In(1), "i": In(layout), "o": Out(stream.Signature(layout)), "room": Out(1)})

    def elaborate(self, platform):
        m = Module()
        o = self.o
        m.submodules.places = places = Credits(pipeline.COMMANDS, pipeline.COMMANDS)
        m.submodules.held = held = Credits(pipeline.COMMANDS)
        m.submodules.strobe = strobe = Copy()
        m.submodules.write = write = Copy()
        offered, back, offers = Signal(), Signal(), Signal()
        # The strobes have no reset: what begins in the last cycle of one must not reach them.
        m.d.sync += [back.eq(o.valid & o.ready), offered.eq(offers)]
        m.d.comb += [strobe.d.eq(self.put), write.d.eq(strobe.q & ~ResetSignal()), places.take.eq(strobe.q),
                     places.give.eq(back), held.give.eq(write.q), held.take.eq(held.any & ~offered), o.valid.eq(offered),
                     offers.eq(Mux(offered, ~o.ready, held.any) & ~ResetSignal()), self.room.eq(places.any)]
        given, record = Value.cast(self.i), Value.cast(o.payload)
        for low in range(0, len(given), SLICE_BITS):
            part = given[low:low + SLICE_BITS]
            m.submodules[f"queue{low}"] = queue = memory.Memory(shape=len(part), depth=pipeline.COMMANDS, init=[])
            m.submodules[f"enable{low}"] = enable = Copy()
            m.submodules[f"stays{low}"] = stays = Copy()
            w, r = queue.write_port(), queue.read_port(domain="comb")
            output = Signal(len(part), name=f"output{low}", reset_less=True)
            m.d.comb += [enable.d.eq(strobe.q & ~ResetSignal()), stays.d.eq(offers), w.en.eq(enable.q), w.data.eq(part),
                         record[low:low + SLICE_BITS].eq(output)]
            with m.If(w.en):
                m.d.sync += w.addr.eq(w.addr + 1)
            with m.If(~stays.q):
                m.d.sync += [output.eq(r.data), r.addr.eq(r.addr + held.any)]
        return m


class Dispatch(wiring.Component):
    """Splits commands into a record for each unit, in a queue for each, so that units take them in their own time.

    A command is taken `pipeline.COMMAND_TAKEN` cycles after it is offered at the earliest, every `pipeline.COMMAND_SPACING`
    cycles at most, and when each unit has taken the one `pipeline.COMMANDS` before it `pipeline.COMMAND_BACK` cycles ago; its
    records are offered `pipeline.DISPATCH` cycles later, and not in the cycle after the unit took another. There is no copy of
    the payload: it is still offered when it goes into the queues. The units lie all over the chip, so strobes, the record at
    the queue's output, the unit's taking it, and `command.ready` have registers to themselves. Reset drops everything; the
    queues have theirs a cycle later, and units must not take anything in the cycle after it.

    Members: `command`, stream of `command_layout()`; a stream for each record of a command, by its name; but the last of `RULES`
    goes with the others of these, in the stream `scale` (of `rules_layout()`).
    """

    def __init__(self, geometry: Geometry):
        units = {name: record_layout(record) for name, record in Command.records(geometry).items() if name != RULES[-1]}
        units["scale"] = rules_layout()
        self.units = units
        super().__init__({"command": In(stream.Signature(command_layout(geometry))),
                          **{name: Out(stream.Signature(layout)) for name, layout in units.items()}})

    def elaborate(self, platform):
        m = Module()
        command, rooms = self.command.payload, []
        go, went, put, accept = Signal(), Signal(), Signal(), Signal(init=1)
        for name, layout in self.units.items():
            own_reset(m, f"{name}_records", queue := _RecordQueue(layout))
            given = Cat(command[record] for record in RULES) if name == "scale" else command[name]
            m.d.comb += [queue.put.eq(put), Value.cast(queue.i).eq(given)]
            connect(m, queue.o, flipped(getattr(self, name)))
            rooms.append(queue.room)
        m.d.comb += [put.eq(go & ~ResetSignal()), go.eq(self.command.valid & accept)]
        # Credits taken for a command are missed two cycles after it begins.
        m.d.sync += [went.eq(put), self.command.ready.eq(went), accept.eq(Cat(rooms).all() & ~go & ~went)]
        assert (pipeline.COMMAND_TAKEN, pipeline.DISPATCH, pipeline.COMMAND_SPACING, pipeline.COMMAND_BACK) == (2, 2, 3, 5)
        return m
