"""What `sim.run` prints: tables of layers, queues and traffic, in text and in Markdown."""
from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from arch.geometry import Geometry
from arch.instruction import QUEUES
from golden.account import LayerAccount
from host.queues import COUNTED, MEANING
from sim.frame import Frame, Prediction

__all__ = ["idle_causes", "layer_record", "markdown", "queue_record", "show_layers", "show_queues", "show_traffic"]


def layer_record(account: LayerAccount, geometry: Geometry) -> dict:
    """A layer as plain values."""
    return {"name": account.name, "writes": account.writes, "macs": account.macs, "commands": account.commands,
            "cycles": {"predicted": account.predicted, "measured": account.cycles}, "late_commands": account.late,
            "utilisation": account.utilisation(geometry), "busy": account.busy, "bound": account.bound, "idle": account.idle,
            "mismatches": account.mismatches}


def idle_causes(accounts: Sequence[LayerAccount]) -> dict[str, int]:
    """Cycles in which the array multiplies, and in which it waits, by cause."""
    total = {"multipliers": sum(min(account.beats, account.cycles) for account in accounts)}
    for account in accounts:
        for cause, cycles in account.idle.items():
            total[cause] = total.get(cause, 0) + cycles
    return total


def queue_record(frame: Frame, prediction: Prediction) -> dict[str, dict]:
    """For each queue its commands, the cycles that it was busy and waited, how many of its commands began or ended in another
    cycle than predicted, and by how many cycles at most their ends are off: None if their numbers differ."""
    late, result = prediction.late(frame), {}
    for queue in QUEUES:
        done, foretold = frame.done[queue], prediction.done[queue]
        result[queue] = {
            "commands": len(done), **frame.counters[queue], "late_commands": late[queue],
            "most_cycles_off": int(np.abs(done - foretold).max(initial=0)) if len(done) == len(foretold) else None}
    return result


def _cells(account: LayerAccount, geometry: Geometry) -> list[str]:
    return [account.name, str(account.commands), f"{account.macs / 1e6:,.2f}", f"{account.cycles:,}",
            f"{account.utilisation(geometry):.1%}", f"{account.busy:.1%}", account.bound]


HEADINGS = ("layer", "commands", "MMAC", "cycles", "utilisation", "array busy", "bound by")
SHORT = {"utilisation": "use", "array busy": "busy"}        # where 80 columns must do


def show_layers(console: Console, accounts: Sequence[LayerAccount], geometry: Geometry) -> None:
    """Prints a line for each layer, and what its columns mean: what share of the multipliers' peak was used, in what share of the
    cycles the array was busy, how many cycles are off the prediction, and how many elements differ from golden."""
    table = Table(box=None, pad_edge=False)
    predicted = any(account.predicted is not None for account in accounts)
    for heading in (*HEADINGS, *(["off"] if predicted else []), "wrong"):
        table.add_column(SHORT.get(heading, heading), justify="left" if heading in ("layer", "bound by") else "right")
    for account in accounts:
        off = [str(account.cycles - account.predicted) if account.predicted is not None else ""] if predicted else []
        wrong = Text(str(account.mismatches), style="bold red" if account.mismatches else "")
        table.add_row(*_cells(account, geometry), *off, wrong)
    console.print(table)
    off = "off: cycles from the prediction. " if predicted else ""
    console.print(f"use: of the multipliers' peak. busy: cycles in which the array multiplies. {off}"
                  "wrong: elements unlike golden's.")


def markdown(accounts: Sequence[LayerAccount], geometry: Geometry, cycles: int) -> str:
    """The table of layers for a document, its last line the frame."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---|" + "---:|" * (len(HEADINGS) - 2) + "---|"]
    lines += [f"| {' | '.join(_cells(account, geometry))} |" for account in accounts]
    macs = sum(account.macs for account in accounts)
    busy = sum(min(account.beats, account.cycles) for account in accounts) / cycles
    commands = sum(account.commands for account in accounts)
    share = macs / geometry.macs / cycles
    lines.append(f"| **frame** | {commands} | {macs / 1e6:,.2f} | {cycles:,} | {share:.1%} | {busy:.1%} | |")
    return "\n".join(lines)


def show_queues(console: Console, record: Mapping[str, dict]) -> None:
    """Prints a line for each queue, and what its cycles mean."""
    table = Table(box=None, pad_edge=False)
    counted = (words.replace(" for ", " for\n") for words in COUNTED.values())         # in two lines, where 80 columns must do
    for heading in ("queue", "commands", *counted, "commands\noff", "by at\nmost"):
        table.add_column(heading, justify="left" if heading == "queue" else "right")
    for queue, entry in record.items():
        table.add_row(queue, *(f"{entry[name]:,}" for name in ("commands", *COUNTED, "late_commands")),
                      str(entry["most_cycles_off"]))
    console.print(table)
    console.print(MEANING)


def show_traffic(console: Console, moved: Mapping[str, int], least: Mapping[str, int]) -> None:
    """Prints bytes between storage and chip by kind, and how much more than the least possible they are."""
    total, minimum = sum(moved.values()), 2 * sum(least.values())
    parts = ", ".join(f"{kind} {count:,}" for kind, count in moved.items() if count)
    console.print(f"storage: {total:,} bytes ({parts}); at least {minimum:,}: {total / minimum - 1:+.2%}", soft_wrap=True)
