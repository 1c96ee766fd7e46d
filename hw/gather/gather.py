"""im2col on the way in: first layers have too few channels for the array's lanes, their windows do not."""
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from arch import pipeline
from arch.gather import line_bytes, line_memory
from arch.geometry import Geometry
from arch.unit.gather import GatherConfig
from hw.gather.line_fill import PIXEL_BYTES, LineFill
from hw.gather.packer import Packer
from hw.gather.window_read import WindowRead
from hw.parts.delay import delayed
from hw.parts.latch import taken_when
from hw.parts.layout import record_layout
from hw.primitives import BlockRam

__all__ = ["Gather"]


class Gather(wiring.Component):
    """Gathers windows of an image into words, as `GatherConfig` says.

    Rows of the image enter a ring of lines (`LineFill`) while the windows of earlier ones are read (`WindowRead`), up to 8 bytes
    a cycle: a window of kernel k and C channels takes k * ceil((k * C + o) / 8) + 1 cycles, where o (0..7) is the place of its
    first byte in a word; 7 cycles for 3x3 windows of 3 channels.

    A slot of the reading side takes a cycle after one with ``grant``; a word that it completes is written exactly ``LATENCY``
    cycles after the slot, so a write falls only on cycles that were granted. ``i.ready`` depends on registers only. The next
    command is taken in the cycle after one in which none runs. After reset none runs; the line memory keeps its contents.

    Members
    -------
    command : ``In(stream.Signature(record_layout(GatherConfig)))``
    i : ``In(stream.Signature(32))``
        Pixels, row by row, first channel in the lowest byte; bytes beyond the channels are ignored.
    grant : ``In(1)``
    w_en : ``Out(1)``
    w_addr : ``Out(range(activation_words))``
    w_data : ``Out(8 * PI)``
    last : ``Out(1)``
        A command's last word was written, in this cycle or before.
    either : ``Out(1)``
        `w_en` or `last`, from a register.
    """

    LATENCY = pipeline.GATHER

    def __init__(self, geometry: Geometry):
        self.lanes, self.words, self.size = geometry.input_lanes, line_memory(geometry), line_bytes(geometry)
        super().__init__({
            "command": In(stream.Signature(record_layout(GatherConfig))), "i": In(stream.Signature(8 * PIXEL_BYTES)),
            "grant": In(1), "w_en": Out(1), "w_addr": Out(ceil_log2(geometry.activation_words)), "w_data": Out(8 * self.lanes),
            "last": Out(1), "either": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fill = fill = LineFill(self.words, self.size)
        m.submodules.read = read = WindowRead(self.words, self.size)
        m.submodules.lines = lines = BlockRam(depth=self.words, width=8 * self.size)
        m.submodules.packer = packer = Packer(self.size, self.lanes)
        connect(m, flipped(self.i), fill.i)
        start, setup = Signal(), Signal()
        starting = self.command.valid & ~(fill.busy | read.busy | start)
        m.d.sync += start.eq(starting)
        m.d.comb += self.command.ready.eq(start)
        m.d.sync += setup.eq(start)
        config = taken_when(m, self.command.payload, starting)
        for part in (fill, read):
            m.d.comb += [part.config.eq(config), part.start.eq(start)]

        m.d.comb += [
            lines.w_en.eq(fill.w_en), lines.w_addr.eq(fill.w_addr), lines.w_data.eq(fill.w_data), lines.r_addr.eq(read.address),
            read.grant.eq(self.grant), packer.i.valid.eq(read.valid), packer.i.skip.eq(read.skip), packer.i.count.eq(read.count),
            packer.i.flush.eq(read.flush), packer.release.eq(read.release),
            packer.i.bytes.eq(Mux(read.inside, lines.r_data, config.zero_point.replicate(self.size)))]

        m.d.comb += packer.clear.eq(delayed(m, setup, read.DATA, "setup", reset=True))
        self._rows(m, config, setup, fill, read)
        self._words(m, config, setup, read, packer)
        return m

    def _rows(self, m, config, setup, fill, read):
        """Says where there is space for a line, and when those of an output row are present."""
        # How many rows of the image are in, counted from the first one that is needed.
        rows_in, top = Signal(11, reset_less=True), Signal(signed(12), reset_less=True)
        more_rows, next_top = Signal.like(rows_in, reset_less=True), Signal.like(top, reset_less=True)
        ahead = Signal(signed(13), reset_less=True)
        m.d.sync += [more_rows.eq(rows_in + 1), next_top.eq(top + config.stride)]       # lines and rows take more than a cycle
        with m.If(setup):
            m.d.sync += [rows_in.eq(config.next_row), top.eq(config.first_row)]
        with m.Else():
            with m.If(fill.line):
                m.d.sync += rows_in.eq(more_rows)
            with m.If(read.row):
                m.d.sync += top.eq(next_top)
        # All of them: what the next line makes true is known before.
        complete, completes, none_left = (Signal(name=name, reset_less=True) for name in ("complete", "completes", "none_left"))
        m.d.sync += [completes.eq(more_rows == config.height), none_left.eq(config.next_row == config.height)]
        ready = delayed(m, setup, 1, "set")
        with m.If(fill.line):
            m.d.sync += complete.eq(completes)
        with m.Elif(ready):
            m.d.sync += complete.eq(none_left)
        m.d.sync += [ahead.eq(Mux(fill.line, more_rows, rows_in) - top),
                     fill.space.eq(ahead < config.lines), read.present.eq(complete | (ahead >= config.kernel))]

    def _words(self, m, config, setup, read, packer):
        """Where the words go."""
        # An output row's words follow each other.
        offset, row = Signal(15, reset_less=True), Signal(15, reset_less=True)
        forward, back, wrap = (Signal(bits, name=name, reset_less=True) for name, bits in (
            ("forward", 15), ("back", 17), ("wrap", 17)))
        m.d.sync += [wrap.eq(config.row_words - config.ring_words), forward.eq(offset + config.row_words), back.eq(offset + wrap)]
        new_row = delayed(m, read.new_row, self.LATENCY - 1, "new_row", reset=True)
        ending, last = delayed(m, read.end, self.LATENCY - 1, "end", reset=True), Signal()
        m.d.sync += [last.eq(ending), self.either.eq(packer.soon | ending)]
        m.d.comb += self.last.eq(last)
        with m.If(setup):
            m.d.sync += offset.eq(config.row_start)
        with m.Elif(new_row):
            m.d.sync += offset.eq(Mux(back[-1], forward, back))
        m.d.sync += row.eq(config.base + offset)
        address = Signal(15, reset_less=True)
        with m.If(new_row):
            m.d.sync += address.eq(row)
        with m.Elif(packer.valid):
            m.d.sync += address.eq(address + 1)
        m.d.comb += [self.w_en.eq(packer.valid), self.w_addr.eq(address), self.w_data.eq(packer.word)]
        assert self.LATENCY == read.DATA + packer.LATENCY
