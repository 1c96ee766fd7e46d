"""Faults of memories: each is named, whatever its kind and place; the memory behind the reference of the board's side has it."""
import random

import numpy as np
import pytest

from arch.protocol import Identity
from host.device import Device
from host.selftest.lines import Places, data_faults, tags
from host.selftest.memory import test_memory as check_memory
from host.session import Session
from sim.models.faulty_memory import FaultyMemory, MemoryFault, faults
from sim.models.line import FaultyLine

FULL, SMALL = Places(row_bits=13, column_bits=9), Places(row_bits=6, column_bits=4)
FAULTS = faults(13, 9)
OF_CELLS = ("cell", "weak", "row", "column")


def checks_of(fault, places, cas=3, seed=1, **options):
    identity = Identity(digest=0, storage_words=1 << places.address_bits, clock_khz=100_000, name="tests")
    device = Device(identity)
    line = FaultyLine(device, seed=1, rate=0)
    device.storage = FaultyMemory(places.row_bits, places.column_bits, fault, line.now, cas=cas, seed=seed)
    session = Session(line, clock=line.now, numbers=random.Random(1))
    session.connect()

    def pause(seconds):
        line._time += seconds
    return check_memory(session, places, pause=pause, **options)


def names_of(checks) -> list[str]:
    return [name for check in checks for finding in check.findings for name in finding.names]


def wanted(fault: MemoryFault) -> list[str]:
    """All names that explain it, or the name that must be among others where many faults look alike."""
    way = ("low", "high")[fault.value]
    match fault.kind, fault.lines:
        case "stuck", (line,) if line.startswith("DQM"):
            first = 0 if line == "DQML" else 8
            return [f"{line} stuck high or not connected", f"all of DQ{first} to DQ{first + 7}"]
        case "stuck", (line,) if line.startswith("DQ"):
            return [f"{line} stuck {way}"]
        case "stuck", ("A4",) if not fault.value:           # the mode register tells the SDRAM a latency of 2
            return ["A4 stuck low, shorted or swapped", "words come a clock early"]
        case "stuck", (line,) if line[0] in "AB":
            return [f"{line} stuck low or not connected", f"{line} stuck high"]
        case "stuck", ("WE",) if fault.value:
            return ["WE stuck high or not connected"]
        case "stuck", ("WE",):
            return ["WE stuck low"]
        case "shorted", _:
            a, b = sorted(fault.lines, key=lambda line: (len(line), line))
            return [f"{a} and {b} shorted, {way} wins"]
        case "swapped", (low, _):                           # with any line that is low when the column comes
            return [f"{low} and A{n} swapped" for n in (9, 10, 11, 12)]
        case "open", (line,):
            return [f"{line} does not follow"]
        case "row", _:
            return [f"bank {fault.bank}, row {fault.row}, all columns, bad"]
        case "column", _:
            return [f"bank {fault.bank}, column {fault.column}, all rows, bad"]
        case ("cell" | "weak") as kind, _:
            state = f"stuck {way}" if kind == "cell" else f"weak, turning {way}"
            return [f"bank {fault.bank}, row {fault.row}, column {fault.column}, bits {fault.bit} {state}"]
    return list(fault.lines)


def test_there_are_many_kinds_and_places():
    assert len({str(fault) for fault in FAULTS}) >= 46 and len({fault.kind for fault in FAULTS}) == 8


@pytest.mark.parametrize("fault", [fault for fault in dict.fromkeys(FAULTS) if fault.kind not in OF_CELLS], ids=str)
def test_lines_are_named(fault):
    """Nothing else is named, but that all control lines look alike, but WE that is high."""
    checks = checks_of(fault, FULL, seconds=0.3)
    names = names_of(checks)
    assert sum(len(check.findings) for check in checks) == 1
    if names[0] == "CLK":
        assert set(wanted(fault)) < set(names) and fault.lines[0] in ("CLK", "CKE", "CS", "RAS", "CAS", "WE")
    else:
        assert names == wanted(fault)


@pytest.mark.parametrize("fault", [fault for fault in faults(6, 4) if fault.kind in OF_CELLS], ids=str)
def test_cells_are_named(fault):
    assert names_of(checks_of(fault, SMALL, seconds=0.3, whole=True)) == wanted(fault)


def test_a_good_memory_has_no_findings():
    checks = checks_of(None, SMALL, whole=True)
    assert [check.name for check in checks] == ["data lines", "address lines", "rows and banks", "words"] and not names_of(checks)
    assert checks[3].covered.startswith("random words in all of storage, 8 KB")


@pytest.mark.parametrize("fault, cas, name", [
    (MemoryFault(kind="stuck", lines=("A4",), value=1), 2, "words come a clock late"),
    (MemoryFault(kind="swapped", lines=("A2", "A4")), 3, "A4 stuck low, shorted or swapped"),
    (MemoryFault(kind="shorted", lines=("A1", "A5")), 3, "A5"),
    (MemoryFault(kind="stuck", lines=("A5",)), 3, "A5")], ids=str)
def test_lines_of_the_mode_register(fault, cas, name):
    """They bring the CAS latency, too: with another one no word is right."""
    assert name in names_of(checks_of(fault, FULL, cas=cas, seconds=0.3))


def test_words_that_are_lost_now_and_then():
    class Noisy(FaultyMemory):
        def __getitem__(self, where):
            words = super().__getitem__(where)
            if self._random.random() < 0.01:
                words[0] ^= 0x0100
            return words

    device = Device(Identity(digest=0, storage_words=1 << SMALL.address_bits, clock_khz=100_000, name="tests"))
    line = FaultyLine(device, seed=1, rate=0)
    device.storage = Noisy(SMALL.row_bits, SMALL.column_bits, None)
    session = Session(line, clock=line.now, numbers=random.Random(1))
    session.connect()
    assert "unsteady words" in names_of(check_memory(session, SMALL, seconds=0.3, pause=lambda seconds: None))


def test_two_data_lines_are_both_named():
    sent = np.array([*(1 << n for n in range(16)), *(0xFFFF ^ 1 << n for n in range(16))])
    assert data_faults(sent, sent & ~0x0024 | 0x0020) == {2: "DQ2 stuck low", 5: "DQ5 stuck high"}
    assert not data_faults(sent, sent)


def test_tags_differ_in_four_bits():
    found = tags(2048).astype(int)
    assert min(int(a ^ b).bit_count() for n, a in enumerate(found[:300]) for b in found[:n]) == 4
    assert len(set(map(int, found))) == 2048
    with pytest.raises(ValueError, match="at most 2048, not 2049"):
        tags(2049)
