"""Weight and parameter memories, and the loaders that bring their words to the array and the requantising lanes in time."""
from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch import pipeline
from arch.geometry import Geometry
from arch.unit.load import LoadConfig
from arch.unit.requantise import RequantiseConfig
from hw.parts.banked_ram import BankedRam
from hw.parts.delay import delayed
from hw.parts.layout import record_layout

__all__ = ["GroupReader", "ParameterLoader", "RULES", "WeightLoader", "bias_layout", "rules_layout", "scale_layout",
           "weight_layout"]

CONFIG = record_layout(LoadConfig)


def weight_layout(geometry: Geometry) -> data.Layout:
    """A weight word: for each input lane the weights of a pair's two columns, -127..127."""
    return data.ArrayLayout(data.ArrayLayout(signed(8), 2), geometry.input_lanes)


def bias_layout() -> data.Layout:
    """Biases of a pair's two columns."""
    return data.ArrayLayout(signed(32), 2)


def scale_layout() -> data.Layout:
    """Multipliers and shifts (1..39) of a pair's two columns."""
    return data.StructLayout({"multiplier": data.ArrayLayout(8, 2), "shift": data.ArrayLayout(6, 2)})


RULES = "load", "requantise"     # records of a command that the parameter loader is told together


def rules_layout() -> data.StructLayout:
    """What the parameter loader needs of a command."""
    return data.StructLayout({"load": CONFIG, "rule": record_layout(RequantiseConfig)})


class GroupReader(wiring.Component):
    """Paces the reads of groups of words: the next group waits until the registers that take it are free.

    A group's words are read in consecutive cycles, those with `read`; `last` marks the last one and `soon` the one that many
    words before it. `used` (in cycle u) says that the registers' contents move on; the next group is read in u + `free_after`
    at the earliest, and two cycles after `more` at the earliest. At the start the registers are free.

    Members: `more` In(1), a group is wanted, level, looked at between groups; `used` In(1); `read`, `soon`, `last` Out(1).
    """

    more: In(1)
    used: In(1)
    read: Out(1)
    soon: Out(1)
    last: Out(1)

    def __init__(self, *, words: int, soon: int, free_after: int):
        if not 0 <= soon < words:
            raise ValueError(f"soon must be 0..{words - 1} words, not {soon}")
        if free_after < 3:
            raise ValueError(f"free_after must be at least 3 cycles, not {free_after}")
        self.words, self.soon_words, self.free_after = words, soon, free_after
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        wait = self.free_after - 3
        timer, waiting, free = Signal(range(wait + 1), reset_less=True), Signal(), Signal(init=1)
        left = Signal(range(self.words), reset_less=True)
        last = Signal()
        m.d.sync += last.eq(self.read & (left == 1))
        m.d.comb += [self.last.eq(last), self.soon.eq(self.read & (left == self.soon_words))]
        with m.If(self.read):
            m.d.sync += [left.eq(left - 1), self.read.eq(~last)]
        with m.Elif(free & self.more):
            m.d.sync += [left.eq(self.words - 1), last.eq(self.words == 1), self.read.eq(1), free.eq(0)]
        with m.If(waiting):
            m.d.sync += timer.eq(timer - 1)
            with m.If(timer == 0):
                m.d.sync += [free.eq(1), waiting.eq(0)]
        with m.If(self.used):
            m.d.sync += [timer.eq(wait), waiting.eq(1)]
        return m


def _after(address, depth: int):
    """The next address of a memory of any depth, which wraps."""
    return Mux(address == depth - 1, 0, address + 1)


def _level(m, signal, *, rise, fall):
    """`signal` set and cleared by events that never meet."""
    with m.If(rise):
        m.d.sync += signal.eq(1)
    with m.Elif(fall):
        m.d.sync += signal.eq(0)


class WeightLoader(wiring.Component):
    """Weight and bias memories. Shifts the words of the next pass into the array behind the running ones.

    `load_valid`, `weights` and `biases` go to the array's load port. `ready` rises when the next pass may start and falls in
    the cycle after `pass_start`; `swap` (a swap beat is issued) frees the array's registers.

    Members:
    - `config`: stream of `LoadConfig`, taken two cycles after the last word of the command before was read.
    - `pass_start`, `swap`: In(1), from the window generator.
    - `ready`, `load_valid`, `weights`, `biases`, `busy`: Out.
    - `w_addr`, `w_data`, `w_en`: write port of the weight memory; `b_addr`, `b_data`, `b_en`: of the bias memory. A word must
      not be written while a command that reads it is under way.

    `memory`, the class of the memories, and `activation_read`, the latency of the activations that weights must be in step with:
    proofs take simpler and shorter ones.
    """

    def __init__(self, geometry: Geometry, *, memory=BankedRam, activation_read: int = pipeline.ACTIVATION_READ):
        self.geometry, self.memory, self.activation_read = geometry, memory, activation_read
        weights, biases = weight_layout(geometry), bias_layout()
        super().__init__({
            "config": In(stream.Signature(CONFIG)), "pass_start": In(1), "swap": In(1),
            "ready": Out(1), "load_valid": Out(1), "weights": Out(weights), "biases": Out(biases), "busy": Out(1),
            "w_addr": In(ceil_log2(geometry.weight_words)), "w_data": In(weights), "w_en": In(1),
            "b_addr": In(ceil_log2(geometry.parameter_words)), "b_data": In(biases), "b_en": In(1)})

    def elaborate(self, platform):
        m = Module()
        geometry, c = self.geometry, self.config.payload
        m.submodules.weights = weights = self.memory(depth=geometry.weight_words, lanes=1, lane_bits=self.weights.shape().size)
        m.submodules.biases = biases = self.memory(depth=geometry.parameter_words, lanes=1, lane_bits=self.biases.shape().size)
        m.submodules.reader = reader = GroupReader(
            words=geometry.pairs, soon=pipeline.weights_soon(geometry, self.activation_read),
            free_after=pipeline.weights_free_after(geometry, self.activation_read))
        m.d.comb += [
            weights.w_addr.eq(self.w_addr), weights.w_data.eq(self.w_data), weights.w_en.eq(self.w_en),
            biases.w_addr.eq(self.b_addr), biases.w_data.eq(self.b_data), biases.w_en.eq(self.b_en),
            Cat(self.weights).eq(weights.r_data), Cat(self.biases).eq(biases.r_data),
            self.load_valid.eq(delayed(m, reader.read, pipeline.WEIGHT_READ, "valid", reset=True)), reader.used.eq(self.swap)]

        running = Signal()
        address, bias, block = (Signal.like(memory.r_addr, name=name, reset_less=True) for name, memory in (
            ("address", weights), ("bias", biases), ("block", biases)))
        passes, passes_left, blocks_left = (Signal.like(count, name=name, reset_less=True) for name, count in (
            ("passes", c.passes), ("passes_left", c.passes), ("blocks_left", c.output_blocks)))
        last_pass, last_block = Signal(reset_less=True), Signal(reset_less=True)
        again, over = Signal(), Signal()            # a pass of a block, a block was read
        m.d.comb += [weights.r_addr.eq(address), biases.r_addr.eq(bias), reader.more.eq(running), self.busy.eq(running),
                     self.config.ready.eq(~running)]
        m.d.sync += [last_pass.eq(passes_left == 1), last_block.eq(blocks_left == 1), again.eq(reader.last & ~last_pass),
                     over.eq(reader.last & last_pass)]
        # The next group is not read before the last one has been used.
        with m.If(again):
            m.d.sync += [bias.eq(block), passes_left.eq(passes_left - 1)]
        with m.If(over):
            m.d.sync += [block.eq(bias), passes_left.eq(passes), blocks_left.eq(blocks_left - 1), running.eq(~last_block)]
        with m.If(~running):
            m.d.sync += [running.eq(self.config.valid), address.eq(c.weights), bias.eq(c.parameters), block.eq(c.parameters),
                         passes.eq(c.passes), passes_left.eq(c.passes), blocks_left.eq(c.output_blocks)]
        with m.If(reader.read):
            m.d.sync += [address.eq(_after(address, geometry.weight_words)), bias.eq(_after(bias, geometry.parameter_words))]
        _level(m, self.ready, rise=reader.soon, fall=self.pass_start)
        return m


class ParameterLoader(wiring.Component):
    """Memory of multipliers and shifts. Shifts the words of the next output block in behind those in use.

    `load_valid` and `scales` go to the requantiser's load port. `ready` rises when the last pass of the next output block may
    start and falls in the cycle after `block_start`; `emit_start` (its first beat is issued) frees the registers. `rule` is that
    of the output block loaded last.

    Members:
    - `config`: stream of `rules_layout()`, taken two cycles after the last word of the command before was read.
    - `block_start`, `emit_start`: In(1), from the window generator.
    - `ready`, `load_valid`, `scales`, `rule`, `busy`: Out.
    - `w_addr`, `w_data`, `w_en`: write port, as in `WeightLoader`, like `memory` and `activation_read`.
    """

    def __init__(self, geometry: Geometry, *, memory=BankedRam, activation_read: int = pipeline.ACTIVATION_READ):
        self.geometry, self.memory, self.activation_read = geometry, memory, activation_read
        scales, rule = scale_layout(), record_layout(RequantiseConfig)
        super().__init__({
            "config": In(stream.Signature(rules_layout())),
            "block_start": In(1), "emit_start": In(1),
            "ready": Out(1), "load_valid": Out(1), "scales": Out(scales), "rule": Out(rule), "busy": Out(1),
            "w_addr": In(ceil_log2(geometry.parameter_words)), "w_data": In(scales), "w_en": In(1)})

    def elaborate(self, platform):
        m = Module()
        geometry, c = self.geometry, self.config.payload
        m.submodules.scales = scales = self.memory(depth=geometry.parameter_words, lanes=1, lane_bits=self.scales.shape().size)
        m.submodules.reader = reader = GroupReader(words=geometry.pairs, soon=geometry.pairs - 1,
                                                   free_after=pipeline.parameters_free_after(geometry, self.activation_read))
        m.d.comb += [
            scales.w_addr.eq(self.w_addr), scales.w_data.eq(self.w_data), scales.w_en.eq(self.w_en),
            Cat(self.scales).eq(scales.r_data),
            self.load_valid.eq(delayed(m, reader.read, pipeline.PARAMETER_READ, "valid", reset=True)),
            reader.used.eq(self.emit_start)]

        running, last_block = Signal(), Signal(reset_less=True)
        address = Signal.like(scales.r_addr, name="address", reset_less=True)
        blocks_left = Signal.like(c.load.output_blocks, name="blocks_left", reset_less=True)
        # The rule changes with the first word loaded: the swap of the block before may come after that word is read.
        next_rule, read_rule, rule = (Signal.like(c.rule, name=f"{name}rule", reset_less=True) for name in ("next_", "read_", ""))
        m.d.comb += [scales.r_addr.eq(address), reader.more.eq(running), self.busy.eq(running),
                     self.config.ready.eq(~running), self.rule.eq(rule)]
        m.d.sync += last_block.eq(blocks_left == 1)
        with m.If(~running):
            m.d.sync += [running.eq(self.config.valid), address.eq(c.load.parameters), blocks_left.eq(c.load.output_blocks),
                         next_rule.eq(c.rule)]
        with m.If(reader.read):
            m.d.sync += [address.eq(_after(address, geometry.parameter_words)), read_rule.eq(next_rule)]
        with m.If(self.load_valid):
            m.d.sync += rule.eq(read_rule)
        with m.If(delayed(m, reader.last, 1, "over", reset=True)):
            m.d.sync += [blocks_left.eq(blocks_left - 1), running.eq(~last_block)]
        _level(m, self.ready, rise=reader.soon, fall=self.block_start)
        return m
