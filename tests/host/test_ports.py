"""The port that a board is on."""
from types import SimpleNamespace

import pytest

from boards import BOARDS, find
from host import info
from host.link import LinkError
from host.ports import find_port


def ports(monkeypatch, *given):
    """As if these were plugged in: device, vendor and product, place."""
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [
        SimpleNamespace(device=device, vid=usb and usb[0], pid=usb and usb[1], location=place, product=None,
                        description=f"at {place}") for device, usb, place in given])


FT231X, FT2232H, MOUSE, PRO = (0x0403, 0x6015), (0x0403, 0x6010), (0x046d, 0xc077), (0x1d50, 0x602b)


@pytest.mark.parametrize(("given", "port", "baud"), [
    ([("/dev/ttyS0", None, None), ("/dev/ttyUSB0", FT231X, "1-2")], "/dev/ttyUSB0", 3_000_000),
    ([("/dev/ttyACM0", PRO, "1-1:1.1"), ("/dev/ttyUSB7", MOUSE, "1-2")], "/dev/ttyACM0", 921_600),
    ([("/dev/ttyUSB1", FT2232H, "1-2:1.1"), ("/dev/ttyUSB0", FT2232H, "1-2:1.0")], "/dev/ttyUSB1", 3_000_000)])
def test_the_only_board(given, port, baud, monkeypatch):
    ports(monkeypatch, *given)
    found = find_port()
    assert (found.port, found.baud) == (port, baud) and found.name.startswith("at ")


def test_none_or_several(monkeypatch):
    ports(monkeypatch, ("/dev/ttyUSB7", MOUSE, "1-2"), ("/dev/ttyS0", None, None))
    with pytest.raises(LinkError, match="no board is plugged in whose serial adapter is known: name its port with --port"):
        find_port()
    ports(monkeypatch, ("/dev/ttyUSB0", FT231X, "1-2"), ("/dev/ttyUSB1", FT231X, "1-3"))
    with pytest.raises(LinkError, match=r"choose one with --port: /dev/ttyUSB0 \(at 1-2\); /dev/ttyUSB1 \(at 1-3\)"):
        find_port()


def test_a_command_says_where_it_looked(monkeypatch, capsys):
    ports(monkeypatch, ("/dev/nothing-here", FT231X, "1-2"))
    assert info.main([]) == 1
    assert capsys.readouterr().err.startswith("on /dev/nothing-here: at 1-2\nerror: Port /dev/nothing-here cannot be opened: ")
    ports(monkeypatch)
    assert info.main([]) == 1
    assert capsys.readouterr().err.startswith("error: no board is plugged in")


def test_boards_with_a_serial_adapter_say_which():
    assert all(board.usb for board in BOARDS.values() if board.name != "colorlight-5a75b") and find("icesugar-pro").usb == (PRO,)
