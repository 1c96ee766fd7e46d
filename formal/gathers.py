"""Claims about the gather's parts."""

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal

from arch.geometry import Geometry
from formal.properties import keeps_order
from formal.stages import StageClaim
from hw.gather.gather import Gather
from hw.gather.packer import Packer
from hw.gather.port import GatherPort
from hw.parts.delay import delayed

__all__ = ["CLAIMS", "GatherPortClaim", "PackerClaim"]

PLACES = 4              # of the port's queue: words that are under way when it is full need the others


class PackerClaim(StageClaim):
    """Every byte of every chunk comes once, in its place of the word that it belongs to, and words come when they are complete
    and never else; behind a flush there are zeros. Claimed of any byte of any chunk, bytes being one bit."""

    faults = ("lane", "early", "no zeros")
    SIZE, LANES = 4, 4

    def state(self, m):
        size, lanes = self.SIZE, self.LANES
        m.submodules.packer = packer = Packer(size, lanes)
        valid, flush, release, clear = (self.free(1, name) for name in ("valid", "flush", "release", "clear"))
        skip, count, bits = self.free(range(size), "skip"), self.free(range(size + 1), "count"), self.free(size, "bits")
        pending, cleared = Signal(), Signal()
        m.d.sync += [pending.eq(valid & flush | pending & ~release), cleared.eq(cleared | clear)]
        m.d.comb += [packer.i.valid.eq(valid), packer.i.flush.eq(flush), packer.i.skip.eq(skip), packer.i.count.eq(count),
                     packer.release.eq(release), packer.clear.eq(clear)]
        m.d.comb += [packer.i.bytes[n].eq(bits[n]) for n in range(size)]
        m.d.comb += [Assume((valid == (count != 0)) & (skip + count <= size)), Assume(~flush | valid),
                     Assume(~valid | ~pending & cleared), Assume(~release | pending), Assume(~clear | ~valid & ~pending)]

        # Where the next byte goes, and when a word is complete.
        position, over = Signal(range(lanes)), Signal()             # `over`: a flush left bytes for one more word
        end = Signal(range(lanes + size + 1))
        m.d.comb += end.eq(position + count)
        complete, ends = Signal(), Signal()
        m.d.comb += [complete.eq(valid & ((end >= lanes) | flush)), ends.eq(complete | release & over)]
        with m.If(clear | flush):
            m.d.sync += position.eq(0)
        with m.Else():
            m.d.sync += position.eq(Mux(end >= lanes, end - lanes, end))
        m.d.sync += over.eq(Mux(valid, flush & (end > lanes), over & ~release & ~clear))

        # A byte is picked, and followed until its word is complete.
        pick, number = self.free(1, "pick"), self.free(range(size), "number")
        m.d.comb += Assume(number < size)
        picked, done, saved = Signal(), Signal(), Signal()
        lane, place = Signal(range(lanes)), Signal(range(lanes + size))
        m.d.comb += place.eq(position + number)
        chosen = pick & ~picked & valid & (number < count)
        bit = (bits >> (skip + number)[:size.bit_length()])[0]
        here, later = chosen & (place < lanes), chosen & (place >= lanes)
        with m.If(chosen):
            m.d.sync += [picked.eq(1), saved.eq(bit), lane.eq(Mux(place < lanes, place, place - lanes))]
        m.d.sync += done.eq(done | clear & picked | ends & (here | picked))
        hit = ends & (here | picked & ~done) & ~later
        shown = delayed(m, hit, packer.LATENCY, "hit", reset=True)
        words = Cat(packer.word[8 * n] for n in range(lanes))
        at = (lane + 1)[:len(lane)] if self.fault == "lane" else lane
        m.d.comb += [Assert(packer.valid == delayed(m, ends, packer.LATENCY - (self.fault == "early"), "ends", reset=True)),
                     Assert(packer.soon == delayed(m, ends, packer.LATENCY - 1, "soon", reset=True)),
                     Assert(~shown | (words.bit_select(at, 1) == saved)), Cover(shown & (lane == lanes - 1) & saved)]

        # Lanes behind the last byte of a flushed word.
        first = Signal(range(lanes + 1))            # of the rest of a word that a flush left
        with m.If(valid & flush):
            m.d.sync += first.eq(end - lanes)
        empty, from_ = Signal(), Signal(range(lanes + 1))
        m.d.comb += [empty.eq(valid & flush & (end < lanes) | release & over), from_.eq(Mux(valid, end, first))]
        zeros, start = (delayed(m, value, packer.LATENCY, name, reset=True) for value, name in (
            (empty, "empty"), (from_, "from")))
        m.d.comb += [Assert(~zeros | (start > n) | ~words[n]) for n in range(lanes)]
        if self.fault == "no zeros":
            m.d.comb += Assert(~zeros)


class _AnyWords(Gather):
    """In place of the gather: words whenever it likes, if a cycle and `LATENCY` before it had the grant."""

    LATENCY = 1

    def __init__(self, geometry: Geometry, late: bool = False):
        super().__init__(geometry)
        self.wishes = {"word": Signal(), "end": Signal(), "bit": Signal()}
        self.late = late

    def elaborate(self, platform):
        m = Module()
        granted = delayed(m, self.grant, 1 + self.LATENCY + self.late, "granted", reset=True)
        word, end = granted & self.wishes["word"], granted & self.wishes["end"]
        m.d.comb += [self.w_en.eq(word), self.last.eq(end), self.either.eq(word | end), self.w_data[0].eq(self.wishes["bit"])]
        return m


class GatherPortClaim(StageClaim):
    """Words that the gather made are written once, in order, each in a cycle in which the port is free, and so is the word that
    a command has ended; the queue never overflows (its own assertion), although the gather cannot be stopped at once. For any
    gather that writes 1 + `Gather.LATENCY` cycles after it had the grant; fewer cycles, and as many fewer words that wait."""

    faults = ("late", "busy")

    def state(self, m):
        geometry = Geometry(input_lanes=4, output_lanes=2, activation_words=512, weight_words=512)
        gather = _AnyWords(geometry, late=self.fault == "late")
        # As tight as the real one: `waiting` + `LATENCY` + 2 words.
        m.submodules.port = port = GatherPort(geometry, gather=gather, waiting=1, places=PLACES)
        m.d.comb += [signal.eq(self.free(1, name)) for name, signal in gather.wishes.items()]
        free = self.free(1, "port_free")
        m.d.comb += port.free.eq(free)
        value = Cat(gather.w_en, gather.last, gather.w_data[0])
        taken = port.w_en | port.done
        inside = keeps_order(self, m, put=gather.either, value=value, take=taken,
                             taken=Cat(port.w_en, port.done, port.w_data[0]), most=PLACES, patience=0,
                             waiting=~taken & free)
        m.d.comb += [Assert(~taken | free), Cover(inside == PLACES)]
        if self.fault == "busy":
            m.d.comb += Assert(inside != PLACES)


CLAIMS: dict[str, type[StageClaim]] = {"packer": PackerClaim, "gather": GatherPortClaim}
