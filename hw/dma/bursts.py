"""A transfer walked through: runs, checked, and cut into bursts."""
from collections.abc import Sequence
from types import SimpleNamespace

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from arch.geometry import Geometry
from arch.instruction import CodedTransfer, Opcode, PixelTransfer, Transfer
from arch.record import ADDRESS, bits_of_storage
from arch.transfer import BURST_WORDS, FIRST_BURST, FIRST_RUN, NEXT_BURST, NEXT_RUN, NEXT_TRANSFER, burst_words, places
from hw.dma.coded import block_layout
from hw.dma.run_check import RunCheck, chosen
from hw.parts.layout import record_layout
from hw.primitives import Copy
from hw.storage.arbiter import source_layout, tag_layout

__all__ = ["Bursts", "burst_layout", "load_layout"]


def _registers(prefix: str, **bits) -> SimpleNamespace:
    """Registers `<prefix>_<name>` without a reset."""
    return SimpleNamespace(**{name: Signal(shape, name=f"{prefix}_{name}", reset_less=True) for name, shape in bits.items()})


def load_layout(storage_bits: int, *, coded: bool = False) -> data.StructLayout:
    """A load: its opcode and, in the same bits, the record that goes with it. `coded`: there may be coded loads."""
    records = {"transfer": Transfer, "pixels": PixelTransfer} | ({"coded": CodedTransfer} if coded else {})
    body = data.UnionLayout({name: record_layout(record, storage_bits) for name, record in records.items()})
    return data.StructLayout({"opcode": 4, "body": body})


def burst_layout(storage_bits: int) -> data.StructLayout:
    """A burst and its tag; `count` words on the chip (not of pixels)."""
    return data.StructLayout({"source": source_layout(storage_bits), "tag": tag_layout(), "count": range(BURST_WORDS // 2 + 1)})


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
        Words of storage; as many bits have the addresses here, see `arch.record.bits_of_storage`.
    region : bool
        Runs must lie between `low` and `high`.

    Members
    -------
    i : ``In(stream.Signature(load_layout(bits, ...)))``
    may : ``In(1)``
        Something may be taken in the next cycle.
    low, high : ``In``
        Words of storage, `high` excluded.
    room : ``In(1)``
        From a register; there is room for ``width`` pixels.
    width : ``Out(10)``
        Of the row to be checked, at least two cycles before it is.
    reserve : ``Out(1)``
    coded, begin, block : ``Out(1)``, ``Out(1)``, ``Out(block_layout())``
        The transfer is a coded load; one was found good in the cycle before, and what it says. Like the next one, only where
        such loads come.
    coded_room : ``In(1)``
        A burst of a coded load may be offered in the next cycle.
    o : ``Out(stream.Signature(burst_layout(bits)))``
    chip_fault, storage_fault : ``Out(1)``
        Registers.
    """

    def __init__(self, geometry: Geometry, opcodes: Sequence[Opcode], storage_words: int, *, region: bool = False):
        self.region = region
        self.geometry, self.opcodes, self.storage_words = geometry, tuple(opcodes), storage_words
        self.storage_bits = bits = bits_of_storage(storage_words)
        self.decodes = Opcode.LOAD_CODED in self.opcodes
        coded = {"coded": Out(1), "begin": Out(1), "block": Out(block_layout()), "coded_room": In(1)} if self.decodes else {}
        super().__init__({
            **coded, "i": In(stream.Signature(load_layout(bits, coded=self.decodes))), "may": In(1),
            "low": In(bits), "high": In(bits + 1), "room": In(1),
            "width": Out(10), "reserve": Out(1),
            "o": Out(stream.Signature(burst_layout(bits))), "chip_fault": Out(1), "storage_fault": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.check = check = RunCheck(self.geometry, self.opcodes, self.storage_words, region=self.region)
        # The transfer, and where its run begins that is checked next.
        run = _registers("run", opcode=4, kinds=len(self.opcodes), pixels=1, width=10, channels=3, chip=ADDRESS + 1,
                         storage=self.storage_bits + 1, chip_step=ADDRESS, storage_step=self.storage_bits, words=ADDRESS + 1,
                         runs=10, last=1, **({"coded": 1, "block": 16} if self.decodes else {}))
        # A burst, and what is left of the run from there.
        burst = _registers("burst", source=self.o.payload.source.shape(), chip=ADDRESS, first=1, last=1,
                           count=len(self.o.payload.count), left=len(check.amount), chip_left=len(run.words))
        tag = self.o.payload.tag
        m.d.comb += [
            self.o.payload.source.eq(burst.source), self.o.payload.count.eq(burst.count), tag.opcode.eq(run.opcode),
            tag.chip.eq(burst.chip), tag.first.eq(burst.first), tag.last.eq(burst.last), tag.end.eq(burst.last & run.last),
            tag.channels.eq(run.channels), tag.odd.eq(check.odd), self.width.eq(run.width),
            check.low.eq(self.low), check.high.eq(self.high)]
        m.d.comb += [getattr(check, name).eq(getattr(run, name)) for name in (
            "kinds", "pixels", "chip", "storage", "words", "width", "channels", *(("block",) if self.decodes else ()))]
        if self.decodes:
            m.d.comb += [self.coded.eq(run.coded), self.block.words.eq(run.block), self.block.chip.eq(run.chip),
                         self.block.chip_words.eq(run.words)]
        start, checks, good, taken = self._states(m, check, run, burst)
        self._runs(m, run, start, good)
        self._cut(m, check, run, burst, checks, taken)
        return m

    def _states(self, m, check, run, burst):
        """One register a state: they enable wide registers. Returns in which cycles a transfer is taken, a run is checked in
        the next one, a run is found good, a burst is taken."""
        states = {name: Signal(name=name, init=name == "idle") for name in (
            "idle", "begin", "sized", "counted", "added", "compared", "judged", "check", "measure", "cut", "offer")}
        idle, now, offer = states["idle"], states["check"], states["offer"]
        ready, start, good, taken, over = Signal(), Signal(), Signal(), Signal(), Signal()
        passed, moved = Signal(), Signal()          # a cycle ago: good, taken
        bad = check.chip_bad | check.storage_bad
        m.d.comb += [self.i.ready.eq(ready), self.o.valid.eq(offer), start.eq(ready & self.i.valid),
                     good.eq(now & ~bad & (~run.pixels | self.room)), self.reserve.eq(passed & run.pixels),
                     taken.eq(offer & self.o.ready), over.eq(taken & burst.last & run.last)]
        checks = Signal()
        m.d.comb += checks.eq(states["judged"] | now & ~good & ~bad)
        m.d.sync += [
            ready.eq(self.may & idle & ~start), idle.eq(idle & ~start | over), states["begin"].eq(start),
            states["sized"].eq(states["begin"]), states["counted"].eq(states["sized"]),
            states["added"].eq(states["counted"]), states["compared"].eq(states["added"] | taken & burst.last & ~run.last),
            states["judged"].eq(states["compared"]), now.eq(checks),
            passed.eq(good), moved.eq(taken), states["measure"].eq(good | moved & ~burst.last)]
        if self.decodes:            # each burst waits for room, not the whole run
            waits = states["cut"] & run.coded & ~self.coded_room
            m.d.comb += self.begin.eq(passed & run.coded)
            m.d.sync += [states["cut"].eq(states["measure"] | waits), offer.eq(states["cut"] & ~waits | offer & ~taken)]
        else:
            m.d.sync += [states["cut"].eq(states["measure"]), offer.eq(states["cut"] | offer & ~taken)]
        assert (FIRST_RUN, FIRST_BURST, NEXT_RUN, NEXT_BURST, NEXT_TRANSFER) == (7, 3, 3, 4, 2)
        with m.If(now & bad):
            m.d.sync += [self.chip_fault.eq(check.chip_bad), self.storage_fault.eq(check.storage_bad)]
        return start, checks, good, taken

    def _runs(self, m, run, start, good):
        """Takes a transfer, and moves on to its next run."""
        # Whoever gives the transfer is far away.
        given = Signal(self.i.payload.shape(), reset_less=True)
        gives_pixels = Signal(reset_less=True)
        m.d.sync += [given.eq(self.i.payload), gives_pixels.eq(self.i.payload.opcode == Opcode.LOAD_PIXELS)]
        transfer, row, has_pixels = given.body.transfer, given.body.pixels, Opcode.LOAD_PIXELS in self.opcodes
        m.submodules.begins = begins = Copy()
        m.d.comb += begins.d.eq(start)
        with m.If(begins.q):
            m.d.sync += [run.opcode.eq(given.opcode), run.kinds.eq(Cat(given.opcode == one for one in self.opcodes)),
                         run.chip_step.eq(transfer.chip_step), run.storage_step.eq(transfer.storage_step),
                         run.words.eq(transfer.words)]
            if has_pixels:
                with m.If(gives_pixels):
                    m.d.sync += run.storage_step.eq(row.storage_step)
                m.d.sync += [run.width.eq(row.width), run.channels.eq(row.channels), run.pixels.eq(gives_pixels)]
        number, chip = Mux(gives_pixels, row.rows, transfer.runs) if has_pixels else transfer.runs, transfer.chip
        if self.decodes:
            gives_coded, coded = Signal(reset_less=True), given.body.coded
            m.d.sync += gives_coded.eq(self.i.payload.opcode == Opcode.LOAD_CODED)
            number, chip = Mux(gives_coded, 1, number), Mux(gives_coded, coded.chip, chip)
            with m.If(begins.q):
                m.d.sync += [run.coded.eq(gives_coded), run.block.eq(coded.words)]
                with m.If(gives_coded):
                    m.d.sync += run.words.eq(coded.chip_words)
        first, changes = self._copies(m, "run", start, good)
        with m.If(changes):
            m.d.sync += [run.chip.eq(Mux(first, chip, run.chip + run.chip_step)),
                         run.storage.eq(Mux(first, transfer.storage, run.storage + run.storage_step)),
                         run.runs.eq(Mux(first, number, run.runs - 1)), run.last.eq(run.runs == 1)]

    def _cut(self, m, check, run, burst, checks, taken):
        """The next burst of the run: what is left, or as much as a burst may be."""
        chip_words = {one: burst_words(self.geometry, one) for one in self.opcodes}
        words = {one: chip_words[one] * places(self.geometry, one) for one in self.opcodes}
        chip_most, most = Signal(len(burst.count), reset_less=True), Signal(range(BURST_WORDS + 1), reset_less=True)
        small, large = Signal(reset_less=True), Signal(reset_less=True)
        fits = small & ~large
        m.d.sync += [
            chip_most.eq(chosen(run.kinds, self.opcodes, chip_words)), most.eq(chosen(run.kinds, self.opcodes, words)),
            small.eq(burst.left[:len(most)] <= most), large.eq(burst.left[len(most):].any()), burst.last.eq(fits),
            burst.source.length.eq(Mux(fits, burst.left, most)), burst.count.eq(Mux(fits, burst.chip_left, chip_most))]
        checked, changes = self._copies(m, "place", checks, taken)
        with m.If(changes):
            m.d.sync += [burst.source.address.eq(Mux(checked, run.storage, burst.source.address + burst.source.length)),
                         burst.chip.eq(Mux(checked, run.chip, burst.chip + burst.count)), burst.first.eq(checked)]
        counted, changes = self._copies(m, "left", checks, taken)
        with m.If(changes):
            m.d.sync += [burst.left.eq(Mux(counted, check.amount, burst.left - burst.source.length)),
                         burst.chip_left.eq(Mux(counted, run.words, burst.chip_left - burst.count))]

    @staticmethod
    def _copies(m, name, first, after):
        """Registers for some that are wide: they take their first values; these, or others that follow from them."""
        m.submodules[f"{name}_first"], m.submodules[f"{name}_any"] = begins, changes = Copy(), Copy()
        m.d.comb += [begins.d.eq(first), changes.d.eq(first | after)]
        return begins.q, changes.q
