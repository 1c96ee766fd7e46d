"""How a program came about: schedule, memories over time, storage, and the cycles that are expected."""
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from arch.instruction import QUEUES, Opcode, storage_words
from compiler.build import Compiled
from compiler.groups import step_cycles
from compiler.timing import timeline

__all__ = ["PLOTS", "plot", "record", "show"]

PLOTS = (".png", ".svg")
WAYS = {"bands": "in bands", "chunks": "chunks, all bands of each", "reload": "bands, all chunks of each"}


def record(compiled: Compiled) -> dict:
    """Everything that `show` prints, as plain values."""
    program, geometry = compiled.program, compiled.program.geometry
    when, layers = timeline(geometry, compiled.jobs), {}
    for job in compiled.jobs.computes:
        entry = layers.setdefault(job.stage, {"commands": 0, "cycles": 0})
        entry["commands"] += 1
        entry["cycles"] += step_cycles(geometry, job.step)
    total = round(max((time.end for time in when.values()), default=0))
    macs = sum(stage.work.macs for stage in compiled.stages.stages)
    loaded = Counter()
    for job in compiled.jobs.jobs:
        if job.opcode in (Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_ACTIVATIONS, Opcode.STORE):
            words = job.body.words * job.body.runs * storage_words(geometry, job.opcode)
            loaded[job.opcode.name.lower()] += 2 * words
        elif job.opcode is Opcode.LOAD_PIXELS:
            loaded["load_pixels"] += 2 * job.body.row_words * job.body.rows
    return {
        "model": program.name, "geometry": geometry.to_json(), "cycles": total, "macs": macs,
        "utilisation": macs / geometry.macs / total if total else 0,
        "instructions": {queue: sum(i.queue == queue for i in program.instructions) for queue in QUEUES},
        "storage_bytes": {kind: 2 * words for kind, words in compiled.layout.sizes.items()},
        "moved_bytes": dict(loaded) | {"program": 2 * program.program_words},
        "groups": [{
            "stages": [stage.layer for stage in group.stages], "way": group.order.kind, "commands": len(group.order.steps),
            "estimated_cycles": round(group.cycles), "activation_words": sum(local.size for local in group.locals.values()),
            "weight_words": sum(stage.work.blocks * stage.work.block_words for stage in group.stages),
            "buffers": [{"name": local.buffer.name, "base": local.base, "words": local.size, "rows": local.rows,
                         "of_rows": local.buffer.height, "brought": local.brought, "stored": local.stored}
                        for local in sorted(group.locals.values(), key=lambda local: local.base)]}
            for group in compiled.groups],
        "layers": [{"name": stage.layer, "writes": stage.tensor, "shape": list(stage.work.shape), "macs": stage.work.macs,
                    "utilisation": stage.work.macs / geometry.macs / entry["cycles"], **entry}
                   for stage, entry in layers.items()],
    }


def show(console: Console, compiled: Compiled, data: dict) -> None:
    """Prints the record."""
    for number, group in enumerate(data["groups"], 1):
        table = Table(title=f"group {number}: {WAYS[group['way']]}, {group['commands']} commands, "
                            f"{group['weight_words']:,} weight words, {group['activation_words']:,} activation words",
                      title_justify="left")
        for heading in ("from", "to", "rows", "of", "buffer", ""):
            table.add_column(heading, justify="left" if heading in ("buffer", "") else "right")
        for buffer in group["buffers"]:
            what = [word for word, yes in (("loaded" if "windows of" not in buffer["name"] else "gathered", buffer["brought"]),
                                           ("stored", buffer["stored"])) if yes]
            table.add_row(str(buffer["base"]), str(buffer["base"] + buffer["words"] - 1), str(buffer["rows"]),
                          str(buffer["of_rows"]), buffer["name"], ", ".join(what))
        console.print(table)
        console.print(f"  {', '.join(group['stages'])}\n", highlight=False, markup=False)
    table = Table(title="layers, as the array works if it waits for no memory", title_justify="left")
    for heading in ("layer", "writes", "commands", "cycles", "utilisation"):
        table.add_column(heading, justify="left" if heading in ("layer", "writes") else "right")
    for layer in data["layers"]:
        table.add_row(layer["name"], layer["writes"], str(layer["commands"]), f"{layer['cycles']:,}",
                      f"{layer['utilisation']:.1%}")
    console.print(table)
    for title, kind in (("storage", "storage_bytes"), ("moved in a frame", "moved_bytes")):
        sizes = ", ".join(f"{name.replace('_', ' ')} {size:,}" for name, size in data[kind].items())
        console.print(f"{title}, bytes: {sizes}; {sum(data[kind].values()):,} in all", highlight=False)
    counts = ", ".join(f"{count} {queue}" for queue, count in data["instructions"].items())
    console.print(f"instructions: {counts}", highlight=False)
    console.print(f"{data['cycles']:,} cycles, estimated: {data['utilisation']:.1%} of peak", highlight=False)


def plot(path: Path, compiled: Compiled) -> None:
    """Draws which stage computes when, and where its maps lie in activation memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    when = timeline(compiled.program.geometry, compiled.jobs)
    names = [stage.layer for stage in compiled.stages.stages]
    figure = Figure(figsize=(14, 9), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    places = {stage: n for n, stage in enumerate(compiled.stages.stages)}
    spans: dict[int, list[int]] = {}
    for job in compiled.jobs.computes:
        time = when[job]
        top.barh(places[job.stage], time.end - time.start, left=time.start, height=0.8, color=f"C{job.group % 10}")
        span = spans.setdefault(job.group, [time.start, time.end])
        span[:] = min(span[0], time.start), max(span[1], time.end)
    top.set_yticks(range(len(names)), names, fontsize=7)
    top.invert_yaxis()
    top.set_title(f"{compiled.program.name}: commands, a colour for each group")
    for number, group in enumerate(compiled.groups):
        start, end = spans[number]
        for local in group.locals.values():
            bottom.add_patch(Rectangle((start, local.base), end - start, local.size, facecolor=f"C{number % 10}", alpha=0.5,
                                       edgecolor="black", linewidth=0.5))
            if end - start > 0.03 * max(span[1] for span in spans.values()) and local.size > 150:
                label = local.buffer.name + ("" if local.whole else f" ({local.rows} rows)")
                bottom.text(start, local.base + local.size / 2, label, fontsize=5, va="center", clip_on=True)
    bottom.set_ylim(0, compiled.program.geometry.activation_words)
    bottom.set_xlim(0, max(span[1] for span in spans.values()))
    bottom.set_ylabel("activation memory, words")
    bottom.set_xlabel("cycles, estimated")
    figure.savefig(path)
