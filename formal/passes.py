"""A claim about the passes of the window generator: where each begins."""
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value

from arch.unit.window import CarryConfig, WindowConfig
from formal.stages import StageClaim
from hw.engine.window import PassGenerator

__all__ = ["CLAIMS", "CarriedPassesClaim", "PassesClaim"]

HELD = 2                # cycles for which a pass stays after its start


def _times(few: Value, word: Value) -> Value:
    """`word` as often as a number below 4 says."""
    return Mux(few[0], word, 0) + Mux(few[1], word << 1, 0)


class PassesClaim(StageClaim):
    """Each pass begins at the word and column of its tap and input block, and, of its output block, as many steps further on as
    there were whole rounds of `block_repeat`; it is the first or last one of its output block where it says so, and stays for two
    cycles after its start. Of command after command all passes come, and no more.

    Claimed of the lowest bits of words and columns, which owe nothing to higher ones. For one or two kernel rows, columns and
    input blocks, and up to three output blocks and rounds.
    """

    faults = ("no step", "a round more", "from the row before", "not held")
    BITS = 2                # of words and columns
    depth = 28              # three output blocks of a pass each, and the next command; or two of two
    RECORD, MORE = WindowConfig, ()         # what is told, and fields of one bit besides

    def state(self, m: Module):
        m.submodules.passes = passes = PassGenerator(self.RECORD)
        levels = {name: self.free(1, name) for name in ("weights_ready", "parameters_ready", "settled")}
        m.d.comb += [getattr(passes, name).eq(value) for name, value in levels.items()]
        start = self.free(1, "start")
        m.d.comb += [passes.start.eq(start), Assume(~start | passes.ready), passes.config.valid.eq(self.free(1, "command"))]
        new = {name: self.free(width, f"new_{name}") for name, width in (
            ("start", self.BITS), ("pixel_words", self.BITS), ("block_step", self.BITS), ("first_column", self.BITS),
            ("blocks", 2), ("kernel_x", 2), ("kernel_y", 2), ("output_blocks", 2), ("block_repeat", 2))}
        new |= {name: self.free(1, f"new_{name}") for name in self.MORE}
        m.d.comb += [passes.config.payload[name].eq(value) for name, value in new.items()]
        m.d.comb += [Assume((new[name] == 1) | (new[name] == 2)) for name in ("blocks", "kernel_x", "kernel_y")]
        m.d.comb += [Assume(new[name] != 0) for name in ("output_blocks", "block_repeat")]

        # The command taken last, and which of its passes is the next one.
        now = {name: Signal(len(value), name=f"{name}_now") for name, value in new.items()}
        to_come = Signal()
        block, kx, ky, out = (Signal(2, name=f"next_{name}") for name in ("block", "kx", "ky", "out"))
        ends = [at + 1 == now[name] for at, name in (
            (block, "blocks"), (kx, "kernel_x"), (ky, "kernel_y"), (out, "output_blocks"))]
        taken = passes.config.valid & passes.config.ready
        with m.If(taken):
            m.d.sync += [*(now[name].eq(value) for name, value in new.items()), to_come.eq(1)]
            m.d.sync += [at.eq(0) for at in (block, kx, ky, out)]
        with m.Elif(start):
            carries = Value.cast(1)
            for at, end in zip((block, kx, ky, out), ends, strict=True):
                with m.If(carries):
                    m.d.sync += at.eq(Mux(end, 0, at + 1))
                carries = carries & end
            m.d.sync += to_come.eq(~carries)
        m.d.comb += [Assert(~start | to_come), Assert(~taken | ~to_come)]

        repeat = now["block_repeat"] + (self.fault == "a round more")
        rounds = Mux(repeat == 1, out, Mux(repeat == 2, out[1], out == repeat))
        step = Value.cast(0) if self.fault == "no step" else _times(rounds, now["block_step"])
        over = (block == 0) & (kx == 0) & (ky == 1) if self.fault == "from the row before" else 0
        want = Signal(2 * self.BITS + 2)
        column = now["start"] + step + _times(kx + over, now["pixel_words"]) + block
        low = slice(self.BITS)
        first = (ky == 0) & (kx == 0) & (block == 0) & ~self.goes_on(now)
        last = ends[0] & ends[1] & ends[2]
        m.d.comb += want.eq(Cat(column[low], (now["first_column"] + kx)[low], first, last))
        found = Cat(passes.o.column[low], passes.o.ix.as_unsigned()[low], passes.o.first, passes.o.last)
        m.d.comb += [Assert(~start | (found == want)), Cover(start & (out == 2) & (rounds == 1)),
                     Cover(start & (out == 1) & (ky == 1)), Cover(start & last & (self.goes_on(now) if self.MORE else 1))]
        wanted, due = want, start
        for n in range(HELD + (self.fault == "not held") * 4):
            kept, was = Signal.like(want, name=f"kept{n}"), Signal(name=f"was{n}")
            m.d.sync += [kept.eq(wanted), was.eq(due)]
            wanted, due = kept, was
            m.d.comb += Assert(~due | (found == wanted))

    def goes_on(self, now: dict[str, Signal]) -> Value:
        """Whether the sums of the command `now` go on."""
        return Value.cast(0)


class CarriedPassesClaim(PassesClaim):
    """The same of an engine with `carry`: and a pass is the first one of none where sums go on."""

    RECORD, MORE = CarryConfig, ("goes_on",)
    depth = 20              # two output blocks of a pass each, and the next command; what else there is, `passes` looks at
    faults = (*PassesClaim.faults, "from the biases")

    def goes_on(self, now):
        return now["goes_on"] & (self.fault != "from the biases")


CLAIMS: dict[str, type[StageClaim]] = {"passes": PassesClaim, "carried": CarriedPassesClaim}
