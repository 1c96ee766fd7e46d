"""The claims about each stage."""
from amaranth.hdl import Assert, Assume, Cat, Cover, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring

from arch import pipeline
from arch.geometry import Geometry
from arch.unit.average import latency as average_latency
from formal.properties import assert_stable, keeps_order, saboteur
from formal.prove import Claim
from hw.engine.average import GlobalAverage
from hw.engine.dispatch import Dispatch
from hw.engine.fifo import OutputFifo
from hw.engine.weights import RULES
from hw.engine.window import WindowGenerator
from hw.engine.writer import Writer
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.queue import Queue

__all__ = ["CLAIMS", "AverageClaim", "AverageFractionClaim", "DispatchClaim", "DispatchScalesClaim", "OutputFifoClaim",
           "QueueClaim", "READY_FOR", "SHOWS", "StageClaim", "CreditsClaim", "WindowClaim", "WriterClaim"]

READY_FOR = 3                   # cycles for which weights and parameters have been ready when a pass starts
PLACES = 2                      # of a queue
SHOWS = pipeline.WINDOW - 2     # after so many the pass before has shown all its beats; its own follow


class StageClaim(Claim):
    """A claim that can be spoilt: `fault` is one of `properties.SABOTAGES` behind the unit, or names another flaw.

    Queues and memories have fewer places than on a chip. The units do not know how many there are: what they do at a limit they
    do at any, and a solver gets through all states of a small one.
    """

    faults: tuple[str, ...] = ()
    depth: int | None = None                # cycles to which it is proved, where all of them take too long

    def __init__(self, fault: str | None = None):
        super().__init__()
        self.fault = fault


class CreditsClaim(StageClaim):
    """`any` says exactly whether there are credits, given that none is taken from nothing or given beyond the limit."""

    LIMIT = 5
    faults = ("one more",)

    def state(self, m):
        m.submodules.credits = credits = Credits(self.LIMIT, 2)
        give, take = self.free(1, "give"), self.free(1, "take")
        count = Signal(range(self.LIMIT + 1), init=3 if self.fault else 2)
        m.d.comb += [credits.give.eq(give), credits.take.eq(take),
                     Assume(~take | (count != 0)), Assume(take | ~give | (count != self.LIMIT)),
                     Assert(credits.any == (count != 0)), Cover(count == self.LIMIT), Cover(~credits.any & give)]
        m.d.sync += count.eq(count + give - take)


class QueueClaim(StageClaim):
    """Keeps order, offers steadily, never overflows, given that it is never written when full."""

    faults = ("drop", "repeat", "swap", "change", "waver", "overflow")

    def state(self, m):
        m.submodules.queue = queue = Queue(1, places=PLACES)
        put, value = self.free(1, "put"), self.free(1, "value")
        o = saboteur(self, m, queue.o, self.fault if self.fault != "overflow" else None)
        m.d.comb += [queue.w_en.eq(put), queue.w_data.eq(value), o.ready.eq(self.free(1, "ready"))]
        inside = keeps_order(self, m, put=put, value=value, take=o.valid & o.ready, taken=o.payload,
                             most=queue.places + (self.fault == "overflow"), patience=0, waiting=~o.valid)
        m.d.comb += [Assume(~put | (inside != queue.places + (self.fault == "overflow"))), Cover(inside == queue.places)]
        assert_stable(m, o, "o")


class OutputFifoClaim(StageClaim):
    """Keeps order, offers steadily; `room` is exactly "fewer than `depth` reserved and not taken the cycle before"; no queue
    inside overflows (their own assertions). Given: reserved only with `room`, and a vector comes for each reservation, sooner
    or later."""

    faults = ("drop", "repeat", "swap", "change", "waver", "unreserved")
    DEPTH = 4

    def state(self, m):
        m.submodules.fifo = fifo = OutputFifo(lanes=1, depth=self.DEPTH, rows=self.DEPTH, places=PLACES)
        put, value, reserve = self.free(1, "put"), self.free(1, "value"), self.free(1, "reserve")
        o = saboteur(self, m, fifo.o, self.fault if self.fault != "unreserved" else None)
        take = o.valid & o.ready
        m.d.comb += [fifo.i.valid.eq(put), Value.cast(fifo.i.vector).eq(value), fifo.reserve.eq(reserve),
                     o.ready.eq(self.free(1, "ready")), Assume(~reserve | fifo.room)]
        inside = keeps_order(self, m, put=put, value=value, take=take, taken=Value.cast(o.payload)[0], most=self.DEPTH,
                             patience=fifo.LATENCY - 1, waiting=~o.valid)
        promised, returning = Signal(range(self.DEPTH + 1)), Signal()
        m.d.sync += [promised.eq(promised + reserve - put), returning.eq(take)]
        m.d.comb += [Assert(fifo.room == (inside + promised + returning < self.DEPTH)), Cover(~fifo.room)]
        if self.fault != "unreserved":
            m.d.comb += Assume(~put | (promised != 0))
        assert_stable(m, o, "o")


class WriterClaim(StageClaim):
    """Every vector taken is written `LATENCY` cycles after its grant, to one lane group, unchanged, and nothing else is written;
    vectors are taken only in the cycle after a grant, exactly as many as the command says, and not one after the other if rows of
    a single column follow each other; `last` comes with its last one."""

    faults = ("late", "wrong group", "one more")
    GEOMETRY = Geometry(input_lanes=4, output_lanes=2, activation_words=512, weight_words=512)

    def state(self, m):
        m.submodules.writer = writer = Writer(self.GEOMETRY)
        grant, vector = self.free(1, "grant"), self.free(16, "vector")
        config = self.free(len(writer.command.payload.as_value()), "config")
        m.d.comb += [writer.grant.eq(grant), writer.i.valid.eq(self.free(1, "valid")), Value.cast(writer.i.payload).eq(vector),
                     writer.command.valid.eq(self.free(1, "command")), writer.command.payload.as_value().eq(config)]
        taken, start = writer.i.valid & writer.i.ready, writer.command.valid & writer.command.ready
        due, data = taken, vector
        for n in range(writer.LATENCY - 1 + (self.fault == "late")):
            stage, held = Signal(name=f"due{n}"), Signal(16, name=f"data{n}")
            m.d.sync += [stage.eq(due), held.eq(data)]
            due, data = stage, held
        groups = len(writer.w_en)
        m.d.comb += [Assert(writer.w_en.any() == due), Assert(~due | (writer.w_data == data.replicate(groups))),
                     Assert((writer.w_en & (writer.w_en - 1)) == 0)]

        left = Signal(4)
        new = writer.command.payload
        m.d.comb += [Assume((new.rows <= 2) & (new.columns <= 2) & (new.output_blocks <= 2)),
                     Assume((new.columns != 0) & (new.output_blocks != 0))]
        rows = Mux(new.columns[1], new.rows[:2] << 1, new.rows[:2])
        with m.If(start):
            m.d.sync += left.eq(Mux(new.output_blocks[1], rows << 1, rows) + (self.fault == "one more"))
        with m.Elif(taken):
            m.d.sync += left.eq(left - 1)
        last = taken & (left == 1)
        for n in range(writer.LATENCY - 1):
            stage = Signal(name=f"last{n}")
            m.d.sync += stage.eq(last)
            last = stage
        loading = Signal()                  # the cycle after a command is taken
        granted, slow, rests = Signal(), Signal(), Signal()
        m.d.sync += [loading.eq(start), granted.eq(grant), rests.eq(taken & slow)]
        with m.If(start):
            m.d.sync += slow.eq((new.columns == 1) & (new.rows != 1))
        m.d.comb += [Assert(writer.command.ready == ((left == 0) & ~loading)),
                     Assert(writer.i.ready == (granted & ~rests & (left != 0) & ~loading)),
                     Assert(writer.last == last), Cover(writer.last & (left == 8))]
        if self.fault == "wrong group":
            m.d.comb += Assert(~writer.w_en[1])


class DispatchClaim(StageClaim):
    """Every unit gets each command's record once, in order, and offered steadily; no unit's queue overflows. Claimed of one
    unit with one bit of its record; a command is taken only when all have room, and offered steadily until then."""

    faults = ("drop", "repeat", "swap", "change", "waver")
    unit = "window"

    GEOMETRY = Geometry(input_lanes=4, output_lanes=2, activation_words=512, weight_words=512)

    def state(self, m):
        m.submodules.dispatch = dispatch = Dispatch(self.GEOMETRY)
        bit = self.free(1, "bit")
        record = dispatch.command.payload
        field = record[RULES[-1]] if self.unit == "scale" else record[self.unit]
        put = dispatch.command.valid & dispatch.command.ready
        m.d.comb += [dispatch.command.valid.eq(self.free(1, "offer")), field.as_value()[0].eq(bit)]
        waits, same = Signal(), Signal()
        m.d.sync += [waits.eq(dispatch.command.valid & ~dispatch.command.ready), same.eq(bit)]
        m.d.comb += Assume(~waits | dispatch.command.valid & (bit == same))
        o = getattr(dispatch, self.unit)
        for name in dispatch.units:
            if name != self.unit:
                m.d.comb += getattr(dispatch, name).ready.eq(self.free(1, f"{name}_ready"))
        low = Signal()
        m.d.comb += low.eq((o.payload.rule if self.unit == "scale" else o.payload).as_value()[0])
        view = wiring.Signature({"payload": wiring.Out(1), "valid": wiring.Out(1), "ready": wiring.In(1)}).create()
        late = delayed(m, ResetSignal(), 1, "late")         # the queues' reset, and that of who takes from them
        m.d.comb += [view.payload.eq(low), view.valid.eq(o.valid & ~late), o.ready.eq(view.ready & ~late)]
        out = saboteur(self, m, view, self.fault)
        m.d.comb += out.ready.eq(self.free(1, "ready"))
        keeps_order(self, m, put=put, value=bit, take=out.valid & out.ready, taken=out.payload, most=pipeline.COMMANDS,
                    patience=pipeline.DISPATCH - 1, waiting=~out.valid)
        assert_stable(m, out, "o")


class DispatchScalesClaim(DispatchClaim):
    """The same for the unit whose record is made of two."""

    unit = "scale"


class AverageClaim(StageClaim):
    """Vectors that pass, and one result a block where a map is summed, leave in order; those that pass unchanged; offered
    steadily; the queue of results never overflows. For commands of one or two blocks of one or two vectors."""

    faults = ("drop", "repeat", "swap", "change", "waver")
    LANES = 2
    FRACTION = False

    def state(self, m):
        geometry = Geometry(input_lanes=4, output_lanes=self.LANES, activation_words=512, weight_words=512)
        m.submodules.average = average = GlobalAverage(geometry, places=PLACES)
        new, bit = average.command.payload, self.free(1, "bit")
        fields = {name: self.free(width, name) for name, width in (
            ("enable", 1), ("first", 1), ("last", 1), ("pixels", 2), ("output_blocks", 2))}
        m.d.comb += [new.fraction.eq(self.FRACTION), *(new[name].eq(value) for name, value in fields.items())]
        m.d.comb += [Assume((fields[name] == 1) | (fields[name] == 2)) for name in ("pixels", "output_blocks")]
        if self.FRACTION:
            m.d.comb += Assume(fields["enable"] & fields["last"] & (fields["pixels"] == 1))
        m.d.comb += [average.command.valid.eq(self.free(1, "command")), average.i.valid.eq(self.free(1, "valid")),
                     average.i.payload[0].eq(bit)]
        view = wiring.Signature({"payload": wiring.Out(1), "valid": wiring.Out(1), "ready": wiring.In(1)}).create()
        config = {name: Signal(len(value), name=f"{name}_now") for name, value in fields.items()}
        # A summed result has no bit of its own: it counts as 0.
        m.d.comb += [view.payload.eq(average.o.payload[0] & ~config["enable"]), view.valid.eq(average.o.valid),
                     average.o.ready.eq(view.ready)]
        pixels, blocks = Signal(2), Signal(2)
        start = average.command.valid & average.command.ready
        taken = average.i.valid & average.i.ready
        inside = Signal(range(8))
        block_end = taken & (pixels == 1)
        with m.If(start):
            m.d.sync += [*(config[name].eq(value) for name, value in fields.items()), pixels.eq(fields["pixels"]),
                         blocks.eq(fields["output_blocks"])]
        with m.Elif(taken):
            m.d.sync += [pixels.eq(Mux(block_end, config["pixels"], pixels - 1)), blocks.eq(blocks - block_end)]
        m.d.comb += [Assert(~taken | (blocks != 0)), Assume(~start | (inside == 0))]
        out = saboteur(self, m, view, self.fault if self.fault != "one of two" else None)
        m.d.comb += out.ready.eq(self.free(1, "ready"))
        put, second = taken & (~config["enable"] | block_end & config["last"]), Signal()
        m.d.sync += second.eq(put & config["enable"] & (self.FRACTION and self.fault != "one of two"))
        m.d.comb += [Assert(~(taken & second)), inside.eq(keeps_order(
            self, m, put=put | second, value=bit & ~config["enable"], take=out.valid & out.ready, taken=out.payload,
            most=PLACES + self.FRACTION,       # the second result is counted before it has a place
            patience=average_latency(self.LANES), waiting=~out.valid, ahead_of=0 if self.FRACTION else 2))]
        assert_stable(m, out, "o")


class AverageFractionClaim(AverageClaim):
    """The same where each result of a map, of one vector, is two, the second one without another vector."""

    faults = (*AverageClaim.faults, "one of two")
    FRACTION = True


class WindowClaim(StageClaim):
    """A beat is issued only with the grant, and only with room if it makes a result, for which it then reserves a place; each
    pass has exactly the command's pixels, begins with `swap`, and starts only when the weights (and, if it makes results, the
    parameters) have been ready for `READY_FOR` cycles; a partial sum is not touched twice within `MIN_REVISIT` cycles. For sizes
    of 1 and 2, kernels of one row."""

    faults = ("one more", "too soon", "no grant")
    GEOMETRY = Geometry(input_lanes=4, output_lanes=2, activation_words=512, weight_words=512)

    def state(self, m):
        m.submodules.window = window = WindowGenerator(self.GEOMETRY)
        inputs = {name: self.free(1, name) for name in ("read_grant", "room", "weights_ready", "parameters_ready")}
        m.d.comb += [getattr(window, name).eq(value) for name, value in inputs.items()]
        new = window.config.payload
        sizes = {name: self.free(2, name) for name in ("rows", "columns", "output_blocks", "kernel_x", "blocks")}
        m.d.comb += [new[name].eq(value) for name, value in sizes.items()]
        m.d.comb += [Assume((value == 1) | (value == 2)) for value in sizes.values()]
        m.d.comb += [new.kernel_y.eq(1), window.config.valid.eq(self.free(1, "command"))]

        before = {}
        for name, value in (*inputs.items(), ("pass_start", window.pass_start), ("block_start", window.block_start)):
            before[name] = Signal(name=f"{name}_before")
            m.d.sync += before[name].eq(value)
        settled = {name: Cat(delayed(m, inputs[name], n + 1, f"{name}{n}_", reset=True) for n in range(READY_FOR)).all()
                   for name in ("weights_ready", "parameters_ready")}
        issue = window.issue
        granted = delayed(m, inputs["read_grant"], pipeline.WINDOW, "granted", reset=True)
        reserved = delayed(m, window.reserve, pipeline.WINDOW - 1, "reserved", reset=True)
        m.d.comb += [
            Assert(~window.reserve | (before["read_grant"] & inputs["room"])),
            Assert(~issue.valid | granted if self.fault != "no grant" else ~issue.valid),
            Assert((issue.valid & issue.last) == reserved), Assert(~issue.swap | issue.valid),
            Assert(~issue.emit_start | issue.swap & issue.last),
            Assert(~window.pass_start | settled["weights_ready"]),
            Assert(~window.block_start | window.pass_start & settled["parameters_ready"])]

        # The loaders' side: ready stays until used, and is taken back in the cycle after.
        for ready, used in (("weights_ready", "pass_start"), ("parameters_ready", "block_start")):
            m.d.comb += [Assume(inputs[ready] | ~before[ready] | before[used]), Assume(~inputs[ready] | ~before[used])]

        # The size is that of the command taken last: it is taken when the last pass of the one before has started.
        size, left, fresh = Signal(3), Signal(3), Signal()
        to_go, in_block, block = Signal(5), Signal(4), Signal(4)

        def product(*factors: Value) -> Value:              # of ones and twos
            result = Value.cast(1)
            for factor in factors:
                result = Mux(factor == 2, result << 1, result)
            return result
        per_block = product(sizes["kernel_x"], sizes["blocks"])
        start = window.pass_start
        shows = delayed(m, start, SHOWS, "shows", reset=True)
        started_size = delayed(m, size, SHOWS, "size")
        with m.If(window.config.valid & window.config.ready):
            m.d.sync += [size.eq(product(sizes["rows"], sizes["columns"]) + (self.fault == "one more")), block.eq(per_block),
                         in_block.eq(per_block)]
            m.d.sync += to_go.eq(Mux(sizes["output_blocks"] == 2, per_block << 1, per_block))
        with m.If(start):
            m.d.sync += [to_go.eq(to_go - 1), in_block.eq(Mux(in_block == 1, block, in_block - 1))]
        with m.If(shows):
            m.d.sync += [left.eq(started_size), fresh.eq(1)]
        with m.Elif(issue.valid):
            m.d.sync += [left.eq(left - 1), fresh.eq(0)]
        m.d.comb += [Assert(~shows | (left == issue.valid)), Assert(~issue.valid | (left != 0)), Assert(~start | (to_go != 0)),
                     Assert(issue.swap == (issue.valid & fresh)), Assert(window.block_start == (start & (in_block == 1))),
                     Assert(~window.config.ready | (to_go == 0)), Cover(start & (to_go == 1) & (size == 4))]
        least = pipeline.MIN_REVISIT + (4 if self.fault == "too soon" else 0)     # passes are further apart than they must be
        for pixel in range(4):
            age = Signal(range(least + 1), init=least, name=f"age{pixel}")
            here = issue.valid & (issue.addr == pixel)
            with m.If(here):
                m.d.sync += age.eq(1)
            with m.Elif(age != least):
                m.d.sync += age.eq(age + 1)
            m.d.comb += Assert(~here | (age == least))


CLAIMS: dict[str, type[StageClaim]] = {
    "credits": CreditsClaim, "queue": QueueClaim, "dispatch": DispatchClaim, "scales": DispatchScalesClaim, "window": WindowClaim,
    "fifo": OutputFifoClaim, "average": AverageClaim, "fraction": AverageFractionClaim, "writer": WriterClaim}
