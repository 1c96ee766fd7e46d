"""Controller of a 16-bit SDRAM: long bursts at the speed of the pins."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.sdram import BANKS, Timing
from hw.pause import Pause
from hw.sdram_rows import SdramRows
from hw.sdram_segments import SdramSegments, request_layout
from hw.sdram_upkeep import SdramUpkeep, command_layout

__all__ = ["Sdram", "SdramPins", "word_layout"]


def word_layout() -> data.StructLayout:
    """A word that was read; nobody can refuse it."""
    return data.StructLayout({"valid": 1, "data": 16})


class SdramPins(wiring.Signature):
    """Pins of a chip but its clock, seen from the controller; `dq_oe` drives all data pins with `dq_o`."""

    def __init__(self):
        super().__init__({"cke": Out(1), "cs_n": Out(1, init=1), "ras_n": Out(1, init=1), "cas_n": Out(1, init=1),
                          "we_n": Out(1, init=1), "ba": Out(range(BANKS)), "a": Out(13), "dqm": Out(2, init=3),
                          "dq_o": Out(16), "dq_oe": Out(1), "dq_i": In(16)})


class Sdram(wiring.Component):
    """Reads and writes `length` words from word `address` on; requests are served in order, words one a cycle.

    A word is 16 bits, 0..131071 of them are asked for at once; a request of none does nothing, one that goes past the last
    word goes on at word 0. Reading and writing the same word in the order of the requests is safe.

    **Who reads must take**: words come on ``r`` with no way to stop them, so only ask for what there is room for, as a DMA
    into block RAM does. Who writes may be slow: ``w`` is a stream, words wait for their requests and requests for their words,
    while refreshes go on. ``request.ready`` and ``w.ready`` depend on registers only.

    Each row's words take one cycle each and a cycle for each row command behind them: consecutive rows lie in different banks,
    so the next row is opened while words pass. Rows stay open until another one of the bank is wanted or all are refreshed,
    each `timing.period` cycles under any load. `golden.cycles.sdram` tells the cycle of each word.

    After reset the chip is started (`timing.ready` cycles); requests wait. A reset in the middle of anything starts it again,
    and leaves the chip's words as they were but those being written.

    Parameters
    ----------
    timing : Timing
        With `pin_registers` if each pin has a register of its own beside those of this component (`io.FFBuffer`).

    Members
    -------
    request : ``In(stream.Signature(request_layout(timing)))``
    w : ``In(stream.Signature(16))``
    r : ``Out(word_layout())``
        ``timing.read`` cycles after the column was given.
    pins : ``Out(SdramPins())``
        Registers; inputs go to a register first.
    """

    def __init__(self, timing: Timing):
        self.timing = timing
        super().__init__({"request": In(stream.Signature(request_layout(timing))), "w": In(stream.Signature(16)),
                          "r": Out(word_layout()), "pins": Out(SdramPins())})

    def elaborate(self, platform):
        m = Module()
        timing, pins = self.timing, self.pins
        m.submodules.segments = segments = SdramSegments(timing)
        m.submodules.rows = rows = SdramRows(timing)
        m.submodules.upkeep = upkeep = SdramUpkeep(timing)
        m.submodules.turn = turn = Pause(timing.turnaround)             # column read -> column write
        connect(m, flipped(self.request), segments.i)
        connect(m, segments.o, rows.i)
        m.d.comb += [rows.hold.eq(upkeep.hold), upkeep.held.eq(rows.held)]

        # Row commands come first; they are so few that columns need no say.
        slot = Signal(command_layout())
        m.d.sync += slot.eq(Mux(upkeep.hold, upkeep.command, rows.command))

        following, current = rows.o.payload, Signal(rows.o.payload.shape(), reset_less=True)
        active, last, single = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        free, read, write, step = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq(active & rows.run & ~slot.valid), read.eq(free & ~current.write),
            self.w.ready.eq(free & current.write & turn.ok), write.eq(self.w.ready & self.w.valid),
            step.eq(~active | read | write), rows.o.ready.eq(step & (~active | last)),
            rows.active.eq(active), rows.wrote.valid.eq(pins.dq_oe), rows.wrote.bank.eq(pins.ba),
            turn.start.eq(read), turn.cycles.eq(timing.turnaround)]
        m.d.sync += single.eq(following.count == 1)         # long before it is offered
        with m.If(step):
            with m.If(~active | last):                      # meaningless if there is nothing to follow
                m.d.sync += [current.eq(following), last.eq(single), active.eq(rows.o.valid)]
            with m.Else():
                m.d.sync += [current.column.eq(current.column + 1), current.count.eq(current.count - 1),
                             last.eq(current.count == 2)]

        m.d.sync += [pins.cke.eq(1), pins.cs_n.eq(0), pins.dqm.eq(upkeep.starting.replicate(2)),
                     Cat(pins.ras_n, pins.cas_n, pins.we_n).eq(Cat(1, ~(read | write), ~write)),
                     pins.ba.eq(current.bank), pins.a.eq(current.column), pins.dq_o.eq(self.w.payload), pins.dq_oe.eq(write)]
        with m.If(slot.valid):
            m.d.sync += [Cat(pins.ras_n, pins.cas_n, pins.we_n).eq(slot.code), pins.ba.eq(slot.bank), pins.a.eq(slot.address)]

        way = Signal(timing.read)
        m.d.sync += [way.eq(Cat(read, way)), self.r.data.eq(pins.dq_i)]
        m.d.comb += self.r.valid.eq(way[-1])
        return m
