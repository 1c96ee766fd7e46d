"""The filling side of the gather: image rows from a stream of pixels to the line memory."""
from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from arch import pipeline
from arch.unit.gather import GatherConfig
from hw.gather.packer import Packer
from hw.parts.countdown import Countdown
from hw.parts.delay import delayed
from hw.parts.layout import record_layout
from hw.primitives import Copy

__all__ = ["LineFill", "PIXEL_BYTES"]

PIXEL_BYTES = 4             # of a pixel of the stream, of which `channels` count


class LineFill(wiring.Component):
    """Writes padding, row and padding of each line, a pixel a cycle, packed into words.

    A line begins when there is `space` for it, seen in a cycle from `pipeline.GATHER_FILL` cycles after the start of the
    command or the end of the line before; its first pixel follows in the next cycle. ``i.ready`` depends on registers only.

    Parameters
    ----------
    words, size : int
        Words of the line memory, and bytes of one.

    Members
    -------
    config : ``In(record_layout(GatherConfig))``
        Stable from the cycle after `start` on.
    start : ``In(1)``
    space : ``In(1)``
        From a register: the next line is free.
    i : ``In(stream.Signature(32))``
        Pixels, first channel in the lowest byte.
    line : ``Out(1)``
        From a register: a line's last pixel was taken in the cycle before.
    busy : ``Out(1)``
        From a register; low from the earliest cycle in which another line might have begun.
    w_en, w_addr, w_data : ``Out``
        The line memory's write port.
    """

    def __init__(self, words: int, size: int):
        self.size = size
        super().__init__({
            "config": In(record_layout(GatherConfig)), "start": In(1), "space": In(1), "i": In(stream.Signature(8 * PIXEL_BYTES)),
            "line": Out(1), "busy": Out(1), "w_en": Out(1), "w_addr": Out(range(words)), "w_data": Out(8 * size)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.packer = packer = Packer(PIXEL_BYTES, self.size)
        config = self.config
        wait, waited = Signal(range(pipeline.GATHER_FILL + 1)), Signal()
        left, row, right = Signal(), Signal(), Signal()             # where in the line the pixel is
        some_left, some_right, some = (Signal(name=name, reset_less=True) for name in ("some_left", "some_right", "some"))
        go, end = Signal(), Signal()

        m.submodules.lines = lines = Countdown(len(config.image_rows))
        parts = []
        begin = Signal()
        m.d.comb += begin.eq(waited & self.space)
        for name, inside, count in (("left", left, config.left), ("row", row, config.width), ("right", right, config.right)):
            m.submodules[name] = counter = Countdown(len(count), early=True)
            step = inside & self.i.valid if name == "row" else inside
            m.d.comb += [counter.count.eq(count), counter.start.eq(waited), counter.step.eq(step)]
            parts.append(step & counter.last)
        end_left, end_row, end_right = parts

        # The waiting time covers the way of a word to the memory and of counts to `space`.
        m.submodules.setup = copy = Copy()
        setup = copy.q
        m.d.comb += copy.d.eq(self.start)
        over = delayed(m, end, 1, "over", reset=True)
        m.d.comb += [lines.count.eq(config.image_rows), lines.start.eq(setup), lines.step.eq(over)]
        more = Signal()
        with m.If(self.start):
            m.d.sync += self.busy.eq(1)
        with m.If(setup):
            m.d.sync += [some_left.eq(config.left != 0), some_right.eq(config.right != 0), more.eq(config.image_rows != 0)]
        with m.If(setup):
            m.d.sync += wait.eq(pipeline.GATHER_FILL - 1)
        with m.Elif(over):
            m.d.sync += wait.eq(pipeline.GATHER_FILL - 2)
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.If(over & lines.last):
            m.d.sync += more.eq(0)
        with m.If(begin):
            m.d.sync += waited.eq(0)
        with m.Elif(wait == 1):
            m.d.sync += [waited.eq(more), self.busy.eq(more)]

        with m.If(begin):
            m.d.sync += [left.eq(some_left), row.eq(~some_left), right.eq(0)]
        with m.If(end_left):
            m.d.sync += [left.eq(0), row.eq(1)]
        with m.If(end_row):
            m.d.sync += [row.eq(0), right.eq(some_right)]
        with m.If(end_right):
            m.d.sync += right.eq(0)
        m.d.comb += [self.i.ready.eq(row), go.eq(left | right | row & self.i.valid),
                     end.eq(Mux(some_right, end_right, end_row)), self.line.eq(over)]

        # A register in front of the packer: the last word is still in the memory long before it is read.
        chunk, ended, clear = packer.i, Signal(), Signal()
        bytes_, count = Signal.like(chunk.bytes, reset_less=True), Signal.like(chunk.count, reset_less=True)
        m.d.sync += [count.eq(Mux(go, config.channels, 0)), ended.eq(over), clear.eq(setup),
                     bytes_.eq(Mux(row, self.i.payload, config.zero_point.replicate(PIXEL_BYTES)))]
        m.d.comb += [chunk.valid.eq(delayed(m, go, 1, "filled", reset=True)), chunk.flush.eq(over), chunk.count.eq(count),
                     chunk.bytes.eq(bytes_), packer.release.eq(ended), packer.clear.eq(clear)]
        # Whether a word is the ring's last one is known before it comes, of the first one some cycles after the start.
        address = Signal.like(self.w_addr, reset_less=True)
        before_end, to_end = (Signal(len(config.line_ring), name=name, reset_less=True) for name in ("before_end", "to_end"))
        at_end, starts_at_end, single = (Signal(name=name, reset_less=True) for name in ("at_end", "starts_at_end", "single"))
        m.d.sync += [before_end.eq(config.line_ring - 2), single.eq(config.line_ring == 1),
                     to_end.eq(config.line_ring - config.write_start), starts_at_end.eq(to_end == 1)]
        # The last word of the command before may come two cycles after its start.
        with m.If(delayed(m, clear, 1, "set", reset=True)):
            m.d.sync += [address.eq(config.write_start), at_end.eq(starts_at_end)]
        with m.Elif(packer.valid):
            m.d.sync += [address.eq(Mux(at_end, 0, address + 1)), at_end.eq(Mux(at_end, single, address == before_end))]
        m.d.comb += [self.w_en.eq(packer.valid), self.w_addr.eq(address), self.w_data.eq(packer.word)]
        return m
