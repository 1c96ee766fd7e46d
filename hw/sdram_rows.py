"""Opens and closes the rows of an SDRAM, one segment ahead of the words."""
from contextlib import contextmanager

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.sdram import BANKS, LOOKUP, Timing
from hw.pause import Pause
from hw.sdram_segments import segment_layout
from hw.sdram_upkeep import ACTIVATE, ALL_BANKS, PRECHARGE, command_layout

__all__ = ["SdramRows"]


class SdramRows(wiring.Component):
    """Takes a segment, opens its row while the words of the one before it pass, and offers it.

    ``LOOKUP`` cycles after a segment is taken its first row command is given, or none if its row is open already. Rows stay
    open until another row of the bank is wanted or a refresh comes: with ``hold`` everything stops, ``held`` tells when all
    banks may be closed, and after ``hold`` the current row is opened again and the segment ahead looked up anew.

    Members
    -------
    i, o : ``In/Out(stream.Signature(segment_layout(timing)))``
        ``i.ready`` depends on registers only, ``o.valid`` is one.
    active : ``In(1)``
        Words of the segment last taken from ``o`` are left.
    wrote : ``In(StructLayout({"valid": 1, "bank": 2}))``
        A word is being written: in the cycle after its column was decided.
    run : ``Out(1)``
        Words may pass; registered.
    hold : ``In(1)``
    held : ``Out(1)``
    command : ``Out(command_layout())``
        Decided in this cycle; only `valid` and `code` depend on other than registers.
    """

    def __init__(self, timing: Timing):
        self.timing = timing
        segment = stream.Signature(segment_layout(timing))
        super().__init__({"i": In(segment), "o": Out(segment), "active": In(1),
                          "wrote": In(data.StructLayout({"valid": 1, "bank": range(BANKS)})), "run": Out(1),
                          "hold": In(1), "held": Out(1), "command": Out(command_layout())})

    def elaborate(self, platform):
        m = Module()
        timing = self.timing
        ahead, pending = Signal(self.o.payload.shape(), reset_less=True), Signal()
        current = Signal(data.StructLayout({"bank": range(BANKS), "row": timing.row_bits}), reset_less=True)
        taken = Signal()                    # a cycle ago; what was ahead is still there
        m.d.sync += taken.eq(self.o.valid & self.o.ready)
        with m.If(taken):
            m.d.sync += [current.bank.eq(ahead.bank), current.row.eq(ahead.row)]

        activate, precharge = Signal(), Signal()
        bank, row = Signal(range(BANKS)), Signal(timing.row_bits)           # of the command
        m.d.comb += [bank.eq(Mux(self.run, ahead.bank, current.bank)), row.eq(Mux(self.run, ahead.row, current.row)),
                     self.command.valid.eq(activate | precharge), self.command.code.eq(Mux(activate, ACTIVATE, PRECHARGE)),
                     self.command.bank.eq(bank), self.command.address.eq(row)]
        with m.If(~activate):
            m.d.comb += self.command.address.eq(row & ~ALL_BANKS)

        # What a row command starts, it starts a cycle later: nobody looks before.
        activated, given_bank, given_row = Signal(), Signal(range(BANKS), reset_less=True), Signal(timing.row_bits, reset_less=True)
        m.d.sync += [activated.eq(activate), given_bank.eq(bank), given_row.eq(row)]
        rows = Array(Signal(timing.row_bits, name=f"row{n}", reset_less=True) for n in range(BANKS))
        opened = Array(Signal(name=f"open{n}") for n in range(BANKS))
        m.submodules.pause = pause = Pause(max(timing.rp, timing.rcd))      # until the next step may follow
        m.submodules.rrd = rrd = Pause(timing.rrd)
        m.d.comb += [rrd.start.eq(activated), rrd.cycles.eq(timing.rrd - 1), pause.start.eq(activate | precharge),
                     pause.cycles.eq(Mux(activate, max(timing.rcd - 1, 1), timing.rp))]
        closable = []
        for n in range(BANKS):
            m.submodules[f"ras{n}"] = ras = Pause(timing.row_open)
            m.submodules[f"wr{n}"] = wr = Pause(timing.wr)
            start, wrote = activated & (given_bank == n), self.wrote.valid & (self.wrote.bank == n)
            m.d.comb += [ras.start.eq(start), ras.cycles.eq(timing.row_open - 1),
                         wr.start.eq(wrote), wr.cycles.eq(max(timing.wr - 2, 0))]
            # A precharge decided in the cycle after a column follows it by two clocks.
            closable.append(ras.ok & wr.ok & ~wrote if timing.wr > 2 else ras.ok)
            with m.If(start):
                m.d.sync += [rows[n].eq(given_row), opened[n].eq(1)]

        seen_row, seen_open = Signal(timing.row_bits, reset_less=True), Signal(reset_less=True)
        same = Signal(reset_less=True)
        m.d.sync += [seen_row.eq(rows[ahead.bank]), seen_open.eq(opened[ahead.bank]), same.eq(seen_row == ahead.row)]
        ready = Signal()
        m.d.comb += [self.o.valid.eq(ready), self.o.payload.eq(ahead)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [pending.eq(0), ready.eq(0)]
        with m.If(self.hold):
            m.d.sync += [self.run.eq(0), ready.eq(0)]

        @contextmanager
        def working(state: str):
            with m.State(state):
                with m.If(self.hold):
                    m.next = "HOLD"
                with m.Else():
                    yield

        assert LOOKUP == 4                      # states before the first command
        with m.FSM(init="HOLD"):
            with working("WAIT"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [ahead.eq(self.i.payload), pending.eq(self.i.valid)]
                with m.If(self.i.valid):
                    m.next = "LOOK"
            with working("LOOK"):
                m.next = "COMPARE"
            with working("COMPARE"):
                m.next = "DECIDE"
            with working("DECIDE"):
                m.next = "CLOSE"
                with m.If(~seen_open):
                    m.next = "OPEN"
                with m.Elif(same):
                    m.d.sync += ready.eq(1)
                    m.next = "READY"
            with working("CLOSE"):
                with m.If(Array(closable)[ahead.bank] & ~(self.active & (current.bank == ahead.bank))):
                    m.d.comb += precharge.eq(1)
                    m.next = "OPEN"
            with working("OPEN"):
                with m.If(pause.ok & rrd.ok):
                    m.d.comb += activate.eq(1)
                    m.next = "OPENED"
            with working("OPENED"):
                with m.If(pause.ok):
                    m.d.sync += ready.eq(1)
                    m.next = "READY"
            with working("READY"):
                with m.If(self.o.ready):
                    m.next = "WAIT"
            with m.State("HOLD"):
                with m.If(self.hold):
                    m.d.comb += self.held.eq(Cat(closable).all())
                    m.d.sync += [Cat(opened).eq(0)]
                with m.Else():
                    m.d.comb += activate.eq(self.active)
                    m.next = "RESUME"
                    with m.If(self.active):
                        m.next = "REOPEN"
            with m.State("REOPEN"):
                with m.If(pause.ok):
                    m.next = "RESUME"
            with m.State("RESUME"):
                m.d.sync += self.run.eq(1)
                m.next = "WAIT"
                with m.If(pending):
                    m.next = "LOOK"
        return m
