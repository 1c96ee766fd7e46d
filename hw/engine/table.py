"""Tables: any function of a byte, in block RAM."""
from amaranth import Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.geometry import Geometry
from arch.unit import table
from arch.unit.table import ENTRIES_OF_A_WORD, TABLE_WORDS, TABLES, TableConfig
from hw.engine.memory_ports import constants_write
from hw.parts.countdown import Countdown
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.latch import SLICE_BITS, taken_while_idle
from hw.parts.layout import record_layout, vector_layout
from hw.parts.queue import Queue
from hw.primitives import BlockRam, Copy

__all__ = ["Table", "UNIT"]

ROW_BYTES = 2               # of a block RAM: all tables of a lane fill one; a word is written in less time than it takes to come
ROWS = TABLES * 256 // ROW_BYTES
WRITES = ENTRIES_OF_A_WORD // ROW_BYTES
LANES_PER_COPY = 2          # lanes served by one copy of a control line


class Table(wiring.Component):
    """Vectors whose bytes are looked up in a table, or pass, as `TableConfig` says: y[n] = entry[x[n]] of the command's table.

    Latency `table.LATENCY` cycles, one vector a cycle. Each lane has a block RAM with all tables. The next command is taken from
    two cycles after the last vector on, and its first vector three cycles later.

    A credit is taken for each vector and comes back `table.BACK` cycles after the vector left; vectors are taken while there is
    one. So ``i.ready`` depends on registers only, ``o.valid`` is a register and ``o.payload`` stable
    until taken. After reset nothing is under way; tables keep their entries.

    A word of `constants` may be given every `WRITES` cycles; its entries can be looked up `WRITES` + 2 cycles later.

    Members
    -------
    command : ``In(stream.Signature(record_layout(TableConfig)))``
    i, o : ``In/Out(stream.Signature(vector_layout(PO)))``
    constants : ``In(constants_write("table"))``
    """

    def __init__(self, geometry: Geometry, *, places: int = Queue.PLACES, memory: type[BlockRam] = BlockRam):
        self.places, self.lanes, self.memory = places, geometry.output_lanes, memory
        vector = vector_layout(self.lanes)
        super().__init__({"command": In(stream.Signature(record_layout(TableConfig))), "i": In(stream.Signature(vector)),
                          "o": Out(stream.Signature(vector)), "constants": In(constants_write("table"))})

    @staticmethod
    def block_rams(geometry: Geometry) -> int:
        """Block RAMs that it takes."""
        return geometry.output_lanes * BlockRam.tiles(depth=ROWS, width=8 * ROW_BYTES)

    @staticmethod
    def cells(geometry: Geometry) -> dict[str, int]:
        """Lookup tables and registers that an engine has more with it, nearly: of engines synthesised with it and without."""
        return {"lut4": 196 + 51 * geometry.output_lanes // 2, "ff": 338 + 42 * geometry.output_lanes}

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(vector_layout(self.lanes), places=self.places, slice_bits=SLICE_BITS)
        m.submodules.room = room = Credits(self.places, self.places)
        connect(m, flipped(self.o), queue.o)

        idles, idle, taken, load, run, go, ended = Signal(), Signal(init=1), Signal(), Signal(), Signal(), Signal(), Signal()
        config = taken_while_idle(m, self.command.payload, idles)
        m.submodules.vectors = vectors = Countdown(len(config.vectors), early=True)
        m.d.comb += [
            vectors.count.eq(config.vectors), vectors.start.eq(load), vectors.step.eq(go),
            self.command.ready.eq(idle), self.i.ready.eq(run & room.any), go.eq(self.i.valid & self.i.ready),
            idles.eq(idle & ~self.command.valid | ended)]
        m.d.sync += [taken.eq(idle & self.command.valid), load.eq(taken), ended.eq(go & vectors.last), idle.eq(idles)]
        with m.If(load):
            m.d.sync += run.eq(1)
        with m.Elif(go & vectors.last):
            m.d.sync += run.eq(0)

        left = Signal()
        m.d.sync += left.eq(self.o.valid & self.o.ready)
        assert table.BACK == 2
        m.d.comb += [room.take.eq(go), room.give.eq(left)]

        vector = Signal(vector_layout(self.lanes), reset_less=True)
        m.d.sync += vector.eq(self.i.payload)
        enable, number = (delayed(m, value, 1, name) for value, name in ((config.enable, "enable"), (config.table, "number")))
        found = self._look_up(m, vector, enable, number)
        assert table.LATENCY == 1 + 1 + BlockRam.LATENCY + 1 + 1
        done = delayed(m, go, table.LATENCY - 2, "done", reset=True)
        for n, span in enumerate(queue.slices):
            m.submodules[f"put{n}"] = put = Copy()
            m.d.comb += [put.d.eq(done & ~ResetSignal()), queue.w_en[n].eq(put.q), queue.w_data.as_value()[span].eq(found[span])]
        return m

    def _look_up(self, m, vector, enable, number):
        """Each byte's entry, or the byte itself, four cycles later."""
        w_en, w_addr, w_data = self._writes(m)
        passing, found = delayed(m, vector.as_value(), 1 + BlockRam.LATENCY, "passing"), []
        chosen = delayed(m, enable, BlockRam.LATENCY, "chosen")
        for n in range(self.lanes):
            if n % LANES_PER_COPY == 0:
                m.submodules[f"enable{n}"] = own = Copy()
                m.d.comb += own.d.eq(chosen)
            address = Signal(8 + len(number), name=f"address{n}", reset_less=True)
            m.d.sync += address.eq(Cat(vector[n], number))
            m.submodules[f"entries{n}"] = ram = self.memory(depth=ROWS, width=8 * ROW_BYTES)
            upper = delayed(m, address[0], BlockRam.LATENCY, f"upper{n}_")
            entry = Signal(8, name=f"entry{n}", reset_less=True)
            m.d.comb += [ram.r_addr.eq(address[1:]), ram.w_en.eq(w_en), ram.w_addr.eq(w_addr), ram.w_data.eq(w_data)]
            m.d.sync += entry.eq(Mux(own.q, ram.r_data.word_select(upper, 8), passing[8 * n:8 * n + 8]))
            found.append(entry)
        return Cat(found)

    def _writes(self, m):
        """What all block RAMs write: each word that comes in rows, one a cycle."""
        given, row = self.constants, Signal(range(WRITES))
        writes, held, address = Signal(), Signal(len(given.data), reset_less=True), Signal(len(given.addr), reset_less=True)
        with m.If(given.en):
            m.d.sync += [writes.eq(1), row.eq(0), held.eq(given.data), address.eq(given.addr)]
        with m.Else():
            m.d.sync += [writes.eq(writes & (row != WRITES - 1)), row.eq(row + 1), held.eq(held >> 8 * ROW_BYTES)]
        assert 1 << len(address) == TABLES * TABLE_WORDS
        return (delayed(m, writes, 1, "w_en", reset=True), delayed(m, Cat(row, address), 1, "w_addr"),
                delayed(m, held[:8 * ROW_BYTES], 1, "w_data"))


UNIT = Table        # as `hw.engine.engine` finds it
