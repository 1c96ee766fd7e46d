"""A transfer walked through: runs, checked, and cut into bursts."""
from collections.abc import Sequence
from functools import reduce
from operator import add, or_

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.geometry import Geometry
from arch.instruction import STORAGE, Opcode, PixelTransfer, Transfer
from arch.record import ADDRESS
from arch.transfer import BURST_WORDS, FIRST_BURST, FIRST_RUN, NEXT_BURST, NEXT_RUN, NEXT_TRANSFER, burst_words, places
from hw.ecp5 import Copy
from hw.parts.layout import record_layout
from hw.storage.arbiter import source_layout, tag_layout

__all__ = ["Bursts", "burst_layout", "load_layout"]

PART = 4                # bits that are compared in a cycle


def load_layout() -> data.StructLayout:
    """A load: its opcode and, in the same bits, the record that goes with it."""
    body = data.UnionLayout({"transfer": record_layout(Transfer), "pixels": record_layout(PixelTransfer)})
    return data.StructLayout({"opcode": 4, "body": body})


def burst_layout() -> data.StructLayout:
    """A burst and its tag; `count` words on the chip (not of pixels)."""
    return data.StructLayout({"source": source_layout(STORAGE), "tag": tag_layout(), "count": range(BURST_WORDS // 2 + 1)})


class Bursts(wiring.Component):
    """Walks one transfer after the other: each run is checked, then offered in bursts, all of them whole words on the chip.

    `arch.transfer` has the cycles: `FIRST_RUN`, `FIRST_BURST`, `NEXT_RUN`, `NEXT_BURST`. A row of pixels is checked in the first
    cycle from then on in which ``room`` is high; in the next one ``reserve`` is. A run that is not allowed is the last thing that
    happens until a reset. The next transfer is taken from `NEXT_TRANSFER` cycles after the last burst on. ``i.ready`` is a
    register.

    Parameters
    ----------
    geometry : Geometry
    opcodes : sequence of Opcode
        Transfers that come.
    storage_words : int
        Words of storage.
    region : bool
        Runs must lie between `low` and `high`.

    Members
    -------
    i : ``In(stream.Signature(load_layout()))``
    may : ``In(1)``
        Something may be taken in the next cycle.
    low, high : ``In(24)``, ``In(25)``
        Words of storage, `high` excluded.
    room : ``In(1)``
        From a register; there is room for ``width`` pixels.
    width : ``Out(10)``
        Of the row to be checked, at least two cycles before it is.
    reserve : ``Out(1)``
    o : ``Out(stream.Signature(burst_layout()))``
    chip_fault, storage_fault : ``Out(1)``
        Registers.
    """

    def __init__(self, geometry: Geometry, opcodes: Sequence[Opcode], storage_words: int, *, region: bool = False):
        self.region = region
        self.geometry, self.opcodes, self.storage_words = geometry, tuple(opcodes), storage_words
        super().__init__({
            "i": In(stream.Signature(load_layout())), "may": In(1), "low": In(STORAGE), "high": In(STORAGE + 1), "room": In(1),
            "width": Out(10), "reserve": Out(1),
            "o": Out(stream.Signature(burst_layout())), "chip_fault": Out(1), "storage_fault": Out(1)})

    def _chosen(self, kinds, values):
        """The value for the transfer's opcode, of which `kinds` has one bit each."""
        return reduce(or_, (Mux(kind, values[one], 0) for kind, one in zip(kinds, self.opcodes, strict=True)))

    def elaborate(self, platform):
        m = Module()
        geometry, opcodes = self.geometry, self.opcodes
        memory = {Opcode.LOAD_WEIGHTS: geometry.weight_words, Opcode.LOAD_PARAMETERS: geometry.parameter_words,
                  Opcode.LOAD_ACTIVATIONS: geometry.activation_words, Opcode.STORE: geometry.activation_words,
                  Opcode.LOAD_PIXELS: (1 << ADDRESS + 2) - 1}
        chip_words = {one: burst_words(geometry, one) for one in opcodes}
        has_pixels = Opcode.LOAD_PIXELS in opcodes

        def register(name, shape):
            return Signal(shape, name=name, reset_less=True)
        # Whoever gives the transfer is far away.
        given = register("given", self.i.payload.shape())
        gives_pixels = register("gives_pixels", 1)
        m.d.sync += [given.eq(self.i.payload), gives_pixels.eq(self.i.payload.opcode == Opcode.LOAD_PIXELS)]
        transfer = given.body.transfer
        opcode, kinds, pixels = register("opcode", 4), register("kinds", len(opcodes)), register("pixels", 1)

        # The transfer. `run_...` is where the run to be checked next begins.
        run_chip, run_storage = register("run_chip", ADDRESS + 1), register("run_storage", STORAGE + 1)
        chip_step, storage_step = register("chip_step", ADDRESS), register("storage_step", STORAGE)
        words, runs, width = register("words", ADDRESS + 1), register("runs", 10), register("row_width", 10)
        channels, size = register("channels", 3), register("size", 12)          # bytes of a row
        amount, odd = register("amount", ADDRESS + 5), register("odd", 1)       # storage words of a run
        limit, last_run = register("limit", ADDRESS + 2), register("last_run", 1)

        # The burst, and what is left of the run from there.
        source, chip, left = (register("source", self.o.payload.source.shape()), register("chip", ADDRESS),
                              register("left", len(amount)))
        first, last = register("first", 1), register("last", 1)
        count, chip_left = register("count", len(self.o.payload.count)), register("chip_left", len(words))
        tag = self.o.payload.tag
        m.d.comb += [self.o.payload.source.eq(source), self.o.payload.count.eq(count), tag.opcode.eq(opcode), tag.chip.eq(chip),
                     tag.first.eq(first), tag.last.eq(last), tag.end.eq(last & last_run), tag.channels.eq(channels),
                     tag.odd.eq(odd), self.width.eq(width)]

        # Where a run ends is worked out all the time: it is right when the run has stood still for long enough.
        chip_end, storage_end = register("chip_end", ADDRESS + 2), register("storage_end", STORAGE + 2)
        chip_bad = register("chip_bad", 1)

        def more(name, a, b):
            """a > b of the cycle before; in parts, which are short, and put together as a tree."""
            parts = []
            for low in range(0, max(len(a), len(b)), PART):
                above, same = register(f"{name}_above{low}", 1), register(f"{name}_same{low}", 1)
                part = slice(low, low + PART)
                m.d.sync += [above.eq(a[part] > b[part]), same.eq(a[part] == b[part])]
                parts.append((above, same))
            while len(parts) > 1:
                pairs = zip(parts[::2], parts[1::2], strict=False)
                parts = [(above | same & low, same & equal) for (low, equal), (above, same) in pairs] + parts[len(parts) & ~1:]
            return parts[0][0]
        outside = [more("beyond", storage_end, Const(self.storage_words, STORAGE + 2))]
        if self.region:
            low, high, begin = (register(name, shape) for name, shape in (
                ("low", self.low.shape()), ("high", self.high.shape()), ("begin", run_storage.shape())))
            m.d.sync += [low.eq(self.low), high.eq(self.high), begin.eq(run_storage)]
            outside += [more("above", storage_end, high), more("below", low, begin)]
        storage_bad = register("storage_bad", len(outside))
        # Multipliers are for the array; products are made a cycle before one is chosen.
        amounts = {Opcode.LOAD_PIXELS: (size + 1) >> 1}
        for one in opcodes:
            if one is not Opcode.LOAD_PIXELS:
                amounts[one] = register(f"product_{one.name.lower()}", len(amount))
                factor = places(geometry, one)
                m.d.sync += amounts[one].eq(reduce(add, (words << n for n in range(factor.bit_length()) if factor >> n & 1)))
        m.d.sync += [
            size.eq(Mux(channels[2], width << 2, Mux(channels[1], width << 1, 0) + Mux(channels[0], width, 0))),
            limit.eq(self._chosen(kinds, memory)), amount.eq(self._chosen(kinds, amounts)), odd.eq(size[0]),
            chip_end.eq(run_chip + words), storage_end.eq(run_storage + amount), storage_bad.eq(Cat(outside)),
            chip_bad.eq(more("chip", chip_end, limit) & ~pixels)]
        chip_most, most = register("chip_most", len(count)), register("most", range(BURST_WORDS + 1))
        m.d.sync += [chip_most.eq(self._chosen(kinds, chip_words)),
                     most.eq(self._chosen(kinds, {one: chip_words[one] * places(geometry, one) for one in opcodes}))]
        small, large = register("small", 1), register("large", 1)
        fits = small & ~large
        m.d.sync += [small.eq(left[:len(most)] <= most), large.eq(left[len(most):].any()), last.eq(fits),
                     source.length.eq(Mux(fits, left, most)), count.eq(Mux(fits, chip_left, chip_most))]

        # One register a state: they enable wide registers.
        states = {name: Signal(name=name, init=name == "idle") for name in (
            "idle", "begin", "sized", "counted", "added", "compared", "judged", "check", "measure", "cut", "offer")}
        idle, check, offer = states["idle"], states["check"], states["offer"]
        ready, start, good, taken, over = Signal(), Signal(), Signal(), Signal(), Signal()
        passed, moved = Signal(), Signal()          # a cycle ago: good, taken
        bad = chip_bad | storage_bad.any()
        m.d.comb += [self.i.ready.eq(ready), self.o.valid.eq(offer), start.eq(ready & self.i.valid),
                     good.eq(check & ~bad & (~pixels | self.room)), self.reserve.eq(passed & pixels),
                     taken.eq(offer & self.o.ready), over.eq(taken & last & last_run)]
        checks = Signal()
        m.d.comb += checks.eq(states["judged"] | check & ~good & ~bad)
        m.d.sync += [
            ready.eq(self.may & idle & ~start), idle.eq(idle & ~start | over), states["begin"].eq(start),
            states["sized"].eq(states["begin"]), states["counted"].eq(states["sized"]),
            states["added"].eq(states["counted"]), states["compared"].eq(states["added"] | taken & last & ~last_run),
            states["judged"].eq(states["compared"]), check.eq(checks),
            passed.eq(good), moved.eq(taken), states["measure"].eq(good | moved & ~last), states["cut"].eq(states["measure"]),
            offer.eq(states["cut"] | offer & ~taken)]
        assert (FIRST_RUN, FIRST_BURST, NEXT_RUN, NEXT_BURST, NEXT_TRANSFER) == (7, 3, 3, 4, 2)
        with m.If(check & bad):
            m.d.sync += [self.chip_fault.eq(chip_bad), self.storage_fault.eq(storage_bad.any())]

        def copies(name, first, after):
            """Registers for some that are wide: they take their first values; these, or others that follow from them."""
            m.submodules[f"{name}_first"], m.submodules[f"{name}_any"] = begins, changes = Copy(), Copy()
            m.d.comb += [begins.d.eq(first), changes.d.eq(first | after)]
            return begins.q, changes.q
        m.submodules.begins = begins = Copy()
        m.d.comb += begins.d.eq(start)
        with m.If(begins.q):
            m.d.sync += [opcode.eq(given.opcode), kinds.eq(Cat(given.opcode == one for one in opcodes)),
                         chip_step.eq(transfer.chip_step), storage_step.eq(transfer.storage_step), words.eq(transfer.words)]
            if has_pixels:
                row = given.body.pixels
                with m.If(gives_pixels):
                    m.d.sync += storage_step.eq(row.storage_step)
                m.d.sync += [width.eq(row.width), channels.eq(row.channels),
                             pixels.eq(gives_pixels)]
        begin_run, run_changes = copies("run", start, good)
        number = transfer.runs
        if has_pixels:
            number = Mux(gives_pixels, given.body.pixels.rows, number)
        with m.If(run_changes):
            m.d.sync += [run_chip.eq(Mux(begin_run, transfer.chip, run_chip + chip_step)),
                         run_storage.eq(Mux(begin_run, transfer.storage, run_storage + storage_step)),
                         runs.eq(Mux(begin_run, number, runs - 1)), last_run.eq(runs == 1)]
        checked, place_changes = copies("place", checks, taken)
        with m.If(place_changes):
            m.d.sync += [source.address.eq(Mux(checked, run_storage, source.address + source.length)),
                         chip.eq(Mux(checked, run_chip, chip + count)), first.eq(checked)]
        counted, left_changes = copies("left", checks, taken)
        with m.If(left_changes):
            m.d.sync += [left.eq(Mux(counted, amount, left - source.length)),
                         chip_left.eq(Mux(counted, words, chip_left - count))]
        return m


