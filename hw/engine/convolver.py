"""From activation memory to requantised vectors: everything in the engine that cannot stall."""
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from arch import pipeline
from arch.command import Command
from arch.geometry import Geometry
from arch.unit.requantise import latency
from hw.engine.activations import Activations
from hw.engine.mac_array import MacArray
from hw.engine.memory_ports import MemoryWrites
from hw.engine.requantise import Requantise
from hw.engine.weights import CONFIG, ParameterLoader, WeightLoader, rules_layout
from hw.engine.window import WindowGenerator
from hw.parts.layout import record_layout, vector_layout
from hw.parts.reset import own_reset

__all__ = ["Convolver"]


class Convolver(wiring.Component):
    """Window generator, activation memory, weights, array and requantiser.

    A beat of a last pass becomes a vector `units.vector(geometry)` cycles after it was issued. Vectors cannot wait: each
    needs `room` when its beat is issued, and reserves it.

    Members:
    - `window`, `load`, `scale`: config streams, one record each per command.
    - `read_grant`: In(1), the window generator may read in this cycle. Otherwise `h_addr` is read, and `r_data` shows the word
      `pipeline.WINDOW` + `pipeline.ACTIVATION_READ` cycles later. Drive both from registers.
    - `room`: In(1), from a register; `reserve`: Out(1), combinational. `o`: Out, `valid` and `vector`.
    - `issued`: Out(1), a beat was issued `pipeline.WINDOW` cycles before.
    - `writes`: write ports of the memories, `MemoryWrites(geometry)`.
    - `busy`: Out(1), a command is in progress or waits in a unit.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        address, word = ceil_log2(geometry.activation_words), geometry.input_lanes * 8
        super().__init__({
            "window": In(stream.Signature(record_layout(Command.records(geometry)["window"]))),
            "load": In(stream.Signature(CONFIG)), "scale": In(stream.Signature(rules_layout())),
            "read_grant": In(1), "h_addr": In(address), "r_data": Out(word), "room": In(1), "reserve": Out(1), "issued": Out(1),
            "o": Out(data.StructLayout({"valid": 1, "vector": vector_layout(geometry.output_lanes)})),
            "writes": In(MemoryWrites(geometry)), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        geometry, given, words, pairs = self.geometry, self.writes.activations, self.writes.weights, self.writes.parameters
        for name, unit in (("window", window := WindowGenerator(geometry)), ("weights", weights := WeightLoader(geometry)),
                           ("parameters", parameters := ParameterLoader(geometry))):
            own_reset(m, name, unit)
        m.submodules.activations = activations = Activations(geometry)
        m.submodules.array = self.array = array = MacArray(lanes=geometry.input_lanes, columns=geometry.output_lanes,
                                              depth=geometry.band_pixels, lut_pairs=geometry.lut_pairs)
        m.submodules.requantise = requantise = Requantise(lanes=geometry.output_lanes, multiplier=geometry.requantise_multipliers)
        self._check_latencies(array, requantise)
        # Behind the parameter memory are words of others.
        own = pairs.en & (pairs.addr < geometry.parameter_words) if geometry.options else pairs.en

        for config, unit in ((self.window, window), (self.load, weights), (self.scale, parameters)):
            wiring.connect(m, wiring.flipped(config), unit.config)
        m.d.comb += [
            window.read_grant.eq(self.read_grant), window.h_addr.eq(self.h_addr), window.room.eq(self.room),
            self.reserve.eq(window.reserve),
            window.weights_ready.eq(weights.ready), window.parameters_ready.eq(parameters.ready),
            weights.pass_start.eq(window.pass_start), weights.swap.eq(window.issue.swap),
            parameters.block_start.eq(window.block_start), parameters.emit_start.eq(window.issue.emit_start),
            self.issued.eq(window.issue.valid), self.busy.eq(window.busy | weights.busy | parameters.busy),

            activations.address.eq(window.address), activations.issue.eq(window.issue), self.r_data.eq(activations.r_data),
            activations.w_addr.eq(given.addr), activations.w_data.eq(given.data), activations.w_en.eq(given.en),
            weights.w_addr.eq(words.addr), weights.w_data.eq(words.data), weights.w_en.eq(words.en),
            weights.b_addr.eq(pairs.addr), weights.b_data.eq(pairs.data.biases), weights.b_en.eq(own),
            parameters.w_addr.eq(pairs.addr), parameters.w_data.eq(pairs.data.scales), parameters.w_en.eq(own),

            array.beat.eq(activations.beat), array.load.valid.eq(weights.load_valid),
            array.load.weights.eq(weights.weights), array.load.bias.eq(weights.biases),
            requantise.results.eq(array.results), requantise.load.valid.eq(parameters.load_valid),
            requantise.load.multiplier.eq(parameters.scales.multiplier), requantise.load.shift.eq(parameters.scales.shift),
            requantise.rule.eq(parameters.rule), self.o.eq(requantise.o)]

        # The requantiser changes parameters one cycle before the first result of an output block.
        swap = window.issue.emit_start
        for n in range(pipeline.operand(geometry) - pipeline.WINDOW + pipeline.array(geometry) - 1):
            stage = Signal(name=f"emit_start{n}", reset_less=True)      # drains during a reset, as the array does
            m.d.sync += stage.eq(swap)
            swap = stage
        m.d.comb += requantise.swap.eq(swap)
        return m

    def _check_latencies(self, array: MacArray, requantise: Requantise):
        geometry = self.geometry
        for what, built, written in (
                ("array", array.latency, pipeline.array(geometry)),
                ("load_after_swap", array.load_after_swap, pipeline.load_after_swap(geometry)),
                ("swap_after_load", array.swap_after_load, pipeline.swap_after_load(geometry)),
                ("min_revisit", array.min_revisit, pipeline.MIN_REVISIT),
                ("requantise", requantise.latency, latency(geometry.output_lanes)),
                ("scales_after_swap", requantise.load_after_swap, pipeline.scales_after_swap(geometry))):
            assert built == written, f"{what} takes {built} cycles, arch.pipeline has {written}"
