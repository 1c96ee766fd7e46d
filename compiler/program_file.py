"""Programs as sealed files (`.flp`, `nets.sealed`): storage as it is, and the rest as a record.

Instructions are not stored twice: they are decoded from storage.
"""
from dataclasses import asdict, replace
import json
from pathlib import Path

import numpy as np

from arch.geometry import Geometry
from arch.instruction import Instruction, Opcode, decode, encode
from arch.program import Part, Program, Tensor
from cli import RequestError
from nets.sealed import Seal

__all__ = ["ProgramFileError", "SUFFIX", "VERSION", "load", "save"]

SUFFIX = ".flp"
VERSION = 3
RANGES = ("rows", "pooled", "channels")


class ProgramFileError(RequestError):
    """A file that holds no program; the message names it."""


SEAL = Seal(what="program", which="a program", suffix=SUFFIX, entry="fireline_program", version=VERSION, error=ProgramFileError)


def save(program: Program, path: str | Path) -> None:
    """Writes a program, whole or not at all; the same program always gives the same bytes.

    Raises ProgramFileError for a name without `.flp`, OutputError if it cannot be written.
    """
    SEAL.save(path, {
        "name": program.name, "geometry": json.loads(program.geometry.to_json()),
        "program": program.program, "program_words": program.program_words, "store_base": program.store_base,
        "store_words": program.store_words, "input": asdict(program.input), "output": asdict(program.output),
        "meta": program.meta, "again": program.again and [program.again.program, program.again.program_words],
        "parts": [[part.layer, part.writes, *((getattr(part, name).start, getattr(part, name).stop) for name in RANGES)]
                  for part in program.parts],
    }, {"storage": program.storage})


def load(path: str | Path) -> Program:
    """The program of a file. Raises ProgramFileError, in one line with the file, for whatever is wrong."""
    return SEAL.load(path, _program)


def _program(record: dict, arrays: dict[str, np.ndarray]) -> Program:
    storage = arrays["storage"]
    if storage.dtype != np.uint16 or storage.ndim != 1:
        raise ValueError(f"storage must be a row of uint16, not {storage.dtype} {storage.shape}")
    geometry = Geometry.from_json(json.dumps(record["geometry"]))
    instructions = _instructions(storage, record["program"], record["program_words"], geometry)
    parts = tuple(Part(layer=layer, writes=writes, **{name: range(*pair) for name, pair in zip(RANGES, ranges, strict=True)})
                  for layer, writes, *ranges in record["parts"])
    computes = sum(instruction.opcode is Opcode.COMPUTE for instruction in instructions)
    if len(parts) != computes:
        raise ValueError(f"parts must be {computes}, one for each compute command, not {len(parts)}")
    program = Program(name=record["name"], geometry=geometry, instructions=instructions, parts=parts, storage=storage,
                      program=record["program"], program_words=record["program_words"], store_base=record["store_base"],
                      store_words=record["store_words"], input=_tensor(record["input"]), output=_tensor(record["output"]),
                      meta=record["meta"])
    if record["again"] is None:
        return program
    at, words = record["again"]
    return replace(program, again=replace(program, instructions=_instructions(storage, at, words, geometry), program=at,
                                          program_words=words))


def _instructions(storage: np.ndarray, at: int, words: int, geometry: Geometry) -> tuple[Instruction, ...]:
    code = storage[at:at + words].tolist()
    instructions = tuple(decode(code, geometry))
    if sum(len(encode(instruction)) for instruction in instructions) != len(code):
        raise ValueError(f"program must be {len(code)} words up to its END")
    return instructions


def _tensor(record: dict) -> Tensor:
    return Tensor(**record | {"shape": tuple(record["shape"])})
