"""host.update through a port: a bundle comes to run, confirmed or not, and what must not be written is refused, all at once."""
from dataclasses import replace
import json
from zlib import crc32

import pytest

from arch.flash import PAGE_BYTES, SECTOR_BYTES
from arch.slots import Header, Outcome, Slot, State, Why
from host import bundle, info, update
from host.link import LinkError
from host.slot.signing import private_key, sign
from host.slots import Slots, told
from host.update import problems, slots_of
from sim.models.updated_board import KEY, THREE, TWO, Board, model
from tests.fireline.test_connection import served


def serving(board: Board):
    """A port behind which the board is."""
    return served(board.device)


@pytest.fixture
def keys(tmp_path):
    assert bundle.main(["--make-key", str(tmp_path / "key")]) == 0
    return tmp_path / "key", tmp_path / "key.pub"


@pytest.fixture
def board():
    made = Board(THREE, 5)
    made.install(model(0))
    return made


def slots(board: Board) -> Slots:
    return board.slots(board.session()[0])


def write(path, slot: Slot):
    path.write_bytes(slot.to_bytes())
    return str(path)


def test_update_and_again(board, keys, tmp_path, capsys):
    out, secret = tmp_path / "update.json", private_key(keys[0])
    first, second = (write(tmp_path / f"{n}.flu", sign(model(n), secret)) for n in (1, 2))
    size = len(model(1).to_bytes())
    with serving(board) as port:
        words = ["--port", port, "--public-key", str(keys[1]), "--json", str(out)]
        assert update.main([first, *words]) == 0
        record, said = json.loads(out.read_text()), capsys.readouterr()
        assert f"model 1 version 1 in slot A: {size:,} of {size:,} bytes written" in said.out and "confirmed" in said.out
        assert record["slot"] == "A" and record["written"] == size == record["bytes"] and record["confirmed"] and record["fresh"]
        assert "write" in said.err and "compare" in said.err
        board.boots({"first": model(1)}, "updated")
        assert slots(board).state() == State(counter=5, active=1, fallback=0, trial=False, floor=0)
        # The same again changes nothing.
        changes = board.chip.changes
        assert update.main([first, *words]) == 0
        assert "runs already, confirmed" in capsys.readouterr().out and board.chip.changes == changes
        # The next one takes the other slot; the one after it writes only what differs from the one before it there.
        assert update.main([second, *words]) == 0
        assert json.loads(out.read_text())["slot"] == "B" and slots(board).state().floor == 1
        third = write(tmp_path / "3.flu", sign(model(3), secret))
        assert update.main([third, *words]) == 0
        record = json.loads(out.read_text())
        assert record["slot"] == "A" and SECTOR_BYTES < record["written"] <= size // 2 + 2 * SECTOR_BYTES
        board.boots({"third": model(3)}, "updated")


def test_a_model_on_trial(board, keys, tmp_path, capsys):
    """Not confirmed: it goes at the next reset; confirmed by hand, it stays."""
    first = write(tmp_path / "1.flu", sign(model(1), private_key(keys[0])))
    with serving(board) as port:
        words = [first, "--port", port, "--public-key", str(keys[1]), "--no-confirm"]
        assert update.main(words) == 0
        assert "on trial: --confirm keeps it, a reset goes back" in capsys.readouterr().out
        assert board.device.status.outcome == Outcome(slot=1, trial=True, state=True) and slots(board).tried()
        board.power_up(again=0)
        board.boots({"before": model(0)}, "not confirmed")
        assert board.device.status.outcome.whys[1] == Why.TRIAL
        assert update.main(["--port", port, "--confirm"]) == 1
        assert "The board runs no slot that could be confirmed" in capsys.readouterr().err
        assert update.main(words) == 0 and update.main(["--port", port, "--confirm"]) == 0
        assert "in slot A: 0 of" in (said := capsys.readouterr().out) and "confirmed" in said
        board.power_up(again=0)
        board.boots({"first": model(1)}, "confirmed")
        assert update.main(["--port", port, "--confirm"]) == 0 and "runs already" in capsys.readouterr().out


def test_a_model_that_fails_its_test(board, keys, tmp_path, capsys):
    good = model(1)
    bad = replace(good, header=replace(good.header, test=replace(good.header.test, checksum=5)))
    path = write(tmp_path / "bad.flu", sign(bad, private_key(keys[0])))
    with serving(board) as port:
        assert update.main([path, "--port", port, "--public-key", str(keys[1])]) == 1
        error = capsys.readouterr().err
        assert "The board does not boot slot A, but slot factory: self-test gave a wrong output" in error
        board.boots({"before": model(0)}, "a bad one")


def test_all_problems_at_once(board, keys, tmp_path, capsys):
    """Nothing is written, whatever is wrong."""
    made = model(1, digest=7, program=1 << 20)
    path, changes = write(tmp_path / "wrong.flu", replace(made, words=made.words[::-1])), board.chip.changes
    with serving(board) as port:
        assert update.main([path, "--port", port, "--public-key", str(keys[1])]) == 2
        errors = capsys.readouterr().err.splitlines()[-4:]
        for error, message in zip(errors, ("SHA-256 differs", "its signature is not that of the public key",
                                           "is for engine 0000000000000007, the board holds 5107000000000003",
                                           "does not fit the board's storage of 18,000 bytes"), strict=True):
            assert error.startswith(f"error: {path}: ") and message in error
        for words, code, message in ((["--public-key", str(keys[0])], 2, "holds no public Ed25519 key"),
                                     ([], 2, "give --public-key: no key is pinned in the record of three slots")):
            assert update.main([path, "--port", port, *words]) == code and message in capsys.readouterr().err
    assert board.chip.changes == changes


@pytest.mark.parametrize("spoil, message", [
    (lambda data: b"", "is no bundle, or a damaged one: no header of a slot"),
    (lambda data: data[:255], "is no bundle, or a damaged one: the header's CRC is wrong"),
    (lambda data: data[:-2], "has 10,258 bytes instead of the 10,260 that its header says"),
    (lambda data: data + b"x", "has 10,261 bytes instead of the 10,260"),
    (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "is damaged: the CRC of its payload is wrong")])
def test_damaged_bundles(spoil, message):
    found = problems(spoil(model(1).to_bytes()), KEY.public_key(), THREE, THREE.slots, 0)
    assert any(message in problem for problem in found)


def test_what_speaks_against_a_bundle():
    data, key = model(1).to_bytes(), KEY.public_key()
    assert problems(data, key, THREE, THREE.slots, 0) == []
    assert problems(data, key, THREE, THREE.slots, 1) == ["its security counter is 0, and the board takes none below 1"]
    assert problems(model(2).to_bytes(), key, THREE, THREE.slots, 1) == []
    small = replace(THREE.slots, slot_bytes=10_000)
    assert problems(data, key, THREE, small, 0) == [
        "takes 10,260 bytes of flash, and the board's slots have 10,000: 260 too many"]
    unsigned = model(1).with_signature(bytes(64)).to_bytes()
    assert problems(unsigned, key, THREE, THREE.slots, 0) == ["is not signed"]
    longer = bytearray(data)
    longer[40:44] = (512).to_bytes(4, "little")             # a header of another length, signed by nobody
    longer[PAGE_BYTES - 4:PAGE_BYTES] = crc32(longer[:PAGE_BYTES - 4]).to_bytes(4, "little")
    assert len(problems(bytes(longer), key, THREE, THREE.slots, 0)) == 2


def test_boards_without_room_for_updates(board):
    session, _ = board.session()
    for identity, message in (
            (replace(THREE, flash_offset=0, flash_bytes=0), "has no way to its flash"),
            (replace(THREE, flash_offset=3 << 20), "of 3,932,160 bytes has room for a single slot of 720,896 bytes")):
        session.info = replace(session.info, identity=identity)
        with pytest.raises(LinkError, match=message):
            slots_of(session)


def test_two_slots_take_turns(tmp_path):
    board = Board(TWO, 3)
    board.install(model(0))
    for number, slot in ((1, 1), (2, 0), (3, 1)):
        board.update(model(number))
        board.boots({"new": model(number)}, "updated")
        assert board.device.status.outcome.slot == slot and slots(board).header(slot) == Header.of(model(number).to_bytes())


@pytest.mark.parametrize("words", [[], ["x.flu", "--confirm"], ["--confirm", "--no-confirm"]])
def test_bad_requests(words, capsys):
    assert update.main(["--port", "/dev/null", *words]) == 2
    assert "give a bundle, with --no-confirm if it shall stay on trial; or --confirm alone" in capsys.readouterr().err


def test_info_says_what_was_booted(board, tmp_path, capsys):
    out = tmp_path / "info.json"
    with serving(board) as port:
        assert info.main(["--port", port, "--json", str(out)]) == 0
        assert "booted slot factory" in capsys.readouterr().out
        found, size = json.loads(out.read_text())["slots"], THREE.slots.slot_bytes
        assert found == {"booted": "factory", "trial": False, "bytes": size, "left": {}}


@pytest.mark.parametrize("outcome, layout, text", [
    (Outcome(), None, "no way to it"), (Outcome(slot=1, state=True), THREE.slots, "booted slot A"),
    (Outcome(slot=2, trial=True, whys=(Why.NOT_TRIED, Why.LATE, Why.NOT_TRIED)), THREE.slots,
     "booted slot B, on trial; A: self-test took too long"),
    (Outcome(whys=(Why.MAGIC, Why.PAYLOAD, Why.TRIAL)), THREE.slots,
     "booted nothing; factory: holds no model; A: damaged; B: never confirmed"),
    (Outcome(slot=0, whys=(Why.NOT_TRIED, Why.SECURITY, Why.NOT_TRIED)), TWO.slots,
     "booted slot factory; A: security counter too low")])
def test_the_words_for_it(outcome, layout, text):
    assert told(outcome, layout) == text
