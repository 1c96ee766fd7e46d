"""The self-test of a whole board: the reference of the board's side behind a line, with a machine that is the reference, too."""
from contextlib import contextmanager
from dataclasses import replace
import json
import random

import numpy as np
import pytest

from arch.memory.calibration import Calibrated, Calibration
from arch.protocol import Identity
from boards import find
from golden.machine import execute, get_tensor
from host.device import Device
from host.protocol import Status
from host.selftest import __main__ as command
from host.selftest import network
from host.selftest.flash import test_flash as check_flash
from host.selftest.line import test_line as check_line
from host.selftest.phase import NARROW
from host.selftest.phase import test_phase as check_phase
from host.session import Session
from sim.models.flash import FlashChip
from sim.models.line import FaultyLine

BOARD = find("versa-ecp5")
IDENTITY = Identity(digest=BOARD.geometry.digest, storage_words=BOARD.storage_words, clock_khz=100_000, name=BOARD.name,
                    flash_offset=BOARD.flash_offset, flash_bytes=BOARD.flash_bytes)


def session_on(identity=IDENTITY, rate=0.0, faults=("flip",), **options):
    device = Device(identity, **options)
    line = FaultyLine(device, seed=1, rate=0, faults=faults)
    session = Session(line, patience_s=0.01, clock=line.now, numbers=random.Random(1))
    session.connect()
    line.rate = rate
    return session, device, line


def run_on(session, monkeypatch, *words):
    @contextmanager
    def given(args):
        yield session
    monkeypatch.setattr(command, "board_session", given)
    monkeypatch.setattr("host.selftest.memory.time.sleep", lambda seconds: None)
    return command.main(["--seconds", "1", *words])


def test_a_good_board(monkeypatch, tmp_path, capsys):
    session, *_ = session_on(replace(IDENTITY, digest=0), flash=FlashChip(16 << 20))
    assert run_on(session, monkeypatch, "--json", str(tmp_path / "out.json")) == 0
    said, record = capsys.readouterr().out, json.loads((tmp_path / "out.json").read_text())
    assert record["good"] and [check["name"] for check in record["checks"]] == [
        "line", "memory clock", "data lines", "address lines", "words", "flash", "network"]
    assert "Lattice ECP5 Versa" in said and "engine none: this is the self-test's chip" in said and "1,000 frames in" in said
    assert "network          skipped  this chip has no engine" in said and "FAILED" not in said


def test_a_bad_board_says_what_to_try(monkeypatch, capsys):
    session, device, _ = session_on(replace(IDENTITY, digest=0, flash_offset=0, flash_bytes=0))
    feed, device.storage = device.feed, np.zeros(len(device.storage), "<u2")

    def stuck(data):
        back = feed(data)
        device.storage |= 0x0400
        return back
    device.feed = stuck
    assert run_on(session, monkeypatch) == 1
    said = capsys.readouterr()
    assert "data lines       FAILED" in said.out and "    fault  DQ10 stuck high\n" in said.out
    assert "    try    look at the" in said.out and said.err.endswith("error: data lines: see above for what to try\n")


def test_a_board_without_a_phase_gives_no_memory(monkeypatch, capsys):
    """That of the self-test does, so that its lines can be tested."""
    session, *_ = session_on(flash=FlashChip(16 << 20), phase=Calibrated(state=Calibration.NO_WINDOW, steps=40))
    assert run_on(session, monkeypatch) == 1
    said = capsys.readouterr()
    assert "memory clock     FAILED   no phase of it gives right words" in said.out and "--selftest" in said.out
    assert said.out.count("skipped  without a phase of its clock there is no memory") == 2
    assert said.err.endswith("error: memory clock: see above for what to try\n")
    session, *_ = session_on(replace(IDENTITY, digest=0), flash=FlashChip(16 << 20),
                             phase=Calibrated(state=Calibration.NO_WINDOW, steps=40))
    assert run_on(session, monkeypatch) == 1
    assert "data lines       ok" in capsys.readouterr().out


@pytest.mark.parametrize("state, width, names", [
    (Calibration.DONE, 9, []), (Calibration.DONE, NARROW, ["narrow window"]), (Calibration.NO_WINDOW, 2, ["no window"]),
    (Calibration.RUNNING, 0, ["no end"])])
def test_phase(state, width, names):
    session, *_ = session_on(phase=Calibrated(state=state, steps=40, chosen=12, width=width, last=15))
    check = check_phase(session)
    assert [finding.names[0] for finding in check.findings] == names
    assert state is not Calibration.DONE or check.covered.startswith("108 degrees later, 3.00 ns; right words from ")


@pytest.mark.parametrize("faults, rate, names", [
    (("flip",), 0.0, []), (("flip",), 0.05, ["noise on the way to the board", "noise on the way to the PC"])])
def test_noise(faults, rate, names):
    session, *_ = session_on(rate=rate, faults=faults)
    assert [finding.names[0] for finding in check_line(session).findings] == names


def test_bytes_that_are_lost_say_that_the_rates_differ():
    session, device, line = session_on()
    answer = device.answer

    def lossy(message):
        if line.frames % 50 == 0 and message is not None:
            device.line["lost"] += 1
            return answer(None)
        return answer(message)
    device.answer = lossy
    assert [finding.names[0] for finding in check_line(session).findings] == ["rate of the line"]


def test_replies_that_do_not_come():
    session, device, _ = session_on()
    feed = device.feed

    def silent(data):
        back = feed(data)
        return b"" if random.Random(device.line["sound"]).random() < 0.02 else back
    device.feed = silent
    assert [finding.names[0] for finding in check_line(session).findings] == ["replies are late or lost"]


def test_flash(monkeypatch):
    session, *_ = session_on(flash=FlashChip(16 << 20))
    check = check_flash(session)
    assert check.good and "no bitstream at its beginning" in check.covered
    chip = FlashChip(16 << 20)
    chip.bytes[:8] = b"\xff\x00\xff\xff\xff\xff\xbd\xb3"
    assert "a bitstream at its beginning" in check_flash(session_on(flash=chip)[0]).covered
    with monkeypatch.context() as patch:
        patch.setattr("sim.models.flash._IDENTITY", b"\xef\x40\x16")
        assert check_flash(session_on(flash=chip)[0]).findings[0].names == ("smaller flash",)
    chip.scan = lambda address: address
    assert check_flash(session_on(flash=chip)[0]).findings[0].names == ("flash reads differ",)
    chip.exchange = lambda sent: b"\xff" * len(sent)
    assert check_flash(session_on(flash=chip)[0]).findings[0].names == ("no flash",)
    assert check_flash(session_on(replace(IDENTITY, flash_bytes=0, flash_offset=0))[0]).skipped


@pytest.mark.parametrize("spoilt", [False, True])
def test_network_is_the_reference(spoilt):
    session, device, _ = session_on()
    program = network._program(BOARD.geometry, BOARD.storage_words)

    def run(address):
        result = execute(program, get_tensor(program.geometry, device.storage, program.input))
        device.storage[:len(result.storage)] = result.storage
        device.storage[program.output.address] ^= spoilt and len(device.starts) == 5
        return Status(running=False, finished=True, failed=False, cycles=40_000)
    device.run = run
    check = network.test_network(session)
    assert check.good is not spoilt
    assert spoilt or check.covered == "9 frames of digits equal the reference, 40,000 cycles the last one"
    assert not spoilt or "frame 5 of digits has 1 of 10 values other than" in check.findings[0].seen


def test_a_machine_that_stops_is_a_finding():
    session, *_ = session_on(run=lambda address: Status(running=False, finished=False, failed=True, fault=8, queue=3))
    assert "The machine stopped with" in network.test_network(session).findings[0].seen
