"""The host's commands, through a real serial port, with a board whose machine is the reference: no simulation."""
import csv
from dataclasses import replace
import json
import os
import shutil
from threading import Event, Thread
import tty

import numpy as np
import pytest

from arch.line import frame_exchange
from arch.protocol import Identity
from arch.slots import Outcome
from boards import find
from compiler.build import compile_network
from compiler.program_file import save
from golden import run as golden_run
from golden.machine import execute, get_tensor
from host import bench, classify, info, load
from host.device import Device
from host.link import LinkError, SerialLink
from host.protocol import Status
from host.runner import MachineError, Runner
from host.session import Session
from host.tensors import output_of
from nets import digits
from nets.load import load_model
from nets.preprocess import PreprocessError
from nets.quantise import quantise_with
from sim.models.booting import booting
from sim.models.flash import FlashChip
from sim.models.line import FaultyLine

BOARD = find("versa-ecp5")


@pytest.fixture(scope="module")
def program():
    return compile_network(quantise_with(load_model("digits")), BOARD.geometry, storage_words=BOARD.storage_words).program


@pytest.fixture
def device(program):
    return device_of(program, BOARD.storage_words)


def device_of(program, storage_words):
    """A board whose machine runs the program, and that of frames behind the first one."""
    identity = Identity(digest=program.geometry.digest, storage_words=storage_words, clock_khz=140_000, name=BOARD.name,
                        flash_offset=BOARD.flash_offset, flash_bytes=BOARD.flash_bytes)
    frames = []

    def run(address: int) -> Status:
        again = frames and program.again and address == program.again.program
        if address != program.program and not again:
            return Status(running=False, finished=False, failed=True, fault=1, queue=4, opcode=1, index=0, word=1, cycles=99)
        frames.append(execute(program.again if again else program, get_tensor(program.geometry, device.storage, program.input),
                              after=frames[-1] if again else None))
        device.storage[:len(frames[-1].storage)] = frames[-1].storage
        return Status(running=False, finished=True, failed=False, cycles=140_000)

    device = Device(identity, run, flash=FlashChip(), boot=booting)
    return device


@pytest.fixture
def port(device):
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    over = Event()

    def serve():
        back = b""
        while not over.is_set():
            try:
                back += device.feed(os.read(master, 4096))
            except BlockingIOError:
                over.wait(0.001)
            if back:
                try:
                    back = back[os.write(master, back):]
                except BlockingIOError:
                    pass

    thread = Thread(target=serve)
    thread.start()
    yield os.ttyname(slave)
    over.set()
    thread.join()
    os.close(master)
    os.close(slave)


def test_info(port, tmp_path, capsys):
    out = tmp_path / "info.json"
    assert info.main(["--port", port, "--json", str(out)]) == 0
    said, record = capsys.readouterr().out, json.loads(out.read_text())
    assert "Lattice ECP5 Versa" in said and "140 MHz" in said and "8x4" in said and "ready" in said
    assert record["board"] == "versa-ecp5" and record["storage_words"] == BOARD.storage_words


def test_load_twice(port, device, program, tmp_path, capsys):
    flp, out = tmp_path / "digits.flp", tmp_path / "load.json"
    save(program, flp)
    for fresh in (True, False):
        assert load.main(["--port", port, "--program", str(flp), "--json", str(out)]) == 0
        assert json.loads(out.read_text())["uploaded"] is fresh
    assert np.array_equal(device.storage[:len(program.storage)], program.storage)
    assert "is there already" in capsys.readouterr().out


def test_flash(port, device, program, tmp_path, capsys):
    """Written, booted at the next reset, and found there."""
    flp, out = tmp_path / "digits.flp", tmp_path / "load.json"
    save(program, flp)
    assert load.main(["--port", port, "--flash", str(flp), "--json", str(out)]) == 0
    record, said = json.loads(out.read_text()), capsys.readouterr()
    assert record["flash"] and record["bytes"] > 2 * len(program.storage) and "to flash, booted after" in said.out
    assert "write" in said.err and not device.storage.any()
    run = device.run                                        # quick enough for its self-test
    device.run = lambda address: replace(run(address), cycles=30_000)
    device.reset()
    assert device.status.outcome == Outcome(slot=0, state=True)
    assert info.main(["--port", port]) == 0
    assert "booted slot factory" in capsys.readouterr().out
    assert load.main(["--port", port, "--program", str(flp), "--json", str(out)]) == 0
    assert json.loads(out.read_text())["uploaded"] is False
    device.flash = None
    assert load.main(["--port", port, "--flash", "--program", str(flp)]) == 1
    assert "has no way to its flash" in capsys.readouterr().err


def test_classify_is_the_reference(port, program, tmp_path, capsys):
    images, out, golden = sorted(digits.IMAGES.glob("[37]_*.png"))[:2], tmp_path / "chip.json", tmp_path / "golden.json"
    assert classify.main([*map(str, images), "--port", port, "--json", str(out)]) == 0      # the board's network
    record = json.loads(out.read_text())
    assert record["latency_ms"] == 1.0 and record["frames_per_s"] == 1000 and record["board"] == "versa-ecp5"
    for image, found in zip(images, record["images"], strict=True):
        assert golden_run.main(["--model", "digits", "--image", str(image), "--json", str(golden)]) == 0
        assert found["top5"] == json.loads(golden.read_text())["top5"] and found["image"] == str(image)
        assert found["right_class"] == int(image.name[0]) and found["line_ms"] > 0
    assert record["top5"] == record["images"][0]["top5"]
    said, summary = capsys.readouterr().out, record["summary"]
    expected = frame_exchange(program.input.words, program.output.words, baud=3_000_000, chip_s=1e-3)
    line_ms = f"{1000 * expected.seconds:.2f} ms"
    assert said.count(f"1.00 ms on the chip (140000 cycles at 140 MHz), {line_ms} on the line\n") == 2
    assert summary == {"images": 2, "chip_ms": 1.0, "frames_per_s": 1000, "right": 2, "accuracy": 1.0,
                       "line_ms": pytest.approx(1000 * expected.seconds), "frames_per_s_line": pytest.approx(
                           1 / (expected.seconds + 1e-3))}
    assert ("2 images, 2 right (100.0%)\n"
                         "on the chip 1.00 ms an image, 1000.0 images/s\n"
                         f"on the line {line_ms} an image (computed: no line is simulated)\n"
                         f"together    {summary['frames_per_s_line']:.3g} images/s\n") in said


def test_classes_of_names_begin_where_the_program_says(port, program, tmp_path):
    image, out = min(digits.IMAGES.glob("3_*.png")), tmp_path / "chip.json"
    save(replace(program, meta=program.meta | {"first_class": 2}), tmp_path / "behind.flp")
    assert classify.main([str(image), "--port", port, "--program", str(tmp_path / "behind.flp"), "--json", str(out)]) == 0
    assert json.loads(out.read_text())["images"][0]["right_class"] == 5


def test_classify_writes_csv(port, tmp_path, capsys):
    """A row for each image, of those before a failure, too; a file that is none of ours stays."""
    out, images = tmp_path / "found.csv", tmp_path / "photographs"
    images.mkdir()
    for n, (name, picture) in enumerate([("3", "3_1602.png"), ("x, \"y\"", "7_0109.png")]):
        (images / name).mkdir()
        found = sorted(digits.IMAGES.glob(f"{picture[0]}_*.png"))[0]
        shutil.copy(found, images / name / f"img{n}.png")
    for _ in range(2):                          # its own file is written again
        assert classify.main([str(images), "--port", port, "--csv", str(out)]) == 0
        rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
        assert [(row["file"], row["class"], row["label"], row["right_class"], row["cycles"], row["chip_ms"]) for row in rows] == [
            (str(images / "3" / "img0.png"), "3", "3", "3", "140000", "1.0000"),
            (str(images / 'x, "y"' / "img1.png"), "7", "7", "", "140000", "1.0000")]
        assert all(0 < float(row["score"]) <= 1 and float(row["line_ms"]) > 0 for row in rows)
    assert "2 images\n" in capsys.readouterr().out          # of one the class is not known
    (images / "zz").mkdir()
    (images / "zz" / "bad.png").write_text("none")
    out.unlink()
    assert classify.main([str(images), "--port", port, "--csv", str(out)]) == 2
    assert len(out.read_text().splitlines()) == 3
    photograph = images / "3" / "img0.png"
    before = photograph.read_bytes()
    assert classify.main([str(images), "--port", port, "--csv", str(photograph)]) == 2
    assert photograph.read_bytes() == before
    assert f"error: {photograph}: is there already, and was not written by --csv" in capsys.readouterr().err


def test_images():
    folder = digits.IMAGES
    assert len(classify.images_of([str(folder)])) == len(list(folder.glob("*.png")))
    threes = sorted(folder.glob("3_*.png"))
    assert classify.images_of([str(folder / "3_*.png")]) == [(image, folder) for image in threes]
    assert classify.images_of([str(folder.parent / "image*" / "3_*.png")]) == [(image, folder.parent) for image in threes]
    assert classify.images_of([str(threes[0])]) == [(threes[0], folder)]
    with pytest.raises(PreprocessError, match="no-such-file.png: no such file or folder"):
        classify.images_of([str(folder), "no-such-file.png"])


def test_bench(port, device, program, tmp_path, capsys):
    out = tmp_path / "bench.json"
    device.counters = [1000 * n for n in range(12)]
    assert bench.main(["--port", port, "--frames", "2", "--json", str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["cycles"] == [140_000] * 2 and record["frames_per_s"] == 1000 and record["counters"]["store_waiting"] == 4000
    assert record["frames_per_s_line"] == pytest.approx(1000 / (1 + record["line_ms"]))
    expected = frame_exchange(program.input.words, program.output.words, baud=3_000_000, chip_s=1e-3)
    assert record["line_ms"] == pytest.approx(1000 * expected.seconds)
    said = capsys.readouterr().out
    assert "on the chip 1000.0 frames/s at 140 MHz" in said
    assert f", {record['line_ms']:.4g} ms more (computed: no line is simulated)" in said
    assert "waits for others: its next command needs what other queues have yet to do." in said
    assert max(map(len, said.splitlines())) <= 80


def test_a_real_line_is_measured(program, device):
    """By the session's clock, from the input's first byte to the output's last, less the chip's time."""
    line = FaultyLine(device, seed=1, rate=0)
    session = Session(line, clock=line.now)
    session.connect()
    begun = line.now()
    frame = Runner(session, program).run(np.zeros(program.input.shape, np.uint8))
    assert frame.chip_s == 1e-3 and frame.line_s == pytest.approx(line.now() - begun - 1e-3, abs=1e-12) and frame.line_s > 0


def test_constants_are_loaded_for_the_first_frame_alone():
    program = compile_network(quantise_with(load_model("digits")), find("ulx3s").geometry).program
    device = device_of(program, 2 * BOARD.storage_words)
    started, run = [], device.run
    device.run = lambda address: (started.append(address), run(address))[1]
    line = FaultyLine(device, seed=1, rate=0)
    session = Session(line, clock=line.now)
    session.connect()
    runner, other = Runner(session, program), Runner(session, replace(program, again=None))
    runner.load()
    for n in range(3):
        q = np.random.default_rng(n).integers(0, 256, program.input.shape, np.uint8)
        frame = runner.run(q)
        assert frame.kept == (n > 0)
        words = execute(program, q).storage[program.output.address:][:program.output.words]
        np.testing.assert_array_equal(frame.output, output_of(program, words))
    other.run(q)
    runner.run(q)                   # another program may have loaded its own meanwhile
    device.run = lambda address: Status(running=False, finished=False, failed=True, fault=8, queue=3, index=7, cycles=55)
    with pytest.raises(MachineError):
        runner.run(q)
    device.run = lambda address: (started.append(address), run(address))[1]
    runner.run(q)                   # nobody knows how far it came
    session.connect()
    runner.run(q)
    first, again = program.program, program.again.program
    assert started == [first, again, again, first, first, first, first]


def test_errors_are_one_line(port, device, program, tmp_path, capsys):
    other = compile_network(quantise_with(load_model("digits")), find("ulx3s-45f").geometry).program
    save(other, tmp_path / "other.flp")
    image = str(sorted(digits.IMAGES.glob("*.png"))[0])
    cases = [
        (load, ["--port", port, "--program", str(tmp_path / "other.flp")], 1, "compile it for this board (python -m host.info"),
        (load, ["--port", port, "--program", str(tmp_path / "none.flp")], 2, "cannot be read"),
        (classify, [str(tmp_path / "*.png"), "--port", port], 2, "matches no file"),
        (classify, [str(tmp_path / "x.png"), "--port", port], 2, "x.png"),
        (info, ["--port", str(tmp_path / "tty")], 1, "cannot be opened: there is no such port; "),
        (info, ["--port", image], 1, "cannot be opened: it is no serial port"),
        (classify, [image, "--port", str(tmp_path / "tty")], 1, "there is no such port"),
    ]
    for command, arguments, code, message in cases:
        assert command.main(arguments) == code
        *progress, said = capsys.readouterr().err.splitlines()
        assert said.startswith("error: ") and message in said and not any("error" in line for line in progress), said


def test_a_chip_without_a_unit_is_told_of(port, tmp_path, capsys):
    """Of a network it is the layers that need it; of a program of any network, that it is for such an engine."""
    other = compile_network(quantise_with(load_model("digits")), BOARD.geometry.with_options(["table"])).program
    save(other, tmp_path / "other.flp")
    assert load.main(["--port", port, "--program", str(tmp_path / "other.flp")]) == 1
    assert capsys.readouterr().err.endswith("error: The program is for an engine with table, which the board's has not: build "
                                            "its chip with hw.build --units table\n")
    assert load.main(["--port", port, "--model", "lenet5:size=28"]) == 2
    said = capsys.readouterr().err
    assert said.count('/tanh (Table): the engine has no unit "table": --units table adds it, and hw.build --units table') == 4


def test_a_chip_with_a_unit_is_known(device, port, capsys):
    device.identity = replace(device.identity, digest=BOARD.geometry.with_options(["table"]).digest)
    assert info.main(["--port", port]) == 0
    assert "8x4, 32 MACs a cycle, table (digest" in capsys.readouterr().out


@pytest.mark.parametrize("command, arguments", [(bench, ["--frames", "0"]), (info, ["--baud", "0"]), (load, ["--baud", "fast"])])
def test_numbers_are_positive(command, arguments, port, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--port", port, *arguments])
    assert ended.value.code == 2 and f"{arguments[0]}: must be a positive number, not '{arguments[1]}'" in capsys.readouterr().err


def test_a_port_is_used_by_one(port, capsys):
    link = SerialLink(port, 3_000_000)
    assert info.main(["--port", port]) == 1
    assert capsys.readouterr().err == f"error: Port {port} cannot be opened: another program uses it\n"
    link.close()


def test_what_can_go_wrong_on_a_board(port, device, program):
    link = SerialLink(port, 3_000_000)
    session = Session(link, patience_s=link.patience_s)
    session.connect()
    runner = Runner(session, program)
    runner.load()
    q = np.zeros(program.input.shape, np.uint8)
    device.run = lambda address: Status(running=False, finished=False, failed=True, fault=8, queue=3, index=7, cycles=55)
    with pytest.raises(MachineError, match="DEADLOCK at command 7 of the queue compute, after 55 cycles: its commands wait"):
        runner.run(q)
    device.run = lambda address: Status(running=False, finished=False, failed=True, fault=6, queue=4, opcode=9, index=2, word=80)
    with pytest.raises(MachineError, match=r"RANGE at word 80 of the program, in instruction 2 \(COMPUTE\)"):
        runner.run(q)
    device.run = lambda address: Status(running=False, finished=False, failed=True, fault=21, queue=0, index=5, word=8)
    with pytest.raises(MachineError, match=r"LOAD_CODED at command 5 of the queue load, .* are damaged \(check, docs"):
        runner.run(q)
    device.run = lambda address: Status(running=False, finished=False, failed=False)
    with pytest.raises(LinkError, match="ended from outside"):
        runner.run(q)
    device.storage = device.storage.copy()
    device._inside = lambda kind, words: True
    device.__class__ = type("Forgetful", (Device,), {"_obey": lambda self, kind, words, again: (
        [] if kind == 2 else Device._obey(self, kind, words, again))})
    device.storage[:] = 0
    with pytest.raises(LinkError, match="Storage does not hold what was written"):
        runner.load()
    link.close()


def test_unplugged_in_mid_transfer(device, program, tmp_path, capfd):
    """Half of a program has gone: one line says what happened, and nothing hangs."""
    save(program, tmp_path / "digits.flp")
    master, slave = os.openpty()
    tty.setraw(slave)
    path = os.ttyname(slave)
    seen = 0

    def serve():
        nonlocal seen
        while seen < len(program.storage):          # of twice as many bytes
            data = os.read(master, 4096)
            seen += len(data)
            os.write(master, device.feed(data))
        os.close(slave)
        os.close(master)

    thread = Thread(target=serve)
    thread.start()
    code = load.main(["--port", path, "--program", str(tmp_path / "digits.flp")])
    thread.join()
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert code == 1 and said.startswith(f"error: Port {path} is gone: was the board unplugged, or the simulation ended?")


def test_unplugged(port):
    link = SerialLink(port, 3_000_000)
    link.close()
    for use in (lambda: link.write(b"x"), lambda: link.read(0.01)):
        with pytest.raises(LinkError, match="is gone"):
            use()
