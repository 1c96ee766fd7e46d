"""Programs read back as text and JSON; the page about the instruction set."""
import json
from pathlib import Path

import numpy as np
import pytest

from arch.geometry import Geometry
from arch.instruction import Opcode
from arch.units import UNITS
from compiler import program_file
from compiler.disasm import main
from compiler.instruction_page import instruction_page
from compiler.listing import lines, record_of, text_of
from nets.graph import Window
from nets.int8.network import QMaxPool
from sim.cases import Case
from tests.golden.programs import layer_program
from tests.hw.engine.layers import conv_of

GEOMETRY = Geometry(input_lanes=4, output_lanes=4, activation_words=4096, weight_words=1024, band_pixels=64)
PAGE = Path(__file__).parents[2] / "docs" / "instructions.md"


@pytest.fixture(scope="module")
def program():
    rng = np.random.default_rng(1)
    case = Case(name="conv1", x=rng.integers(0, 256, (3, 19, 19), np.uint8), zero_point=128,
                conv=conv_of(rng, 3, 6, Window(kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1))),
                pool=QMaxPool(name="pool", inputs=("conv",), window=Window(kernel=(3, 3), stride=(2, 2)), ceil_mode=False))
    return layer_program(GEOMETRY, case, through="gather")


@pytest.fixture
def raw(program, tmp_path):
    """The whole storage as a file, and the arguments that read the program in it."""
    path, geometry = tmp_path / "storage.bin", tmp_path / "geometry.json"
    path.write_bytes(program.storage.astype("<u2").tobytes())
    geometry.write_text(GEOMETRY.to_json())
    return [str(path), "--geometry", str(geometry), "--at", str(program.program)]


def found(program):
    return list(lines(program.storage[program.program:], GEOMETRY, base=program.program, parts=program.parts))


def test_each_instruction_has_its_place_and_token(program):
    lines_ = found(program)
    assert tuple(line.instruction for line in lines_) == program.instructions
    assert lines_[0].address == program.program and [line.index for line in lines_] == list(range(len(lines_)))
    computes = [line for line in lines_ if line.instruction.opcode is Opcode.COMPUTE]
    assert [line.token for line in computes] == list(range(1, len(computes) + 1))
    assert tuple(line.part for line in computes) == program.parts


def test_text_shows_waits_fields_and_layers(program):
    text = {line.instruction.opcode: text_of(line) for line in reversed(found(program))}
    compute = text[Opcode.COMPUTE].splitlines()
    assert "COMPUTE" in compute[0] and "compute:1" in compute[0] and "after load:" in compute[0] and "gather:1" in compute[0]
    assert compute[0].endswith("conv rows 0..4 channels 0..5 -> pool rows 0..1")
    for name in ("window", "load", "requantise", "pool", "average", "writer"):
        assert any(line.strip().startswith(name) for line in compute)
    assert f"geometry {GEOMETRY.digest:016x}" in text[Opcode.START]
    assert "width=19 channels=3" in text[Opcode.LOAD_PIXELS]
    assert text[Opcode.END].split()[1:] == ["END"]
    assert all(len(line) <= 130 for one in text.values() for line in one.splitlines())


def test_json_holds_every_field(program):
    for line in found(program):
        record = record_of(line)
        body = line.instruction.body
        if line.instruction.opcode is Opcode.COMPUTE:
            assert record["fields"]["writer"]["base"] == body.writer.base
            assert record["part"]["layer"] == "conv" and record["part"]["channels"] == [0, 6]
        else:
            assert record["fields"] == {entry.name: getattr(body, entry.name) for entry in body.fields()}
        assert record["waits"] == {name: n for name in ("load", "store", "gather", "compute")
                                   if (n := getattr(line.instruction.waits, name))}


def test_raw_words_and_program_files(program, raw, tmp_path, capsys):
    assert main(raw) == 0
    text = capsys.readouterr().out
    assert text.count("COMPUTE") == len(program.parts) and " END" in text
    path = tmp_path / f"layer{program_file.SUFFIX}"
    program_file.save(program, path)
    out = tmp_path / "listing.json"
    assert main([str(path), "--json", str(out)]) == 0
    assert "conv rows 0..4 channels 0..5" in capsys.readouterr().out
    record = json.loads(out.read_text())
    assert record["error"] is None and len(record["instructions"]) == len(program.instructions)


def test_an_illegal_word_is_named_behind_what_was_legal(program, raw, tmp_path, capsys):
    lines_ = found(program)
    broken = program.storage.copy()
    broken[lines_[3].address] = 0xA50F
    Path(raw[0]).write_bytes(broken.astype("<u2").tobytes())
    out = tmp_path / "listing.json"
    assert main([*raw, "--json", str(out)]) == 1
    streams = capsys.readouterr()
    assert f"word {lines_[3].address}: opcode must be 1..9, not 15" in streams.err
    record = json.loads(out.read_text())
    assert len(record["instructions"]) == 3
    assert record["error"] == {"word": lines_[3].address, "reason": "opcode must be 1..9, not 15"}


@pytest.mark.parametrize(("change", "message"), [
    (lambda a: [], "a program must be given"),
    (lambda a: a[:1], "raw words need --geometry"),
    (lambda a: ["/no/such/file", *a[1:]], "/no/such/file: No such file"),
])
def test_bad_requests(raw, change, message, capsys):
    assert main(change(raw)) in (1, 2)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--geometry", "99f"], ["--at", "-1"], ["--at", "x"]])
def test_bad_options(raw, option, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([raw[0], *option])
    assert stopped.value.code == 2
    assert f"argument {option[0]}: must be" in capsys.readouterr().err


def test_half_a_word_is_refused(raw, tmp_path, capsys):
    Path(raw[0]).write_bytes(b"abc")
    assert main(raw) == 2
    assert "must hold whole words of 16 bits, not 3 bytes" in capsys.readouterr().err


def test_a_program_file_knows_its_geometry(program, tmp_path, capsys):
    path = tmp_path / f"layer{program_file.SUFFIX}"
    program_file.save(program, path)
    assert main([str(path), "--geometry", "85f"]) == 2
    assert "knows its geometry and its place" in capsys.readouterr().err


def test_the_page_is_what_the_command_writes(capsys):
    assert main(["--document"]) == 0
    assert capsys.readouterr().out == instruction_page() == PAGE.read_text(encoding="utf-8")


def test_the_page_has_every_field_and_says_what_limits_it():
    page = instruction_page()
    for name in ("digest0", "chip_step", "row_start", "zero_point", "line_ring", "multiplier", "store_words"):
        assert f"| `{name}` |" in page
    assert "| `weights` | 0..weight_words - 1 | words | first word of the first pass |" in page
    assert "| `ring_words` | 1..activation_words | words |" in page
    for unit in UNITS:
        assert not unit.record or f"### `{unit.name}`: {unit.record.__name__}{', optional' if unit.optional else ''}\n" in page
