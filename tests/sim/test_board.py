"""The virtual board: a whole chip with its SDRAM behind a pseudo-terminal, and the host's commands through a real serial port."""
from contextlib import contextmanager
from dataclasses import replace
import json
from threading import Event, Thread

import numpy as np
import pytest
import serial

from arch.control import Fault
from arch.slots import Outcome, Why
from boards import find
from compiler.build import compile_network
from compiler.program_file import save
from golden import run as golden_run
from golden.machine import execute, get_tensor
from golden.selftest import slot_of
from host import bench, classify, info, load
from host.flash import Flash
from host.link import SerialLink
from host.protocol import Message
from host.runner import MachineError, Runner
from host.session import Refused, Session
from host.slots import Slots
from nets import digits
from nets.load import load_model
from nets.quantise import quantise_with
from sim.board import PtyServer, VirtualBoard
from sim.models.sdram_delays import Behaviour
from tests.hw.test_machine import GEOMETRY, layer  # a small engine, so that little must be compiled

BOARD = replace(find("ulx3s-12f"), packing=True)


@pytest.fixture(scope="module")
def virtual():
    board = VirtualBoard(BOARD, GEOMETRY)
    yield board
    board.close()


@contextmanager
def served(virtual):
    """Its path, while a thread serves it."""
    server, over = PtyServer(virtual), Event()

    def serve():
        while not over.is_set():
            server.serve(patience_s=0.02)

    thread = Thread(target=serve)
    thread.start()
    try:
        yield server.path
    finally:
        over.set()
        thread.join()
        server.close()


@pytest.fixture
def port(virtual):
    virtual.reset()
    with served(virtual) as path:
        yield path


@pytest.fixture(scope="module")
def program():
    network = quantise_with(load_model("digits"), None)
    return compile_network(network, GEOMETRY, storage_words=BOARD.storage_words).program


def test_commands(port, program, tmp_path, capsys):
    """info, load, classify, bench: what a user does, with the results of the reference."""
    out, flp = tmp_path / "out.json", tmp_path / "digits.flp"
    save(program, flp)
    assert info.main(["--port", port, "--json", str(out)]) == 0
    shown = capsys.readouterr().out
    assert json.loads(out.read_text())["board"] == "ulx3s-12f" and "ULX3S 12F" in shown and "unpacks images" in shown
    assert load.main(["--port", port, "--program", str(flp), "--json", str(out)]) == 0
    assert json.loads(out.read_text())["uploaded"] is True
    image = sorted(digits.IMAGES.glob("7_*.png"))[0]
    assert classify.main([str(image), "--port", port, "--program", str(flp), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert golden_run.main(["--model", "digits", "--image", str(image), "--json", str(out)]) == 0
    assert found["top5"] == json.loads(out.read_text())["top5"] and found["cycles"] > 1000
    assert found["packed_bytes"] < 600                          # of 1,024
    capsys.readouterr()
    assert bench.main(["--port", port, "--program", str(flp), "--frames", "2", "--json", str(out)]) == 0
    record = json.loads(out.read_text())
    assert len(record["cycles"]) == 2 and record["counters"]["compute_busy"] > 0
    assert "works" in capsys.readouterr().out


def falls_back(session, slots, program):
    """A slot on trial whose self-test takes too long, in the machine itself: the other one at once, and at the next boot."""
    made = slot_of(program, np.zeros(program.input.shape, np.uint8), BOARD.timing, BOARD.storage_words, version=2, security=0)
    hasty = replace(made, header=replace(made.header, test=replace(made.header.test, cycles=60)))
    slots.write_slot(1, hasty.to_bytes())
    before = slots.state()
    slots.write_state(before.next(active=1, fallback=0, trial=True), before)
    for why in (Why.LATE, Why.TRIAL):
        status = session.reboot(60)
        assert status.outcome == Outcome(slot=0, state=True, whys=(Why.NOT_TRIED, why, Why.NOT_TRIED)), status
        assert slots.tried() and not status.running and not status.finished and not status.failed
    slots.write_state(slots.state().next(active=0, fallback=0, trial=False), slots.state())


def test_boots_from_flash(virtual, tmp_path, capsys):
    """Written over the link, copied to storage after a reset or when asked to, and run without an upload; a damaged one is
    ignored."""
    case, small = layer(7)                                      # of a single layer: quickly sent
    flp, out = tmp_path / "small.flp", tmp_path / "out.json"
    save(small, flp)
    virtual.reset()
    with served(virtual) as port:
        assert load.main(["--port", port, "--flash", str(flp), "--json", str(out)]) == 0
    assert "to flash, booted after the next reset" in capsys.readouterr().out
    for there in (True, False):
        virtual.reset()
        with served(virtual) as port:
            assert info.main(["--port", port, "--json", str(out)]) == 0
            status = json.loads(out.read_text())["status"]
            assert status["booted"] is there and status["program"] == (small.program if there else 0)
            assert status["outcome"]["slot"] == (0 if there else None)
            link = SerialLink(port, 3_000_000)
            session = Session(link, patience_s=link.patience_s)
            session.connect()
            runner = Runner(session, small)
            if there:
                assert session.verify(0, small.storage[:small.input.address])           # before what the self-test changed
                expected = get_tensor(GEOMETRY, execute(small, case.x).storage, small.output)
                assert np.array_equal(runner.run(case.x).output, expected)
                flash = Flash(session, BOARD.flash_offset)
                falls_back(session, Slots(flash, BOARD.slots), small)
                session.write(0, np.zeros(len(small.storage), np.uint16))       # so that only the flash can bring it back
                assert session.reboot(60).booted and session.verify(0, small.storage[:small.input.address])
                flash.program(BOARD.slots.slot(0) + 300, bytes(30))
            else:
                assert status["outcome"]["whys"] == [Why.PAYLOAD, Why.LATE, Why.MAGIC]
            link.close()


def test_board_without_a_phase(virtual, tmp_path, capsys):
    """Words are wrong at each phase, or right at too few: the board says so, and neither boots nor gives data. Its flash can be
    reached. With good ones again a reset helps."""
    good = virtual.turn
    bad = [Behaviour(lag=0, back=2, lost=False, garbled=step not in (7, 8)) for step in range(BOARD.turn.steps)]
    out = tmp_path / "out.json"
    try:
        virtual.behave(bad)
        virtual.reset()
        with served(virtual) as port:
            assert info.main(["--port", port, "--json", str(out)]) == 0
            said, record = capsys.readouterr().out, json.loads(out.read_text())
            assert "without memory that works" in said and "no safe phase: right words from 52 to 60 degrees, 0.33 ns" in said
            assert record["phase"]["state"] == "no_window" and record["phase"]["passing"].index("11") == 7
            assert record["status"]["no_window"] and not record["status"]["booted"]
            link = SerialLink(port, 3_000_000)
            session = Session(link, patience_s=link.patience_s)
            session.connect()
            for ask in (lambda: session.read(0, 1), lambda: session.write(0, np.zeros(1, np.uint16)), lambda: session.start(0),
                        lambda: session.checksum(0, 5), lambda: session.reboot(10)):
                with pytest.raises(Refused, match="MEMORY: no phase of its SDRAM's clock gives right words"):
                    ask()
            assert Flash(session, BOARD.flash_offset).read(BOARD.slots.slot(0), 4)
            link.close()
    finally:
        virtual.behave(good)
    virtual.reset()
    with served(virtual) as port:
        assert info.main(["--port", port, "--json", str(out)]) == 0
        phase = json.loads(out.read_text())["phase"]
        assert phase["state"] == "done" and phase["width"] > 8 and "degrees later" in capsys.readouterr().out


def test_errors_of_the_machine_and_resets(virtual, port, program):
    link = SerialLink(port, 3_000_000)
    session = Session(link, patience_s=link.patience_s)
    session.connect()
    session.boot(60)                                            # what may be in its flash
    runner = Runner(session, program)
    runner.load()
    assert runner.loaded()
    session.start(program.program + 1)                          # not where a program begins
    assert Fault(session.wait(60).fault) is Fault.SYNC
    with pytest.raises(MachineError, match=r"The machine stopped with SYNC at word 0 of the program, in instruction 0 \(.*\)"):
        raise MachineError(session.status())
    session.clear()
    assert not session.status().failed
    with pytest.raises(Refused, match="RANGE"):
        session.read(BOARD.storage_words, 1)
    link.close()


def test_bad_requests(port, program, tmp_path, capsys):
    other = compile_network(quantise_with(load_model("digits"), None), find("ulx3s-45f").geometry, storage_words=1 << 24).program
    save(other, tmp_path / "other.flp")
    assert load.main(["--port", port, "--program", str(tmp_path / "other.flp")]) == 1
    assert "compile it for this board" in capsys.readouterr().err
    assert load.main(["--port", port, "--program", str(tmp_path / "none.flp")]) == 2
    assert classify.main([str(tmp_path / "*.png"), "--port", port]) == 2
    assert info.main(["--port", str(tmp_path / "tty")]) == 1
    assert capsys.readouterr().err.count("\n") == 3


def test_unplugged_at_any_byte(virtual, port, program):
    """A host that dies in the middle of frames: the next one connects and works."""
    for cut in (1, 3, 40, 700, 5000):
        with serial.Serial(port, 3_000_000) as line:
            frames = b"".join(Message.of(2, n, [0, 0, *range(400)]).to_bytes() for n in range(8))
            line.write(frames[:cut])
        link = SerialLink(port, 3_000_000)
        link.drain()
        session = Session(link, patience_s=link.patience_s)
        session.connect()
        session.boot(60)
        session.write(5, program.storage[:700])
        assert session.verify(5, program.storage[:700])
        link.close()
