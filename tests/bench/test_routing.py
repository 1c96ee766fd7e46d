"""The route runners: a small core all the way, and what the command lines refuse."""
import json
from pathlib import Path
import re

import pytest

from bench import cores, fmax
from bench.flow import place_and_route
from bench.heatmap import crowded, read_maps
from hw.ecp5.floorplan import plan_netlist
from hw.tools.flow import Resource, Routed, read_report
from hw.tools.toolchain import ToolError


def test_a_small_core_routes(tmp_path, capsys):
    out = tmp_path / "cores.json"
    status = cores.main(["weight-stationary", "--lanes", "2", "--columns", "4", "--device", "25f", "--freq", "100",
                         "--build", str(tmp_path), "--json", str(out), "--heatmap", str(tmp_path / "heat.png")])
    record, = json.loads(out.read_text())
    assert status == 0 and record["organisation"] == "weight-stationary" and "error" not in record
    assert record["clock_mhz"] > 0 and record["seed"] == 1
    assert record["resources"]["multipliers"] == {"used": 4, "available": 28}
    assert record["resources"]["block_ram"] == {"used": 4 + 8 + 4, "available": 56}
    assert record["path"]["from"].startswith("core.") and record["path"]["routing_ns"] > 0
    assert "MHz" in capsys.readouterr().out
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")
    # The multipliers stand where the plan puts them.
    netlist = tmp_path / "weight-stationary-2x4" / "top.json"
    cells = json.loads(plan_netlist(netlist, "25f").read_text())["modules"]["top"]["cells"]
    assert {cell["attributes"]["BEL"] for cell in cells.values() if cell["type"] == "MULT18X18D"} \
        == {f"X{x}/Y13/MULT18_{n}" for x, n in ((4, 0), (5, 1), (8, 4), (9, 5))}


def test_a_design_that_does_not_route_says_why(tmp_path):
    netlist = tmp_path / "top.json"
    cell = {"type": "NO_SUCH_CELL", "parameters": {}, "attributes": {}, "port_directions": {}, "connections": {}}
    top = {"attributes": {"top": 1}, "ports": {}, "netnames": {}, "cells": {"a": cell}}
    netlist.write_text(json.dumps({"modules": {"top": top}}))
    with pytest.raises(ToolError, match=r"nextpnr-ecp5 failed: ERROR: .*NO_SUCH_CELL"):
        place_and_route(netlist, "25f", freq_mhz=100)


def test_reports_are_read(tmp_path):
    report = tmp_path / "report.json"
    step = {"delay": 1.5, "from": {"cell": "a", "loc": [1, 2], "port": "Q"}, "to": {"cell": "b", "loc": [1, 2], "port": "D"}}
    report.write_text(json.dumps({
        "fmax": {"clk": {"achieved": 151.237, "constraint": 160}},
        "utilization": {"MULT18X18D": {"used": 3, "available": 28}},
        "critical_paths": [
            {"from": "<async>", "to": "posedge clk", "path": [step | {"type": "routing", "delay": 20}]},
            {"from": "posedge clk", "to": "posedge clk", "path": [step | {"type": "clk-to-q"}, step | {"type": "routing"},
                                                                  step | {"type": "setup", "delay": .25}]}]}))
    nothing = Resource(used=0, available=0)
    assert read_report(report, 4) == Routed(
        clock_mhz=151.24, seed=4, path={"from": "a", "to": "b", "logic_ns": 1.75, "routing_ns": 1.5}, resources={
            "lut4": nothing, "ff": nothing, "block_ram": nothing, "multipliers": Resource(used=3, available=28)})


def test_heat_maps_are_read_in_the_routers_order(tmp_path):
    for n in (1, 2, 10):
        columns = [f"{n},0,0,\n" if x == 9 else "0,0,0,\n" for x in range(20)]
        (tmp_path / f"a_congestion_by_coordinate_{n}.csv").write_text("".join(columns))
    maps = read_maps(tmp_path, "a")
    assert [int(one.sum()) for one in maps] == [1, 2, 10] and maps[0].shape == (20, 3) and maps[2][9, 0] == 10
    assert crowded(maps, 1) == [(8, 0, 1.0)]
    with pytest.raises(ValueError, match="heat maps must have some of b, not none"):
        read_maps(tmp_path, "b")


def test_the_fastest_seed_comes_first(monkeypatch, tmp_path):
    clocks, ends = {1: 140.0, 2: None, 3: 150.0}, []

    def route(netlist, device, *, freq_mhz, seed, stop_after, heatmap, stop):
        if clocks[seed] is None:
            raise ToolError("no room")
        resources = {key: Resource(used=1, available=2) for key in ("lut4", "ff", "block_ram", "multipliers")}
        return Routed(clock_mhz=clocks[seed], seed=seed, resources=resources)
    monkeypatch.setattr(fmax, "place_and_route", route)
    monkeypatch.setattr(fmax, "build", lambda core, preset, directory: directory / "top.json")
    routed = fmax.measure(Path("top.json"), "85f", seeds=3, jobs=2, freq_mhz=150, ended=lambda seed, result: ends.append(seed))
    assert [run.seed for run in routed] == [3, 1] and sorted(ends) == [1, 2, 3]

    out = tmp_path / "fmax.json"
    assert fmax.main(["--preset", "85f", "--seeds", "3", "--json", str(out)]) == 0
    record = json.loads(out.read_text())
    assert (record["clock_mhz"], record["seed"], record["gmac_per_s"]) == (150.0, 3, 38.4)
    assert record["resources"]["lut4"] == {"used": 1, "available": 2}
    clocks[1] = clocks[3] = None
    assert fmax.main(["--preset", "85f", "--seeds", "3"]) == 1


@pytest.mark.parametrize(("main", "arguments", "message"), [
    (cores.main, ["systolic"], "an organisation must be one of weight-stationary, .*, not 'systolic'"),
    (cores.main, ["weight-stationary", "--columns", "6"], "--columns must be a multiple of 4, 4..32, not 6"),
    (cores.main, ["--router", "router1", "--heatmap", "heat.png"], "--heatmap must go with router2, not router1"),
    (cores.main, ["weight-stationary", "--lanes", "1"], "--lanes must be a multiple of 2, 2..32, not 1")])
def test_bad_requests_are_refused_in_a_line(main, arguments, message, capsys, tmp_path):
    assert main([*arguments, "--build", str(tmp_path)]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_no_seeds_at_all_are_refused_by_the_parser(capsys):
    with pytest.raises(SystemExit, match="2"):
        fmax.main(["--preset", "85f", "--seeds", "0"])
    assert "argument --seeds: must be a positive number, not '0'" in capsys.readouterr().err
