"""The packed pair against two plain products, over all operands there are: weights -127..127 each, activations 0..255.

Too many multiplications for a solver, few enough to try: the circuit runs through all 255 * 255 * 256 triples by itself, next
to the lane under test, and counts what differs.
"""
from pathlib import Path

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.engine.mac_lane import LutLane, PackedLane, pack
from sim.verilog.native import Design
from sim.verilog.verilate import BUILD

__all__ = ["TRIPLES", "Sweep", "differing"]

TRIPLES = 255 * 255 * 256


class Sweep(wiring.Component):
    """Compares a lane's two products with plain ones for every triple, one a cycle.

    `checked` counts comparisons, `differing` those that were not equal; `done` once all are made.
    """

    checked: Out(32)
    differing: Out(32)
    done: Out(1)

    def __init__(self, lane: PackedLane | LutLane):
        self.lane = lane
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.lane = lane = self.lane
        x = Signal(8)
        even, odd = Signal(signed(8), init=-127), Signal(signed(8), init=-127)         # of the shadow, the next to be used
        now_even, now_odd = Signal(signed(8)), Signal(signed(8))                        # the lane works with these
        running, over = Signal(), Signal()
        # The next weights are shifted in at x = 253, taken over after x = 255; before the first sweep, too.
        m.d.sync += x.eq(x + 1)
        m.d.comb += [lane.x.eq(x), lane.w_in.eq(pack(even, odd)), lane.shift.eq(x == 253), lane.swap.eq(x == 255)]
        with m.If(x == 255):
            m.d.sync += [now_even.eq(even), now_odd.eq(odd), running.eq(~over),
                         even.eq(Mux(even == 127, -127, even + 1))]
            with m.If(even == 127):
                m.d.sync += odd.eq(odd + 1)
                with m.If(odd == 127):
                    m.d.sync += over.eq(1)

        def later(value, cycles, name):
            for n in range(cycles):
                stage = Signal(value.shape(), name=f"{name}{n}")
                m.d.sync += stage.eq(value)
                value = stage
            return value

        products = [later(now * x, lane.LATENCY, name) for now, name in ((now_even, "even_product"), (now_odd, "odd_product"))]
        valid = later(running, lane.LATENCY, "valid")
        if isinstance(lane, PackedLane):
            wait = lane.LATENCY - lane.HIGH_LOW
            high, low = later(lane.high, wait, "high"), later(lane.low, wait, "low")
            found = [(lane.mid << 10) + low, high - lane.mid]
        else:
            found = [lane.even, lane.odd]
        wrong = Signal()
        m.d.comb += wrong.eq((products[0] != found[0]) | (products[1] != found[1]))
        with m.If(valid):
            m.d.sync += [self.checked.eq(self.checked + 1), self.differing.eq(self.differing + wrong)]
        m.d.comb += self.done.eq(over & ~running & ~valid)
        return m



def differing(lane: PackedLane | LutLane, build: Path = BUILD) -> tuple[int, int]:
    """Number of triples compared, and of those for which a product is wrong."""
    with Design(Sweep(lane), build=build).simulate() as sim:
        sim.run_until(high="done", deadline=TRIPLES + 1024)
        return sim.get("checked"), sim.get("differing")
