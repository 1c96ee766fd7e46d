"""The page about the instruction set, from the records themselves."""
from collections.abc import Iterable, Iterator
import inspect

from arch import command, instruction
from arch.control import body_words
from arch.geometry import PRESETS
from arch.instruction import BODIES, OPTION_OF, QUEUE_OF, SYNC, Opcode, Waits, memory_of, records
from arch.record import Field, Record
from arch.units import OPTIONAL, UNITS

__all__ = ["instruction_page"]

GEOMETRY = PRESETS["85f"]       # has every unit that is not optional

SUMMARIES = {
    Opcode.START: "begins a program", Opcode.END: "ends it", Opcode.LOAD_WEIGHTS: "storage to weight memory",
    Opcode.LOAD_PARAMETERS: "storage to parameter memory", Opcode.LOAD_ACTIVATIONS: "storage to activation memory",
    Opcode.LOAD_PIXELS: "storage to the gather", Opcode.STORE: "activation memory to storage",
    Opcode.GATHER: "pixels to windows in activation memory", Opcode.COMPUTE: "a band of rows of a convolution, and what is fused",
    Opcode.LOAD_CODED: "compressed weights in storage to weight memory"}


def _link(opcode: Opcode) -> str:
    return f"[{opcode.name}](#{opcode.name.lower()})"


def _range(entry: Field, opcode: Opcode) -> str:
    memory = memory_of(opcode, entry)
    high = f"{memory}{'' if entry.low else ' - 1'}" if memory else entry.high
    return f"{entry.low}..{high}"


def _table(fields: Iterable[Field], opcode: Opcode, at: int, sign: str = "") -> Iterator[str]:
    """Rows of a record's fields whose first word is `at`; `sign` stands before the number of each word."""
    yield "| word | field | range | unit | meaning |"
    yield "|---|---|---|---|---|"
    for entry in fields:
        words = 1 + (entry.bits > 16)
        place = ", ".join(f"{sign}{at + n}" for n in range(words))
        yield f"| {place} | `{entry.name}` | {_range(entry, opcode)} | {entry.unit} | {entry.doc} |"
        at += words


def _doc(item) -> str:
    return inspect.getdoc(item) or ""


def _body(opcode: Opcode) -> Iterator[str]:
    at = 0
    for name, record in records(GEOMETRY, opcode).items():
        if name:
            yield from ("", f"### `{name}`: {record.__name__}", "", _doc(record), "")
        elif record.fields():
            yield ""
        if record.fields():
            yield from _table(record.fields(), opcode, at)
        at += record.encoded_words()
    if opcode is Opcode.COMPUTE:
        yield from _optional()


def _optional() -> Iterator[str]:
    """What commands say to units that only some engines have."""
    before = ""
    for name, record in command.Command.records(GEOMETRY.with_options(OPTIONAL)).items():
        usual = command.Command.records(GEOMETRY).get(name)
        if usual not in (None, record):
            yield from _further(name, usual, record)
        if name in OPTIONAL:
            place = (f"Engines with the optional unit `{name}` have these words behind those of `{before}`; all that stands "
                     f"behind is {record.encoded_words()} words later.")
            yield from ("", f"### `{name}`: {record.__name__}, optional", "", _doc(record), "", place, "")
            yield from _table(record.fields(), Opcode.COMPUTE, 0, "+")
        before = name


def _further(name: str, usual: type[Record], record: type[Record]) -> Iterator[str]:
    """Fields of a record that only engines with an option have, behind the usual ones."""
    option, = (option for unit in UNITS for option, found in unit.extended.items() if found is record)
    place = (f"Engines with the option `{option}` have these words behind the usual ones of `{name}`; all that stands behind is "
             "as many words later.")
    yield from ("", f"### `{name}`: {record.__name__}, optional", "", _doc(record), "", place, "")
    yield from _table(record.fields()[len(usual.fields()):], Opcode.COMPUTE, 0, "+")


def instruction_page() -> str:
    """Markdown: how instructions lie in storage, and every field with its word, range, unit and meaning."""
    intro = _doc(instruction).split("\n", 2)
    page = ["# Instructions", "", "Written by `python -m compiler.disasm --document`; do not edit.", "", intro[0], intro[2], "",
            _doc(command).split("\n", 2)[2], "",
            "Words of a body are counted from the first one behind the header and the waits. Where a range ends with the size of",
            "a memory, it is the geometry's. Addresses of storage have 28 bits in a program; a machine knows as many as its",
            "storage takes, 24 at least. The machine checks every word as it comes, and stops at the first illegal one.", "",
            "## Header", "", "| bits | field | value |", "|---|---|---|", "| 3:0 | opcode | see below |",
            *(f"| {4 + n} | a word of {queue} tokens to wait for follows | 0, 1 |" for n, queue in enumerate(instruction.QUEUES)),
            f"| 15:8 | `SYNC` | 0x{SYNC:02x} |", "",
            "The words of tokens follow in the order of the bits, 1..65535 each. " + _doc(Waits), "",
            "## Opcodes", "", "| opcode | instruction | queue | body | words of the body | what it does |",
            "|---|---|---|---|---|---|"]
    for opcode in Opcode:
        page.append(f"| {int(opcode)} | {_link(opcode)} | {QUEUE_OF[opcode]} | `{BODIES[opcode].__name__}` | "
                    f"{body_words(GEOMETRY, opcode)} | {SUMMARIES[opcode]} |")
    page += ["", _doc(instruction.storage_words)]
    shown: dict[type, Opcode] = {}
    for opcode in Opcode:
        first = shown.setdefault(BODIES[opcode], opcode)
        about = _doc(BODIES[opcode]) if first is opcode else f"A `{BODIES[opcode].__name__}`, as {_link(first)}."
        only = [f"Only machines with the option `{OPTION_OF[opcode]}` know it.", ""] if opcode in OPTION_OF else []
        page += ["", f"## {opcode.name}", "", f"{SUMMARIES[opcode].capitalize()}.", "", *only, about, *_body(opcode)]
    return "\n".join(page) + "\n"
