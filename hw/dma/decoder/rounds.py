"""Symbols, a round at a time: states are looked up in a table, take their bits, and become the next ones."""
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from arch import weight_stream as form
from hw.dma.decoder.bits import FIELD_BITS, BitString, bits_shape, fields_layout, offsets_layout
from hw.dma.decoder.tables import CODE_BITS, slot_layout
from hw.dma.decoder.thermometer import lowest_bits
from hw.parts.delay import delayed
from hw.parts.queue import Queue
from hw.primitives import BlockRam

__all__ = ["Rounds", "part_layout"]

SYMBOL = data.StructLayout({"rest": form.STATE_BITS + 1, "size": 4, "value": 8, "raw_bits": 2})
PLACES = 16             # for rounds that are looked up, of which there are 32 / lanes at most


def part_layout(lanes: int) -> data.Layout:
    """Bytes of a unit that come together."""
    return data.ArrayLayout(8, lanes)


class Rounds(wiring.Component):
    """Decodes a block after each reset: states, masks if it has some, and units.

    A state's slot says how many bits its symbol takes before one of them is read. So what a round takes is known when its bits
    come, and states take turns so that the next ones are looked up until it is theirs again: a round a cycle.

    Members
    -------
    start : ``In(1)``
        The block begins, for a cycle; `units`, an even number, and `masked` hold from then on.
    wanted, bits, offsets, take, fields
        The other side of `BitString`.
    masks, mask_en : ``Out(GROUP)``, ``Out(1)``
        The masks of 64 weights. `masks_done`: there are no more.
    reserve, values, value_en : ``Out(1)``, ``Out(part_layout(lanes))``, ``Out(1)``
        Bytes of a unit will come; they come. `room`, ``In(1)``: they may.
    beyond, finished : ``Out(1)``
        A mask had units behind the last one; all rounds have their bits.
    w_en, w_addr, w_data, major
        The other side of `TableWriter`.
    """

    def __init__(self, *, lanes: int):
        self.lanes = lanes
        super().__init__({
            "start": In(1), "units": In(13), "masked": In(1), "wanted": Out(1), "bits": Out(bits_shape(lanes)),
            "offsets": Out(offsets_layout(lanes)), "take": In(1), "fields": In(fields_layout(lanes)),
            "masks": Out(form.GROUP), "mask_en": Out(1), "masks_done": Out(1), "reserve": Out(1),
            "values": Out(part_layout(lanes)), "value_en": Out(1), "room": In(1), "beyond": Out(1), "finished": Out(1),
            "w_en": In(1), "w_addr": In(form.STATE_BITS + 1), "w_data": In(slot_layout()),
            "major": In(data.ArrayLayout(CODE_BITS, 2))})

    def elaborate(self, platform):
        m = Module()
        assert form.LOOKED_UP == BitString.LATENCY + BlockRam.LATENCY + 1 and form.VALUES_THERE == BitString.LATENCY + 2
        begun = Signal()
        with m.If(self.start):
            m.d.sync += begun.eq(1)
        found, held = (Signal(data.ArrayLayout(SYMBOL, self.lanes), name=name, reset_less=True) for name in ("found", "held"))
        found_valid, found_masks, found_first = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        held_valid, held_unit, held_last, moves = Signal(), Signal(reset_less=True), Signal(reset_less=True), Signal()
        m.submodules.queue = queue = Queue(slot_layout().size * self.lanes + 1, places=PLACES)

        # Slots become symbols; those of the first rounds are states, which are all bits.
        first_left = Signal(range(form.STATES // self.lanes + 1), init=form.STATES // self.lanes)
        first, load = first_left != 0, Signal()
        m.d.comb += [load.eq(begun & (first | queue.o.valid) & (~found_valid | moves)), queue.o.ready.eq(load & ~first)]
        m.d.sync += found_valid.eq(load | found_valid & ~moves)
        with m.If(load):
            m.d.sync += [found_masks.eq(queue.o.payload[-1] & ~first), found_first.eq(first), first_left.eq(first_left - first)]
            m.d.sync += [_symbol(m, symbol, queue.o.payload[18 * n:18 * n + 18], queue.o.payload[-1], self.major, first, n)
                         for n, symbol in enumerate(found)]

        final, over, wait = self._counts(m, begun, moves, found, found_masks, found_first)
        m.d.comb += [
            moves.eq(found_valid & ~wait & ~over & (~held_valid | self.take)),
            self.wanted.eq(held_valid & (self.room | ~held_unit)), self.reserve.eq(self.take & held_unit),
            self.finished.eq(over & ~held_valid)]
        m.d.sync += held_valid.eq(moves | held_valid & ~self.take)
        with m.If(moves):
            m.d.sync += [held_unit.eq(~found_first & ~found_masks), held_last.eq(final), held.eq(found)]
            total = Const(0, 1)
            for n, symbol in enumerate(found):
                size, needed = Signal(4, name=f"size{n}"), Signal(range(FIELD_BITS + 1), name=f"needed{n}")
                so_far = Signal(range((n + 1) * FIELD_BITS + 1), name=f"so_far{n}")
                m.d.comb += [size.eq(Mux(final, 0, symbol.size)), needed.eq(size + symbol.raw_bits), so_far.eq(total + needed)]
                m.d.sync += [self.offsets[n].eq(total), held[n].size.eq(size)]
                total = so_far
            m.d.sync += self.bits.eq(total)
        self._next_states(m, held, held_unit, held_last, queue)
        return m

    def _next_states(self, m, held, unit, last, queue) -> None:
        """Two cycles behind a round's bits: its values, and its states on their way to the queue."""
        lanes = self.lanes
        taken = delayed(m, self.take, BitString.LATENCY, "taken", reset=True)
        unit, last = (delayed(m, value, BitString.LATENCY, name) for value, name in ((unit, "unit"), (last, "last")))
        symbols = Signal(held.shape(), name="symbols")
        m.d.comb += symbols.as_value().eq(delayed(m, held.as_value(), BitString.LATENCY, "symbol"))
        mask_states = Signal(range(4 * form.EIGHTS // form.LANES), name="mask_states")
        masks = mask_states != 0
        with m.If(self.start):
            m.d.sync += mask_states.eq(Mux(self.masked, self._mask_rounds(), 0))
        with m.Elif(taken):
            m.d.sync += mask_states.eq(mask_states - masks)
        m.d.sync += self.value_en.eq(taken & unit)
        for n, symbol in enumerate(symbols):
            m.submodules[f"table{n}"] = table = BlockRam(depth=2 * form.SLOTS, width=18)
            field, below = self.fields[n], Signal(form.STATE_BITS, name=f"below{n}")
            m.d.comb += [
                below.eq(lowest_bits(symbol.size, form.STATE_BITS)),
                table.r_addr.eq(Cat((symbol.rest << symbol.size)[:form.STATE_BITS] | field[:form.STATE_BITS] & below, masks)),
                table.w_en.eq(self.w_en), table.w_addr.eq(self.w_addr), table.w_data.eq(self.w_data),
                queue.w_data[18 * n:18 * n + 18].eq(table.r_data)]
            raw = (field >> symbol.size)[:3] & lowest_bits(symbol.raw_bits, 3)
            m.d.sync += self.values[n].eq(symbol.value | raw)
        m.d.comb += [queue.w_data[18 * lanes].eq(delayed(m, masks, BlockRam.LATENCY, "masks")),
                     queue.w_en.eq(delayed(m, taken & ~last, BlockRam.LATENCY, "pushed", reset=True))]

    def _mask_rounds(self):
        """Rounds of masks of all units."""
        return (self.units + form.GROUP - 1)[4:] << (2 - (self.lanes.bit_length() - 1))

    def _counts(self, m, begun, moves, found, of_masks, first):
        """What a round that moves is: without states behind it, one too many, or too early, since units are still counted."""
        lanes, group = self.lanes, form.UNIT * self.lanes
        firsts, masks_left = Signal(range(form.STATES // lanes + 1), init=form.STATES // lanes), Signal(range(2 * form.EIGHTS))
        units_left, inside, counting = Signal(13), Signal(13), Signal()
        given = Cat(symbol.value[:form.UNIT] for symbol in found)
        there, beyond = Signal(group), Signal()
        within = lowest_bits(inside[:4], form.GROUP) | inside[4:].any().replicate(form.GROUP)
        m.d.comb += [there.eq(given & within[:group]), beyond.eq((given & ~there).any())]
        count = Signal(range(group + 1), reset_less=True)
        m.d.sync += [counting.eq(moves & of_masks), count.eq(sum(there)), self.mask_en.eq(0)]
        part, parts = Signal(range(max(form.UNIT // lanes, 2))), form.UNIT // lanes
        with m.If(self.start):
            m.d.sync += [inside.eq(self.units), masks_left.eq(Mux(self.masked, self._mask_rounds(), 0)),
                         units_left.eq(Mux(self.masked, 0, self.units))]
        with m.Elif(counting):
            m.d.sync += units_left.eq(units_left + count)
        with m.If(moves):
            with m.If(first):
                m.d.sync += firsts.eq(firsts - 1)
            with m.Else():
                m.d.sync += part.eq(Mux(part == parts - 1, 0, part + 1))
            with m.If(of_masks):
                m.d.sync += [masks_left.eq(masks_left - 1),
                             inside.eq(Mux(inside[group.bit_length() - 1:].any(), inside - group, 0)),
                             self.masks.eq(Cat(self.masks, there)[group:]), self.mask_en.eq(part == parts - 1)]
                with m.If(beyond):
                    m.d.sync += self.beyond.eq(1)
            with m.Elif(~first & (part == parts - 1)):
                m.d.sync += units_left.eq(units_left - 1)
        done = begun & (firsts == 0) & (masks_left == 0) & ~counting
        m.d.comb += self.masks_done.eq(done)
        few = ~units_left[4:].any() & (~units_left[3] | ~units_left[:3].any())
        return ~first & ~of_masks & few, done & (units_left == 0), counting & (masks_left == 0)


def _symbol(m, symbol, slot, masks, major, first, n: int):
    """A slot's symbol, or of the first rounds one that is a state's bits and nothing else."""
    rest, given = slot[:9], slot[9:]
    more, code, whole, size = Signal(name=f"more{n}"), Signal(CODE_BITS, name=f"code{n}"), Signal(10, name=f"rest{n}"), Signal(4)
    m.d.comb += [more.eq(given == 0), code.eq(Mux(more, Mux(masks, major[1], major[0]), given)),
                 whole.eq(Mux(first, 1, Cat(rest, more)))]
    for bit in range(10):
        with m.If(whole[bit]):
            m.d.comb += size.eq(9 - bit)
    value = Cat(code[1] & code[0], code[2] & code[:2].any(), code[3] & code[:3].any(), code[4:])
    raw_bits = Mux(code[0] | first, 0, Mux(code[1], 1, Mux(code[2], 2, 3)))
    return symbol.eq(Cat(whole, size, value, raw_bits))
