# amaranth: UnusedElaboratable=no
"""After synthesis, with models of the cells: primitives and their twins agree bit for bit, and so does a small array."""
from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
import numpy as np
import pytest

from hw.engine.mac_array import MacArray
from hw.primitives import BlockRam, Copy, Multiplier
from sim.verilog.native import Design
from sim.verilog.netlist import Netlist
from tests.hw.engine.test_mac_array import Script

RAMS = ((512, 36), (400, 17), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1), (100, 40))


class Zoo(wiring.Component):
    """One of each primitive and shape, as little else as possible."""

    def __init__(self):
        self.parts = {"fast": Multiplier(), "deep": Multiplier(pipeline=True), "copy": Copy()}
        self.parts |= {f"ram{depth}x{width}": BlockRam(depth=depth, width=width) for depth, width in RAMS}
        super().__init__({f"{name}_{port}": (In if member.flow == In else Out)(member.shape)
                          for name, part in self.parts.items() for port, member in part.signature.members.items()})

    def elaborate(self, platform):
        m = Module()
        for name, part in self.parts.items():
            m.submodules[name] = part
            for port, member in part.signature.members.items():
                outer, inner = Value.cast(getattr(self, f"{name}_{port}")), Value.cast(getattr(part, port))
                m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        return m


def test_primitives_and_twins_agree(seed=31):
    rng = np.random.default_rng(seed)
    rams = [f"ram{depth}x{width}" for depth, width in RAMS]
    with Design(Zoo()).simulate() as twin, Netlist(Zoo()).simulate() as cells:
        ports = [port for _, port in twin.design.ports.values() if port.name not in ("clk", "rst")]
        depths = dict(zip(rams, (depth for depth, _ in RAMS), strict=True))
        for cycle in range(3000):
            values = {port.name: int.from_bytes(rng.bytes(5), "little") >> 4 & (1 << port.bits) - 1
                      for port in ports if port.is_input}
            for ram in rams:
                # Few rows, the ends among them, so that reads find what was written; never both at once.
                rows = [*range(12), depths[ram] - 1, depths[ram] // 2]
                values[f"{ram}_w_addr"], values[f"{ram}_r_addr"] = (int(rng.choice(rows)) for _ in range(2))
                values[f"{ram}_w_en"] &= values[f"{ram}_w_addr"] != values[f"{ram}_r_addr"]
            for name, value in values.items():
                twin.set(name, value)
                cells.set(name, value)
            got = {port.name: (twin.get(port.name), cells.get(port.name)) for port in ports if not port.is_input}
            if cycle > 5:
                assert not {name: pair for name, pair in got.items() if pair[0] != pair[1]}, f"cycle {cycle}, seed {seed}"
            twin.step()
            cells.step()


@pytest.mark.parametrize(("sizes", "seed"), [
    ({"lanes": 4, "columns": 4, "depth": 64}, 32), ({"lanes": 2, "columns": 4, "depth": 64, "lut_pairs": 1}, 33)])
def test_array_after_synthesis_is_exact_and_on_time(sizes, seed):
    array = MacArray(**sizes)
    script = Script(array, seed, passes=20)
    beat, load = array.beat.shape(), array.load.shape()
    seen = [[] for _ in range(array.columns)]
    with Netlist(MacArray(**sizes)).simulate() as sim:
        for cycle in range(script.end):
            weights, bias = script.loads.get(cycle, (None, None))
            sim.set("beat", beat.const(script.beats.get(cycle, {"valid": 0})).as_bits())
            sim.set("load", 0 if bias is None else load.const(
                {"valid": 1, "weights": weights.tolist(), "bias": bias.tolist()}).as_bits())
            results = sim.get("results")
            for column in range(array.columns):
                word = results >> 33 * column & (1 << 33) - 1
                if word & 1:
                    seen[column].append((cycle, (word >> 1 ^ 1 << 31) - (1 << 31)))
            sim.step()
    assert seen == script.expected, f"seed {seed}"
