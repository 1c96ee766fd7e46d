"""Bundles: what is in them, who signed them, and what cannot be made one."""
import json
from zlib import crc32

import numpy as np
import pytest

from arch.flash import PAGE_BYTES
from arch.slots import Header
from boards import find
from compiler.build import compile_network
from compiler.program_file import save
from golden.machine import execute
from golden.selftest import SelfTestError, slot_of
from host import bundle
from host.slot.signing import make_key, private_key, public_key, sign, signed_by
from nets import digits
from nets.load import load_model
from nets.quantise import quantise_with

BOARD = find("versa-ecp5")
IMAGE = digits.IMAGES / "3_1602.png"


@pytest.fixture(scope="module")
def program():
    return compile_network(quantise_with(load_model("digits")), BOARD.geometry, storage_words=BOARD.storage_words).program


def q_of(program, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, program.input.shape, np.uint8)


def slot(program, **how):
    return slot_of(program, q_of(program), BOARD.timing, BOARD.storage_words, version=2, security=3, **how)


def test_a_slot_computes_what_its_header_says(program):
    made = slot(program)
    header, end = made.header, program.input.address + program.input.words
    assert (header.name, header.version, header.security) == ("digits", 2, 3) and header.fits(BOARD.storage_words)
    assert header.digest == program.geometry.digest and header.words == end and header.program == program.program
    storage = execute(program, q_of(program)).storage
    assert header.test.checksum == crc32(storage[header.test.output:header.test.end].astype("<u2"))
    assert (header.test.output, header.test.end) == (program.output.address, program.output.address + program.output.words)
    # What is behind the program is its input; the program is as it is without.
    assert np.array_equal(made.words[:len(program.storage)], program.storage)
    assert np.array_equal(made.words[program.input.address:], storage[program.input.address:end])
    assert 40_000 < header.test.cycles < 100_000                      # twice the 40,297 of a frame, within some


def test_an_output_that_depends_on_the_past_is_refused(program, monkeypatch):
    def used(program, result):
        result.machine.activations[...] += 1
        return result
    monkeypatch.setattr("golden.selftest._used", used)
    real = execute
    monkeypatch.setattr("golden.selftest.execute", lambda program, q, after=None: real(program, q if after is None else 255 - q))
    with pytest.raises(SelfTestError, match="digits: words of its output depend on what the chip's memories held before"):
        slot(program)


def test_key_and_bundle(tmp_path, program, capsys):
    key, other = tmp_path / "key.pem", tmp_path / "other.pem"
    for path in (key, other):
        assert bundle.main(["--make-key", str(path)]) == 0
    assert capsys.readouterr().out.split() == [str(key), f"{key}.pub", str(other), f"{other}.pub"]
    assert key.stat().st_mode & 0o777 == 0o600
    out, record, flp = tmp_path / "digits.flu", tmp_path / "bundle.json", tmp_path / "digits.flp"
    save(program, flp)
    words = ["--board", BOARD.name, "--image", str(IMAGE), "--version", "7", "--security", "4", "--out", str(out)]
    assert bundle.main(["--program", str(flp), *words, "--key", str(key), "--json", str(record)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    data, said = out.read_bytes(), json.loads(record.read_text())
    header = Header.of(data)
    assert len(data) == header.slot_bytes == said["bytes"] and (header.version, header.security) == (7, 4) and said["signed"]
    public, others = (public_key(tmp_path / f"{name}.pem.pub") for name in ("key", "other"))
    assert signed_by(header, public) and not signed_by(header, others)
    # The same of the model, but for the signature.
    assert bundle.main(words) == 0 and "is not signed" in capsys.readouterr().err
    plain = Header.of(out.read_bytes())
    assert plain.signed == header.signed and plain.signature == bytes(64) and out.read_bytes()[PAGE_BYTES:] == data[PAGE_BYTES:]
    assert not signed_by(plain, public)


def test_a_signature_is_of_one_header(tmp_path, program):
    public = public_key(make_key(tmp_path / "key"))
    signed = sign(slot(program), private_key(tmp_path / "key"))
    assert signed_by(signed.header, public)
    page = bytearray(signed.header.to_bytes())
    for place in range(4, 176):                     # all that is signed but the magic, and the signature
        bad = bytearray(page)
        bad[place] ^= 4
        bad[-4:] = crc32(bad[:-4]).to_bytes(4, "little")
        assert not signed_by(Header.of(bytes(bad)), public)
    assert signed_by(Header.of(bytes(page)), public)


@pytest.mark.parametrize("words, message", [
    (["--key", "nowhere"], "nowhere: cannot be read: No such file"), (["--key", "text"], "text: holds no private Ed25519 key"),
    (["--key", "key.pub"], "key.pub: holds no private Ed25519 key"),
    (["--out", "x.flp"], "x.flp: a bundle's name must end in .flu"),
    (["--out", "mine.flu"], "mine.flu: is there already, and is no bundle"), (["--make-key", "key"], "key: is there already"),
    (["--make-key", "text"], "text: is there already"), (["--make-key", "no/key"], "no/key: cannot be written: No such file"),
    (["--program", "p.flp"], "p.flp: give --image"), (["--board", "ulx4s"], "board must be one of"),
    (["--version", "-1"], "argument --version: must be a number of 0..4294967295, not '-1'"),
    (["--security", "4294967296"], "argument --security: must be a number of 0..4294967295"),
    (["--image", "nowhere.png"], "nowhere.png")])
def test_bad_requests(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    for name in ("text", "mine.flu"):
        (tmp_path / name).write_text("my text")
    assert bundle.main(["--make-key", "key"]) == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    try:
        code = bundle.main(words)
    except SystemExit as ended:
        code = ended.code
    assert code == 2 and message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
