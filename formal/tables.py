"""Claims about the table."""
from amaranth.hdl import Assert, Assume, Module, Signal

from arch.geometry import Geometry
from arch.unit.table import LATENCY
from formal.properties import assert_stable, keeps_order, saboteur, watched
from formal.stages import PLACES, StageClaim
from hw.engine.table import Table
from hw.primitives import BlockRam

__all__ = ["CLAIMS", "TableClaim"]


class _Inverted(BlockRam):
    """In place of a memory with tables: all of them invert the lowest bit."""

    ROW = 0x0001

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.r_data.eq(self.ROW)
        return m


class _Same(_Inverted):
    """All tables keep the lowest bit."""

    ROW = 0x0100


class TableClaim(StageClaim):
    """Every vector taken leaves once, in order, its bytes looked up if the command says so and unchanged otherwise; exactly as
    many are taken as the command says; offered steadily; the queue at the end never overflows. For commands of 1 to 3 vectors."""

    faults = ("drop", "repeat", "swap", "change", "waver", "same")
    GEOMETRY = Geometry(input_lanes=4, output_lanes=2, activation_words=512, weight_words=512, options=("table",))

    def state(self, m):
        memory = _Same if self.fault == "same" else _Inverted
        m.submodules.table = table = Table(self.GEOMETRY, places=PLACES, memory=memory)
        bit, enable, vectors = self.free(1, "bit"), self.free(1, "enable"), self.free(2, "vectors")
        m.d.comb += [table.command.payload.enable.eq(enable), table.command.payload.vectors.eq(vectors), Assume(vectors != 0),
                     table.command.valid.eq(self.free(1, "command")), table.i.valid.eq(self.free(1, "valid")),
                     table.i.payload[0].eq(bit)]
        start, taken = table.command.valid & table.command.ready, table.i.valid & table.i.ready
        left, enabled = Signal(2), Signal()
        with m.If(start):
            m.d.sync += [left.eq(vectors), enabled.eq(enable)]
        with m.Elif(taken):
            m.d.sync += left.eq(left - 1)
        m.d.comb += [Assert(~taken | (left != 0)), Assert(~start | (left == 0))]
        out = saboteur(self, m, watched(m, table.o, table.o.payload[0][0]), self.fault if self.fault != "same" else None)
        m.d.comb += out.ready.eq(self.free(1, "ready"))
        keeps_order(self, m, put=taken, value=bit ^ enabled, take=out.valid & out.ready, taken=out.payload, most=PLACES,
                    patience=LATENCY - 1, waiting=~out.valid)
        assert_stable(m, out, "o")


CLAIMS: dict[str, type[StageClaim]] = {"table": TableClaim}
