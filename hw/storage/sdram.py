"""Controller of a 16-bit SDRAM: long bursts at the speed of the pins."""
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.sdram import A10, BANKS, COLUMN, PULL, Timing
from hw.parts.delay import delayed
from hw.parts.pause import Pause
from hw.primitives import Copy
from hw.storage.sdram_rows import SdramRows
from hw.storage.sdram_segments import SdramSegments, request_layout
from hw.storage.sdram_upkeep import SdramUpkeep, command_layout

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

    **Who asks must be ready**: words come on ``r`` with no way to stop them, so only ask for what there is room for, as a DMA
    into block RAM does. Words to be written are asked for, too: each ``take`` is followed by one on ``w``, `arch.sdram.PULL`
    cycles later, so only ask when they are there (`hw.storage.pulled_words`). All these are registers, far from whom they serve.

    Each row's words take one cycle each and a cycle for each row command behind them: consecutive rows lie in different banks,
    so the next row is opened while words pass. Rows stay open until another one of the bank is wanted or all are refreshed,
    each `timing.period` cycles under any load. `golden.cycles.sdram` tells the cycle of each word.

    After reset the chip is started (`timing.ready` cycles); requests wait. A reset in the middle of anything starts it again,
    and leaves the chip's words as they were but those being written.

    Parameters
    ----------
    timing : Timing
        With `pin_registers` if each pin has a register of its own beside those of this component (`io.FFBuffer`).
    renews : bool
        Whether there is `renew`.

    Members
    -------
    renew : ``In(1)``
        While it is high the chip's mode register is set after each refresh: a clock of a wrong phase may have changed it.
    request : ``In(stream.Signature(request_layout(timing.address_bits)))``
    take, w : ``Out(1)``, ``In(16)``
    r : ``Out(word_layout())``
        ``timing.read`` cycles after the column was given.
    pins : ``Out(SdramPins())``
        Registers; inputs go to a register first.
    """

    def __init__(self, timing: Timing, *, renews: bool = False):
        self.timing, self.renews = timing, renews
        super().__init__({"request": In(stream.Signature(request_layout(timing.address_bits))), "take": Out(1), "w": In(16),
                          "r": Out(word_layout()), "pins": Out(SdramPins()), **({"renew": In(1)} if renews else {})})

    def elaborate(self, platform):
        m = Module()
        timing, pins = self.timing, self.pins
        m.submodules.segments = segments = SdramSegments(timing)
        m.submodules.rows = rows = SdramRows(timing)
        m.submodules.upkeep = upkeep = SdramUpkeep(timing, renews=self.renews)
        if self.renews:
            m.d.comb += upkeep.renew.eq(self.renew)
        m.submodules.turn = turn = Pause(timing.turnaround)             # column read -> column write
        connect(m, flipped(self.request), segments.i)
        connect(m, segments.o, rows.i)

        # Row commands come first; they are so few that columns need no say.
        slot, taken = Signal(command_layout(), reset_less=True), Signal()       # `rows.run` knows of them
        m.submodules.holding = holding = Copy(init=1)
        m.d.comb += [holding.d.eq(upkeep.holds), rows.holds.eq(upkeep.holds)]
        command = data.View(command_layout(), Mux(holding.q, upkeep.command, rows.command))
        m.d.sync += [slot.eq(command), taken.eq(command.valid)]
        m.d.comb += [rows.hold.eq(upkeep.hold), upkeep.held.eq(rows.held)]

        # Whether a column passes is decided by few registers; where it lies is worked out a cycle later.
        following = rows.o.payload
        active, passes = Signal(), Signal()
        writes, last, single, double, few, small = (
            Signal(name=name, reset_less=True) for name in ("writes", "last", "single", "double", "few", "small"))
        m.d.comb += [
            passes.eq(active & rows.run & (~writes | turn.ok)), rows.o.ready.eq(~active | passes & last),
            rows.active.eq(active), turn.start.eq(passes & ~writes), turn.cycles.eq(timing.turnaround)]
        loaded, passed, read, write = Signal(), Signal(), Signal(), Signal()
        bank, column = Signal.like(following.bank, reset_less=True), Signal.like(following.column, reset_less=True)
        count = Signal.like(following.count, reset_less=True)           # of words, before the one that `passed`
        m.d.sync += [single.eq(following.count == 1), double.eq(following.count == 2),      # long before it is offered
                     few.eq(following.count < 8)]
        with m.If(rows.o.ready):                            # meaningless if there is nothing to follow
            m.d.sync += [writes.eq(following.write), active.eq(rows.o.valid)]
        after = Mux(loaded, double, small & Mux(passed, count[:3] == 3, count[:3] == 2))
        m.d.sync += last.eq(Mux(passes, Mux(last, single, after), Mux(active, last, single)))
        m.d.sync += [loaded.eq(rows.o.ready), passed.eq(passes), read.eq(passes & ~writes), write.eq(passes & writes)]
        m.d.sync += small.eq(count < 8)                     # of the cycle before, which is soon enough
        with m.If(loaded):
            m.d.sync += [bank.eq(following.bank), column.eq(following.column), count.eq(following.count), small.eq(few)]
        with m.Elif(passed):
            m.d.sync += [column.eq(column + 1), count.eq(count - 1)]
        m.submodules.take = take = Copy()                   # DMA and pins are far apart
        m.d.comb += [take.d.eq(passes & writes), self.take.eq(take.q), rows.wrote.valid.eq(write), rows.wrote.bank.eq(bank)]

        # The command waits for the word that goes with it.
        late, now = Signal(command_layout(), reset_less=True), Signal()
        m.d.sync += [late.eq(slot), now.eq(taken)]
        pins_of_column = Cat(column[:A10], Const(0, 1), column[A10:])
        low, place = Signal(3), Signal(len(bank) + len(pins.a), reset_less=True)        # lines that are low: ras_n, cas_n, we_n
        m.d.sync += [low.eq(Cat(0, read | write, write)), place.eq(Cat(bank, pins_of_column))]
        with m.If(now):
            m.d.sync += [low.eq(~late.code), place.eq(Cat(late.bank, late.address))]
        assert COLUMN == PULL + 2
        way = COLUMN - 3
        # A reset must not reach along the whole edge where the pins are.
        drives = delayed(m, write, COLUMN - 2, "drives", reset=True)
        m.d.comb += [pins.dq_o.eq(delayed(m, self.w, 1, "dq")), Cat(pins.ba, pins.a).eq(delayed(m, place, way + 1, "place")),
                     pins.dq_oe.eq(delayed(m, drives, 1, "dq_oe"))]
        m.d.sync += [pins.cke.eq(1), pins.cs_n.eq(0), pins.dqm.eq(upkeep.starting.replicate(2)),
                     Cat(pins.ras_n, pins.cas_n, pins.we_n).eq(~delayed(m, low, way, "low", reset=True))]

        coming = Signal(timing.read - 1)
        m.d.sync += coming.eq(Cat(read, coming))
        m.d.comb += [self.r.valid.eq(coming[-1]), self.r.data.eq(delayed(m, pins.dq_i, 1, "dq_i"))]
        return m
