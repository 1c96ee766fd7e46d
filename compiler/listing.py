"""A program as text: every instruction with its place in storage, what it waits for, and its fields."""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import textwrap

import numpy as np

from arch.command import Command
from arch.geometry import Geometry
from arch.instruction import QUEUES, Instruction, Opcode, Start, decode, encode
from arch.program import Part
from arch.record import Record

__all__ = ["Line", "lines", "record_of", "text_of"]

WIDTH = 116
INDENT = " " * 10


@dataclass(frozen=True, kw_only=True)
class Line:
    """An instruction in storage: its first word's `address`, its number in the program, that of its token in its queue (from 1
    on, 0 for control), and what a compute command computes, where that is known."""

    address: int
    index: int
    token: int
    instruction: Instruction
    part: Part | None = None


def lines(words: Sequence[int] | np.ndarray, geometry: Geometry, *, base: int = 0, parts: Sequence[Part] = ()) -> Iterator[Line]:
    """The instructions of a program whose first word is at `base` in storage. Raises InstructionError, whose `word` counts
    from the program's first one, at the first illegal word: what was legal before it has come by then."""
    given, address = dict.fromkeys(QUEUES, 0), base
    for index, instruction in enumerate(decode(words, geometry)):
        part = None
        if instruction.queue in given:
            if instruction.opcode is Opcode.COMPUTE and given["compute"] < len(parts):
                part = parts[given["compute"]]
            given[instruction.queue] += 1
        yield Line(address=address, index=index, token=given.get(instruction.queue, 0), instruction=instruction, part=part)
        address += len(encode(instruction))


def _span(part: range) -> str:
    return f"{part.start}..{part.stop - 1}" if part else "none"


def _about(line: Line) -> str:
    body, part = line.instruction.body, line.part
    if isinstance(body, Start):
        return f"geometry {body.digest:016x}"
    if part is None:
        return ""
    pooled = "" if part.writes == part.layer else f" -> {part.writes} rows {_span(part.pooled)}"
    more = ", sums go on" if isinstance(body, Command) and body.window.goes_on else ""
    return f"{part.layer} rows {_span(part.rows)} channels {_span(part.channels)}{pooled}{more}"


def _fields(record: Record) -> str:
    return " ".join(f"{entry.name}={getattr(record, entry.name)}" for entry in record.fields())


def text_of(line: Line) -> str:
    """A head line, and the fields below it."""
    instruction = line.instruction
    waits = " ".join(f"{queue}:{tokens}" for queue in QUEUES if (tokens := getattr(instruction.waits, queue)))
    token = f"{instruction.queue}:{line.token}" if line.token else ""
    head = f"{line.address:>8}  {instruction.opcode.name:<16}  {token:<13} {'after ' + waits if waits else '':<34}{_about(line)}"
    body = instruction.body
    if isinstance(body, Command):
        records = [(f"{name:<11}", record) for name, record in body.present().items()]
    else:
        records = [("", body)] if body.fields() else []
    result = [head.rstrip()]
    for name, record in records:
        result += textwrap.wrap(_fields(record), WIDTH, initial_indent=INDENT + name,
                                subsequent_indent=INDENT + " " * len(name))
    return "\n".join(result)


def record_of(line: Line) -> dict:
    """The same as plain values for JSON."""
    def values(record: Record) -> dict[str, int]:
        return {entry.name: getattr(record, entry.name) for entry in record.fields()}
    body, part = line.instruction.body, line.part
    if isinstance(body, Command):
        fields = {name: values(record) for name, record in body.present().items()}
    else:
        fields = values(body)
    record = {"address": line.address, "index": line.index, "opcode": line.instruction.opcode.name,
              "queue": line.instruction.queue, "token": line.token,
              "waits": {queue: tokens for queue, tokens in values(line.instruction.waits).items() if tokens}, "fields": fields}
    if part is not None:
        record["part"] = {"layer": part.layer, "writes": part.writes, **{
            name: [span.start, span.stop] for name in ("rows", "pooled", "channels") for span in [getattr(part, name)]}}
    return record


