"""Faults in copies of a netlist: each where it was put and nowhere else, and seen by what the line says."""
import numpy as np
import pytest

from sim.netlist.mutants import COPIES, Mutant, _bytes, _without, draw, judged, put
from sim.netlist.reader import Lut, Register, Tables, _Nets
from sim.netlist.simulation import ALL, SPOILT, PackedChip

BIT = 10                        # cycles


def echo() -> tuple[Tables, int, int]:
    """A line that comes back inverted twice and two cycles later, with an enable that is always 1 and a reset that is 0."""
    nets = _Nets()
    rx, off, first, turned, second, tx = (nets.new() for _ in range(6))
    node = nets.node(0, 0x5555, [rx], turned)
    other = nets.node(0, 0x5555, [second], tx)
    parts = [nets.register(turned, 1, off, first, set_=False, instant=False),
             nets.register(first, 1, off, second, set_=False, instant=False)]
    nets.levels()
    begin, readers = nets.fanout()
    return Tables(nets=nets.count, code=nets.code(), first=begin, readers=readers, pads={}, pll=None, locked=None,
                  luts=[Lut(node, "in", 0x5555, (rx, 1, 1, 1), turned, False),
                        Lut(other, "out", 0x5555, (second, 1, 1, 1), tx, False)],
                  registers=[Register(part, name, net, False, True)
                             for part, name, net in zip(parts, ("first", "second"), (first, second), strict=True)]), rx, tx


def said(mutants: list[Mutant]) -> tuple[bytes, list]:
    """What the whole copy sends back of four bytes, and the verdicts."""
    tables, rx, tx = echo()
    with PackedChip(tables) as chip:
        chip.set(rx, ALL)
        put(chip, mutants)
        chip.step(5)
        chip.line(rx, tx, BIT)
        chip.send(b"\x00\xff\x35\xca")
        chip.step(5 * 10 * BIT)
        return chip.receive(), judged(chip, mutants, BIT)


def test_faults_are_found_and_the_whole_copy_stays_whole():
    tables, _, _ = echo()
    luts, registers = tables.luts, tables.registers
    mutants = [Mutant(luts[0], "always 0", 0), Mutant(luts[1], "inverted", 0xAAAA), Mutant(luts[1], "always 1", 0xFFFF),
               Mutant(registers[0], "stuck at 1"), Mutant(registers[1], "stuck at 0"), Mutant(registers[1], "input inverted")]
    # What makes no difference: a table whose other half is never looked at, a reset that never comes.
    harmless = [Mutant(luts[0], "input B always 0", 0x5555 ^ 0x0001 ^ 0x0001), Mutant(registers[0], "reset ignored")]
    received, verdicts = said(mutants + harmless)
    assert received == b"\x00\xff\x35\xca"
    assert [one.found for one in verdicts] == [True] * len(mutants) + [False] * len(harmless)
    assert [one.excited for one in verdicts] == [True] * len(mutants) + [False] * len(harmless)


def test_more_than_there_is_room_for_is_refused():
    tables, _, _ = echo()
    with PackedChip(tables) as chip, pytest.raises(ValueError, match="at most 63, not 64"):
        put(chip, [Mutant(tables.registers[0], SPOILT[0])] * (COPIES + 1))


def test_a_table_without_an_input():
    xor = 0x6666                                        # A ^ B
    assert _without(xor, 0) == 0xCCCC and _without(xor, 1) == 0xAAAA and _without(xor, 2) == xor


def test_bytes_of_a_line():
    """Start bit, eight bits from the lowest on, stop bit."""
    byte, levels = 0x35, []
    for _ in range(2):
        levels += [0, *(byte >> n & 1 for n in range(8)), 1]
    changes = np.flatnonzero(np.diff(levels, prepend=1))
    assert _bytes(changes * BIT + 7, np.array(levels)[changes], BIT) == [0x35 << 1 | 1 << 9] * 2


def test_drawn_cells_differ_and_so_do_their_tables():
    tables, _, _ = echo()
    for seed in range(20):
        mutants = draw(tables, 4, seed)
        assert len({mutant.cell.name for mutant in mutants}) == 4
        assert all(mutant.init != mutant.cell.init for mutant in mutants if isinstance(mutant.cell, Lut))
        assert all(mutant.how in SPOILT[:3] + SPOILT[4:] for mutant in mutants if isinstance(mutant.cell, Register))
