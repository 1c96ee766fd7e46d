"""Opens and closes the rows of an SDRAM, one segment ahead of the words."""
from contextlib import contextmanager

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.sdram import BANKS, LOOKUP, Timing
from hw.pause import Pause
from hw.sdram_segments import segment_layout
from hw.sdram_upkeep import ACTIVATE, PRECHARGE, command_layout

__all__ = ["SdramRows"]


class SdramRows(wiring.Component):
    """Takes a segment, opens its row while the words of the one before it pass, and offers it.

    ``LOOKUP`` cycles after a segment is taken its first row command is given, or none if its row is open already. Rows stay
    open until another row of the bank is wanted or a refresh comes: with ``hold`` everything stops, ``held`` tells when all
    banks may be closed, and after ``hold`` the current row is opened again and the segment ahead looked up anew.

    Members
    -------
    i, o : ``In/Out(stream.Signature(segment_layout(timing)))``
        ``o.valid`` also depends on ``run``.
    current : ``In(StructLayout({"active": 1, "bank": 2, "row": row_bits}))``
        The segment whose words pass.
    wrote : ``In(1)``
        A word is written to the current bank.
    run : ``Out(1)``
        Words may pass; registered.
    hold : ``In(1)``
    held : ``Out(1)``
    command : ``Out(command_layout())``
        Combinational, from registers and ``current``.
    """

    def __init__(self, timing: Timing):
        self.timing = timing
        segment = stream.Signature(segment_layout(timing))
        current = data.StructLayout({"active": 1, "bank": range(BANKS), "row": timing.row_bits})
        super().__init__({"i": In(segment), "o": Out(segment), "current": In(current), "wrote": In(1), "run": Out(1),
                          "hold": In(1), "held": Out(1), "command": Out(command_layout())})

    def elaborate(self, platform):
        m = Module()
        timing, current = self.timing, self.current
        ahead, pending = Signal(self.o.payload.shape(), reset_less=True), Signal()
        rows = Array(Signal(timing.row_bits, name=f"row{bank}", reset_less=True) for bank in range(BANKS))
        opened = Array(Signal(name=f"open{bank}") for bank in range(BANKS))
        activate, precharge = Signal(), Signal()
        bank, row = Signal(range(BANKS)), Signal(timing.row_bits)           # of the command
        m.d.comb += [bank.eq(ahead.bank), row.eq(ahead.row), self.command.valid.eq(activate | precharge),
                     self.command.bank.eq(Mux(activate | precharge, bank, 0)), self.command.address.eq(Mux(activate, row, 0)),
                     self.command.code.eq(Mux(activate, ACTIVATE, Mux(precharge, PRECHARGE, 0)))]

        m.submodules.pause = pause = Pause(max(timing.rp, timing.rcd))      # until the next step may follow
        m.submodules.rrd = rrd = Pause(timing.rrd)
        m.d.comb += [rrd.start.eq(activate), rrd.cycles.eq(timing.rrd), pause.start.eq(activate | precharge),
                     pause.cycles.eq(Mux(activate, max(timing.rcd - 1, 1), timing.rp))]
        closable = []
        for n in range(BANKS):
            m.submodules[f"ras{n}"] = ras = Pause(timing.row_open)
            m.submodules[f"wr{n}"] = wr = Pause(timing.wr)
            # A word is on the pins one cycle earlier than a row command of the same cycle.
            m.d.comb += [ras.start.eq(activate & (bank == n)), ras.cycles.eq(timing.row_open),
                         wr.start.eq(self.wrote & (current.bank == n)), wr.cycles.eq(max(timing.wr - 1, 1))]
            closable.append(ras.ok & wr.ok)
            with m.If(activate & (bank == n)):
                m.d.sync += [rows[n].eq(row), opened[n].eq(1)]
            with m.If(precharge & (bank == n)):
                m.d.sync += opened[n].eq(0)

        seen_row, seen_open = Signal(timing.row_bits, reset_less=True), Signal(reset_less=True)
        same = Signal(reset_less=True)
        m.d.sync += [seen_row.eq(rows[ahead.bank]), seen_open.eq(opened[ahead.bank]), same.eq(seen_row == ahead.row)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += pending.eq(0)
        with m.If(self.hold):
            m.d.sync += self.run.eq(0)

        @contextmanager
        def working(state: str):
            with m.State(state):
                with m.If(self.hold):
                    m.next = "HOLD"
                with m.Else():
                    yield

        assert LOOKUP == 4                      # states before the first command
        m.d.comb += self.o.payload.eq(ahead)
        with m.FSM(init="HOLD") as fsm:
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
                    m.next = "READY"
            with working("CLOSE"):
                with m.If(Array(closable)[ahead.bank] & ~(current.active & (current.bank == ahead.bank))):
                    m.d.comb += precharge.eq(1)
                    m.next = "OPEN"
            with working("OPEN"):
                with m.If(pause.ok & rrd.ok):
                    m.d.comb += activate.eq(1)
                    m.next = "OPENED"
            with working("OPENED"):
                with m.If(pause.ok):
                    m.next = "READY"
            with working("READY"):
                with m.If(self.o.ready & self.run):
                    m.next = "WAIT"
            with m.State("HOLD"):
                with m.If(self.hold):
                    m.d.comb += self.held.eq(Cat(closable).all())
                    m.d.sync += [Cat(opened).eq(0)]
                with m.Else():
                    m.d.comb += [bank.eq(current.bank), row.eq(current.row), activate.eq(current.active)]
                    m.next = "RESUME"
                    with m.If(current.active):
                        m.next = "REOPEN"
            with m.State("REOPEN"):
                with m.If(pause.ok):
                    m.next = "RESUME"
            with m.State("RESUME"):
                m.d.sync += self.run.eq(1)
                m.next = "WAIT"
                with m.If(pending):
                    m.next = "LOOK"
        m.d.comb += self.o.valid.eq(fsm.ongoing("READY") & self.run)
        return m
