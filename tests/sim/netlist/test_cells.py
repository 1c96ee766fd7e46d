# amaranth: UnusedElaboratable=no
"""Cells of packed netlists do what the RTL that they were made from does, and what Yosys' own models of them do."""
import json

from amaranth import Cat, Module, Mux
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
import numpy as np
import pytest

from bench.flow import synthesise
from hw.primitives import BlockRam, Copy, Multiplier
from hw.tools import flow
from hw.tools.flow import Part
from sim.netlist.reader import NetlistError, read
from sim.netlist.simulation import ALL, PackedChip

PART = Part(option="--85k", package="CABGA756", speed="6", die="85f")
FURTHER = {"p0": 36, "p1": 36, "look": 12, "copy": 1, "all": 1, "less": 1, "held": 16, "slow": 8, "started": 16}
RAMS = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
BITS = 40


class Cells(wiring.Component):
    """Each kind of cell once or more."""

    def __init__(self):
        self.rams = {f"ram{depth}": BlockRam(depth=depth, width=width) for depth, width in RAMS}
        outputs = {name: ram.width for name, ram in self.rams.items()}
        super().__init__({"i": In(BITS)} | {name: Out(bits) for name, bits in (outputs | FURTHER).items()})

    def elaborate(self, platform):
        m, i = Module(), self.i
        for pipeline in (False, True):
            m.submodules[f"product{pipeline:d}"] = product = Multiplier(pipeline=pipeline)
            m.d.comb += [product.a.eq(i[:18]), product.b.eq(i[18:36]), getattr(self, f"p{pipeline:d}").eq(product.p)]
        for name, ram in self.rams.items():
            m.submodules[name] = ram
            # Never read and written at once: even and odd rows.
            m.d.comb += [ram.w_en.eq(i[39]), ram.w_addr.eq(Cat(i[38], i[:3], i[0] ^ i[2])), ram.w_data.eq(i[4:]),
                         ram.r_addr.eq(Cat(~i[38], i[30:33], i[30] ^ i[32])), getattr(self, name).eq(ram.r_data)]
        m.submodules.copy = copy = Copy(init=1)
        m.submodules.rows = rows = memory.Memory(shape=12, depth=16, init=range(100, 116))
        write, look = rows.write_port(), rows.read_port(domain="comb")
        m.d.comb += [write.addr.eq(i[:4]), write.data.eq(i[4:]), write.en.eq(i[16]), look.addr.eq(i[17:21]),
                     self.look.eq(look.data), copy.d.eq(i[7]), self.copy.eq(copy.q), self.all.eq(i[:24].all()),
                     self.less.eq(i[:20] < i[20:])]
        with m.If(i[21]):
            m.d.sync += self.held.eq(i[:16] + i[20:36])
        m.d.sync += self.started.eq(Mux(i[3], self.started - i[8:20], self.started ^ i[:16]))
        with m.If(i[5] & i[6]):
            m.d.sync += self.slow.eq(0)
        with m.Elif(~i[9]):
            m.d.sync += self.slow.eq(self.slow + 3)
        return m


@pytest.fixture(scope="module")
def netlist(tmp_path_factory):
    """nextpnr's packed netlist of `Cells`."""
    folder = tmp_path_factory.mktemp("cells")
    packed = folder / "packed.json"
    flow.pack_cells(synthesise(Cells(), folder), PART, packed)
    return packed


def bits_of(name: str, bits: int) -> list[str]:
    """Names of a port's pins."""
    return [name] if bits == 1 else [f"{name}[{n}]" for n in range(bits)]


def drive(chip: PackedChip, name: str, words: list[int]) -> None:
    for pin, word in zip(bits_of(name, len(words)), words, strict=True):
        chip.set(chip.tables.pads[pin].outside, word)


def copy_of(chip: PackedChip, name: str, bits: int, copy: int) -> int:
    """Value of an output in one of the copies."""
    return sum((chip.get(chip.tables.pads[pin].out) >> copy & 1) << n for n, pin in enumerate(bits_of(name, bits)))


def outputs_of(fed: list[int]) -> list[dict[str, int]]:
    """What the RTL shows in each cycle."""
    cells, shown = Cells(), []
    names = [name for name, member in cells.signature.members.items() if member.flow == Out]

    async def bench(ctx):
        for value in fed:
            ctx.set(cells.i, value)
            shown.append({name: ctx.get(getattr(cells, name)) for name in names})
            await ctx.tick()

    simulator = Simulator(cells)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return shown


def test_cells_do_what_the_rtl_does(netlist, seed=41):
    """Two of the 64 copies, each against the RTL with what that copy was fed."""
    rng = np.random.default_rng(seed)
    tables = read(netlist)
    assert {"TRELLIS_COMB", "TRELLIS_FF", "TRELLIS_RAMW", "DP16KD", "MULT18X18D", "TRELLIS_IO"} <= set(tables.cells)
    fed = []
    for cycle in range(400):
        words = [int(word) for word in rng.integers(0, 1 << 64, BITS, np.uint64)]
        # In some cycles all copies have the same addresses, in others each its own.
        fed.append([word if n % 2 else ALL * (word & 1) for n, word in enumerate(words)] if cycle % 3 else words)
    copies = 0, 63
    expected = {copy: outputs_of([sum((word >> copy & 1) << n for n, word in enumerate(words)) for words in fed])
                for copy in copies}
    shapes = {name: member.shape for name, member in Cells().signature.members.items() if member.flow == Out}
    with PackedChip(tables) as chip:
        drive(chip, "rst", [0])
        for cycle, words in enumerate(fed):
            drive(chip, "i", words)
            for copy in copies:
                found = {name: copy_of(chip, name, bits, copy) for name, bits in shapes.items()}
                assert found == expected[copy][cycle], (cycle, copy, seed)
            chip.step()


@pytest.mark.parametrize(("kind", "change", "message"), [
    ("MULT18X18D", {"parameters": {"REG_OUTPUT_CLK": "NONE"}}, "REG_OUTPUT_CLK must be CLK0"),
    ("DP16KD", {"parameters": {"WRITEMODE_A": "WRITETHROUGH"}}, "WRITEMODE_A must be NORMAL"),
    ("DP16KD", {"parameters": {"INITVAL_00": "0x1"}}, "no model for INITVAL_00"),
    ("TRELLIS_FF", {"parameters": {"CLKMUX": "INV"}}, "CLKMUX must be CLK"),
    ("TRELLIS_FF", {"type": "ALU54B"}, "no model of ALU54B"),
    ("TRELLIS_COMB", {"parameters": {"MODE": "NEW"}}, "no model of mode NEW")])
def test_what_is_not_understood_is_refused(netlist, tmp_path, kind, change, message):
    design = json.loads(netlist.read_text())
    victim = next(cell for name, cell in design["modules"]["top"]["cells"].items()
                  if cell["type"] == kind and not name.startswith("$PACKER"))
    for key, value in change.items():
        victim[key] = victim[key] | value if isinstance(value, dict) else value
    (tmp_path / "spoilt.json").write_text(json.dumps(design))
    with pytest.raises(NetlistError, match=message):
        read(tmp_path / "spoilt.json")
