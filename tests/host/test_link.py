"""Boards behind a network, as pyserial's URLs name them."""
import contextlib
import socket
from threading import Event, Thread

import numpy as np
import pytest
from serial.rfc2217 import PortManager

from arch.protocol import Identity
from host.device import Device
from host.link import LinkError, SerialLink
from host.session import Session

IDENTITY = Identity(digest=5, storage_words=5000, clock_khz=125_000, name="far away")


class FarPort:
    """What `PortManager` sets up at the far end: everything is as it is."""

    rts = dtr = cts = dsr = ri = cd = break_condition = False
    baudrate, bytesize, parity, stopbits, rtscts, xonxoff = 9600, 8, "N", 1, False, False

    def write(self, data: bytes) -> None:
        pass

    def reset_input_buffer(self) -> None:
        pass

    reset_output_buffer = reset_input_buffer


@contextlib.contextmanager
def served(kind: str):
    """A device at a port of this machine, for one connection; yields its URL."""
    over, device, server = Event(), Device(IDENTITY), socket.create_server(("127.0.0.1", 0))
    server.settimeout(5)

    def serve() -> None:
        connection, _ = server.accept()
        connection.settimeout(0.05)
        lock = contextlib.suppress(OSError)

        class Writer:
            @staticmethod
            def write(data: bytes) -> None:
                with lock:
                    connection.sendall(data)
        manager = PortManager(FarPort(), Writer()) if kind == "rfc2217" else None
        while not over.is_set():
            try:
                data = connection.recv(4096)
            except TimeoutError:
                continue
            if not data:
                break
            if manager:
                data = b"".join(manager.filter(data))
            back = device.feed(data)
            Writer.write(b"".join(manager.escape(back)) if manager else back)
        connection.close()
    thread = Thread(target=serve)
    thread.start()
    try:
        yield f"{kind}://127.0.0.1:{server.getsockname()[1]}"
    finally:
        over.set()
        thread.join()
        server.close()


@pytest.mark.filterwarnings("ignore:set(Daemon|Name)\\(\\) is deprecated")          # pyserial's RFC 2217 calls them
@pytest.mark.parametrize("kind", ["socket", "rfc2217"])
def test_a_session_over_a_network(kind):
    words = np.random.default_rng(1).integers(0, 1 << 16, 4000, dtype=np.uint16)
    words[:200] = 0xFFFF                                    # what telnet escapes
    with served(kind) as url:
        link = SerialLink(url, 3_000_000)
        session = Session(link, patience_s=link.patience_s, slowness=link.slowness)
        link.drain(most_s=0.05)
        assert session.connect().identity == IDENTITY and link.patience_s == 1
        session.write(0, words)
        assert np.array_equal(session.read(0, 4000), words) and session.verify(0, words)
        assert session.sent_again == 0
        link.close()


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")          # pyserial forgets to close one that is cut off
def test_a_far_end_that_goes():
    with served("socket") as url:
        link = SerialLink(url, 3_000_000)
        session = Session(link, patience_s=link.patience_s)
        session.connect()
    with pytest.raises(LinkError, match="is gone"):
        session.status()
    link.close()


@pytest.mark.parametrize("url, message", [
    ("socket://127.0.0.1:1", "cannot be opened: .*refused"), ("warp://here", "cannot be opened: invalid URL, protocol 'warp'"),
    ("socket://here", "cannot be opened: ")])
def test_urls_that_lead_nowhere(url, message):
    with pytest.raises(LinkError, match=message):
        SerialLink(url, 3_000_000)
