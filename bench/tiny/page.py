"""The tables of MLPerf Tiny's networks, for a terminal and for a page that has them between two marks."""
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table

from bench.survey.tables import markdown
from cli import RequestError, write_bytes

__all__ = ["BEGIN", "END", "agreement", "check_page", "latencies", "tables", "write_page"]

BEGIN, END = "<!-- made by bench.mlperf_tiny -->", "<!-- end -->"
RESOURCES = {"lut4": "LUT4", "multipliers": "multipliers", "block_ram": "block RAM"}

TEXT = """\
Made by `{command}`.

## Latency

{latencies}
Ours are exact simulated cycles at a routed clock, not a submission. Sizes are estimates, with the optional units that each
network is given; a star: the device has no room for that chip. Chips with `depthwise`, which KWS and VWW are given where there
are 16 output lanes, keep 100.0 MHz so far ([boards.md](boards.md#optional-units)): at that VWW takes 0.412, then 0.376 ms, and
KWS 0.213, then 0.144.

{published}{frames}
## Distance from LiteRT's reference kernels

Of the tensor before the softmax: the share of its elements that are equal, by how many steps one is off at most, and on how
many inputs the best class is the same.

{agreement}"""
FRAMES_TEXT = """
## Frames on the RTL

*predicted*: cycles off, of the first frame; *wrong*: elements of any layer, of both frames, that differ from golden, and
commands in another cycle than predicted.

{table}"""

# Latencies in ms of IC, VWW, KWS and AD that others published: the closed division, whose networks are the unmodified ones,
# unless noted.
PUBLISHED = (
    ("fpgaConvNet, ZC706 (525 and 564 DSP)", "0.147", "0.72", "", ""),
    ("fpgaConvNet, ZedBoard (93 to 211 DSP)", "0.411", "9.49", "0.324", ""),
    ("fpgaConvNet, Zybo, 125 MHz (60 to 78 DSP)", "3.15", "", "2.15", ""),
    ("hls4ml and FINN, Pynq-Z2: open division, smaller networks", "1.5 to 27", "", "0.0175", "0.019"),
    ("Syntiant NDP9120", "5.1", "4.1", "1.48", ""))


def _ms(found: dict) -> str:
    """Of the first frame, and of those behind it where weights stay."""
    if "refused" in found:
        return "refused"
    first, behind = (f"{value:.3f}" for value in found["ms"])
    return f"{first}, then {behind}" if found["kept"] else first


def _size(found: Sequence[dict], what: str) -> str:
    """What the chips take of a resource, the least and the most, and what there is."""
    used = [one["resources"][what] for one in found]
    least, most = min(one["used"] for one in used), max(one["used"] for one in used)
    return (f"{least:,}" if least == most else f"{least:,} to {most:,}") + f" of {used[0]['available']:,}"


def latencies(record: dict) -> Iterator[list[str]]:
    """A board a line: its clock, what its chips take, and ms of each network. A star: the chip needs more than the device has."""
    for board, found in record["boards"].items():
        fitting = [one for one in found.values() if "refused" not in one]
        if fitting:
            cells = [_ms(one) + ("*" if one.get("lacks") else "") for one in found.values()]
            yield [board, f"{fitting[0]['clock_mhz']:g}", *cells, *(_size(fitting, what) for what in RESOURCES)]
        else:
            yield [board, "", *("refused" for _ in found), *("" for _ in RESOURCES)]


def agreement(record: dict) -> Iterator[list[str]]:
    """A network a line: how far golden and XNNPACK are from the reference kernels."""
    for name, found in record["agreement"].items():
        cells = [name, f"{found['inputs']} {found['of']}"]
        for who in ("golden", "xnnpack"):
            same = found[who]["same_class"]
            cells += [f"{found[who]['equal']:.1%}", str(found[who]["steps"]), "" if same is None else str(same)]
        yield cells


def _frames(record: dict) -> Iterator[list[str]]:
    """Of what ran on the RTL: cycles of a frame and of one behind it."""
    for board, networks in record["rtl"].items():
        for name, found in networks.items():
            first, behind = (f"{count:,}" for count in found["cycles"])
            off = found["predicted"] - found["cycles"][0]
            yield [board, name, first, behind, f"{off:+d}", str(found["wrong"])]


FRAMES = ("board", "network", "cycles", "behind it", "predicted", "wrong")
AGREEMENT = ("network", "inputs", "golden: equal", "most steps", "same class", "XNNPACK: equal", "most steps", "same class")


def tables(record: dict) -> Iterator[Table]:
    """For a terminal."""
    names = list(record["agreement"])
    for title, headings, lines in (
            ("ms a frame, and behind the first one", ("board", "MHz", *names),
             [line[:2 + len(names)] for line in latencies(record)]),
            ("frames on the RTL", FRAMES, list(_frames(record))),
            ("distance from LiteRT's reference kernels",
             ("network", "inputs", "golden", "steps", "class", "XNNPACK", "steps", "class"), list(agreement(record)))):
        if lines:
            table = Table(title=title)
            for number, heading in enumerate(headings):
                table.add_column(heading, justify="right" if number else "left")
            for line in lines:
                table.add_row(*line)
            yield table


def _text(record: dict, command: str) -> str:
    names = list(record["agreement"])
    headings = ["board", "MHz", *(f"{name}, ms" for name in names), *RESOURCES.values()]
    published = markdown(["published", "IC, ms", "VWW, ms", "KWS, ms", "AD, ms"], PUBLISHED)
    frames = list(_frames(record))
    return TEXT.format(command=command, latencies=markdown(headings, latencies(record)), published=published,
                       frames=FRAMES_TEXT.format(table=markdown(FRAMES, frames)) if frames else "",
                       agreement=markdown(AGREEMENT, agreement(record)))


def check_page(path: Path) -> None:
    """Raises RequestError for a page without the marks."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not 0 <= text.find(BEGIN) < text.find(END):
        raise RequestError(f"{path}: must be a page with the lines {BEGIN} and {END}")


def write_page(path: Path, record: dict, command: str) -> None:
    """Puts the tables between the marks of a page. Raises RequestError, OutputError."""
    check_page(path)
    text = path.read_text(encoding="utf-8")
    before, after = text[:text.index(BEGIN)], text[text.index(END):]
    write_bytes(path, f"{before}{BEGIN}\n{_text(record, command)}{after}".encode())
