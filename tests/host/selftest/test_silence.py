"""Why nobody answers: each cause has its own line."""
from contextlib import contextmanager

import pytest

from arch.protocol import Identity
from host import info
from host.device import Device
from host.link import LinkError
from host.selftest.silence import RATES, why_silent
from host.session import Silent

IDENTITY = Identity(digest=1, storage_words=64, clock_khz=100_000, name="tests")


class Line:
    """The board's end at one rate; `spoil` makes of what it sends what comes."""

    opened: list[int]

    def __init__(self, baud, right, spoil):
        self.baud, self.right, self.spoil, self.device, self.back, self.count = baud, right, spoil, Device(IDENTITY), b"", 0

    def write(self, data):
        self.count += 1
        if self.baud == self.right:
            self.back += self.spoil(self.device.feed(data), self.count)

    def read(self, timeout_s):
        back, self.back = self.back, b""
        return back

    def close(self):
        Line.opened.append(self.baud)


@pytest.mark.parametrize("right, spoil, said", [
    (None, None, "Nothing at all comes back, at 3,000,000 baud or any other: another port"),
    (115_200, lambda back, count: back, "The board answers at 115,200 baud, not at 3,000,000: give --baud 115200"),
    (3_000_000, lambda back, count: back if count == 2 else b"", "at 3,000,000 baud, but only 1 of 4 times, 0 frames"),
    (3_000_000, lambda back, count: back[:9] + b"x" + back[10:], "Frames come back at 3,000,000 baud, and all 4 are damaged"),
    (3_000_000, lambda back, count: b"login: ", r"is no frame \(it begins with b'login: login: lo'\)")])
def test_each_cause_has_its_line(right, spoil, said):
    Line.opened = []
    error = why_silent(lambda baud: Line(baud, right, spoil), 3_000_000)
    with pytest.raises(LinkError, match=said):
        raise error
    assert Line.opened[0] == 3_000_000 and len(Line.opened) == len(set(Line.opened))
    assert right or Line.opened == list(RATES)


def test_info_says_it(monkeypatch, capsys):
    @contextmanager
    def silent(args):
        raise Silent("The board does not answer")
        yield
    Line.opened = []
    monkeypatch.setattr(info, "board_session", silent)
    monkeypatch.setattr(info, "SerialLink", lambda port, baud: Line(baud, 921_600, lambda back, count: back))
    assert info.main(["--port", "/dev/ttyUSB7"]) == 1
    assert capsys.readouterr().err == "error: The board answers at 921,600 baud, not at 3,000,000: give --baud 921600\n"


def test_somebody_who_talks_without_an_end():
    class Talker(Line):
        def read(self, timeout_s):
            return b"U"
    Line.opened = []
    assert "is no frame (it begins with b'UUUU" in str(why_silent(lambda baud: Talker(baud, None, None), 3_000_000, ()))
