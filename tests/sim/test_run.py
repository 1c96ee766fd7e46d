"""The command that runs a network on the machine's RTL, with `digits` on a small engine."""
import json
from pathlib import Path
import re

import numpy as np
from PIL import Image
import pytest

from arch.instruction import Opcode
from arch.program import Program
from cli import OutputError
from golden import account
from golden.machine import execute
from golden.places import writer_places
from nets.graph import Window
from nets.int8.network import QGlobalAvgPool, Requantise
from sim.cases import Case
from sim.expected import pack_columns
from sim.frame import Frame, Requests, written_vectors
from sim.run import main
from sim.timeline_plot import plot_timeline
from sim.verilog.native import Beats
from tests.golden.programs import layer_program
from tests.golden.test_machine import HALF, SMALL, first_layer
from tests.hw.engine.layers import conv_of
from tests.nets.onnx.cases import model, node, save, weights
from tests.sim.test_random_networks import GEOMETRY

KEYS = {"top5", "cycles", "mismatches", "utilisation", "layers", "sdram_bytes"}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, int]:
    """The folder with everything that the command writes, and its exit code."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "geometry.json").write_text(GEOMETRY.to_json())
    code = main(["--geometry", str(folder / "geometry.json"), "--images", "2", "--json", str(folder / "run.json"),
                 "--plot", str(folder / "run.png"), "--markdown", str(folder / "run.md"), "--vcd", str(folder / "run.vcd"),
                 "--from", "500", "--cycles", "40"])
    return folder, code


def test_digits_equals_golden_in_values_and_cycles(written):
    folder, code = written
    record = json.loads((folder / "run.json").read_text())
    assert record.keys() >= KEYS
    assert record["mismatches"] == 0 and record["cycles"]["measured"] == record["cycles"]["predicted"]
    assert record["late_commands"] == 0 and code == 0
    assert len(record["images"]) == 2 and all(entry["same_logits"] for entry in record["images"])
    assert len(record["top5"]) == 5 and 0 < record["utilisation"] < 1
    layers = record["layers"]
    assert sum(layer["cycles"]["measured"] for layer in layers) <= record["cycles"]["measured"]
    assert all(layer["bound"] in ("multipliers", *account.CAUSES.values()) for layer in layers)
    least = sum(record["least_bytes"].values())
    assert least <= record["sdram_bytes"] < 2 * least
    assert record["sdram_bytes"] == sum(record["bytes"].values())


def test_pictures_tables_and_waveforms(written):
    folder, _ = written
    assert (folder / "run.png").read_bytes().startswith(b"\x89PNG")
    lines = (folder / "run.md").read_text().splitlines()
    assert lines[0].startswith("| layer | commands |") and lines[-1].startswith("| **frame** |")
    assert len({line.count("|") for line in lines}) == 1
    text = (folder / "run.vcd").read_text()
    times = [int(line[1:]) for line in text.splitlines() if line.startswith("#")]
    assert times[-1] - times[0] == 395
    save = (folder / "run.gtkw").read_text()
    assert f'[dumpfile] "{(folder / "run.vcd").resolve()}"' in save and "-load_done" in save
    names = set(re.findall(r"^\$var \S+ +\d+ +\S+ (\S+)", re.sub(r"^\s+", "", text, flags=re.M), flags=re.M))
    shown = re.findall(r"^top\.([^\s\[]+)", save, flags=re.M)
    assert len(shown) > 20 and names >= set(shown)


@pytest.mark.parametrize(("options", "message"), [
    (["--plot", "x.txt"], "x.txt: must end in .png or .svg or .pdf"),
    (["--board", "arduino"], "board must be one of"),
    (["--image", "/no/such/picture.png"], "/no/such/picture.png"),
])
def test_bad_requests(options, message, capsys):
    assert main(options) == 2
    assert message in capsys.readouterr().err


def test_a_network_without_pictures_runs_on_noise(tmp_path, capsys):
    (tmp_path / "geometry.json").write_text(GEOMETRY.to_json())
    net = save(tmp_path, model([node("Conv", "x w", "c", strides=[4, 4]), node("Relu", "c", "r"), node("GlobalAveragePool", "r")],
                               weights(w=(6, 3, 3, 3)), shape=(1, 3, 20, 16)))
    assert main(["--model", str(net), "--geometry", str(tmp_path / "geometry.json"), "--images", "2",
                 "--json", str(tmp_path / "run.json")]) == 0
    record = json.loads((tmp_path / "run.json").read_text())
    assert [entry["image"] for entry in record["images"]] == ["noise 1", "noise 2"] and record["mismatches"] == 0
    assert ": noise 1" in capsys.readouterr().out


def test_a_network_that_cannot_run_is_refused(tmp_path, capsys):
    nodes = [node("Conv", "x w", "a", name="first"), node("LRN", "a", name="norm", size=7)]
    path = save(tmp_path, model(nodes, weights(w=(4, 3, 3, 3)), shape=(1, 3, 20, 20)))
    image = tmp_path / "grey.png"
    Image.new("RGB", (300, 300), (128, 128, 128)).save(image)
    assert main(["--model", str(path), "--calibration-limit", "1", "--image", str(image)]) == 2
    assert "(LRN): size must be at most 5 channels, not 7" in capsys.readouterr().err


def frame_of(program: Program) -> Frame:
    """A frame whose commands follow each other without gaps."""
    cycles = {"load": [], "store": [], "gather": [], "compute": []}
    now = 0
    for instruction in program.instructions[1:-1]:
        cycles[instruction.queue].append(now)
        now += 10
    taken = {queue: np.array(at, np.int64) for queue, at in cycles.items()}
    requests = Requests(cycle=np.arange(3), address=np.array([program.program, program.input.address, program.output.address]),
                        words=np.array([128, 20, 10]), write=np.array([False, False, True]))
    return Frame(program=program, output=np.zeros(1), written=(), wrong_places=0, start=0, cycles=now, taken=taken,
                 done={queue: at + 10 for queue, at in taken.items()}, requests=requests, counters={}, simulated=now, seconds=1.0)


def test_traffic_is_told_apart_by_its_place():
    program = layer_program(SMALL, first_layer(1), through="gather")
    assert account.traffic(program, frame_of(program).requests) == {
        "program": 256, "weights": 0, "image": 40, "result": 20, "spilled": 0, "filled": 0}
    least = account.least_words(program)
    assert least["image"] == program.input.words and least["program"] == program.program_words
    weights = sum(i.body.words * (4 if i.opcode == 3 else 6) for i in program.instructions if i.opcode in (3, 4))
    assert least["weights"] == weights


@pytest.mark.parametrize("size", [5, 17])
def test_vectors_come_from_the_writers_port(size):
    """The beats that golden's machine would make, with one vector in a wrong place."""
    rng = np.random.default_rng(size)
    how = Requantise(multiplier=np.array(200), shift=np.array(16), zero_point=3)
    case = Case(name="last", x=rng.integers(0, 256, (9, size, size), np.uint8), zero_point=7, conv=conv_of(
        rng, 9, 10, Window(kernel=(1, 1))), pool=QGlobalAvgPool(name="pool", inputs=("conv",), requantise=how))
    for one in (case, first_layer(size)):
        program = layer_program(HALF, one)
        result, beats = execute(program, one.x), []
        for command, q in zip((i.body for i in program.instructions if i.opcode is Opcode.COMPUTE), result.written, strict=True):
            word, group = writer_places(HALF, command.writer)
            vectors = q.reshape(len(word), 4, *q.shape[1:]).transpose(0, 2, 3, 1).reshape(-1, 4)
            beats.append(pack_columns((1 << np.repeat(group, word[0].size), 2), (word.reshape(-1), 12),
                                      (np.tile(vectors, (1, 2)), 0)))
        payload = np.concatenate(beats)
        found, wrong = written_vectors(program, Beats(np.arange(len(payload)), payload))
        assert wrong == 0
        for a, b in zip(found, result.written, strict=True):
            np.testing.assert_array_equal(a, b)
        payload[-1, 0] ^= 4                     # the lowest bit of the address
        assert written_vectors(program, Beats(np.arange(len(payload)), payload))[1] == 1
        assert written_vectors(program, Beats(np.arange(len(payload) - 1), payload[:-1]))[1] == 1


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_timeline_is_drawn(suffix):
    program = layer_program(SMALL, first_layer(1), through="gather")
    picture = plot_timeline(program, frame_of(program), suffix)
    assert picture[:4] in (b"\x89PNG", b"<?xm", b"%PDF")
    with pytest.raises(OutputError, match="plot must end in"):
        plot_timeline(program, frame_of(program), ".txt")


def test_each_command_serves_a_layer():
    program = layer_program(SMALL, first_layer(1), through="gather")
    served = account.served_layers(program)
    for queue, layers in served.items():
        assert len(layers) == sum(i.queue == queue for i in program.instructions)
        assert set(layers) <= {"conv"}
