"""The page holds the record's numbers, and nothing from elsewhere."""
from html import unescape
from html.parser import HTMLParser
import random
import re

import pytest

from golden.account import CAUSES
from hw.tools.report import BOUNDS, render
from tests.hw.tools.browser import look


def report(**changes) -> dict:
    layers = [{"name": f"fire<{n}>", "macs": 10 ** (5 + n), "cycles": 10 ** (3 + n), "utilisation": .9, "bytes": 1000 * n,
               "bound": "memory" if n == 2 else "multipliers"} for n in range(4)]
    return {"board": "ulx3s", "model": "a & b", "geometry": {"input_lanes": 16}, "clock_mhz": 142.5, "clock_wanted_mhz": 140,
            "clock_met": True, "cycles": 1440123, "cycles_again": 1440123, "frames_per_s": 98.9, "frames_per_s_line": 1.87,
            "latency_ms": 10.11, "utilisation": .947,
            "peak_gmac_per_s": 36.5, "storage_gbyte_per_s": .285,
            "resources": {key: {"used": n + 10, "available": 100} for n, key in
                          enumerate(("lut4", "ff", "block_ram", "multipliers"))},
            "layers": layers, "timeline": {"compute": [[0, 1000], [1500, 9000]], "load": [[5, 400]], "gather": [], "store": []},
            "memory": {"words": 8192, "areas": [{"name": "x", "base": 0, "words": 4000, "start": 0, "end": 900000}]},
            "critical_path": {"from": "a<b", "to": "c", "logic_ns": 1.25, "routing_ns": 5.5}, "tools": {"yosys": "0.70"},
            "command": "python -m hw.build --board ulx3s"} | changes


class Tags(HTMLParser):
    VOID = {"meta", "br", "img", "link"}

    def __init__(self, page: str):
        super().__init__()
        self.open, self.ids, self.links = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.open += [] if tag in self.VOID else [tag]
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [value for name, value in attrs.items() if name.split(":")[-1] in ("href", "src")]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_whole_and_alone():
    tags = Tags(render(report()))
    assert tags.open == [] and len(tags.ids) == len(set(tags.ids)) > 0
    assert all(link.startswith("#") and link[1:] in tags.ids for link in tags.links)


def test_numbers_are_the_records():
    text = re.sub(r"<[^>]+>", " ", render(report()))
    for shown in ("98.9", "1.87", "10.11 ms", "142.5 MHz", "1,440,123", "94.7%",
                  "1.25 ns", "5.50 ns", "a &amp; b", "fire&lt;0&gt;",
                  "python -m hw.build --board ulx3s"):
        assert shown in text, shown


def rows_of(page: str) -> list[list[str]]:
    """The text of all cells of all tables."""
    return [[unescape(re.sub(r"<[^>]+>", "", cell)) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
            for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL) if "<td" in row]


def pictures_of(page: str, size: str = "wide") -> list[str]:
    """The drawings for a screen, or for a phone ("narrow")."""
    return re.findall(rf'<div class="{size}"><svg.*?</svg>', page, re.DOTALL)


def test_every_cell_is_the_records():
    record = report()
    resources = [[name, f"{used['used']}", f"{used['available']}", f"{used['used']}.0%", ""] for name, used in zip(
        ("LUT4", "flip-flops", "block RAM", "multipliers"), record["resources"].values(), strict=True)]
    layers = [[layer["name"], f"{layer['cycles']:,}", "90.0%", layer["bound"], f"{layer['macs']:,}", f"{layer['bytes']:,}"]
              for layer in record["layers"]]
    assert rows_of(render(record)) == [*resources, *layers, *map(list, record["tools"].items())]


@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_pictures_hold_every_layer_command_and_area(size):
    roofline, layers, timeline, memory = pictures_of(render(report()), size)
    names = [f"fire&lt;{n}&gt;" for n in range(4)]
    # The first layer loads nothing, so it has no place under the roofs.
    assert [name in roofline for name in names] == [False, True, True, True] and "36.5 GMAC/s" in roofline
    assert all(name in layers for name in names) and layers.count("90%") == 4
    assert ">x<" in memory and all(f">{lane}<" in timeline for lane in ("compute", "load")) and ">store<" not in timeline


def test_a_pool_alone_has_no_place_under_the_roofs():
    record = report()
    record["layers"].append(record["layers"][1] | {"name": "pool", "macs": 0, "utilisation": 0.})
    roofline, layers, *_ = pictures_of(render(record))
    assert ">pool<" not in roofline and "fire&lt;1&gt;" in roofline and ">pool<" in layers


@pytest.mark.parametrize("changes, shown", [({"clock_met": False}, "clock was missed"), ({"critical_path": {}}, "not routed")])
def test_what_went_wrong_is_said(changes, shown):
    assert shown in render(report(**changes)) and shown not in render(report())


def crowd(count: int = 40, seed: int = 5) -> dict:
    """Layers of every bound, close together, with names of every length: one that cannot be broken."""
    rng = random.Random(seed)
    layers = [{"name": f"layer{n}_" + "x" * rng.randrange(20), "macs": rng.randrange(10 ** 6, 2 * 10 ** 6), "bytes": 1000 + n % 5,
               "cycles": rng.randrange(5000, 9000), "utilisation": rng.random(), "bound": list(BOUNDS)[n % len(BOUNDS)]}
              for n in range(count)]
    areas = [{"name": layer["name"], "base": 200 * n, "words": 200, "start": 9000 * n, "end": 9000 * n + 200_000}
             for n, layer in enumerate(layers)]
    return report(layers=layers, memory={"words": 8192, "areas": areas},
                  critical_path={"from": "a." * 100, "to": "b" * 300, "logic_ns": 1.25, "routing_ns": 5.5},
                  tools={"yosys": "0.70 (" + "c" * 200 + ")"}, command="python -m hw.build --model " + "d" * 200)


def test_what_bounds_a_layer_is_one_thing():
    """Every bound of the record has a colour of its own: the table's, the legend's, and that of bars and points."""
    assert set(BOUNDS) == {"multipliers", *CAUSES.values()} and len(set(BOUNDS.values())) == len(BOUNDS)
    for bound, colour in BOUNDS.items():
        record = report()
        record["layers"] = [layer | {"bound": bound} for layer in record["layers"]]
        page = render(record)
        others = set(BOUNDS.values()) - {colour}
        for size in ("wide", "narrow"):
            for picture in pictures_of(page, size)[:2]:
                assert colour in picture and not any(other in picture for other in others), bound
        assert page.count(f'style="background:{colour}"></i>{bound}') == len(record["layers"]) + 1
        assert not any(f"background:{other}" in page.split("</style>")[1] for other in others)


def test_in_a_browser(tmp_path):
    """No message on the console, nothing wider than the page, no label on another, and the record's figures in sight."""
    record = crowd()
    found, said = look(render(record), (360, 768, 1280), tmp_path)
    assert said == []
    for one in found:
        assert one["page"] <= one["width"] and one["beyond"] == [] and one["overlaps"] == [], one
        assert one["labels"] > 60
        for layer in record["layers"]:
            for shown in (layer["name"], f"{layer['cycles']:,}", f"{layer['utilisation']:.1%}", f"{layer['macs']:,}"):
                assert shown in one["text"], shown
        for shown in ("98.9", "1.87", "10.11 ms", "142.5 MHz", "1,440,123", "94.7%", "1.25 ns", "5.50 ns"):
            assert shown in one["text"], shown
    assert [one["width"] for one in found] == [360, 768, 1280]


def test_the_browser_finds_what_is_wrong(tmp_path):
    page = ("<!doctype html><body style='margin:0'><script>nothing.there()</script>"
            "<div style='width:400px'>x</div>"
            "<svg width='99'><text x='5' y='20'>one</text><text x='8' y='24'>two</text><text x='5' y='60'>three</text>"
            "</svg></body>")
    (narrow, wide), said = look(page, (360, 768), tmp_path)
    assert narrow["page"] == 400 and len(narrow["beyond"]) == 1 and wide["beyond"] == []
    assert narrow["overlaps"] == wide["overlaps"] == [["one", "two"]]
    assert len(said) == 2 and "nothing is not defined" in said[0]


def test_same_record_same_page():
    assert render(report()) == render(report())
