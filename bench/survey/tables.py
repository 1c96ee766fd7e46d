"""Tables of the zoo's networks, for a terminal and as a page."""
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
import shlex

from rich.table import Table

from bench.survey.published import SOURCES, TOP1

__all__ = ["command_of", "markdown", "page", "row", "terminal_tables"]

REASON = 90             # letters of a refusal in a table
PAGE = """\
# The zoo on the boards

Made by `{command}`.

Cycles are predicted, which is what the RTL takes. A network's engine has the optional units that it needs. Networks and options
are explained in [networks.md](networks.md#the-zoo).

{chart}

## Cycles of a frame on {board}

At {clock} MHz. *Overlapped*: the larger of compute and of the weights' bytes / 2 over the whole frame; *layer by layer*: the sum
of the larger of both for each layer. What the unit `depthwise` computes counts nothing; other depthwise convolutions, additions
and what else runs with mostly zero weights count as the compute that they are there; maps that leave the chip do not count. In
brackets the bound's share of the cycles, which is over 100 % of *layer by layer* where weights come while another layer is
computed. *Bound by*: what most cycles are bound by, and how many of them. Time (the processor's) and memory of compiling hold
the prediction, too.

{cycles}
{refusals}
## Frames a second

On the chip, with each board's clock; nothing where a network does not fit.

{frames}
## Published accuracies

Top-1 on ImageNet, as the chart has it.

{accuracies}"""


def row(record: dict, main: str) -> dict:
    """What the tables and charts show of a network's record (`bench.survey.measure`), for the board `main`: `cycles` and
    `frames_per_s` are None where it is refused; `storage` says how much it takes if the board has too little."""
    found, bounds = record["compiling"], record["bounds"]
    enlarged = record.get("enlarged") or {}
    timed = (found.get("timed") or enlarged.get("timed") or [None])[0]
    cycles = timed and timed["cycles"]
    made = found if found.get("timed") else enlarged if timed else found
    return {
        "network": record["network"], "macs": record["macs"], "parameters": record["parameters"], "cycles": cycles,
        "frames_per_s": record["boards"][main].get("frames_per_s"), **bounds,
        "of_overlapped": bounds["overlapped"] / cycles if cycles else None,
        "of_layer_by_layer": bounds["layer_by_layer"] / cycles if cycles else None,
        "limit": next(iter(timed["bound"].items()), None) if timed else None, "refused": [] if timed else found["refused"],
        "storage_bytes": made.get("storage_bytes"), "fits": bool(found.get("timed")),
        "seconds": made.get("seconds"), "megabytes": made.get("megabytes"), "commands": made.get("commands"),
        "boards": {name: board.get("frames_per_s") for name, board in record["boards"].items()}}


def terminal_tables(rows: Sequence[dict], main: str, others: Sequence[str]) -> Iterator[Table]:
    """A few columns of the board `main`, for 80 letters, and frames/s of others, if there are some."""
    table = Table(title=f"a frame on {main}")
    for heading in ("network", "MMAC", "Mcycles", "of bound", "frames/s", "compiled"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for one in rows:
        table.add_row(one["network"], _millions(one["macs"]), *(
            ["refused", "", "", ""] if one["cycles"] is None else [
                _millions(one["cycles"]), f"{one['of_layer_by_layer']:.1%}", _speed(one["frames_per_s"]),
                f"{one['seconds']:.0f} s, {one['megabytes']:,.0f} MB"]))
    yield table
    if others:
        table = Table("network", title="frames/s")
        for board in others:
            table.add_column(board, justify="right")
        for one in rows:
            table.add_row(one["network"], *(_speed(one["boards"][board]) for board in others))
        yield table


def markdown(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of text, numbers to the right: all columns but the first."""
    parts = [headings, ["---", *["---:"] * (len(headings) - 1)], *lines]
    return "\n".join(f"| {' | '.join(part)} |" for part in parts) + "\n"


def _millions(count: int) -> str:
    """In millions, three digits at least."""
    return f"{count / 1e6:,.{2 if count < 1e8 else 0}f}" if count >= 1e6 else f"{count / 1e6:.3g}"


def _speed(frames_per_s: float | None) -> str:
    return "" if frames_per_s is None else f"{frames_per_s:,.1f}" if frames_per_s < 1000 else f"{frames_per_s:,.0f}"


def command_of(module: str, args: Namespace) -> str:
    """The command line that writes a page and its picture again."""
    words = [word for name in ("only", "board", "page", "plot") for value in _listed(getattr(args, name, None))
             for word in (f"--{name}", value)]
    return shlex.join(["python", "-m", module, *words])


def _listed(value: object) -> list[str]:
    """What was given for an option, as text: none, one, or several, of which one that is a tuple was given with commas."""
    if value is None:
        return []
    return [",".join(f"{number:g}" for number in one) if isinstance(one, tuple) else str(one)
            for one in (value if isinstance(value, list) else [value])]


def page(rows: Sequence[dict], main: str, clock_mhz: float, command: str, picture: str) -> str:
    """The page of the zoo (Markdown); `picture`: the chart's file beside it, or none."""
    chart = f"![Top-1 over multiply-accumulates, area for parameters, colour for frames/s]({picture})" if picture else ""
    return PAGE.format(command=command, chart=chart, board=main, clock=f"{clock_mhz:g}", cycles=_cycles(rows),
                       refusals=_refusals(rows), frames=_frames(rows), accuracies=_accuracies(rows))


def _cycles(rows: Sequence[dict]) -> str:
    headings = ("network", "MMAC", "parameters", "Mcycles", "overlapped", "layer by layer", "bound by", "commands", "compiled")
    lines = []
    for one in rows:
        bounds = [_millions(one[name]) + (f" ({one[f'of_{name}']:.1%})" if one["cycles"] else "")
                  for name in ("overlapped", "layer_by_layer")]
        ended = (["refused", *bounds, "", "", ""] if one["cycles"] is None else [
            _millions(one["cycles"]) + ("" if one["fits"] else "*"), *bounds, "{}, {:.0%}".format(*one["limit"]),
            f"{one['commands']:,}", f"{one['seconds']:.0f} s, {one['megabytes']:,.0f} MB"])
        lines.append([f"`{one['network']}`", _millions(one["macs"]), f"{_millions(one['parameters'])} M", *ended])
    return markdown(headings, lines)


def _refusals(rows: Sequence[dict]) -> str:
    """What stands against networks, and what those with a star need, a line each."""
    found = []
    for one in rows:
        name = f"`{one['network']}`"
        if one["cycles"] is None:
            more = f" (and {len(one['refused']) - 1} more)" if len(one["refused"]) > 1 else ""
            reason = one["refused"][0]
            found.append(f"* {name} is refused: {reason[:REASON]}{'…' if len(reason) > REASON else ''}{more}\n")
        elif not one["fits"]:
            found.append(f"* {name}\\*: takes {one['storage_bytes'] / 1e6:.1f} MB of storage, more than the board has\n")
    return "".join(found)


def _frames(rows: Sequence[dict]) -> str:
    boards = list(dict.fromkeys(name for one in rows for name in one["boards"]))
    return markdown(["network", *boards], ([f"`{one['network']}`", *(_speed(one["boards"].get(name)) for name in boards)]
                                           for one in rows))


def _accuracies(rows: Sequence[dict]) -> str:
    known = [one["network"] for one in rows if one["network"] in TOP1]
    if not known:
        return "Of none of these networks.\n"
    used = {TOP1[name][1] for name in known}
    numbers = {source: n for n, source in enumerate((source for source in SOURCES if source in used), 1)}
    lines = markdown(["network", "top-1", "source"], ([f"`{name}`", f"{TOP1[name][0]:.1f} %", f"{numbers[TOP1[name][1]]}"]
                                                      for name in known))
    return lines + "\n" + "\n".join(f"{n}. {source}" for source, n in numbers.items()) + "\n"
