"""Programs as files (`.flp`): a safetensors container of storage, and the rest as JSON in its metadata.

As in `nets.int8.file` the metadata begins with the SHA-256 of the whole file, taken with 64 zeros in the digest's place. So
a file is either as it was written, or refused. Instructions are not stored twice: they are decoded from storage.
"""
from dataclasses import asdict
import hashlib
import json
from pathlib import Path
import re

import numpy as np
from safetensors import SafetensorError
import safetensors.numpy

from arch.geometry import Geometry
from arch.instruction import InstructionError, Opcode, decode, encode
from arch.program import Part, Program, Tensor
from cli import RequestError, write_bytes

__all__ = ["ProgramFileError", "SUFFIX", "VERSION", "load", "save"]

SUFFIX = ".flp"
VERSION = 1
ZEROS = b"0" * 64
DIGEST = re.compile(rb'^\{"__metadata__":\{"fireline_program":"\{\\"digest\\":\\"([0-9a-f]{64})\\"')
RANGES = ("rows", "pooled", "channels")


class ProgramFileError(RequestError):
    """A file that holds no program; the message names it."""


def save(program: Program, path: str | Path) -> None:
    """Writes a program, whole or not at all; the same program always gives the same bytes.

    Raises ProgramFileError for a name without `.flp`, OutputError if it cannot be written.
    """
    if Path(path).suffix != SUFFIX:
        raise ProgramFileError(f"{path}: a program must end in {SUFFIX}")
    record = {
        "digest": ZEROS.decode(), "version": VERSION, "name": program.name, "geometry": json.loads(program.geometry.to_json()),
        "program": program.program, "program_words": program.program_words, "store_base": program.store_base,
        "store_words": program.store_words, "input": asdict(program.input), "output": asdict(program.output),
        "meta": program.meta,
        "parts": [[part.layer, part.writes, *((getattr(part, name).start, getattr(part, name).stop) for name in RANGES)]
                  for part in program.parts],
    }
    text = json.dumps(record, separators=(",", ":"), allow_nan=False)
    content = safetensors.numpy.save({"storage": program.storage}, {"fireline_program": text})
    start = DIGEST.match(content[8:]).start(1) + 8
    digest = hashlib.sha256(content).hexdigest().encode()
    write_bytes(path, content[:start] + digest + content[start + 64:])


def load(path: str | Path) -> Program:
    """The program of a file. Raises ProgramFileError, in one line with the file, for whatever is wrong."""
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:      # ValueError: a NUL in the name
        raise ProgramFileError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return _parse(content)
    except (ValueError, TypeError, KeyError, RecursionError, InstructionError, SafetensorError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise ProgramFileError(f"{path}: {reason}") from None


def _parse(content: bytes) -> Program:
    found = DIGEST.match(content[8:])
    if len(content) < 8 or not found:
        raise ValueError("is no program: byte 8 does not begin the header of one")
    length = int.from_bytes(content[:8], "little")
    if length > len(content) - 8:
        raise ValueError(f"ends at byte {len(content)}, within the header of {length} bytes")
    start = found.start(1) + 8
    if hashlib.sha256(content[:start] + ZEROS + content[start + 64:]).hexdigest().encode() != found[1]:
        raise ValueError("is damaged: its SHA-256 is not the one written in it")
    record = json.loads(json.loads(content[8:8 + length])["__metadata__"]["fireline_program"])
    if record.get("version") != VERSION:
        raise ValueError(f"has version {record.get('version')!r}, but only version {VERSION} can be read")
    storage = safetensors.numpy.load(content)["storage"]
    if storage.dtype != np.uint16 or storage.ndim != 1:
        raise ValueError(f"storage must be a row of uint16, not {storage.dtype} {storage.shape}")
    geometry = Geometry.from_json(json.dumps(record["geometry"]))
    code = storage[record["program"]:record["program"] + record["program_words"]].tolist()
    instructions = tuple(decode(code, geometry))
    if sum(len(encode(instruction)) for instruction in instructions) != len(code):
        raise ValueError(f"program must be {len(code)} words up to its END")
    parts = tuple(Part(layer=layer, writes=writes, **{name: range(*pair) for name, pair in zip(RANGES, ranges, strict=True)})
                  for layer, writes, *ranges in record["parts"])
    computes = sum(instruction.opcode is Opcode.COMPUTE for instruction in instructions)
    if len(parts) != computes:
        raise ValueError(f"parts must be {computes}, one for each compute command, not {len(parts)}")
    return Program(name=record["name"], geometry=geometry, instructions=instructions, parts=parts, storage=storage,
                   program=record["program"], program_words=record["program_words"], store_base=record["store_base"],
                   store_words=record["store_words"], input=_tensor(record["input"]), output=_tensor(record["output"]),
                   meta=record["meta"])


def _tensor(record: dict) -> Tensor:
    return Tensor(**record | {"shape": tuple(record["shape"])})
