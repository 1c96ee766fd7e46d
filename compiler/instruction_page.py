"""The page about the instruction set, from the records themselves."""
from collections.abc import Iterator
import inspect
import re

from arch import command, instruction
from arch.command import Command, Field, Record
from arch.geometry import PRESETS
from arch.instruction import BODIES, QUEUE_OF, SYNC, Opcode, Waits, word_ranges

__all__ = ["instruction_page"]

COMMENT = re.compile(r"^    (\w+): int = .*?  # (.+)$", re.MULTILINE)
GEOMETRY = PRESETS["85f"]       # any whose memories differ in size: it tells which one limits a field
MEMORIES = ("activation_words", "weight_words", "parameter_words")


SUMMARIES = {
    Opcode.START: "begins a program", Opcode.END: "ends it", Opcode.LOAD_WEIGHTS: "storage to weight memory",
    Opcode.LOAD_PARAMETERS: "storage to parameter memory", Opcode.LOAD_ACTIVATIONS: "storage to activation memory",
    Opcode.LOAD_PIXELS: "storage to the gather", Opcode.STORE: "activation memory to storage",
    Opcode.GATHER: "pixels to windows in activation memory", Opcode.COMPUTE: "a band of rows of a convolution, and what is fused"}


def _link(opcode: Opcode) -> str:
    return f"[{opcode.name}](#{opcode.name.lower()})"


def _meanings(record: type[Record]) -> dict[str, str]:
    """What the source says behind a field."""
    return dict(COMMENT.findall(inspect.getsource(record)))


def _range(name: str, entry: Field, opcode: Opcode) -> str:
    high = str(entry.high)
    known = {word.name: word.high for word in word_ranges(GEOMETRY, opcode)}
    if entry.bits <= 16 and known[name] < entry.high:
        for memory in MEMORIES:
            words = getattr(GEOMETRY, memory)
            if known[name] in (words, words - 1):
                high = memory if known[name] == words else f"{memory} - 1"
    return f"{entry.low}..{high}"


def _table(record: type[Record], opcode: Opcode, at: int, prefix: str = "") -> Iterator[str]:
    """Rows of a record whose first word is `at`."""
    meanings = _meanings(record)
    yield "| word | field | range | unit | meaning |"
    yield "|---|---|---|---|---|"
    for entry in record.fields():
        words = 1 + (entry.bits > 16)
        place = str(at) if words == 1 else f"{at}, {at + 1}"
        yield (f"| {place} | `{entry.name}` | {_range(prefix + entry.name, entry, opcode)} | {entry.unit} | "
               f"{meanings.get(entry.name, '')} |")
        at += words


def _words(record: type[Record]) -> int:
    return sum(1 + (entry.bits > 16) for entry in record.fields())


def _doc(item) -> str:
    return inspect.getdoc(item) or ""


def _body(opcode: Opcode) -> Iterator[str]:
    if opcode is Opcode.COMPUTE:
        at = 0
        for name, record in Command.records().items():
            yield from ("", f"### `{name}`: {record.__name__}", "", _doc(record), "")
            yield from _table(record, opcode, at, f"{name}.")
            at += _words(record)
    elif BODIES[opcode].fields():
        yield ""
        yield from _table(BODIES[opcode], opcode, 0)


def instruction_page() -> str:
    """Markdown: how instructions lie in storage, and every field with its word, range, unit and meaning."""
    intro = _doc(instruction).split("\n", 2)
    page = ["# Instructions", "", "Written by `python -m compiler.disasm --document`; do not edit.", "", intro[0], intro[2], "",
            _doc(command).split("\n", 2)[2], "",
            "Words of a body are counted from the first one behind the header and the waits. Where a range ends with the size of",
            "a memory, it is the geometry's. The machine checks every word as it comes, and stops at the first illegal one.", "",
            "## Header", "", "| bits | field | value |", "|---|---|---|", "| 3:0 | opcode | see below |",
            *(f"| {4 + n} | a word of {queue} tokens to wait for follows | 0, 1 |" for n, queue in enumerate(instruction.QUEUES)),
            f"| 15:8 | `SYNC` | 0x{SYNC:02x} |", "",
            "The words of tokens follow in the order of the bits, 1..65535 each. " + _doc(Waits), "",
            "## Opcodes", "", "| opcode | instruction | queue | body | words of the body | what it does |",
            "|---|---|---|---|---|---|"]
    for opcode in Opcode:
        records = Command.records().values() if opcode is Opcode.COMPUTE else [BODIES[opcode]]
        page.append(f"| {int(opcode)} | {_link(opcode)} | {QUEUE_OF[opcode]} | `{BODIES[opcode].__name__}` | "
                    f"{sum(_words(record) for record in records)} | {SUMMARIES[opcode]} |")
    page += ["", _doc(instruction.storage_words)]
    shown: dict[type, Opcode] = {}
    for opcode in Opcode:
        first = shown.setdefault(BODIES[opcode], opcode)
        about = _doc(BODIES[opcode]) if first is opcode else f"A `{BODIES[opcode].__name__}`, as {_link(first)}."
        page += ["", f"## {opcode.name}", "", f"{SUMMARIES[opcode].capitalize()}.", "", about, *_body(opcode)]
    return "\n".join(page) + "\n"
