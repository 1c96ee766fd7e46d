"""Claims about the local response normalisation, in three parts: the steps are the right ones; whatever the steps, no result is
lost; and the lane is given the channels of the vector that waited, and their neighbours."""
from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from arch.geometry import Geometry
from arch.unit.lrn import ABOVE, BACK, BELOW, FILL, MOST_PIXELS, LrnConfig, turn
from formal.properties import assert_stable, keeps_order, saboteur, watched
from formal.stages import StageClaim
from hw.engine.lrn import LocalResponse, NormaliseLane
from hw.parts.delay import delayed
from hw.parts.layout import record_layout
from hw.primitives import BlockRam

__all__ = ["CLAIMS", "LrnLaneClaim", "LrnResultsClaim", "LrnStepsClaim"]

PLACES, LANES = 2, 2        # of a queue; of a vector
GEOMETRY = Geometry(input_lanes=4, output_lanes=LANES, activation_words=512, weight_words=512, options=("lrn",))


class _ShortLane(NormaliseLane):
    """In place of the arithmetic: inverts the channel that comes `ABOVE` before the newest one, as if the pipeline were short."""

    LATENCY = 1

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.q.eq(~delayed(m, self.x, ABOVE, "before"))
        return m


LATENCY = 2 + turn(LANES) - 1 + _ShortLane.LATENCY + 1 + 1      # of a vector that is made, with that lane


def _since(m: Module, event: Value, name: str, most: int) -> Signal:
    """Cycles since something happened; `most` for as many or more."""
    age = Signal(range(most + 1), init=most, name=f"since_{name}")
    m.d.sync += age.eq(Mux(event, 1, age + (age != most)))
    return age


class _Control(LocalResponse):
    """Commands and steps without channels; `step`, `makes`, `filling`, `flushing` and `last` show what is made. With `early` the
    next command is taken too soon, with `more` pixels are counted wrongly."""

    def __init__(self, early: bool, more: bool):
        super().__init__(GEOMETRY, places=PLACES, lane=_ShortLane)
        self.early, self.more = early, more
        self.step, self.makes, self.filling, self.flushing, self.last = Signal(), Signal(), Signal(), Signal(), Signal()

    def _commands(self, m, final):
        config, load, run, finished = super()._commands(m, final)
        if self.early:
            m.d.comb += finished.eq(delayed(m, final & config.enable, LATENCY - 2, "early", reset=True))
            finished = Signal()
        return config, load, run, finished

    def _count(self, m, config, load, go):
        told = Signal.like(config)
        m.d.comb += [told.eq(config), told.pixels.eq(config.pixels + self.more)]
        return super()._count(m, told, load, go)

    def _elements(self, m, config, vector, go, makes, filling, flushing, last):
        m.d.comb += [self.step.eq(go), self.makes.eq(makes), self.filling.eq(filling), self.flushing.eq(flushing),
                     self.last.eq(last)]
        return Const(0, 8)


class LrnStepsClaim(StageClaim):
    """The steps of a command, in order: without `enable`, each of its vectors passes; otherwise those of the first block fill the
    line memory, each of the others makes one of the block before, and as many steps without a vector make those of the last
    block. Each is made as soon as it can be and no sooner: with its vector, with room, three cycles behind its command, `FILL`
    behind a step that makes nothing and `turn` behind one that makes a vector. The next command is asked for when the last
    vector made is offered, two cycles behind the last one that passes, and three behind a command without vectors. For commands
    of up to two blocks of up to two pixels, or of none.
    """

    faults = ("early", "one more", "longer turn")
    depth = 28                  # until a vector passes behind a command of two blocks; for all cycles it takes minutes
    FIRST, AGAIN = 3, 2         # from a command to its first step; from the last vector that passes to the next command

    def state(self, m):
        m.submodules.unit = unit = _Control(self.fault == "early", self.fault == "one more")
        fields = {name: self.free(width, name) for name, width in (("enable", 1), ("pixels", 2), ("output_blocks", 2))}
        new, there = unit.command.payload, self.free(1, "vector")
        m.d.comb += [*(new[name].eq(value) for name, value in fields.items()), unit.command.valid.eq(self.free(1, "command")),
                     unit.i.valid.eq(there), unit.o.ready.eq(self.free(1, "ready")),
                     *(Assume(fields[name] <= 2) for name in ("pixels", "output_blocks")), Assume(fields["output_blocks"] != 0)]
        start, step, makes = unit.command.valid & unit.command.ready, unit.step, unit.makes
        now = {name: Signal(len(value), name=f"{name}_now") for name, value in fields.items()}
        busy, pixel, block = Signal(), Signal(2), Signal(2)
        enable, last = now["enable"], pixel + 1 == now["pixels"]
        fills, flushes = enable & (block == 0), enable & (block == now["output_blocks"])
        with m.If(start):
            m.d.sync += [*(now[name].eq(value) for name, value in fields.items()), busy.eq(fields["pixels"] != 0), pixel.eq(0),
                         block.eq(0)]
        with m.Elif(step):
            m.d.sync += [pixel.eq(Mux(last, 0, pixel + 1)), block.eq(block + last),
                         busy.eq(~last | (block + 1 != now["output_blocks"] + enable))]
        made, filled = _since(m, makes, "made", LATENCY), _since(m, step & fills, "filled", FILL)
        passed, began = _since(m, step & ~enable, "passed", self.AGAIN), _since(m, start, "began", self.FIRST)
        held, left = Signal(range(PLACES + 1)), unit.o.valid & unit.o.ready
        m.d.sync += held.eq(held + (step & ~fills) - delayed(m, left, BACK - 1, "left", reset=True))
        can = (began == self.FIRST) & (filled == FILL) & (made >= turn(LANES) + (self.fault == "longer turn"))
        m.d.comb += [
            Assert(step == (busy & can & (held != PLACES) & (there | flushes))),
            Assert((there & unit.i.ready) == (step & ~flushes)), Assert(makes == (step & enable & ~fills)),
            *(Assert(~step | one) for one in (unit.last == last, unit.filling == fills, unit.flushing == flushes)),
            Assert(unit.command.ready == (~busy & (made == LATENCY) & (passed == self.AGAIN) & (began == self.FIRST)))]
        over = Signal()         # a command of two blocks is
        with m.If(step & flushes & (now["output_blocks"] == 2)):
            m.d.sync += over.eq(1)
        m.d.comb += Cover(step & ~enable & over)


class _Row(wiring.Component):
    """In place of the line memory, of whose rows only the lowest bits of bytes are looked at."""

    BYTES = BELOW + LANES

    def __init__(self, **more: wiring.Member):
        bits = range(MOST_PIXELS)
        super().__init__({"w_en": In(1), "w_addr": In(bits), "w_data": In(8 * self.BYTES), "r_addr": In(bits),
                          "r_data": Out(8 * self.BYTES)} | more)


class _AnyRow(_Row):
    """The vectors that wait are any ones: `waiting` in the cycle of the step that makes one."""

    def __init__(self):
        super().__init__(waiting=In(LANES))

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [self.r_data[8 * (BELOW + n)].eq(bit) for n, bit in enumerate(self.waiting)]
        return m


class _AnySteps(LocalResponse):
    """In place of the commands: any steps at any time; `step` and `makes` show those that are made."""

    def __init__(self, row: _Row):
        super().__init__(GEOMETRY, places=PLACES, lane=_ShortLane, memory=lambda **size: row)
        self.given = {name: Signal(name=name) for name in ("enable", "load", "run", "last", "ending")}
        self.step, self.makes = Signal(), Signal()

    def _commands(self, m, final):
        config = Signal(record_layout(LrnConfig))
        m.d.comb += config.enable.eq(self.given["enable"])
        return config, self.given["load"], self.given["run"], Signal()

    def _count(self, m, config, load, go):
        return self.given["last"], self.given["ending"]

    def _elements(self, m, config, vector, go, makes, *others):
        m.d.comb += [self.step.eq(go), self.makes.eq(makes)]
        return super()._elements(m, config, vector, go, makes, *others)


class LrnResultsClaim(StageClaim):
    """Every vector that passes comes out once, unchanged, and every step that makes one gives one result, what the lane makes of
    the channels that waited; in order, offered steadily; the queue of results never overflows. For all sequences of steps, so
    for commands of any size; the lane's arithmetic is replaced by a delay. Given that a vector passes only when the last one
    made is offered in the next cycle, or was: `LrnStepsClaim` has it later."""

    faults = ("drop", "repeat", "swap", "change", "waver", "too soon")

    def state(self, m):
        row = _AnyRow()
        m.submodules.unit = unit = _AnySteps(row)
        m.d.comb += [signal.eq(self.free(1, name)) for name, signal in unit.given.items()]
        bits, waiting = self.free(LANES, "bits"), self.free(LANES, "waiting")
        m.d.comb += [unit.i.valid.eq(self.free(1, "valid")), row.waiting.eq(waiting),
                     *(unit.i.payload[n].eq(bit) for n, bit in enumerate(bits))]
        passes, made = unit.step & ~unit.given["enable"], _since(m, unit.makes, "made", LATENCY)
        m.d.comb += Assume(~passes | (made >= LATENCY - 1 - (self.fault == "too soon")))
        out = saboteur(self, m, watched(m, unit.o, Cat(unit.o.payload[n][0] for n in range(LANES))),
                       self.fault if self.fault != "too soon" else None)
        m.d.comb += out.ready.eq(self.free(1, "ready"))
        keeps_order(self, m, put=passes | unit.makes, value=Mux(unit.makes, ~waiting, bits), take=out.valid & out.ready,
                    taken=out.payload, most=PLACES, patience=LATENCY - 1, waiting=~out.valid)
        assert_stable(m, out, "o")


class _OneRow(_Row):
    """Has the row at `pick`; of all others, and of one that is written meanwhile, `others` are read. With `late` it takes a
    cycle more."""

    def __init__(self, late: bool):
        super().__init__(pick=In(range(MOST_PIXELS)), others=In(self.BYTES))
        self.late = late

    def elaborate(self, platform):
        m = Module()
        row, writes = Signal(self.BYTES, reset_less=True), self.w_en & (self.w_addr == self.pick)
        with m.If(writes):
            m.d.sync += row.eq(Cat(self.w_data[8 * n] for n in range(self.BYTES)))
        found = delayed(m, Mux((self.r_addr == self.pick) & ~writes, row, self.others), BlockRam.LATENCY + self.late, "found")
        m.d.comb += [self.r_data[8 * n].eq(bit) for n, bit in enumerate(found)]
        return m


class _Elements(LocalResponse):
    """The way to the lane alone, for any steps: `x` is what it is given."""

    def __init__(self, row: _Row):
        super().__init__(GEOMETRY, memory=lambda **size: row)
        self.given = {name: Signal(name=name) for name in ("enable", "zero_point", "step", "filling", "flushing", "last")}
        self.x = Signal(8)

    def elaborate(self, platform):
        m = Module()
        config = Signal(record_layout(LrnConfig))
        enable, zero_point, step, filling, *others = self.given.values()
        m.d.comb += [config.enable.eq(enable), config.zero_point.eq(zero_point)]
        vector = delayed(m, self.i.payload.as_value(), 1, "vector")
        m.d.comb += self.x.eq(self._elements(m, config, vector, step, step & enable & ~filling, filling, *others))
        return m


class LrnLaneClaim(StageClaim):
    """For each vector that is made the lane is given, one a cycle, the last `BELOW` channels of the pixel's vector of the block
    before, or the zero point in the first block; the channels of the one that waited; and the first `ABOVE` of the next block's,
    or the zero point behind the last one. No row of the line memory is read before it is there. Claimed of the lowest bit of
    each byte, of any pixel of blocks of up to four, whatever comes between its vectors.

    Given the distances of steps that `LrnStepsClaim` proves.
    """

    faults = ("too soon", "late row", "no beginning", "no end")
    MOST = 4

    def state(self, m):
        row = _OneRow(self.fault == "late row")
        m.submodules.unit = unit = _Elements(row)
        enable, step, filling, flushing, last = (self.free(1, name) for name in ("enable", "step", "filling", "flushing", "last"))
        bits, new = self.free(LANES, "bits"), self.free(3, "new")
        pick, zero, chosen = Signal(range(self.MOST)), Signal(), Signal()           # the same in all cycles
        m.d.sync += chosen.eq(1)
        with m.If(~chosen):
            m.d.sync += Cat(pick, zero).eq(new)
        given = {"enable": enable, "zero_point": zero, "step": step, "filling": filling & (self.fault != "no beginning"),
                 "flushing": flushing & (self.fault != "no end"), "last": last}
        m.d.comb += [*(unit.given[name].eq(value) for name, value in given.items()), row.pick.eq(pick),
                     row.others.eq(self.free(row.BYTES, "others")), *(unit.i.payload[n].eq(bit) for n, bit in enumerate(bits))]

        makes = step & enable & ~filling
        made, filled, passed = (_since(m, event, name, most) for event, name, most in (
            (makes, "made", turn(LANES)), (step & enable & filling, "filled", FILL), (step & ~enable, "passed", FILL)))
        m.d.comb += [Assume(~step | one) for one in (
            chosen, ~(filling & flushing), made == turn(LANES), filled >= FILL - (self.fault == "too soon"),
            ~enable | (passed == FILL))]

        place, before, waiting = Signal(range(self.MOST)), Signal(BELOW, reset_less=True), Signal(LANES, reset_less=True)
        here, known = step & enable & (place == pick), Signal()        # its first vector came
        m.d.comb += Assume(~step | last | (place != self.MOST - 1))
        with m.If(step):
            m.d.sync += place.eq(Mux(last, 0, place + 1))
        with m.If(here):
            m.d.sync += [before.eq(Mux(filling, zero.replicate(BELOW), waiting[-BELOW:])), waiting.eq(bits),
                         known.eq(known | filling)]
        wanted, due = Signal(turn(LANES)), Signal(turn(LANES))
        m.d.sync += [wanted.eq(wanted >> 1), due.eq(due >> 1)]
        with m.If(here & makes & known):
            m.d.sync += [wanted.eq(Cat(before, waiting, Mux(flushing, zero.replicate(ABOVE), bits[:ABOVE]))), due.eq(-1)]
        wants, looks = delayed(m, wanted[0], 1, "wants"), delayed(m, due[0], 1, "looks", reset=True)
        m.d.comb += [Assert(~looks | (unit.x[0] == wants)), Cover(looks & (place == self.MOST - 1) & (pick == 2))]


CLAIMS: dict[str, type[StageClaim]] = {"lrnsteps": LrnStepsClaim, "lrn": LrnResultsClaim, "lrnlane": LrnLaneClaim}
