"""The reading side of the gather: chunks of the line memory that make up the windows, in order."""
from amaranth import Module, Mux, ResetSignal, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch import pipeline
from arch.unit.gather import GatherConfig
from hw.parts.countdown import Countdown
from hw.parts.delay import delayed
from hw.parts.layout import record_layout
from hw.primitives import BlockRam, Copy

__all__ = ["WindowRead"]


def _chunk(size: int) -> data.StructLayout:
    """Which bytes of a word of `size` bytes: `count` from `skip` on; `rest` of the window's row follow."""
    return data.StructLayout({"skip": ceil_log2(size), "count": ceil_log2(size + 1), "last": 1, "rest": 6})


class WindowRead(wiring.Component):
    """Walks over the windows of an output row: per kernel row the words of the line that hold its bytes, in ascending order.

    One slot in each cycle after one with `grant`: a chunk of a line, or the slot behind each window in which the packer lets go
    of what a flush left. An output row begins when its lines are `present`, seen in a cycle from `pipeline.GATHER_ROW` cycles
    after the start of the command or the last slot of the row before; its first slot can be in the next cycle.

    Members
    -------
    config : ``In(record_layout(GatherConfig))``
        Stable from the cycle after `start` on.
    start, grant : ``In(1)``
    present : ``In(1)``
        From a register: the lines of the row are in the memory.
    row, end : ``Out(1)``
        A row's last slot is in this cycle; the command's last one.
    busy : ``Out(1)``
        From a register; low from the earliest cycle in which another row might have begun.
    slot, new_row : ``Out(1)``
        A slot is in this cycle; the first one of a row.
    address : ``Out(range(words))``
        The word of the slot of `ADDRESS` cycles before.
    inside : ``Out(1)``
        Whether it lies in the image, in the cycle of the data.
    skip, count, flush, valid, release : ``Out``
        The chunk, or the slot behind a window, in the cycle of the data.
    """

    ADDRESS = 3                             # cycles from a slot to its address
    DATA = ADDRESS + BlockRam.LATENCY       # and to its data

    def __init__(self, words: int, size: int):
        self.size, self.bits = size, ceil_log2(words)
        super().__init__({
            "config": In(record_layout(GatherConfig)), "start": In(1), "grant": In(1), "present": In(1), "row": Out(1),
            "end": Out(1), "busy": Out(1), "slot": Out(1), "new_row": Out(1), "address": Out(self.bits), "inside": Out(1),
            "skip": Out(ceil_log2(size)), "count": Out(ceil_log2(size + 1)), "flush": Out(1), "valid": Out(1),
            "release": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.rows, m.submodules.pixels = rows, pixels = Countdown(10), Countdown(10)
        m.submodules.taps = taps = Countdown(4)
        m.submodules.setup = copy = Copy()
        m.d.comb += copy.d.eq(self.start)
        setup, go, load, tail = copy.q, Signal(), Signal(), Signal()
        end_line, end_pixel, end_row = Signal(), Signal(), Signal()
        steps, first_slot = self._rows(m, setup, load, go, end_row, rows.last)
        chunk, word, closing, new_line, new_window = self._chunks(m, setup, load, tail, steps, taps.last, pixels.last)
        m.d.comb += [
            end_line.eq(go & ~tail & chunk.last), end_pixel.eq(go & tail),
            end_row.eq(go & closing),
            rows.count.eq(config.rows), rows.start.eq(setup), rows.step.eq(end_row),
            pixels.count.eq(config.columns), pixels.start.eq(load), pixels.step.eq(end_pixel),
            taps.count.eq(config.kernel), taps.start.eq(load), taps.step.eq(go & (tail | chunk.last)), taps.again.eq(tail)]
        m.d.comb += [self.slot.eq(go), self.new_row.eq(go & first_slot), self.row.eq(end_row),
                     self.end.eq(end_row & rows.last)]
        self._lines(m, setup, end_row, go & new_line & ~tail, new_window, word)
        m.d.comb += [
            self.skip.eq(delayed(m, chunk.skip, self.DATA, "skip")),
            self.count.eq(delayed(m, Mux(go & ~tail, chunk.count, 0), self.DATA, "count")),
            self.flush.eq(delayed(m, end_line & taps.last, self.DATA, "flush")),
            self.release.eq(delayed(m, end_pixel, self.DATA, "release", reset=True)),
            self.valid.eq(delayed(m, go & ~tail, self.DATA, "valid", reset=True))]
        return m

    def _rows(self, m, setup, load, go, end_row, last_row):
        """When a row begins, and its slots are. `load` is high before a row: the state of its first window, as if a window had
        ended. Returns registers of a slot or the cycle before a row's first (`steps`), and whether the next slot is a row's
        first."""
        run, more = Signal(), Signal()
        wait, waited, first_slot = Signal(range(pipeline.GATHER_ROW + 1)), Signal(), Signal()
        with m.If(setup | end_row):
            m.d.sync += wait.eq(pipeline.GATHER_ROW - 1)
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        begin = Signal()
        m.d.comb += begin.eq(waited & self.present)
        next_load, next_go, steps = Signal(), Signal(), []
        m.d.comb += [next_load.eq(wait == 3), next_go.eq(self.grant & (begin | run & ~end_row))]
        m.d.sync += [load.eq(next_load), go.eq(next_go)]
        for name in ("chunk", "window"):
            m.submodules[f"step_{name}"] = register = Copy()
            m.d.comb += register.d.eq((next_load | next_go) & ~ResetSignal())
            steps.append(register.q)
        with m.If(begin):
            m.d.sync += [waited.eq(0), run.eq(1), first_slot.eq(1)]
        with m.Elif(wait == 1):
            m.d.sync += [waited.eq(more), self.busy.eq(more)]
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), more.eq(1)]
        with m.If(end_row):
            m.d.sync += [run.eq(0), more.eq(~last_row)]
        with m.If(go):
            m.d.sync += first_slot.eq(0)
        return steps, first_slot

    def _chunks(self, m, setup, load, tail, steps, last_tap, last_pixel):
        """The chunk of the next slot and its word; whether that slot ends a row, is a window row's first, a window's first."""
        size, low = self.size, ceil_log2(self.size)
        first_after, after = self._first_chunk(m)
        # A window's row starts at byte `here` of a line, the next one's at `after`, the one behind that at `beyond`.
        here, beyond = (Signal.like(after, name=name, reset_less=True) for name in ("here", "beyond"))
        chunk, first = (Signal(_chunk(size), name=name, reset_less=True) for name in ("chunk", "first"))
        word, closing = Signal(self.bits, reset_less=True), Signal()
        # What comes next depends on registers only, and is taken with each slot.
        new, next_tail = load | tail, Signal()
        tails = []
        for name in ("chunk", "window"):
            m.submodules[f"tail_{name}"] = copy = Copy()
            m.d.comb += copy.d.eq(next_tail & ~ResetSignal())
            tails.append(copy.q)
        m.d.comb += [tail.eq(tails[0]), next_tail.eq(Mux(steps[0], ~new & chunk.last & last_tap, tail))]
        m.d.sync += closing.eq(next_tail & last_pixel)      # the slot behind a row's last window; pixels step behind each only
        with m.If(steps[0]):
            with m.If(new):
                m.d.sync += [chunk.eq(first_after), word.eq(after[low:])]
            with m.Elif(chunk.last):
                m.d.sync += [chunk.eq(first), word.eq(here[low:])]
            with m.Else():
                m.d.sync += [chunk.skip.eq(0), chunk.last.eq(chunk.rest <= size),
                             chunk.count.eq(Mux(chunk.rest <= size, chunk.rest, size)),
                             chunk.rest.eq(chunk.rest - size), word.eq(word + 1)]
        # Back to the beginning behind a row's last window.
        restart = setup | ~load & last_pixel
        with m.If(setup | steps[1] & (load | tails[1])):
            m.d.sync += [after.eq(Mux(restart, 0, beyond)), beyond.eq(Mux(restart, 0, beyond) + self.config.step_bytes),
                         here.eq(after), first.eq(first_after)]
        new_line, new_window = Signal(), Signal()
        with m.If(steps[1]):
            m.d.sync += [new_line.eq(new | chunk.last), new_window.eq(new)]
        return chunk, word, closing, new_line, new_window

    def _first_chunk(self, m):
        """The first chunk of a window's row that starts at a byte, and a register for that."""
        config, size, low = self.config, self.size, ceil_log2(self.size)
        after = Signal(self.bits + 3, reset_less=True)
        chunk = Signal(_chunk(size), name="first_after", reset_less=True)
        offset = after[:low]
        # A tap's bytes fit into a word up to offset `most`, if at all.
        most, excess, fit, fits = Signal(low, reset_less=True), Signal.like(chunk.rest, reset_less=True), Signal(), Signal()
        m.d.sync += [most.eq(size - config.tap_bytes), excess.eq(config.tap_bytes - size), fit.eq(config.tap_bytes <= size)]
        m.d.comb += fits.eq(fit & (offset <= most))
        m.d.sync += [chunk.skip.eq(offset), chunk.last.eq(fits), chunk.count.eq(Mux(fits, config.tap_bytes, size - offset)),
                     chunk.rest.eq(excess + offset)]
        return chunk, after

    def _lines(self, m, setup, end_row, new_line, new_window, word):
        """Stage 1: the line. Stage 2: the word, and whether the row is one of the image."""
        config = self.config
        top, line = Signal(13, reset_less=True), Signal(13, reset_less=True)
        image_top, image_row = Signal(signed(12), reset_less=True), Signal(signed(12), reset_less=True)
        next_top = self._around(m, top, config.line_step, config, "top")
        next_line = self._around(m, line, config.line_words, config, "line")
        # Rows are longer than a cycle.
        following_top, following_image_top = Signal.like(top), Signal.like(image_top)
        m.d.sync += [following_top.eq(next_top), following_image_top.eq(image_top + config.stride)]
        with m.If(setup):
            m.d.sync += [top.eq(config.read_start), image_top.eq(config.first_row)]
        with m.Elif(end_row):
            m.d.sync += [top.eq(following_top), image_top.eq(following_image_top)]
        # A row's lines are read before the next one begins, so `top` may change at its end.
        new_line1, new_window1 = delayed(m, new_line, 1, "new_line"), delayed(m, new_window, 1, "new_window")
        top1, image_top1 = delayed(m, top, 1, "top"), delayed(m, image_top, 1, "image_top")
        with m.If(new_line1):
            m.d.sync += [line.eq(Mux(new_window1, top1, next_line)),
                         image_row.eq(Mux(new_window1, image_top1, image_row + 1))]
        inside = Signal(reset_less=True)
        address = Signal.like(self.address, reset_less=True)
        m.d.comb += [self.address.eq(address), self.inside.eq(delayed(m, inside, self.DATA - 3, "inside"))]
        m.d.sync += [address.eq(line + delayed(m, word, 2, "word")),
                     inside.eq((image_row >= 0) & (image_row < config.height))]

    @staticmethod
    def _around(m, line, step, config, name):
        """line + step, in the ring of lines."""
        forward, back = Signal(14, name=f"{name}_forward"), Signal(15, name=f"{name}_back")
        wrap = Signal(15, name=f"{name}_wrap", reset_less=True)
        m.d.sync += wrap.eq(step - config.line_ring)        # constant during a command
        m.d.comb += [forward.eq(line + step), back.eq(line + wrap)]
        return Mux(back[-1], forward, back)[:13]
