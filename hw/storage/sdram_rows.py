"""Opens and closes the rows of an SDRAM, one segment ahead of the words."""
from amaranth import Array, Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.sdram import BANKS, LOOKUP, Timing
from hw.parts.pause import Pause
from hw.primitives import Copy
from hw.storage.sdram_segments import segment_layout
from hw.storage.sdram_upkeep import ACTIVATE, ALL_BANKS, PRECHARGE, command_layout

__all__ = ["SdramRows"]


class SdramRows(wiring.Component):
    """Takes a segment, opens its row while the words of the one before it pass, and offers it.

    ``LOOKUP`` cycles after a segment is taken its first row command is decided, or the segment offered if its row is open. Rows
    stay open until another row of the bank is wanted or a refresh comes: with ``hold`` everything stops, ``held`` tells when
    all banks may be closed, and after ``hold`` the current row is opened again and the segment ahead looked up anew.

    Members
    -------
    i, o : ``In/Out(stream.Signature(segment_layout(timing)))``
        ``i.ready`` and ``o.valid`` are registers. The `count` of ``i`` is looked at in the cycle after.
    active : ``In(1)``
        Words of the segment last taken from ``o`` are left.
    wrote : ``In(StructLayout({"valid": 1, "bank": 2}))``
        A word is being written: in the cycle after its column was decided.
    run : ``Out(1)``
        Words may pass: nothing is held, and no row command takes their place. A register.
    hold, holds : ``In(1)``
        A register, and its value in the next cycle.
    held : ``Out(1)``
    command : ``Out(command_layout())``
        Decided in this cycle; only `valid` and `code` depend on other than registers.
    """

    def __init__(self, timing: Timing):
        self.timing = timing
        segment = stream.Signature(segment_layout(timing))
        super().__init__({"i": In(segment), "o": Out(segment), "active": In(1),
                          "wrote": In(data.StructLayout({"valid": 1, "bank": range(BANKS)})), "run": Out(1),
                          "hold": In(1), "holds": In(1), "held": Out(1), "command": Out(command_layout())})

    def elaborate(self, platform):
        m = Module()
        timing = self.timing
        ahead, pending = Signal(self.o.payload.shape(), reset_less=True), Signal()
        current = Signal(data.StructLayout({"bank": range(BANKS), "row": timing.row_bits}), reset_less=True)
        running = Signal()
        taken = Signal()                    # a cycle ago; what was ahead is still there
        m.d.sync += taken.eq(self.o.valid & self.o.ready)
        with m.If(taken):
            m.d.sync += [current.bank.eq(ahead.bank), current.row.eq(ahead.row)]

        # One flip-flop per state, so that each has a short equation. While `running`: waiting for a segment; its row is looked
        # up, compared, judged; the bank's other row is to be closed, its own to be opened, is opening; it is offered. Else:
        # stopping, standing still for refreshes, the current row opens again, and on.
        wait, look, compare, decide, close, open_, opening, ready = (
            Signal(name=name) for name in ("wait", "look", "compare", "decide", "close", "open", "opening", "ready"))
        stop, still, reopen, resume = Signal(), Signal(init=1), Signal(), Signal()
        go = ~self.hold
        activate, precharge = Signal(), Signal()
        clear, all_closable = Signal(reset_less=True), Signal(reset_less=True)  # a cycle ago
        seen_row, seen_open = Signal(timing.row_bits, reset_less=True), Signal(reset_less=True)
        same = Signal(2, reset_less=True)           # halves

        waits = Signal()
        m.submodules.readies = readies = Copy()     # `wait` while there is no `hold`: segments are far away
        m.submodules.pause = pause = Pause(max(timing.rp, timing.rcd))      # until the next step may follow
        m.submodules.rrd = rrd = Pause(timing.rrd)
        assert LOOKUP == 4                      # look, compare, decide, and then
        m.d.comb += [activate.eq(go & (open_ & pause.ok & rrd.ok | still & self.active)), precharge.eq(go & close & clear),
                     self.i.ready.eq(readies.q), self.held.eq(still & all_closable),
                     self.o.valid.eq(ready), self.o.payload.eq(ahead)]
        m.d.comb += readies.d.eq(waits & ~self.holds & ~ResetSignal())
        hit = decide & seen_open & same.all()
        m.d.comb += waits.eq(go & (wait & ~self.i.valid | taken) | resume & ~pending)
        m.d.sync += [
            wait.eq(waits),
            look.eq(go & wait & self.i.valid | resume & pending),
            compare.eq(go & look),
            decide.eq(go & compare),
            close.eq(go & (decide & seen_open & ~same.all() | close & ~clear)),
            open_.eq(go & (decide & ~seen_open | close & clear | open_ & ~(pause.ok & rrd.ok))),
            opening.eq(go & (open_ & pause.ok & rrd.ok | opening & ~pause.ok)),
            ready.eq(go & (hit | opening & pause.ok | ready & ~self.o.ready)),
            stop.eq(running & self.hold),                   # what was decided before is on its way
            still.eq(stop | still & self.hold),
            reopen.eq(still & go & self.active | reopen & ~pause.ok),
            resume.eq(still & go & ~self.active | reopen & pause.ok),
            running.eq(running & go | resume),
            self.run.eq(running & go & ~(open_ & pause.ok & rrd.ok | close & clear) | resume)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += pending.eq(1)
        with m.Elif(taken):
            m.d.sync += pending.eq(0)
        m.submodules.takes, m.submodules.looks = takes, looks = Copy(), Copy()      # `wait`, for what is wide or far
        waited = Signal()
        m.d.comb += [takes.d.eq(waits), looks.d.eq(waits)]
        m.d.sync += waited.eq(wait)
        with m.If(takes.q):
            m.d.sync += [ahead[name].eq(self.i.payload[name]) for name in ("write", "bank", "row", "column")]
        with m.If(waited):
            m.d.sync += ahead.count.eq(self.i.payload.count)

        bank, row = Signal(range(BANKS)), Signal(timing.row_bits)           # of the command
        m.d.comb += [bank.eq(Mux(running, ahead.bank, current.bank)), row.eq(Mux(running, ahead.row, current.row)),
                     self.command.valid.eq(activate | precharge), self.command.code.eq(Mux(activate, ACTIVATE, PRECHARGE)),
                     self.command.bank.eq(bank), self.command.address.eq(row)]
        with m.If(~activate):
            m.d.comb += self.command.address.eq(row & ~ALL_BANKS)
        rows, opened, closable = self._banks(m, activate, precharge, bank, row, still, pause, rrd)
        m.d.sync += all_closable.eq(Cat(closable).all())
        looked, closing = self._bank_ahead(m, looks.q)
        half = timing.row_bits // 2
        m.d.sync += [seen_row.eq(rows[looked]), seen_open.eq(opened[looked]),
                     same.eq(Cat(seen_row[:half] == ahead.row[:half], seen_row[half:] == ahead.row[half:])),
                     clear.eq(closable[closing] & ~(self.active & (current.bank == closing)))]
        return m

    def _bank_ahead(self, m, looks):
        """The bank of the segment ahead, in registers of its own for each of those that look at it."""
        looked, closing = Signal(range(BANKS)), Signal(range(BANKS))
        for name, copied in (("looked", looked), ("closing", closing)):
            for bit in range(len(copied)):
                m.submodules[f"{name}{bit}"] = copy = Copy()
                m.d.comb += [copy.d.eq(Mux(looks, self.i.payload.bank[bit], copy.q)), copied[bit].eq(copy.q)]
        return looked, closing

    def _banks(self, m, activate, precharge, bank, row, still, pause, rrd):
        """Which row is open in each bank, and whether it may be closed."""
        timing = self.timing
        # What a row command starts, it starts a cycle later: nobody looks before.
        activated, given_bank = Signal(), Signal(range(BANKS), reset_less=True)
        given_row = Signal(timing.row_bits, reset_less=True)
        m.d.sync += [activated.eq(activate), given_bank.eq(bank), given_row.eq(row)]
        m.d.comb += [rrd.start.eq(activated), rrd.cycles.eq(timing.rrd - 1), pause.start.eq(activate | precharge),
                     pause.cycles.eq(Mux(activate, max(timing.rcd - 1, 1), timing.rp))]
        rows = Array(Signal(timing.row_bits, name=f"row{n}", reset_less=True) for n in range(BANKS))
        opened = Array(Signal(name=f"open{n}") for n in range(BANKS))
        closable = Array(Signal(name=f"closable{n}") for n in range(BANKS))
        for n in range(BANKS):
            m.submodules[f"ras{n}"] = ras = Pause(timing.row_open)
            m.submodules[f"wr{n}"] = wr = Pause(timing.wr)
            start, wrote = activated & (given_bank == n), self.wrote.valid & (self.wrote.bank == n)
            # Started a cycle late, and looked at a cycle late. A precharge follows a written word by three clocks in any case.
            m.d.comb += [ras.start.eq(start), ras.cycles.eq(max(timing.row_open - 2, 0)),
                         wr.start.eq(wrote), wr.cycles.eq(max(timing.wr - 3, 0)),
                         closable[n].eq(ras.ok & wr.ok & ~wrote if timing.wr > 3 else ras.ok)]
            with m.If(start):
                m.d.sync += [rows[n].eq(given_row), opened[n].eq(1)]
            with m.If(still & self.hold):
                m.d.sync += opened[n].eq(0)
        return rows, opened, closable
