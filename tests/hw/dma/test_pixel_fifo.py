# amaranth: UnusedElaboratable=no
"""Gearbox and pixel FIFO: pixels of all sizes, and the cycle of each; room for rows."""
from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
import numpy as np
import pytest

from arch.transfer import PIXEL, PIXEL_BACK, PIXELS, ROUTED
from golden.cycles.streams import Readiness, depart
from hw.dma.fill import pixel_word_layout
from hw.dma.pixel_fifo import PixelFifo
from hw.dma.pixel_gearbox import PixelGearbox
from sim.verilog.native import Design

WORD = data.StructLayout({name: member.shape for name, member in pixel_word_layout() if name != "valid"})


class Pixels(wiring.Component):
    """Words in, pixels out; a row is reserved with its own stream, in the cycle in which there is room."""

    i: In(stream.Signature(WORD))
    row: In(stream.Signature(10))
    o: Out(stream.Signature(32))

    def elaborate(self, platform):
        m = Module()
        m.submodules.gearbox, m.submodules.fifo = gearbox, fifo = PixelGearbox(), PixelFifo()
        connect(m, flipped(self.o), fifo.o)
        m.d.comb += [
            self.i.ready.eq(1), gearbox.i.valid.eq(self.i.valid), fifo.i.eq(gearbox.o), fifo.width.eq(self.row.payload),
            fifo.reserve.eq(self.row.valid & self.row.ready), self.row.ready.eq(fifo.room)]
        m.d.comb += [gearbox.i[name].eq(self.i.payload[name]) for name, _ in WORD]
        return m


@pytest.fixture(scope="module")
def design() -> Design:
    return Design(Pixels())


@pytest.mark.parametrize("seed", range(16))
def test_every_pixel_in_its_cycle(design, seed):
    rng = np.random.default_rng(seed)
    words, pixels, completing, left = [], [], [], PIXELS
    while left:
        channels, width = int(rng.integers(1, 5)), min(left, int(rng.choice([rng.integers(1, 9), rng.integers(1, 200)])))
        left -= width
        row = rng.integers(0, 256, -(-width * channels // 2) * 2)
        for n in range(len(row) // 2):
            words.append(WORD.const({
                "data": int(row[2 * n] | row[2 * n + 1] << 8), "first": n == 0, "last": n == len(row) // 2 - 1,
                "channels": channels, "odd": width * channels % 2}).as_bits())
        completing += [len(words) - len(row) // 2 + ((n + 1) * channels - 1) // 2 for n in range(width)]
        pixels += [row[n * channels:(n + 1) * channels].tolist() for n in range(width)]
    allow, ready = (np.append(np.repeat(rng.random(97) < rng.choice([0.1, 0.5, 1]), rng.choice([1, 30])), True) for _ in range(2))
    with design.simulate() as sim:
        sim.feed("i", words, allow)
        sim.pattern("o__ready", ready)
        sim.run_until(beats=("o", PIXELS), deadline=200_000)
        came, left = sim.beats("i").cycle - 1 - ROUTED, sim.beats("o")      # the gearbox has a register before it
    found = [pixel[:len(expected)].tolist() for pixel, expected in zip(left.payload, pixels, strict=True)]
    assert found == pixels, f"seed {seed}"
    completing = np.array(completing)
    offered = came[completing] + PIXEL + (np.diff(completing, prepend=-1) == 0)
    assert left.cycle.tolist() == depart(offered, Readiness(ready)).tolist(), f"seed {seed}"


def test_room_comes_back(design):
    """Rows are reserved until all places are, then one for each pixel that is taken."""
    words = [WORD.const({"data": n, "first": n == 0, "last": n == PIXELS - 1, "channels": 2, "odd": 0}).as_bits()
             for n in range(PIXELS)]
    with design.simulate() as sim:
        sim.pattern("o__ready", np.zeros(1, bool))
        sim.set("row__payload", 512)
        sim.step(5)
        sim.feed("row", [512])
        sim.step(5)
        sim.feed("row", [512])
        sim.step(5)
        assert len(sim.beats("row")) == 2
        sim.feed("i", words)
        sim.feed("row", [3])
        sim.step(PIXELS + 100)
        assert not len(sim.beats("row")) and sim.get("o__valid")
        sim.pattern("o__ready", np.arange(1 << 16) % 16 == 0)
        sim.step(200)
        assert sim.beats("row").cycle.tolist() == [int(sim.beats("o").cycle[2]) + PIXEL_BACK]
