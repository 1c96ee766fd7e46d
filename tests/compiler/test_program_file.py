from dataclasses import replace

import numpy as np
import pytest

from arch.geometry import PRESETS
from compiler.build import compile_network
from compiler.program_file import ProgramFileError, load, save
from tests.compiler.test_build import network_of


@pytest.fixture(scope="module")
def program():
    return compile_network(network_of("digits"), PRESETS["12f"]).program


def test_round_trip(program, tmp_path):
    save(program, tmp_path / "a.flp")
    found = load(tmp_path / "a.flp")
    for name in ("name", "geometry", "instructions", "parts", "program", "program_words", "store_base", "store_words", "input",
                 "output", "meta"):
        assert getattr(found, name) == getattr(program, name), name
    np.testing.assert_array_equal(found.storage, program.storage)
    save(found, tmp_path / "b.flp")
    assert (tmp_path / "a.flp").read_bytes() == (tmp_path / "b.flp").read_bytes()


def test_name_must_say_what_it_is(program, tmp_path):
    with pytest.raises(ProgramFileError, match="a program must end in .flp$"):
        save(program, tmp_path / "a.bin")


def test_damage_is_found(program, tmp_path):
    path = tmp_path / "a.flp"
    save(program, path)
    content = path.read_bytes()
    rng = np.random.default_rng(3)
    for at in [0, 7, 8, 100, len(content) - 1, *rng.integers(0, len(content), 40)]:
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1:])
        with pytest.raises(ProgramFileError, match="^[^\n]*$"):
            load(path)
    for length in [0, 5, 200, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ProgramFileError, match="^[^\n]*$"):
            load(path)


def test_what_is_no_program(tmp_path):
    path = tmp_path / "a.flp"
    with pytest.raises(ProgramFileError, match="a.flp: cannot be read: No such file"):
        load(path)
    path.write_bytes(b"something else that is long enough")
    with pytest.raises(ProgramFileError, match="is no program: byte 8 does not begin the header of one"):
        load(path)


def test_parts_must_match_the_commands(program, tmp_path):
    save(replace(program, parts=program.parts[:-1]), tmp_path / "a.flp")
    with pytest.raises(ProgramFileError, match="parts must be .*, one for each compute command"):
        load(tmp_path / "a.flp")
