# amaranth: UnusedElaboratable=no
"""The chip's top on every board: resources exist, pins are taken, clocks are constrained. No tool runs."""
from collections import Counter
from dataclasses import replace
import re

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
import pytest

from arch.protocol import Identity
import boards
from hw.accelerator import Accelerator
from hw.chip import Chip
from hw.link.spi import SpiPins
from hw.link.uart import byte_layout
from hw.storage.sdram import SdramPins


class Hollow(wiring.Component):
    """The ports of an accelerator."""

    def __init__(self, geometry, identity, timing, turn=None):
        pins = {} if timing is None else {"pins": Out(SdramPins())}
        pins |= {} if turn is None else {"step": Out(1)}
        pins |= {} if identity.slots is None else {"flash": Out(SpiPins()), "booted": Out(1), "trial": Out(1)}
        super().__init__({"rx": In(stream.Signature(byte_layout())), "tx": Out(stream.Signature(8)), **pins, "spoilt": Out(1),
                          "busy": Out(1), "failed": Out(1), "ready": Out(1), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        if "step" in self.signature.members:
            m.d.sync += self.step.eq(~self.step)
        return m


@pytest.mark.parametrize("board", boards.BOARDS.values(), ids=lambda board: board.name)
def test_prepares(board, monkeypatch):
    monkeypatch.setattr("hw.chip.Accelerator", Hollow)
    packing = board.name == "ulx3s-12f"
    chip = Chip.of(replace(board, packing=packing))
    assert chip.identity.packing == packing
    assert chip.identity.digest == board.geometry.digest and chip.identity.clock_khz == board.pll.clock_mhz * 1000
    plan = board.platform().prepare(chip, "top", emit_src=False)
    lpf, rtlil = plan.files["top.lpf"], plan.files["top.il"]
    assert lpf.count("FREQUENCY PORT") == 1
    for name, value in board.pll.parameters.items():
        assert f"parameter \\{name} " in rtlil, (name, value)
    # Value and enable of every pin: 16 of data, 13 + 2 + 2 + 5 others, the line; enable of the SDRAM clock. Words that come.
    cells = Counter(re.findall(r"cell \\(\w+) ", rtlil))
    assert cells["OFS1P3DX"] == (2 * (16 + 22) + 1 if board.chips else 0) + 2
    assert cells["IFS1P3DX"] == (16 if board.chips else 0) + board.flash and cells["ODDRX1F"] == bool(board.chips)
    # The output CLKOS is stepped, to later phases.
    pll = dict(re.findall(r"\n\s+connect \\(PHASE\w+) (\S+)", rtlil))
    assert pll.pop("PHASESTEP", "\\")[0] == "\\" and set(pll.values()) <= {"1'0"}         # a signal, and constants
    assert len(pll) == (4 if board.chips else 0) and ("DPHASE_SOURCE" in rtlil) == bool(board.chips)
    assert cells["EHXPLLL"] == 1 and cells["USRMCLK"] == board.flash and lpf.count("__copi__io\" SITE") == board.flash
    assert re.findall(r"(\w+)_0__clk__io\" SITE", lpf) == ["sdram"] * bool(board.chips)
    assert re.findall(r'COMP "rest_\d__io" SITE "(\w+)"', lpf) == [ball for ball, _ in board.rests]
    for n, (_, level) in enumerate(board.rests):
        assert re.search(rf"module \\top\.rest{n}\n.*?\nconnect \\o\$1 1'{level}\nconnect \\oe 1'1\n", rtlil, re.DOTALL)
    for led in board.leds:
        assert lpf.count(f'COMP "{led.split(".")[0]}_{led.split(".")[1]}__') >= 1


def test_the_chip_that_tests_a_board_has_no_engine(monkeypatch):
    monkeypatch.setattr("hw.chip.Accelerator", Hollow)
    board = boards.find("ulx3s")
    chip = Chip.of(board, engine=False)
    assert chip.identity.digest == 0 and chip.identity.storage_words == board.storage_words
    assert board.platform().prepare(chip, "top", emit_src=False).files["top.lpf"].count("FREQUENCY PORT") == 1


def test_registers_at_the_pins_are_required():
    board = boards.find("ulx3s")
    with pytest.raises(ValueError, match="pin_registers must be 2, not 0"):
        Chip(board.geometry, name="x", pll=board.pll, timing=replace(board.timing, pin_registers=0), storage_words=1, baud=1e6)


def test_digest_must_be_the_geometrys():
    identity = Identity(digest=1, storage_words=1024, clock_khz=1, name="x")
    with pytest.raises(ValueError, match="digest must be the geometry's, 0x"):
        Accelerator(boards.find("ulx3s").geometry, identity, None)
