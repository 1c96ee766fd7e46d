"""A board from Python: one whose machine is the reference behind a real serial port, and the simulated chip."""
from contextlib import contextmanager
import os
from threading import Event, Thread
import tty

import numpy as np
import pytest

from arch.protocol import Identity
from boards import find
import fireline
from golden.machine import execute, get_tensor
from host.device import Device
from host.protocol import Status
from nets import digits
from nets.preprocess import find_images

BOARD = find("versa-ecp5")
IMAGE = find_images(digits.IMAGES)[-1]
CYCLES = 50_000


@contextmanager
def served(device: Device):
    """A pseudo-terminal behind which a device answers."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    over = Event()

    def serve() -> None:
        back = b""
        while not over.is_set():
            try:
                back += device.feed(os.read(master, 4096))
            except BlockingIOError:
                over.wait(0.001)
            if back:
                try:
                    back = back[os.write(master, back):]
                except BlockingIOError:
                    pass

    thread = Thread(target=serve)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        over.set()
        thread.join()
        os.close(master)
        os.close(slave)


@pytest.fixture
def device(net):
    program = net.compile("versa-ecp5").compiled.program

    identity = Identity(digest=BOARD.geometry.digest, storage_words=BOARD.storage_words, clock_khz=100_000, name=BOARD.name)

    def run(address: int) -> Status:
        result = execute(program, get_tensor(program.geometry, device.storage, program.input))
        device.storage[:len(result.storage)] = result.storage
        return Status(running=False, finished=True, failed=False, cycles=CYCLES)

    device = Device(identity, run)
    return device


def test_a_board_on_a_port(device, net, tmp_path):
    with served(device) as port, fireline.connect(port) as board:
        assert board.info == fireline.BoardInfo(name="versa-ecp5", title=BOARD.title, clock_mhz=100.0,
                                                storage_bytes=2 * BOARD.storage_words, engine=BOARD.geometry.macs)
        assert repr(board) == f"Connection({BOARD.title}, 100 MHz)"
        with pytest.raises(fireline.LinkError, match="no network yet: load one first"):
            board.classify(IMAGE)
        program = net.compile("versa-ecp5")
        program.save(tmp_path / "digits.flp")
        assert [board.load(what) for what in (net, program, tmp_path / "digits.flp")] == [True, False, False]
        assert repr(board) == f"Connection({BOARD.title}, 100 MHz, digits loaded)"
        run = board.classify(IMAGE)
        wanted = net.classify(IMAGE)
        assert run.top5 == wanted.top5 and np.array_equal(run.probabilities, wanted.probabilities)
        assert (run.image, run.cycles, run.latency_ms, run.frames_per_s) == (IMAGE.name, CYCLES, 0.5, 2000.0)
        assert set(board.counters()) >= {"compute_busy", "load_waiting", "gather_stalls"}


def test_a_program_for_another_board_is_refused(device, net):
    with served(device) as port, fireline.connect(port) as board:
        with pytest.raises(fireline.LinkError, match="compile it for this board"):
            board.load(net.compile("colorlight-5a75b"))
        with pytest.raises(fireline.ProgramFileError, match="missing.flp: cannot be read"):
            board.load("missing.flp")


def test_no_board():
    with pytest.raises(fireline.LinkError, match="no_such_port cannot be opened: there is no such port"):
        fireline.connect("/dev/no_such_port")
    with pytest.raises(ValueError, match="one of the two"):
        fireline.connect()
    with pytest.raises(ValueError, match="board must be one of"):
        fireline.connect(virtual="vesra")


def test_the_simulated_chip(net):
    prediction = net.compile("versa-ecp5").predict()
    with fireline.connect(virtual="versa-ecp5") as board:
        assert board.info.title == BOARD.title
        assert board.load(net) and not board.load(net)
        run = board.classify(IMAGE)
        assert np.array_equal(run.output.ravel(), net.tensors(IMAGE)[net.network.by_name[net.network.output].inputs[0]].ravel())
        assert run.top5 == net.classify(IMAGE).top5
        assert run.cycles == prediction.cycles
