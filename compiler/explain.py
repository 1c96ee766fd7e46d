"""How a program came about: schedule, memories over time, storage, and the cycles of each layer."""
from pathlib import Path

from rich.console import Console
from rich.table import Table

from arch.instruction import QUEUES
from compiler.build import Compiled
from compiler.residency import Brought, Residency, Stored

__all__ = ["PLOTS", "plot", "record", "show"]

PLOTS = (".png", ".svg")
WAYS = {"bands": "in bands", "chunks": "chunks, all bands of each", "reload": "bands, all chunks of each"}


def record(compiled: Compiled, figures: dict) -> dict:
    """Everything that `show` prints, as plain values. `figures` as `compiler.figures` has them."""
    program, geometry = compiled.program, compiled.program.geometry
    shapes = {(stage.layer, stage.tensor): list(stage.work.shape) for stage in compiled.stages.stages}
    return {
        "model": program.name, "geometry": geometry.to_json(),
        **{name: figures[name] for name in ("cycles", "cycles_again", "macs", "utilisation", "weight_bytes",
                                            "stored_weight_bytes")},
        "coded_stages": len(compiled.layout.coded),
        "instructions": {queue: sum(i.queue == queue for i in program.instructions) for queue in QUEUES},
        "storage_bytes": {kind: 2 * words for kind, words in compiled.layout.sizes.items()},
        "moved_bytes": figures["storage_bytes"],
        "groups": [{
            "stages": [stage.layer for stage in group.stages], "way": group.order.way.value, "commands": len(group.order.steps),
            "estimated_cycles": round(group.cycles),
            "activation_words": sum(resident.size for resident in group.places),
            "weight_words": sum(stage.work.blocks * stage.work.block_words for stage in group.stages),
            "buffers": [_resident(one) for one in sorted(group.places, key=lambda resident: resident.base)]}
            for group in compiled.groups],
        "layers": [layer | {"shape": shapes[layer["name"], layer["writes"]]} for layer in figures["layers"]],
    }


def _resident(resident: Residency) -> dict:
    return {"name": resident.buffer.name, "base": resident.base, "words": resident.size, "rows": resident.rows,
            "of_rows": resident.buffer.height, "brought": isinstance(resident, Brought), "stored": isinstance(resident, Stored)}


def show(console: Console, compiled: Compiled, data: dict) -> None:
    """Prints the record."""
    for number, group in enumerate(data["groups"], 1):
        console.print(f"group {number}: {WAYS[group['way']]}, {group['commands']} commands, "
                      f"{group['weight_words']:,} weight words, {group['activation_words']:,} activation words")
        table = Table(box=None, pad_edge=False)
        for heading in ("from", "to", "rows", "of", "buffer", "rows are"):
            table.add_column(heading, justify="left" if heading in ("buffer", "rows are") else "right")
        for buffer in group["buffers"]:
            what = [word for word, yes in (("loaded" if "windows of" not in buffer["name"] else "gathered", buffer["brought"]),
                                           ("stored", buffer["stored"])) if yes]
            table.add_row(str(buffer["base"]), str(buffer["base"] + buffer["words"] - 1), str(buffer["rows"]),
                          str(buffer["of_rows"]), buffer["name"], ", ".join(what))
        console.print(table)
        console.print(f"  {', '.join(group['stages'])}\n")
    console.print("layers, what they write if not their own output, and their use of the multipliers' peak")
    table = Table(box=None, pad_edge=False)
    for heading in ("layer", "writes", "commands", "cycles", "use", "bytes", "bound by"):
        table.add_column(heading, justify="left" if heading in ("layer", "writes", "bound by") else "right")
    for layer in data["layers"]:
        writes = layer["writes"] if layer["writes"] != layer["name"] else ""
        table.add_row(layer["name"], writes, str(layer["commands"]), f"{layer['cycles']:,}", f"{layer['utilisation']:.1%}",
                      f"{layer['bytes']:,}", layer["bound"])
    console.print(table)
    for title, kind in (("storage", "storage_bytes"), ("moved in a frame", "moved_bytes")):
        sizes = ", ".join(f"{name.replace('_', ' ')} {size:,}" for name, size in data[kind].items())
        console.print(f"{title}, bytes: {sizes}; {sum(data[kind].values()):,} in all")
    coded = data["coded_stages"] and f", compressed in {data['coded_stages']} of {len(compiled.stages.stages)} stages"
    console.print(f"weights: {data['weight_bytes']:,} bytes of the network, {data['stored_weight_bytes']:,} that are loaded"
                  f"{coded or ''}")
    counts = ", ".join(f"{count} {queue}" for queue, count in data["instructions"].items())
    console.print(f"instructions: {counts}")
    again = "" if data["cycles_again"] == data["cycles"] else (
        f"; {data['cycles_again']:,} for frames behind the first one: weights stay on the chip")
    console.print(f"{data['cycles']:,} cycles: {data['utilisation']:.1%} of peak{again}")


def plot(path: Path, compiled: Compiled, figures: dict) -> None:
    """Draws which stage computes when, and where its maps lie in activation memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    names = [stage.layer for stage in compiled.stages.stages]
    figure = Figure(figsize=(14, 9), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    places = {stage: n for n, stage in enumerate(compiled.stages.stages)}
    spans: dict[int, list[int]] = {}
    for job, (start, end) in zip(compiled.jobs.computes, figures["timeline"]["compute"], strict=True):
        top.barh(places[job.stage], end - start, left=start, height=0.8, color=f"C{job.group % 10}")
        span = spans.setdefault(job.group, [start, end])
        span[:] = min(span[0], start), max(span[1], end)
    top.set_yticks(range(len(names)), names, fontsize=7)
    top.invert_yaxis()
    top.set_title(f"{compiled.program.name}: commands, a colour for each group")
    for number, group in enumerate(compiled.groups):
        start, end = spans[number]
        for resident in group.places:
            bottom.add_patch(Rectangle((start, resident.base), end - start, resident.size, facecolor=f"C{number % 10}", alpha=0.5,
                                       edgecolor="black", linewidth=0.5))
            if end - start > 0.03 * max(span[1] for span in spans.values()) and resident.size > 150:
                label = resident.buffer.name + ("" if resident.whole else f" ({resident.rows} rows)")
                bottom.text(start, resident.base + resident.size / 2, label, fontsize=5, va="center", clip_on=True)
    bottom.set_ylim(0, compiled.program.geometry.activation_words)
    bottom.set_xlim(0, max(span[1] for span in spans.values()))
    bottom.set_ylabel("activation memory, words")
    bottom.set_xlabel("cycles")
    figure.savefig(path)
