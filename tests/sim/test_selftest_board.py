"""The chip that tests a board, without an engine, on its RTL with SDRAM and flash: the self-test finds nothing."""
import random

import pytest

from boards import find
from host.link import LinkError
from host.runner import Runner
from host.selftest.flash import test_flash as check_flash
from host.selftest.lines import Places
from host.selftest.memory import test_memory as check_memory
from host.session import Refused, Session
from sim.board import BoardLink, VirtualBoard

BOARD = find("ulx3s")


@pytest.fixture(scope="module")
def session():
    link = BoardLink(VirtualBoard(BOARD, engine=False))
    made = Session(link, slowness=1000, patience_s=10, numbers=random.Random(1))
    made.connect()
    made.boot(600)
    yield made
    link.close()


def test_it_says_that_it_has_no_engine(session):
    assert session.info.identity.digest == 0 and session.info.identity.storage_words == BOARD.storage_words
    with pytest.raises(Refused, match="START, UNKNOWN"):
        session.start(0)
    with pytest.raises(LinkError, match="has no engine and runs no network: load its own"):
        Runner(session, type("Program", (), {"geometry": BOARD.geometry, "storage_words": 1}))


def test_a_good_board_has_no_findings(session):
    chip = BOARD.sdram
    places = Places(row_bits=chip.row_bits, column_bits=chip.column_bits)
    checks = [*check_memory(session, places, seconds=0.01, pause=lambda seconds: None), check_flash(session)]
    assert [check.name for check in checks] == ["data lines", "address lines", "rows and banks", "words", "flash"]
    assert not [finding for check in checks for finding in check.findings] and not any(check.skipped for check in checks)
