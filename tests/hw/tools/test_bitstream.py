"""A build in stages, with tools that only pretend: what is run, what is reused, and what happens when the clock is missed."""
import json
import threading

from amaranth import Elaboratable, Module, Signal
from amaranth.lib import io
import pytest

from arch.units import OPTIONAL
from boards import BOARDS, find
from hw import build
from hw.tools import bitstream
from hw.tools.bitstream import ClockMissed, Watch, build_bitstream, part_of
from hw.tools.cache import Stages
from hw.tools.toolchain import ToolError

NETLIST = {"modules": {"top": {"cells": {}}}}
# MHz of each seed: the third is the first that is fast enough for 100.
CLOCKS = {1: 90.0, 2: 95.5, 3: 101.25, 4: 120.0}


class Blink(Elaboratable):
    """A chip of one register."""

    def elaborate(self, platform):
        m = Module()
        led = Signal()
        m.d.sync += led.eq(~led)
        m.submodules.pin = pin = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.d.comb += pin.o.eq(led)
        return m


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Pretended tools on PATH; each call adds a line to the file that is returned."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    calls.touch()
    # A slower clock beside it keeps its own constraint, and so does not count.
    report = {"fmax": {"clk": {"achieved": 0, "constraint": 100}, "source": {"achieved": 30, "constraint": 25}},
              "critical_paths": [],
              "utilization": {"TRELLIS_COMB": {"used": 10, "available": 100}}}
    scripts = {
        "yosys": f"echo '{json.dumps(NETLIST)}' > top.json",
        "nextpnr-ecp5": f"""
while [ $# -gt 0 ]; do case $1 in --seed) seed=$2;; --report) report=$2;; --textcfg) config=$2;; esac; shift; done
case $seed in {' '.join(f'{n}) mhz={mhz};;' for n, mhz in CLOCKS.items())} esac
echo '{json.dumps(report)}' | sed s/'"achieved": 0'/'"achieved": '$mhz/ > $report; echo config $seed > $config""",
        "ecppack": "while [ $# -gt 0 ]; do case $1 in --input) from=$2;; --bit) to=$2;; esac; shift; done; cat $from > $to"}
    for name, script in scripts.items():
        start = f'#!/bin/sh\n[ "$1" = --version ] && echo pretended && exit\necho {name} >> {calls}\n'
        (folder / name).write_text(f'{start}{script}\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def check(config, bitstream, *, device, clock_mhz, input_mhz):
        assert config.read_text() == bitstream.read_text() and device.startswith("LFE5U")
        assert 10 < input_mhz < 400 and clock_mhz > 10
        with open(calls, "a") as file:
            file.write("check_bitstream\n")
        if "spoilt" in config.read_text():
            raise ToolError("the bitstream does not hold what was routed")

    monkeypatch.setattr(bitstream, "check_bitstream", check)
    return calls


class Told(Watch):
    def __init__(self):
        self.said, self.lock = {}, threading.Lock()

    def end(self, stage, result):
        with self.lock:
            self.said[stage] = result


def blink(folder, **options):
    watch = Told()
    platform = find("ulx3s-12f").platform()
    options = {"clock_mhz": 100, "depends": {"chip": "blink"}, "watch": watch} | options
    return build_bitstream(Stages(folder), platform, Blink, **options), watch.said


def test_seeds_until_the_clock_is_met_and_nothing_twice(tools, tmp_path):
    done, said = blink(tmp_path / "b")
    assert done.path.read_text() == "config 3\n" and done.best.clock_mhz == 101.25 and len(done.routed) == 3
    assert said["synthesis"] == "done" and said["seed2"] == "95.5 MHz"
    calls = tools.read_text().split()
    assert calls == ["yosys", *["nextpnr-ecp5"] * 3, "ecppack", "check_bitstream"]
    again, said = blink(tmp_path / "b")
    assert again.best == done.best and tools.read_text().split() == calls
    assert said["elaboration"] == said["synthesis"] == said["bitstream"] == "reused" and said["seed3"] == "101.25 MHz, reused"


def test_a_bitstream_that_reaches_what_follows_it_in_flash_is_refused(tools, tmp_path):
    """`config 3` and the line's end are 9 bytes."""
    with pytest.raises(ToolError, match="the bitstream takes 9 bytes, but what the board boots from begins at byte 8 of"):
        blink(tmp_path / "b", room=8)
    assert not list((tmp_path / "b").glob("top.bit"))
    done, said = blink(tmp_path / "b", room=9)
    assert done.path.is_file() and said["seed3"].endswith("reused")
    with pytest.raises(ToolError, match="begins at byte 8"):
        blink(tmp_path / "b", room=8)
    assert not list((tmp_path / "b").glob("top.bit"))


def test_a_bitstream_that_reads_back_otherwise_is_not_left(tools, tmp_path):
    """Neither this one, nor that of an earlier build."""
    blink(tmp_path / "b")
    nextpnr = tmp_path / "bin" / "nextpnr-ecp5"
    nextpnr.write_text(nextpnr.read_text().replace("echo config", "echo spoilt"))
    for _ in range(2):
        with pytest.raises(ToolError, match="does not hold what was routed"):
            blink(tmp_path / "b", clock_mhz=99)
        assert not list((tmp_path / "b").glob("top.bit"))


def test_what_changed_is_made_again(tools, tmp_path):
    blink(tmp_path / "b")
    before = tools.read_text().split()
    _, said = blink(tmp_path / "b", depends={"chip": "another"})
    # The netlist came out the same, so it was not routed again.
    assert said["elaboration"] == "done" and said["synthesis"] == "reused" and tools.read_text().split() == before
    _, said = blink(tmp_path / "b", clock_mhz=110)
    assert said["synthesis"] == "reused" and said["seed4"] == "120 MHz"


def test_missed_clock_leaves_no_bitstream(tools, tmp_path):
    done, _ = blink(tmp_path / "b")
    with pytest.raises(ClockMissed, match=r"must be 130 MHz and is 120 MHz at best, with seed 4 of 4.*--freq 120") as caught:
        blink(tmp_path / "b", clock_mhz=130, seeds=4)
    assert caught.value.best.seed == 4 and not done.path.exists()


def test_jobs_beside_each_other(tools, tmp_path):
    done, _ = blink(tmp_path / "b", jobs=2)
    assert done.best.clock_mhz >= 100 and done.path.read_text() == f"config {done.best.seed}\n"


def test_a_seed_that_is_not_needed_any_more_is_stopped(tools, tmp_path):
    nextpnr = tools.parent / "bin" / "nextpnr-ecp5"
    nextpnr.write_text(nextpnr.read_text().replace("echo config", "[ $seed = 1 ] && exec sleep 60\necho config"))
    done, said = blink(tmp_path / "b", jobs=2)
    assert done.best.seed == 3 and said["seed1"] == "stopped" and said["seed3"] == "101.25 MHz"


def test_failing_tool(tools, tmp_path):
    (tools.parent / "bin" / "yosys").write_text("#!/bin/sh\n[ \"$1\" = --version ] && exit\necho 'ERROR: no'; exit 1\n")
    with pytest.raises(ToolError, match="yosys failed: ERROR: no"):
        blink(tmp_path / "b")


def test_a_netlist_that_breaks_a_rule_is_not_routed(tools, tmp_path):
    """By each rule: the message names it, and the cell."""
    cell = {"type": "DP16KD", "parameters": {"REGMODE_B": "NOREG"}, "connections": {"DOB0": [2], "RSTA": ["0"], "RSTB": ["0"]}}
    latch = {"type": "$_DLATCH_P_", "parameters": {}, "connections": {}}
    yosys = tools.parent / "bin" / "yosys"
    whole = yosys.read_text()
    for cells, said in (({"ram": cell}, "ram: block RAM without output register on port B"),
                        ({f"bit{n}": latch for n in range(5)}, r"bit0: latch \(\$_DLATCH_P_\); bit1: .*, and 2 more")):
        netlist = {"modules": {"top": {"cells": cells}}}
        yosys.write_text(whole.replace(json.dumps(NETLIST), json.dumps(netlist)))
        with pytest.raises(ToolError, match=f"the netlist breaks rules of hw/ecp5/netlist_rules.py: {said}"):
            blink(tmp_path / next(iter(cells)))
    assert "nextpnr-ecp5" not in tools.read_text()


def test_parts():
    part = part_of(find("ulx3s-12f").platform())
    assert part.option == "--12k" and part.package == "CABGA381" and part.die == "25f"


@pytest.fixture
def small(monkeypatch):
    """hw.build with the chip of one register, so that what is tested are the stages around it."""
    monkeypatch.setattr(build.Chip, "of", staticmethod(lambda board, **options: Blink()))


def test_command_builds_and_reports(tools, small, tmp_path, capsys):
    arguments = ["--board", "versa-ecp5", "--freq", "100", "--build", str(tmp_path / "b"), "--json", str(tmp_path / "r.json")]
    assert build.main(arguments) == 0
    folder = tmp_path / "b" / "versa-ecp5"
    assert str(folder / "top.bit") in capsys.readouterr().out
    record = json.loads((folder / "report.json").read_text())
    assert record == json.loads((tmp_path / "r.json").read_text())
    assert record["model"] == "digits" and record["seed"] == 3 and record["clock_mhz"] == 100 and record["clock_met"]
    assert record["frames_per_s"] == pytest.approx(100e6 / record["cycles"]) and "digits" in (folder / "report.html").read_text()
    calls = tools.read_text()
    assert build.main(arguments) == 0 and tools.read_text() == calls


def test_command_says_that_the_clock_was_missed(tools, small, tmp_path, capsys):
    assert build.main(["--board", "versa-ecp5", "--freq", "125", "--seeds", "2", "--build", str(tmp_path / "b")]) == 1
    assert "the clock must be 125 MHz and is 95.5 MHz at best" in capsys.readouterr().err
    folder = tmp_path / "b" / "versa-ecp5"
    assert not (folder / "top.bit").exists() and "clock was missed" in (folder / "report.html").read_text()


def test_the_selftests_chip_has_a_folder_of_its_own(tools, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(build.Chip, "of", staticmethod(lambda board, *, engine=True: asked.append(engine) or Blink()))
    folder = tmp_path / "b"
    assert build.main(["--board", "versa-ecp5", "--freq", "80", "--selftest", "--build", str(folder)]) == 0
    record = json.loads((folder / "versa-ecp5-selftest" / "report.json").read_text())
    assert asked == [False] and record["model"] == "self-test" and record["geometry"] is None and record["clock_met"]
    assert "none: this chip tests the board" in capsys.readouterr().out
    assert (folder / "versa-ecp5-selftest" / "top.bit").exists() and not (folder / "versa-ecp5").exists()
    for more in (["--estimate"], ["--model", "digits"], ["--units", "table"]):
        assert build.main(["--board", "versa-ecp5", "--selftest", "--build", str(folder), *more]) == 2
    assert "--selftest must not go with --estimate, --model, --units and --packing" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, said", [(["--board", "nothing"], "board must be one of ulx3s"), (["--freq", "999"], "MHz"),
                                             (["--model", "nothing.onnx"], "nothing.onnx")])
def test_bad_requests_are_one_line(tools, small, arguments, said, tmp_path, capsys):
    assert build.main([*arguments, "--build", str(tmp_path / "b")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and said in error


@pytest.fixture
def loader(tools):
    """A pretended openFPGALoader that fails with the code in the file that is returned, and notes its arguments beside it."""
    path, code = tools.parent / "bin" / build.LOADER, tools.parent / "code"
    path.write_text(f'#!/bin/sh\necho "$@" >> {tools.parent / "loaded"}\nexit $(cat {code})\n')
    path.chmod(0o755)
    code.write_text("0")
    return code


@pytest.mark.parametrize("name", [name for name, board in BOARDS.items() if board.program])
def test_loads_every_board(loader, name, tmp_path):
    build._load_board(build._loader(find(name)), tmp_path / "top.bit")
    *given, path = (loader.parent / "loaded").read_text().split()
    assert tuple(given) == find(name).program and path == str(tmp_path / "top.bit")
    # As openFPGALoader calls its boards, and the debugger of the one that it has no name for.
    known = {"ulx3s": "ulx3s", "icepi": "icepi-zero", "ecp5": "ecp5_evn", "ecpix5": "ecpix5", "colorlight": "colorlight"}
    board = known.get(name.split("-")[0])
    assert given == (["-b", board] if board else ["-c", "cmsisdap", "--vid", "0x1d50", "--pid", "0x602b"])


def test_command_builds_and_loads(tools, small, loader, tmp_path, capsys):
    arguments = ["--board", "colorlight-5a75b", "--program", "--build", str(tmp_path / "b")]
    bitstream = tmp_path / "b" / "colorlight-5a75b" / "top.bit"
    assert build.main(arguments) == 0
    assert (loader.parent / "loaded").read_text() == f"-b colorlight {bitstream}\n"
    loader.write_text("3")
    capsys.readouterr()
    assert build.main(arguments) == 1 and bitstream.exists()
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        f"error: openFPGALoader failed with code 3: is the board plugged in? The bitstream is there: "
        f"openFPGALoader -b colorlight {bitstream}")


@pytest.mark.parametrize("board, said", [("ulx3s", "openFPGALoader must be on PATH for --program"),
                                         ("versa-ecp5", "--program does not know versa-ecp5")])
def test_what_cannot_be_loaded_is_not_built(tools, small, board, said, tmp_path, capsys):
    assert build.main(["--board", board, "--program", "--build", str(tmp_path / "b")]) == 1
    assert said in capsys.readouterr().err and not tools.read_text() and not (tmp_path / "b").exists()


@pytest.mark.parametrize("clock", ["nan", "inf", "-1", "0", "fast"])
def test_a_clock_is_a_number(clock, capsys):
    with pytest.raises(SystemExit) as ended:
        build.main([f"--freq={clock}"])
    assert ended.value.code == 2 and f"--freq: must be MHz, above 0 and below 1000, not '{clock}'" in capsys.readouterr().err


def test_an_estimate_cannot_be_loaded(capsys):
    assert build.main(["--board", "versa-ecp5", "--program", "--estimate"]) == 2
    assert capsys.readouterr().err == "error: --program must not go with --estimate, which builds nothing\n"


@pytest.mark.parametrize("words, units, noted", [
    (["--units", "all"], list(OPTIONAL), False), (["--model", "lenet5:size=28"], ["table"], True), ([], [], False)])
def test_units_are_estimated(tmp_path, capsys, words, units, noted):
    """Those that are asked for, and those that the network needs, which are named."""
    found, plain = {}, ["--board", "ulx3s-12f", "--estimate", "--model", "lenet5:size=28,activation=relu"]
    for name, more in (("without", []), ("with", words)):
        assert build.main([*plain, "--json", str(tmp_path / name), *more]) == 0
        found[name] = json.loads((tmp_path / name).read_text())
    said = capsys.readouterr()
    assert ("needs table: an optional unit of the engine, which ulx3s-12f is given" in said.err) == noted
    assert found["with"]["geometry"].get("options", []) == units
    used = [{what: one["used"] for what, one in record["resources"].items()} for record in found.values()]
    assert all((used[1][what] > used[0][what]) == bool(units) for what in ("lut4", "ff", "block_ram"))


def test_an_unpacker_is_estimated(tmp_path):
    found = []
    words = ["--board", "versa-ecp5", "--estimate", "--model", "digits", "--json", str(tmp_path / "e.json")]
    for more in ([], ["--packing"]):
        assert build.main([*words, *more]) == 0
        found.append(json.loads((tmp_path / "e.json").read_text())["resources"])
    assert {what for what in found[0] if found[0][what] != found[1][what]} == {"lut4", "ff"}


def test_a_storage_that_is_not_there_is_only_estimated(capsys):
    assert build.main(["--board", "versa-ecp5", "--storage-mb", "2"]) == 2
    assert capsys.readouterr().err == ("error: --storage-mb must go with --estimate: a chip that is built has the storage that "
                                       "its board has\n")


def test_a_flash_without_room(capsys):
    assert build.main(["--board", "ulx3s", "--flash-mb", "2", "--estimate"]) == 2
    assert "must reach 131,072 beyond its offset 2,097,152 for a slot, but 0 are there" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(tools, small, tmp_path, capsys):
    (tmp_path / "b").write_text("")
    assert build.main(["--board", "versa-ecp5", "--build", str(tmp_path / "b")]) == 1
    assert capsys.readouterr().err.strip() == f"error: {tmp_path / 'b' / 'versa-ecp5'}: Not a directory"


def test_list_of_boards(capsys):
    assert build.main(["--list-boards"]) == 0
    assert "icepi-zero" in capsys.readouterr().out
