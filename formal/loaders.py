"""Claims about the loaders of weights and parameters."""
from dataclasses import replace

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from arch import pipeline
from arch.geometry import Geometry
from formal.stages import READY_FOR, SHOWS, StageClaim
from hw.engine.weights import ParameterLoader, WeightLoader
from hw.parts.delay import delayed

__all__ = ["CLAIMS", "LoaderClaim", "ParameterLoaderClaim", "WeightLoaderClaim"]

WORDS = 4               # of the memories: loaders only count and wrap
READ = 0                # latency of activations: so a pass may start before its last word is read, as with eight pairs


class _Addresses(wiring.Component):
    """In place of a memory: each word is its own address, as if the memory had been filled so."""

    def __init__(self, *, depth: int, lanes: int, lane_bits: int):
        bits = (depth - 1).bit_length()
        super().__init__({"r_addr": In(bits), "r_data": Out(lanes * lane_bits), "w_addr": In(bits),
                          "w_data": In(lanes * lane_bits), "w_en": In(lanes)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.r_data.eq(delayed(m, self.r_addr, pipeline.WEIGHT_READ, "address"))
        return m


class LoaderClaim(StageClaim):
    """The words of a group (a pass, an output block) come side by side, in the order of their addresses, those of each command
    from where it says on, every word once; they are all there when they are used, and none comes before the registers are free
    that it moves into; `ready` holds until used and is taken back in the cycle after.

    Given that a group is started when it has been ready for `READY_FOR` cycles, and used once, later than `SHOWS` cycles
    afterwards, before the beats of the next one: what `formal.stages.WindowClaim` proves of the window generator.
    For commands of one or two output blocks, of one or two passes each, of two column pairs. The memories have four words, which
    are their own addresses.
    """

    faults = ("one more", "too soon", "too late", "unused")
    GEOMETRY = Geometry(input_lanes=8, output_lanes=4, activation_words=512, weight_words=512)
    PATIENCE = 8

    def geometry(self) -> Geometry:
        """One with memories smaller than there are."""
        small = replace(self.GEOMETRY)
        for name in ("weight_words", "parameter_words"):
            object.__setattr__(small, name, WORDS)
        return small

    def groups(self, m: Module, *, start: Value, use: Value, ready: Value, valid: Value, way: int, free: int,
               there: int) -> Value:
        """Claims about when words come; returns the number of the word in its group. A group that is `use`d is moved into the
        array `way` cycles later, at least `there` cycles behind its last word; `free` cycles after that the next one may come."""
        pairs = self.GEOMETRY.pairs
        before, used = Signal(), Signal()
        settled = Cat(delayed(m, ready, n + 1, f"ready{n}_", reset=True) for n in range(READY_FOR)).all()
        m.d.sync += [before.eq(ready), used.eq(start)]
        m.d.comb += [Assume(~start | settled & ~used), Assert(ready | ~before | used), Assert(~ready | ~used)]
        shows, fresh = delayed(m, start, SHOWS, "shows", reset=True), Signal()
        if self.fault != "unused":
            m.d.comb += [Assume(~use | fresh), Assume(~shows | ~fresh | use)]
        m.d.sync += fresh.eq(shows | fresh & ~use)

        number, empty, age, loaded = Signal(range(pairs)), Signal(init=1), Signal(range(8)), Signal()
        moved = delayed(m, use, way, "moved", reset=True)
        freed = delayed(m, moved, free + (self.fault == "too soon"), "freed", reset=True)
        first, last = valid & (number == 0), valid & (number == pairs - 1)
        m.d.comb += [Assert(valid | (number == 0)), Assert(~first | empty | freed),
                     Assert(~moved | loaded & (age >= there + (self.fault == "too late")))]
        m.d.sync += [number.eq(Mux(last, 0, number + valid)), empty.eq((empty | freed) & ~first),
                     age.eq(Mux(last, 1, age + (age != 7))), loaded.eq(last | loaded & ~moved & ~first)]
        self.empty = empty | freed
        return number


class WeightLoaderClaim(LoaderClaim):
    """As `LoaderClaim`, of weights and the biases beside them."""

    depth = 30              # without a bound it takes half a minute of processor time

    def state(self, m):
        geometry = self.geometry()
        m.submodules.loader = loader = WeightLoader(geometry, memory=_Addresses, activation_read=READ)
        start, use = self.free(1, "start"), self.free(1, "use")
        fields = {name: self.free(2, name) for name in ("weights", "parameters", "passes", "output_blocks")}
        new = loader.config.payload
        m.d.comb += [new[name].eq(value) for name, value in fields.items()]
        m.d.comb += [Assume((fields[name] == 1) | (fields[name] == 2)) for name in ("passes", "output_blocks")]
        m.d.comb += [loader.config.valid.eq(self.free(1, "command")), loader.pass_start.eq(start), loader.swap.eq(use)]
        number = self.groups(m, start=start, use=use, ready=loader.ready, valid=loader.load_valid,
                             way=pipeline.operand(geometry, READ) - pipeline.WINDOW, free=pipeline.load_after_swap(geometry),
                             there=pipeline.swap_after_load(geometry))

        # What is to come, as late as the words.
        taken = delayed(m, loader.config.valid & loader.config.ready, pipeline.WEIGHT_READ, "taken", reset=True)
        command = {name: delayed(m, value, pipeline.WEIGHT_READ, name) for name, value in fields.items()}
        weight, bias, block = (Signal(2, name=name) for name in ("weight", "bias", "block"))
        passes, passes_left, blocks_left = (Signal(3, name=name) for name in ("passes_now", "passes_left", "blocks_left"))
        end = loader.load_valid & (number == geometry.pairs - 1)
        with m.If(taken):
            m.d.sync += [weight.eq(command["weights"]), bias.eq(command["parameters"]), block.eq(command["parameters"]),
                         passes.eq(command["passes"]), passes_left.eq(command["passes"]),
                         blocks_left.eq(command["output_blocks"] + (self.fault == "one more"))]
        with m.Elif(loader.load_valid):
            m.d.sync += [weight.eq(weight + 1), bias.eq(bias + 1)]
            with m.If(end):
                m.d.sync += passes_left.eq(passes_left - 1)
                with m.If(passes_left == 1):
                    m.d.sync += [passes_left.eq(passes), blocks_left.eq(blocks_left - 1), block.eq(bias + 1)]
                with m.Else():
                    m.d.sync += bias.eq(block)
        came = [Value.cast(port)[:2] for port in (loader.weights, loader.biases)]
        m.d.comb += [Assert(~loader.load_valid | (blocks_left != 0)), Assert(~loader.load_valid | (came[0] == weight)),
                     Assert(~loader.load_valid | (came[1] == bias)), Assert(~taken | (blocks_left == 0)),
                     Cover(end & (blocks_left == 1) & (passes == 2) & (passes_left == 1))]
        idle = Signal(range(self.PATIENCE + 2))
        m.d.sync += idle.eq(Mux((blocks_left != 0) & self.empty & ~loader.load_valid, idle + 1, 0))
        m.d.comb += Assert(idle <= self.PATIENCE)


class ParameterLoaderClaim(LoaderClaim):
    """As `LoaderClaim`, of multipliers and shifts and of the rule of their command."""

    faults = ("one more", "too soon", "unused")     # its words are there long before they are used

    def state(self, m):
        geometry = self.geometry()
        m.submodules.loader = loader = ParameterLoader(geometry, memory=_Addresses, activation_read=READ)
        start, use = self.free(1, "start"), self.free(1, "use")
        fields = {name: self.free(width, name) for name, width in (("parameters", 2), ("output_blocks", 2), ("rule", 1))}
        new = loader.config.payload
        m.d.comb += [new.load.parameters.eq(fields["parameters"]), new.load.output_blocks.eq(fields["output_blocks"]),
                     new.rule.zero_point[0].eq(fields["rule"]), loader.config.valid.eq(self.free(1, "command")),
                     loader.block_start.eq(start), loader.emit_start.eq(use),
                     Assume((fields["output_blocks"] == 1) | (fields["output_blocks"] == 2))]
        way = pipeline.operand(geometry, READ) - pipeline.WINDOW + pipeline.array(geometry) - 1
        number = self.groups(m, start=start, use=use, ready=loader.ready, valid=loader.load_valid, way=way,
                             free=pipeline.scales_after_swap(geometry), there=1)

        taken = delayed(m, loader.config.valid & loader.config.ready, pipeline.PARAMETER_READ, "taken", reset=True)
        command = {name: delayed(m, value, pipeline.PARAMETER_READ, name) for name, value in fields.items()}
        address, rule, blocks_left, shown = (Signal(width, name=name) for name, width in (
            ("address", 2), ("rule_now", 1), ("blocks_left", 2), ("shown", 1)))
        end = loader.load_valid & (number == geometry.pairs - 1)
        with m.If(taken):
            m.d.sync += [address.eq(command["parameters"]), rule.eq(command["rule"]),
                         blocks_left.eq(command["output_blocks"] + (self.fault == "one more"))]
        with m.Elif(loader.load_valid):
            m.d.sync += [address.eq(address + 1), blocks_left.eq(blocks_left - end)]
        # From the cycle after a group's first word on the rule is its command's, until that after the next group's.
        held, kept = Signal(), Signal()
        m.d.sync += [held.eq(Mux(loader.load_valid, rule, held)), kept.eq(kept | loader.load_valid)]
        m.d.comb += [Assert(~loader.load_valid | (blocks_left != 0)), Assert(~taken | (blocks_left == 0)),
                     Assert(~loader.load_valid | (Value.cast(loader.scales)[:2] == address)),
                     Assert(~kept | (loader.rule.zero_point[0] == held)), Cover(end & (blocks_left == 1) & (address == 0))]
        idle = Signal(range(self.PATIENCE + 2))
        m.d.sync += idle.eq(Mux((blocks_left != 0) & self.empty & ~loader.load_valid, idle + 1, 0))
        m.d.comb += Assert(idle <= self.PATIENCE)


CLAIMS: dict[str, type[StageClaim]] = {"weights": WeightLoaderClaim, "parameters": ParameterLoaderClaim}
