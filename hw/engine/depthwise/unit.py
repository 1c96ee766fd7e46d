"""Streaming depthwise convolution: 3x3 windows of each channel, while the vectors pass; and its constants."""
from amaranth import Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch.geometry import Geometry
from arch.unit import depthwise
from arch.unit.depthwise import KERNEL, PAIR_WORDS, PLANES, DepthwiseConfig
from hw.engine.depthwise.lane import ACC, BIAS, COLUMNS, LINES, WINDOW, DepthwiseLane
from hw.engine.depthwise.steps import DepthwiseSteps
from hw.engine.memory_ports import constants_write
from hw.engine.requantise_lane import RequantiseLane
from hw.engine.weights import bias_layout, scale_layout
from hw.parts.credits import Credits
from hw.parts.delay import delayed
from hw.parts.latch import SLICE_BITS
from hw.parts.layout import record_layout, vector_layout
from hw.parts.queue import Queue
from hw.primitives import BlockRam, Copy, copied

__all__ = ["Depthwise", "DepthwiseConstants", "UNIT"]

LANES_PER_COPY = 2          # lanes served by one copy of a control line
LANES_PER_PADDING = 4       # by one of the padding
LINE_BITS = 72              # of the line memory, served by one copy of its addresses: whole tiles, whatever their shape
SHARE = depthwise.WINDOW    # lanes that share a requantiser
SUM = ACC + 1               # stage of the sums of the first ones at the requantisers; of the next ones a cycle later each
SCALES, SHIFTS = SUM - 1, SUM + 2       # of their multipliers and shifts, before registers that choose a lane's
RESULT = SUM + RequantiseLane.LATENCY + SHARE - 1       # all lanes' side by side


PORT_BITS = bias_layout().size + scale_layout().size
WEIGHT_BITS = 8 * KERNEL * KERNEL
# Ways of constants beside the weights, and bits of a pair's word that go each: biases, multipliers, shifts.
WAYS = {"bias": bias_layout().size, "multiplier": 16, "shift": 12}


class DepthwiseConstants(wiring.Component):
    """A word of each way's memory for each column pair; those of a block shift into registers, the last pair's first. Weights
    shift three times, a column of the kernel each time, and each channel puts them into memory of its own.

    With ``start`` in cycle t the block's words begin at `word`, which stays for `load_cycles`. Registers of a way whose constants
    are used from stage s on are complete `load_cycles` + s cycles later, and as they were before until s + 1 cycles later; so are
    the places of the kernel's first column, and those of the next ones a cycle later each.

    Parameters
    ----------
    stages : dict
        For each of `WAYS`, the stage in which it is used first; a multiplier not later than its shift.

    Members
    -------
    constants : ``In(constants_write("depthwise", PORT_BITS))``
    start : ``In(1)``
    word : ``In(range(PAIR_WORDS))``
    bias, multiplier, shift : ``Out``, array of lanes
    weights : ``Out``, array of lanes
        Three of a column of the kernel, from the uppermost row on.
    put, place : ``Out``, array of pairs
        Where these are to be put; the column.
    """

    def __init__(self, geometry: Geometry, stages: dict[str, int]):
        self.pairs, self.stages = geometry.pairs, stages
        super().__init__({"constants": In(constants_write("depthwise", PORT_BITS)), "start": In(1),
                          "word": In(range(PAIR_WORDS)), **{name: Out(bits * self.pairs) for name, bits in WAYS.items()},
                          "weights": Out(2 * 8 * KERNEL * self.pairs), "put": Out(self.pairs), "place": Out(2 * self.pairs)})

    @staticmethod
    def block_rams() -> int:
        """Block RAMs that it takes."""
        return sum(BlockRam.tiles(depth=PAIR_WORDS, width=bits) for bits in (2 * WEIGHT_BITS, WAYS["bias"], scale_layout().size))

    def elaborate(self, platform):
        m = Module()
        given, word = self.constants, Signal(len(self.word), reset_less=True)
        # The block's words pass once for each column of the kernel; all but weights move the first time.
        run, left, column, last = Signal(), Signal(range(self.pairs + 1)), Signal(2, reset_less=True), Signal()
        m.d.comb += last.eq(left == 1)
        with m.If(self.start):
            m.d.sync += [word.eq(self.word), run.eq(1), left.eq(self.pairs), column.eq(0)]
        with m.Elif(last):
            m.d.sync += [word.eq(self.word), run.eq(run & (column != KERNEL - 1)), left.eq(self.pairs), column.eq(column + 1)]
        with m.Else():
            m.d.sync += [word.eq(word + 1), left.eq(left - 1)]
        plane, address = delayed(m, given.addr[len(word):], 1, "plane"), delayed(m, given.addr[:len(word)], 1, "address")
        data = delayed(m, given.data, 1, "data")
        writes = [Signal(name=f"writes{n}") for n in range(PLANES)]
        enable = delayed(m, given.en, 1, "given", reset=True)
        m.d.comb += [one.eq(enable & (plane == n)) for n, one in enumerate(writes)]
        biases = bias_layout().size
        memories = {"weights0": (writes[1], data[:WEIGHT_BITS], "weights"),
                    "weights1": (writes[2], data[:WEIGHT_BITS], "weights"),
                    "bias": (writes[0], data[:biases], "bias"), "scale": (writes[0], data[biases:], "multiplier")}
        found = {}
        for name, (en, row, way) in memories.items():
            m.submodules[name] = ram = BlockRam(depth=PAIR_WORDS, width=len(row))
            m.d.comb += [ram.w_en.eq(en), ram.w_addr.eq(address), ram.w_data.eq(row),
                         ram.r_addr.eq(delayed(m, word, self._late(way), f"{name}_word"))]
            found[name] = ram.r_data
        scale = found["scale"]
        after = self.stages["shift"] - self.stages["multiplier"]
        self._weights(m, [found["weights0"], found["weights1"]], column, run & last)
        rows = {"bias": found["bias"], "multiplier": scale[:16], "shift": delayed(m, scale[16:], after, "shift")}
        first = run & (column == 0)
        for way, row in rows.items():
            # Copies one cycle before the row is there.
            moves = delayed(m, first, self._late(way) + BlockRam.LATENCY - 1, f"moves_{way}", reset=True)
            out = getattr(self, way)
            for pair in range(self.pairs):
                m.submodules[f"move_{way}{pair}"] = move = Copy()
                m.d.comb += move.d.eq(moves)
                own = Signal(len(row), name=f"{way}{pair}", reset_less=True)
                with m.If(move.q):
                    m.d.sync += own.eq(row)
                m.d.comb += out[pair * len(row):(pair + 1) * len(row)].eq(own)
                row = own
        return m

    def _weights(self, m, channels, column, full):
        """The weights of one column of the kernel go from pair to pair. When the last pair's have come all pairs put theirs in
        their places. `channels`: words of the memories; `column` of the words addressed, `full`: they are the last of it."""
        late = self._late("weights") + BlockRam.LATENCY
        column = delayed(m, column, late - 1, "column")
        chosen = []
        for n, word in enumerate(channels):
            for row in range(KERNEL):
                now = copied(m, column, f"column{n}_{row}")
                first, second, third = (word.word_select(KERNEL * row + k, 8) for k in range(KERNEL))
                chosen.append(Mux(now[1], third, Mux(now[0], second, first)))
        row = Cat(chosen)
        put, place = delayed(m, full, late, "full", reset=True), delayed(m, column, 1, "place")
        for pair in range(self.pairs):
            own = Signal(len(row), name=f"weights{pair}", reset_less=True)
            m.d.sync += own.eq(row)
            m.d.comb += [self.weights[pair * len(row):(pair + 1) * len(row)].eq(own),
                         self.put[pair].eq(copied(m, put, f"put{pair}")),
                         self.place.word_select(pair, 2).eq(copied(m, place, f"place{pair}"))]
            row = own

    def _late(self, way: str) -> int:
        """Cycles from the address of a block's first word to that of this way."""
        return self.stages[way] - BlockRam.LATENCY


class Depthwise(wiring.Component):
    """Convolves a stream of vectors as `DepthwiseConfig` says; exactly golden's values. Without `enable` vectors pass.

    A window takes three cycles, a column of the kernel in each, and a third of the lanes is requantised in each of them, by the
    same requantisers. What completes a window in cycle t is offered from cycle t + `LATENCY` on, what passes from
    t + `PASS` on. A credit is taken for each and comes back `BACK` cycles after it left. So ``i.ready`` depends on registers
    only, ``o.valid`` is a register and ``o.payload`` stable until taken. After reset nothing is under way; constants stay.

    Of each output block and column the last two rows are kept in the line memory between rows, bands and commands; other commands
    may pass between two bands of a map if they use other places.

    Parameters
    ----------
    geometry : Geometry
    places : int
        Of the queue of results.
    steps :
        The control. Proofs put a simpler one in its place, and simpler lanes.

    Members
    -------
    command : ``In(stream.Signature(record_layout(DepthwiseConfig)))``
    i, o : ``In/Out(stream.Signature(vector_layout(PO)))``
    constants : ``In(constants_write("depthwise", PORT_BITS))``
        What is written in one cycle may be loaded for a block three cycles later.
    """

    STAGES = RESULT             # in which results are side by side

    def __init__(self, geometry: Geometry, *, places: int = Queue.PLACES, steps=None):
        self.geometry, self.lanes, self.places = geometry, geometry.output_lanes, places
        self.steps = steps or DepthwiseSteps(geometry, places=places)
        vector = vector_layout(self.lanes)
        super().__init__({"command": In(stream.Signature(record_layout(DepthwiseConfig))), "i": In(stream.Signature(vector)),
                          "o": Out(stream.Signature(vector)), "constants": In(constants_write("depthwise", PORT_BITS))})

    @staticmethod
    def block_rams(geometry: Geometry) -> int:
        """Block RAMs that it takes: line memory and constants."""
        return BlockRam.tiles(depth=geometry.depthwise_words, width=16 * geometry.output_lanes) + DepthwiseConstants.block_rams()

    @staticmethod
    def cells(geometry: Geometry) -> dict[str, int]:
        """Lookup tables and registers that an engine has more with it, nearly: of the unit synthesised alone."""
        lanes = geometry.output_lanes
        return {"lut4": 1090 + 582 * lanes, "ff": 1305 + 689 * lanes}

    def elaborate(self, platform):
        m = Module()
        m.submodules.steps = steps = self.steps
        m.submodules.room = room = Credits(self.places, self.places)
        m.submodules.queue = queue = Queue(vector_layout(self.lanes), places=self.places, slice_bits=SLICE_BITS)
        connect(m, flipped(self.o), queue.o)
        connect(m, flipped(self.command), steps.command)
        left = Signal()
        m.d.sync += left.eq(self.o.valid & self.o.ready)
        assert depthwise.BACK == 2
        m.d.comb += [steps.vector.valid.eq(self.i.valid), self.i.ready.eq(steps.vector.ready), steps.room.eq(room.any),
                     room.take.eq(steps.result), room.give.eq(left)]

        step, made = steps.step, steps.made
        window = [made & step.window]           # in each stage
        for n in range(1, self.STAGES + 1):
            window.append(Signal(name=f"window{n}"))
            m.d.sync += window[n].eq(window[n - 1])
        passing = delayed(m, made & step.passes, LINES - 1, "passing", reset=True)
        result = self._results(m, steps, window)

        # Choice between the results and the bytes that pass.
        done = window[self.STAGES] | delayed(m, passing, 1, "passed", reset=True)
        vector, chosen = delayed(m, self.i.payload.as_value(), LINES, "vector"), Signal(8 * self.lanes, reset_less=True)
        for n, span in enumerate(queue.slices):
            m.submodules[f"put{n}"] = put = Copy()
            m.submodules[f"pass{n}"] = own = Copy()
            m.d.comb += [put.d.eq(done & ~ResetSignal()), own.d.eq(passing), queue.w_en[n].eq(put.q),
                         queue.w_data.as_value()[span].eq(chosen[span])]
            m.d.sync += chosen[span].eq(Mux(own.q, vector[span], result[span]))
        assert (depthwise.PASS, depthwise.LATENCY) == (LINES + 2, RESULT + 2)
        return m

    def _results(self, m, steps, window):
        """What steps that complete a window make, in stage `STAGES`. `window`: in each stage, whether a step does."""
        m.submodules.words = words = DepthwiseConstants(
            self.geometry, {"weights": WINDOW, "bias": BIAS, "multiplier": SCALES, "shift": SHIFTS})
        connect(m, flipped(self.constants), words.constants)
        m.d.comb += [words.start.eq(steps.start), words.word.eq(steps.step.word)]
        return self._requantise(m, self._convolve(m, steps.step, steps.made, window, words), window, steps, words)

    def _convolve(self, m, step, made, window, words):
        """The sums of all lanes, in stage `ACC`."""
        above, kept = self._lines(m, step, made)
        shared = self._columns(m, step, made, window)
        soon, padding = delayed(m, made, WINDOW - 2, "soon"), delayed(m, step.rule.padding, WINDOW - 1, "padding")
        sums = []
        for n in range(self.lanes):
            if n % LANES_PER_COPY == 0:
                own = {name: copied(m, value, f"{name}_{n}") for name, value in shared.items()}
            if n % LANES_PER_PADDING == 0:
                own_padding = Signal(8, name=f"padding_{n}", reset_less=True)
                with m.If(copied(m, soon, f"takes_padding_{n}")):
                    m.d.sync += own_padding.eq(padding)
            m.submodules[f"lane{n}"] = lane = DepthwiseLane()
            m.d.comb += [
                lane.byte.eq(delayed(m, self.i.payload[n], 1, f"byte{n}_")), lane.padding.eq(own_padding),
                lane.above.eq(above.word_select(n, 16)), kept.word_select(n, 16).eq(lane.lines),
                lane.weights.eq(words.weights.word_select(n, 8 * KERNEL)), lane.weights_put.eq(words.put[n // 2]),
                lane.weights_place.eq(words.place.word_select(n // 2, 2)),
                lane.bias.eq(words.bias.word_select(n, 32).as_signed()),
                lane.begin.eq(copied(m, window[BIAS - 1], f"begin_{n}")),
                *(getattr(lane, name).eq(value) for name, value in own.items())]
            sums.append(lane.acc)
        return sums

    def _lines(self, m, step, made):
        """The line memory: the bytes above, in stage `LINES`, and those that it keeps in that stage. The tiles of each slice have
        addresses of their own."""
        place = delayed(m, step.place, LINES - 1, "place")
        store = delayed(m, made & step.column & ~step.passes, LINES - 1, "store", reset=True)
        above, kept = Signal(16 * self.lanes), Signal(16 * self.lanes)
        for low in range(0, len(kept), LINE_BITS):
            span = slice(low, min(low + LINE_BITS, len(kept)))
            m.submodules[f"lines{low}"] = lines = BlockRam(depth=self.geometry.depthwise_words, width=span.stop - low)
            m.d.comb += [lines.r_addr.eq(copied(m, step.place, f"from_{low}")), above[span].eq(lines.r_data),
                         lines.w_addr.eq(copied(m, place, f"to_{low}")), lines.w_data.eq(kept[span]),
                         lines.w_en.eq(copied(m, store, f"store_{low}"))]
        assert BlockRam.LATENCY == LINES - 1
        return above, kept

    def _columns(self, m, step, made, window):
        """Where each column goes and which one is next: what lanes are given, a cycle ahead."""
        now = Signal(range(COLUMNS), reset_less=True)       # in stage 1
        m.d.sync += now.eq(now + delayed(m, made, 1, "counts"))
        before = delayed(m, now, LINES - 2, "before")
        put, seen = delayed(m, made, LINES - 1, "put"), delayed(m, made, WINDOW - 2, "seen")
        # In which rows the last columns lie outside the map, the newest one first, the uppermost row in bit 0.
        inside = delayed(m, Cat(step.real, step.above & step.column.replicate(2)), WINDOW - 2, "inside")
        first = delayed(m, step.first, WINDOW - 2, "first")
        outside = [Signal(KERNEL, name=f"outside{n}", reset_less=True) for n in range(KERNEL)]
        with m.If(seen):
            m.d.sync += outside[0].eq(Cat(~bit for bit in reversed(inside)))
            for one, newer in zip(outside[1:], outside, strict=False):
                m.d.sync += one.eq(newer | first.replicate(KERNEL))
        # A step has been counted in the cycles of a window's second and third column.
        column = (delayed(m, now, WINDOW - 2, "since") + COLUMNS - 2 + window[WINDOW + 1])[:len(now)]
        turn = Cat(window[WINDOW], window[WINDOW + 1])
        rows = Mux(turn[1], outside[0], Mux(turn[0], outside[1], outside[2]))
        return {"put": put, "place": before, "column": column, "turn": turn,
                "outside": Cat(rows[:-1], delayed(m, rows[-1], 1, "late_outside")),
                "late_column": delayed(m, column, 1, "late_column"), "late_turn": delayed(m, turn, 1, "late_turn")}

    def _requantise(self, m, sums, window, steps, words):
        """All lanes' results side by side."""
        def register(value, name):
            stage = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += stage.eq(value)
            return stage

        # Zero point and limits of a block wait until the results before it are through.
        m.submodules.rules = rules = Queue(24, places=8)
        rule, lead = steps.step.rule, RequantiseLane.LEAD
        follows = delayed(m, steps.start, SUM + lead["zero_point"] - 2, "follows", reset=True)
        zero_point, limits = Signal(8, reset_less=True), Signal(16, reset_less=True)
        m.d.comb += [rules.w_en.eq(steps.start), rules.w_data.eq(Cat(rule.zero_point, rule.low, rule.high)),
                     rules.o.ready.eq(follows)]
        with m.If(follows):
            m.d.sync += [zero_point.eq(rules.o.payload[:8]), limits.eq(rules.o.payload[8:])]
        limits = register(limits, "late_limits")
        count, results = -(-self.lanes // SHARE), [None] * self.lanes
        for n in range(count):
            if n % LANES_PER_COPY == 0:
                near, (low, high) = copied(m, zero_point, f"zero_point{n}"), (
                    copied(m, limits[at:at + 8], f"{name}{n}") for at, name in ((0, "low"), (8, "high")))
            # Of lookup tables: the multipliers that the array leaves stand among its lanes, where wires are scarce.
            m.submodules[f"requantise{n}"] = lane = RequantiseLane(multiplier=False, rows_per_copy=2)
            own = range(n, self.lanes, count)
            now = {}
            for name, stage, bits in (("multiplier", SCALES, 8), ("shift", SHIFTS, 6)):
                *others, last = (getattr(words, name).word_select(k, bits) for k in own)
                for turn, value in reversed(list(enumerate(others))):
                    last = Mux(copied(m, window[stage - 1 + turn], f"{name}{n}_{turn}"), value, last)
                now[name] = register(last, f"{name}{n}")
            right = register((now["shift"] - 1)[:6], f"right{n}")
            middle = register(right[:3], f"right{n}_middle")
            # Sums of the others wait in a row.
            acc = register(sums[own[-1]], f"acc{own[-1]}")
            for k in reversed(own[:-1]):
                acc = register(Mux(copied(m, window[ACC - 1], f"sums{k}"), sums[k], acc).as_signed(), f"acc{k}")
            m.d.comb += [
                lane.acc.eq(acc), lane.factor.eq(now["multiplier"]),
                lane.right.eq(Cat(register(middle[:2], f"right{n}_low"), middle[2], right[3:])),
                lane.zero_point.eq(near), lane.low.eq(low), lane.high.eq(high), lane.fraction.eq(0)]
            for turn, k in enumerate(own):
                results[k] = delayed(m, lane.q, SHARE - 1 - turn, f"result{k}_")
        assert SHIFTS + 2 == SUM + lead["right3"] and lead["right0"] == lead["right2"] + 1 == lead["right3"] + 2
        assert lead["low"] == lead["high"] == lead["zero_point"] + 1
        return Cat(results)


UNIT = Depthwise        # as `hw.engine.engine` finds it
