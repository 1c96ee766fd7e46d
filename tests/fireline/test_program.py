"""Programs from Python: the same as the commands', predicted exactly, equal to the reference on the RTL."""
from dataclasses import asdict, replace
import json

import numpy as np
import pytest

from arch.geometry import PRESETS
from arch.units import OPTIONAL
from boards import find
from compiler.program_file import load
import fireline
from hw import build as hw_build
from nets import digits
from nets.preprocess import find_images

IMAGE = find_images(digits.IMAGES)[-1]


@pytest.fixture(scope="module")
def program(net):
    return net.compile("versa-ecp5")


def test_prediction_is_the_estimate_of_the_command(program, tmp_path, capsys):
    path = tmp_path / "estimate.json"
    assert hw_build.main(["--board", "versa-ecp5", "--model", "digits", "--estimate", "--json", str(path)]) == 0
    capsys.readouterr()
    wanted, found = json.loads(path.read_text()), program.predict()
    for name in ("cycles", "clock_mhz", "frames_per_s", "frames_per_s_line", "latency_ms", "utilisation", "storage_bytes",
                 "model", "board"):
        assert getattr(found, name) == pytest.approx(wanted[name]), name
    assert found.line_ms == pytest.approx(wanted["line"]["ms"])
    assert {name: asdict(entry) for name, entry in found.resources.items()} == wanted["resources"]
    assert [layer.cycles for layer in found.layers] == [layer["cycles"] for layer in wanted["layers"]]
    assert sum(layer.macs for layer in found.layers) == found.macs
    assert found.resources["multipliers"].share == wanted["resources"]["multipliers"]["used"] / 72
    assert found.timeline["compute"].shape == (len(program.compiled.jobs.computes), 2)
    assert found.timeline["compute"].max() <= found.cycles


def test_predicted_once(program):
    assert program.predict() is program.predict()


def test_another_board_clock_or_engine(net, program):
    versa = find("versa-ecp5")
    slower = net.compile(replace(versa, clock_mhz=50)).predict()
    assert slower.cycles == program.predict().cycles
    assert slower.frames_per_s == pytest.approx(program.predict().frames_per_s / 2, rel=1e-3)
    larger = net.compile("versa-ecp5", engine=PRESETS["45f"])
    assert larger.board.geometry == PRESETS["45f"] and larger.predict().cycles < program.predict().cycles


def test_units_that_a_network_needs_or_that_are_asked_for(net):
    own = find("ulx3s").geometry
    lenet = fireline.load("lenet5").quantise()
    program = lenet.compile("ulx3s")
    assert program.compiled.program.geometry == program.board.geometry == own.with_options(["table"])
    assert repr(program).startswith("Program('lenet5' for ulx3s-85f with table: ")
    with pytest.raises(fireline.NetworkError, match='the engine has no unit "table"'):
        lenet.compile("ulx3s", engine=own)
    assert net.compile("ulx3s").board.geometry == own
    assert net.compile("ulx3s", units=["table"]).board.geometry == own.with_options(["table"])
    with pytest.raises(ValueError, match=f"options of a geometry must be of {', '.join(OPTIONAL)}, not tables"):
        net.compile("ulx3s", units=["tables"])


def test_saved(program, tmp_path):
    path = tmp_path / "digits.flp"
    program.save(path)
    assert np.array_equal(load(path).storage, program.compiled.program.storage)
    with pytest.raises(fireline.ProgramFileError, match="must end in .flp"):
        program.save(tmp_path / "digits.bin")


def test_disassembled(program):
    text = program.disassemble().splitlines()
    assert "START" in text[0] and sum(" COMPUTE " in line for line in text) == len(program.compiled.jobs.computes)
    assert repr(program).startswith(f"Program('digits' for versa-ecp5: {program.instructions} instructions, ")


def test_what_cannot_be_is_refused(net):
    with pytest.raises(ValueError, match="board must be one of .*versa-ecp5.*, not 'vesra'"):
        net.compile("vesra")
    with pytest.raises(fireline.NetworkError, match="storage must have at least"):
        net.compile(replace(find("versa-ecp5"), storage_words=1000))
    with pytest.raises(fireline.PreprocessError):
        net.compile("versa-ecp5").simulate("no_such_file.png")


def test_simulated_frame_is_exact(net, program):
    seen = []
    run = program.simulate(IMAGE, status=seen.append)
    assert run.exact and (run.mismatches, run.late_commands) == (0, 0)
    assert run.cycles == run.predicted_cycles == program.predict().cycles
    assert seen and sorted(seen) == seen
    assert [layer.name for layer in run.layers] == [layer.name for layer in program.predict().layers]
    assert all(layer.cycles == layer.predicted and not layer.mismatches for layer in run.layers)
    wanted = net.classify(IMAGE)
    assert run.top5 == wanted.top5 and np.array_equal(run.probabilities, wanted.probabilities)
    assert np.array_equal(run.output, net.tensors(IMAGE)[net.network.output])
    assert repr(run).endswith(f"; {run.cycles:,} cycles, exact)")


def test_a_frame_that_differs_is_not_exact(program):
    """What `simulate` compares with is the network: with another one's values every frame is wrong."""
    other = fireline.load("digits").quantise(find_images(digits.CALIBRATION)[:1])
    run = replace(program, network=other.network).simulate(IMAGE)
    assert not run.exact and run.mismatches > 0 and "mismatches" in repr(run)
