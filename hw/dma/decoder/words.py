"""Units of weights become words, zeros between them."""
from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from arch import weight_stream as form
from hw.dma.decoder.rounds import part_layout
from hw.dma.decoder.thermometer import lowest_bits
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.queue import Queue
from hw.primitives import BlockRam

__all__ = ["Words"]

READING = BlockRam.LATENCY + 1                      # cycles from an address of masks to the next one
MASK_ROWS = -(-2 * form.EIGHTS // form.GROUP)       # of a block at most, 64 weights each


class Words(wiring.Component):
    """Puts the units of a block, after each reset, into words of `units` of them, the first in the lowest bits.

    A word takes a cycle, or as many as parts of units come for it. Masks of a block are kept until its units come; reading 64
    weights' masks takes four cycles, beside.

    Members
    -------
    start : ``In(1)``
        The block begins, for a cycle; `units`, an even number, and `masked` hold from then on.
    masks, mask_en, masks_done, reserve, values, value_en, room
        The other side of `Rounds`.
    o : ``Out(stream.Signature(32 * word_units))``
        From registers.
    finished : ``Out(1)``
        All words were taken.
    """

    def __init__(self, *, lanes: int, word_units: int):
        self.lanes, self.word_units = lanes, word_units
        super().__init__({
            "start": In(1), "units": In(13), "masked": In(1), "masks": In(form.GROUP), "mask_en": In(1), "masks_done": In(1),
            "reserve": In(1), "values": In(part_layout(lanes)), "value_en": In(1), "room": Out(1),
            "o": Out(stream.Signature(8 * form.UNIT * word_units)), "finished": Out(1)})

    def elaborate(self, platform):
        m = Module()
        size, lanes = self.word_units, self.lanes
        m.submodules.parts = parts = Queue(part_layout(lanes))
        m.submodules.space = space = Credits(form.MOST_PARTS, form.MOST_PARTS)
        assert form.MOST_PARTS == parts.places
        m.d.comb += [parts.w_data.eq(self.values), parts.w_en.eq(self.value_en), self.room.eq(space.any),
                     space.take.eq(self.reserve), space.give.eq(parts.o.valid & parts.o.ready)]

        left, begun = Signal(14), Signal()              # units in words that have not begun
        busy, mask, fresh = Signal(), Signal(size, reset_less=True), Signal(reset_less=True)
        next_mask, known, begins = Signal(size), Signal(), Signal()
        row = self._rows(m, begins, begun)
        tail = lowest_bits(left[:3], size) | left[3:].any().replicate(size)
        m.d.comb += [next_mask.eq(Mux(self.masked, row.masks[:size], tail)), known.eq(begun & (~self.masked | row.valid))]

        part = Signal(range(max(form.UNIT // lanes, 2)), reset_less=True)
        last_part, single = part == form.UNIT // lanes - 1, ~(mask & (mask - 1)).any()
        step, ends = Signal(), Signal()
        m.d.comb += [
            step.eq(busy & (~self.o.valid | self.o.ready) & (~mask.any() | parts.o.valid)),
            ends.eq(step & single & (last_part | ~mask.any())), parts.o.ready.eq(step & mask.any()),
            begins.eq((left != 0) & known & (~busy | ends)), self.finished.eq(begun & (left == 0) & ~busy & ~self.o.valid)]
        m.d.sync += [busy.eq(begins | busy & ~ends), self.o.valid.eq(ends | self.o.valid & ~self.o.ready)]
        with m.If(self.start):
            m.d.sync += [left.eq(self.units), begun.eq(1)]
        with m.If(step):
            m.d.sync += [fresh.eq(0), part.eq(Mux(last_part | ~mask.any(), 0, part + 1))]
            with m.If(last_part):
                m.d.sync += mask.eq(mask & (mask - 1))
        with m.If(begins):
            m.d.sync += [mask.eq(next_mask), fresh.eq(1), part.eq(0),
                         left.eq(Mux(left[size.bit_length() - 1:].any(), left - size, 0))]
        lowest = mask & ~(mask - 1)
        word = Signal(self.o.payload.shape(), name="word", reset_less=True)
        m.d.comb += self.o.payload.eq(word)
        for n in range(size):
            for p in range(form.UNIT // lanes):
                piece = word[8 * (form.UNIT * n + lanes * p):][:8 * lanes]
                with m.If(step & lowest[n] & (part == p)):
                    m.d.sync += piece.eq(parts.o.payload)
                with m.Elif(step & fresh):
                    m.d.sync += piece.eq(0)
        return m

    def _rows(self, m, begins, begun):
        """The masks of the next words: `valid` and `masks`, which `begins` moves on by a word."""
        row = _Row()
        size, per_row = self.word_units, form.GROUP // self.word_units
        m.submodules.rows = rows = BlockRam(depth=MASK_ROWS, width=form.GROUP)
        m.d.comb += [rows.w_en.eq(self.mask_en), rows.w_data.eq(self.masks)]
        with m.If(self.mask_en):
            m.d.sync += rows.w_addr.eq(rows.w_addr + 1)
        wait, ahead, used = Signal(2, init=READING), Signal(), Signal(range(max(per_row, 2)), reset_less=True)
        ready = delayed(m, self.masks_done, 2, "ready", reset=True)
        assert form.MASKS_APART == READING + 1 and form.MASKS_READ == 2 + 2 + READING
        empties = begins & (used == per_row - 1)
        loads = Signal()
        m.d.comb += [ahead.eq(wait == 0), loads.eq(ahead & (~row.valid | empties))]
        with m.If(ready & ~ahead):
            m.d.sync += wait.eq(wait - 1)
        m.d.sync += row.valid.eq(loads | row.valid & ~empties)
        with m.If(begins):
            m.d.sync += [row.masks.eq(row.masks >> size), used.eq(used + 1)]
        with m.If(loads):
            m.d.sync += [row.masks.eq(rows.r_data), used.eq(0), wait.eq(READING), rows.r_addr.eq(rows.r_addr + 1)]
        return row


class _Row:
    def __init__(self):
        self.valid, self.masks = Signal(name="row_valid"), Signal(form.GROUP, name="row_masks", reset_less=True)
