"""Claims about the gather's line memory: who fills it, and who reads it."""
from types import SimpleNamespace

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, ResetSignal, Signal, signed

from arch import pipeline
from formal.properties import assume_long_resets
from formal.stages import StageClaim
from hw.gather.line_fill import PIXEL_BYTES, LineFill
from hw.gather.window_read import WindowRead
from hw.parts.delay import delayed

__all__ = ["CLAIMS", "LineFillClaim", "WindowReadClaim"]

SIZE = 4                # bytes of a word of the line memory
WORDS = 8


def _rows(m: Module, gap: int, start, count, free, ends):
    """The rows of a command: how many are left, whether one begins, and whether any is left or the last one just over. The next
    one begins `gap` cycles after one `ends` (a cycle more after the `start`), where it is `free` to."""
    wait, rows = Signal(range(gap + 2), init=1), Signal(2)
    begin = (wait == 1) & free & (rows != 0)
    with m.If(start):
        m.d.sync += [wait.eq(gap + 1), rows.eq(count)]
    with m.Elif(ends):
        m.d.sync += [wait.eq(gap), rows.eq(rows - 1)]
    with m.Elif(begin):
        m.d.sync += wait.eq(0)
    with m.Elif(wait > 1):
        m.d.sync += wait.eq(wait - 1)
    return rows, begin, (rows != 0) | (wait != 1)


class LineFillClaim(StageClaim):
    """Of each line the padding, the row and the padding are written in order, each byte once, unchanged and in its place, with
    zeros behind them, to the words that follow those of the line before; nothing else is. Lines begin where there is space, in
    the cycle that `LineFill` says, and take as many pixels as a row has; `line` and `busy` come in theirs.

    Claimed of any pixel, bytes being one bit. For pixels of three channels, up to two lines a command, of one or two pixels and
    up to one of padding on either side, one command after the other.
    """

    faults = ("zeros", "address", "no space", "busy")
    CHANNELS = 3
    depth = 24              # a command of two lines, and the next one
    PATIENCE = 6            # cycles from a line's end to its last word

    def state(self, m: Module):
        m.submodules.fill = fill = LineFill(WORDS, SIZE)
        start, space, valid = (self.free(1, name) for name in ("start", "space", "valid"))
        bits = self.free(PIXEL_BYTES, "bits")
        new = {name: self.free(width, name) for name, width in (
            ("left", 1), ("width", 2), ("right", 1), ("image_rows", 2), ("line_ring", 4), ("write_start", 3),
            ("zero_point", 1))}
        channels = self.CHANNELS
        now = {name: Signal(len(value), name=f"{name}_now", init=1) for name, value in new.items()}
        with m.If(start):
            m.d.sync += [now[name].eq(value) for name, value in new.items()]
        m.d.comb += [fill.config[name].eq(value) for name, value in now.items()]
        m.d.comb += [fill.config.channels.eq(channels), fill.start.eq(start), fill.space.eq(space), fill.i.valid.eq(valid),
                     *(fill.i.payload[8 * n].eq(bits[n]) for n in range(PIXEL_BYTES))]
        m.d.comb += [Assume((new["width"] == 1) | (new["width"] == 2)), Assume(new["image_rows"] <= 2),
                     Assume((new["line_ring"] <= WORDS) & (new["write_start"] < new["line_ring"]))]
        idle, before = Signal(), Signal()
        m.d.sync += [idle.eq(~fill.busy), before.eq(start)]
        m.d.comb += Assume(~start | idle & ~before & ~ResetSignal())
        assume_long_resets(m, 2)

        begin, taken, line = self._filling(m, fill, start, new["image_rows"], space, valid, now)
        self._followed(m, fill, bits, begin, taken, self._writing(m, fill, start, line, now))

    def _filling(self, m, fill, start, image_rows, space, valid, now):
        """Where the filling is: whether a line begins, a pixel is taken, a line is over."""
        padding, column, row, behind = Signal(), Signal(2), Signal(), Signal()
        taken = valid & fill.i.ready
        row_ends = taken & (column + 1 == now["width"])
        line = Mux(now["right"], behind, row_ends)
        rows, begin, busy = _rows(m, pipeline.GATHER_FILL, start, image_rows, space, line)
        m.d.sync += [padding.eq(begin & now["left"]), row.eq((row | begin & ~now["left"] | padding) & ~row_ends),
                     behind.eq(row_ends & now["right"]), column.eq(Mux(begin, 0, column + taken))]
        m.d.comb += [Assert(fill.i.ready == row), Assert(fill.line == delayed(m, line, 1, "line", reset=True)),
                     Assert(fill.busy == busy)]
        if self.fault == "no space":
            m.d.comb += Assert(~begin)
        if self.fault == "busy":
            m.d.comb += Assert(fill.busy == (rows != 0))
        return begin, taken, line

    def _writing(self, m, fill, start, line, now):
        """Where the writing is: `ahead` lines were taken and are not all written, byte `out` of a line is the next one, to the
        word `address`; its row begins at byte `row_begin`; `line_out`: a line's last word is written."""
        channels = self.CHANNELS
        # The last words of a command come when the next one may have begun.
        row_begin, row_end, end = (Signal(5, name=name) for name in ("row_begin", "row_end", "line_end"))
        behind_it, then = delayed(m, start, 3, "behind", reset=True), {name: Signal.like(value) for name, value in now.items()}
        with m.If(behind_it):
            m.d.sync += [then[name].eq(value) for name, value in now.items()]
        m.d.comb += [row_begin.eq(Mux(then["left"], channels, 0)),
                     row_end.eq(row_begin + Mux(then["width"] == 2, 2 * channels, channels)),
                     end.eq(row_end + Mux(then["right"], channels, 0))]
        ahead, out, address = Signal(2), Signal(5), Signal(3)
        line_out = fill.w_en & (out + SIZE >= end)
        m.d.sync += ahead.eq(ahead + line - line_out)
        with m.If(behind_it):
            m.d.sync += address.eq(now["write_start"])
        with m.Elif(fill.w_en):
            m.d.sync += address.eq(Mux(address + 1 == then["line_ring"], 0, address + 1))
        with m.If(fill.w_en):
            m.d.sync += out.eq(Mux(line_out, 0, out + SIZE))
        m.d.comb += [Assert(~behind_it | (ahead == 0)), Assert(~line_out | (ahead != 0)), Assert(ahead + line <= 2),
                     Assert(~fill.w_en | (fill.w_addr == address + (self.fault == "address")))]
        for n in range(SIZE):
            at = out + n
            bit, zero = fill.w_data[8 * n], then["zero_point"]
            m.d.comb += [Assert(~fill.w_en | (at < end) | (bit == (self.fault == "zeros"))),
                         Assert(~(fill.w_en & ((at < row_begin) | (at >= row_end) & (at < end))) | (bit == zero))]
        late = Signal(range(self.PATIENCE + 2))
        m.d.sync += late.eq(Mux((ahead != 0) & ~fill.w_en, late + 1, 0))
        m.d.comb += Assert(late <= self.PATIENCE)
        return SimpleNamespace(row_begin=row_begin, ahead=ahead, out=out, address=address, line_out=line_out)

    def _followed(self, m, fill, bits, begin, taken, at):
        """A pixel is picked, and followed to its word, or two of them."""
        channels, inside = self.CHANNELS, Signal(5)
        with m.If(begin):
            m.d.sync += inside.eq(at.row_begin)
        with m.Elif(taken):
            m.d.sync += inside.eq(inside + channels)
        pick, picked = self.free(1, "pick"), Signal()
        lines, place, saved = Signal(2), Signal(5), Signal(PIXEL_BYTES)
        with m.If(pick & ~picked & taken):
            m.d.sync += [picked.eq(1), lines.eq(at.ahead - at.line_out), place.eq(inside), saved.eq(bits)]
        with m.Elif(at.line_out & (lines != 3)):
            m.d.sync += lines.eq(lines - 1)         # 3 from its line's end on
        here = fill.w_en & picked & (lines == 0)
        m.d.comb += [Assert(~taken | (at.ahead != 0) | (at.out <= inside)),
                     Cover(here & (place == 6) & (at.out == SIZE) & (at.address == 0))]
        for n in range(SIZE):
            for k in range(channels):
                hit = here & (at.out + n == place + k)
                m.d.comb += Assert(~hit | (fill.w_data[8 * n] == saved[k]))


class WindowReadClaim(StageClaim):
    """Of each window of each row the bytes are read once, in order: per kernel row the words of its line, each with what belongs
    to the window, and then a slot for the packer; nothing else is. A slot comes in each cycle after one with the grant, a row
    where its lines are `present`, in the cycle that `WindowRead` says; `row`, `end`, `new_row` and `busy` come in theirs; what
    lies outside the image is told from what lies inside.

    For one or two rows a command, of one or two windows of one or two kernel rows, of up to six bytes at steps of up to four, at
    any place of a ring of lines; one command after the other.
    """

    faults = ("address", "one more", "not there", "outside")
    depth = 19              # a command of two rows; the next one only begins

    def state(self, m: Module):
        m.submodules.read = read = WindowRead(WORDS, SIZE)
        start, grant, present = (self.free(1, name) for name in ("start", "grant", "present"))
        new = {name: self.free(width, name) for name, width in (
            ("kernel", 2), ("stride", 2), ("tap_bytes", 3), ("step_bytes", 3), ("height", 2), ("first_row", signed(3)),
            ("rows", 2), ("columns", 2), ("line_words", 3), ("line_ring", 4), ("line_step", 3), ("read_start", 3))}
        now = {name: Signal.like(value, name=f"{name}_now", init=1) for name, value in new.items()}
        with m.If(start):
            m.d.sync += [now[name].eq(value) for name, value in new.items()]
        m.d.comb += [read.config[name].eq(value) for name, value in now.items()]
        m.d.comb += [read.start.eq(start), read.grant.eq(grant), read.present.eq(present)]
        m.d.comb += [Assume((new[name] != 0) & (new[name] <= most)) for name, most in (
            ("kernel", 2), ("stride", 2), ("tap_bytes", 6), ("step_bytes", 4), ("height", 2), ("rows", 2), ("columns", 2))]
        m.d.comb += [Assume((new["line_ring"] <= WORDS) & (new["line_words"] <= new["line_ring"]) & (new["line_words"] != 0)),
                     Assume((new["line_step"] < new["line_ring"]) & (new["read_start"] < new["line_ring"]))]
        idle, before = Signal(), Signal()
        m.d.sync += [idle.eq(~read.busy), before.eq(start)]
        m.d.comb += Assume(~start | idle & ~before & ~ResetSignal())
        assume_long_resets(m, read.DATA + 1)        # data have no reset

        # When there are slots.
        run, columns, slot, tail, first = Signal(), Signal(2), Signal(), Signal(), Signal()
        row_ends = slot & tail & (columns == 1)
        rows, begin, busy = _rows(m, pipeline.GATHER_ROW, start, new["rows"], present, row_ends)
        m.d.sync += [run.eq((run | begin) & ~row_ends), slot.eq(grant & (begin | run & ~row_ends)),
                     first.eq(begin | first & ~slot)]
        m.d.comb += [Assert(read.slot == slot), Assert(read.row == row_ends), Assert(read.end == (row_ends & (rows == 1))),
                     Assert(read.new_row == (slot & first)), Assert(read.busy == busy)]
        if self.fault == "not there":
            m.d.comb += Assert(~begin)

        # What they are: `at` is the place in the line, `rest` what is left of the window's row.
        at, base, rest, tap = Signal(4), Signal(4), Signal(3), Signal()
        top, line, image_top, image = Signal(3), Signal(3), Signal(signed(4)), Signal(signed(4))

        def around(value, step):
            return Mux(value + step >= now["line_ring"], value + step - now["line_ring"], value + step)[:3]
        skip, last_tap = at[:2], tap == now["kernel"] - 1
        count = Mux(rest < SIZE - skip, rest, SIZE - skip)
        tap_ends = count == rest
        with m.If(delayed(m, start, 1, "begun", reset=True)):
            m.d.sync += [top.eq(now["read_start"]), image_top.eq(now["first_row"])]
        with m.Elif(row_ends):
            m.d.sync += [top.eq(around(top, now["line_step"])), image_top.eq(image_top + now["stride"])]
        with m.If(begin):
            m.d.sync += [columns.eq(now["columns"] + (self.fault == "one more")), tail.eq(0), tap.eq(0), at.eq(0), base.eq(0),
                         rest.eq(now["tap_bytes"]), line.eq(top), image.eq(image_top)]
        with m.Elif(slot & tail):
            m.d.sync += [columns.eq(columns - 1), tail.eq(0), tap.eq(0), at.eq(base + now["step_bytes"]),
                         base.eq(base + now["step_bytes"]), rest.eq(now["tap_bytes"]), line.eq(top), image.eq(image_top)]
        with m.Elif(slot & tap_ends):
            m.d.sync += [tail.eq(last_tap), tap.eq(1), at.eq(base), rest.eq(now["tap_bytes"]),
                         line.eq(around(line, now["line_words"])), image.eq(image + 1)]
        with m.Elif(slot):
            m.d.sync += [at.eq(at + count), rest.eq(rest - count)]

        chunk = slot & ~tail
        inside = (image >= 0) & (image < now["height"] + (self.fault == "outside"))
        read_now = delayed(m, chunk, read.ADDRESS, "reads", reset=True)
        address = delayed(m, (line + at[2:])[:len(read.address)], read.ADDRESS, "address")
        data_now, release = (delayed(m, value, read.DATA, name, reset=True) for value, name in (
            (chunk, "data"), (slot & tail, "release")))
        what = delayed(m, Cat(inside, skip, count[:3], tap_ends & last_tap), read.DATA, "what")
        m.d.comb += [
            Assert(~read_now | (read.address == address + (self.fault == "address"))), Assert(read.valid == data_now),
            Assert(read.release == release),
            Assert(~data_now | (Cat(read.inside, read.skip, read.count, read.flush) == what)),
            Assert(data_now | (read.count == 0) & ~read.flush | ResetSignal()), Cover(row_ends & (rows == 1) & (image_top == 1))]


CLAIMS: dict[str, type[StageClaim]] = {"lines": LineFillClaim, "windows": WindowReadClaim}
