"""What lies where in storage."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from arch.geometry import Geometry
from compiler.images import lrn_words, parameter_words, table_words, weight_words
from compiler.residency import Stored
from compiler.schedule.groups import Group
from compiler.stages import Buffer, Stage, Stages, overlap

__all__ = ["ALIGN", "Layout", "aligned", "constants", "lay_out"]

ALIGN = 32              # words: nothing shares a burst
ROW = 512               # of an SDRAM, in words: what lies behind the program begins at one place of it, however long that is
BANKS = 4               # that rows take turns with


@dataclass(eq=False)
class Layout:
    """Addresses in words of 16 bits, and words by kind (`sizes`). Constants come first, then the program, input, spills, output.
    `tables`, `functions` (of normalisations): of the stages that have one. `filters`: for each plane of the constants of
    depthwise convolutions, of the stages that have one. `coded`: what is stored in place of the plain weights of some stages.
    `constants`: where those behind the weights begin.

    Spilled buffers share words where no group needs both. No job has to wait for that: whoever stores a buffer does so behind a
    command of a later group than those that waited for the loads of the one that was there before.
    Only addresses of input and buffers depend on how long the program is: all by as much.
    """

    weights: dict[Stage, int]
    parameters: dict[Stage, int]
    tables: dict[Stage, int]
    functions: dict[Stage, int]
    filters: list[dict[Stage, int]]
    program: int
    input: int
    buffers: dict[Buffer, int]
    store_base: int
    end: int
    sizes: dict[str, int]
    coded: Mapping[Stage, np.ndarray] = field(default_factory=dict)
    constants: int = 0


def aligned(words: int, align: int = ALIGN) -> int:
    """So many words, and as many more as bring what follows to a multiple of `align`."""
    return -(-words // align) * align


def lay_out(stages: Stages, groups: Sequence[Group], geometry: Geometry, program_words: int,
            coded: Mapping[Stage, np.ndarray] | None = None, like: Layout | None = None) -> Layout:
    """The layout for a program of so many words; `coded` as in `Layout`. What lies behind weights and program begins at the same
    place of a row, of the same bank, as in the one that it shall be `like`: transfers take as long then."""
    coded = coded or {}
    weights, parameters, at = {}, {}, 0
    for stage in stages.stages:
        weights[stage] = at
        plain = stage.work.blocks * stage.work.block_words * geometry.input_lanes
        at = aligned(at + (len(coded[stage]) if stage in coded else plain))
    constants_end = at
    at = _alike(at, like and like.constants)
    behind = at
    for stage in stages.stages:
        parameters[stage] = at
        at = aligned(at + stage.work.blocks * geometry.pairs * 6)
    shared: dict[str, int] = {}                 # the stages of a layer have one table
    tables: dict[Stage, int] = {}
    for stage in stages.stages:
        if table := stage.work.table:
            if table.name not in shared:
                shared[table.name] = at
                at = aligned(at + len(table_words(table.table)))
            tables[stage] = shared[table.name]
    functions: dict[Stage, int] = {}
    for stage in stages.stages:
        if stage.work.lrn:
            functions[stage] = at
            at = aligned(at + len(lrn_words(stage.work.lrn)))
    filters: list[dict[Stage, int]] = []
    for stage in stages.stages:
        for plane, words in enumerate(stage.work.filter_constants):
            if plane == len(filters):
                filters.append({})
            filters[plane][stage] = at
            at = aligned(at + len(words))
    program, parameters_end = at, at
    program_end = at + aligned(program_words)
    at = _alike(aligned(program_end, ROW), like and like.input)
    image = stages.input
    buffers: dict[Buffer, int] = {}
    start = at
    if stages.image is not None:
        at = aligned(at + stages.image_words)
    else:
        buffers[image] = at
        at = aligned(at + _words(image, geometry))
    store_base = at
    spilled, spilled_words = _spilled(stages, groups, geometry)
    buffers |= {buffer: at + offset for buffer, offset in spilled.items()}
    at = buffers[stages.output] = at + spilled_words
    at = aligned(at + _words(stages.output, geometry))
    sizes = {"weights": constants_end, "parameters": parameters_end - behind, "program": program_end - program,
             "input": store_base - program_end, "spilled": spilled_words, "output": at - buffers[stages.output]}
    return Layout(weights=weights, parameters=parameters, tables=tables, functions=functions, filters=filters, program=program,
                  input=start,
                  buffers=buffers, store_base=store_base, end=at, sizes=sizes, coded=coded, constants=behind)


def _alike(words: int, other: int | None) -> int:
    """So many words, and as many more as bring what follows to the same place of rows and banks as another one."""
    return words if other is None else words + (other - words) % (BANKS * ROW)


def _words(buffer: Buffer, geometry: Geometry) -> int:
    return buffer.words * geometry.input_lanes // 2


def _spilled(stages: Stages, groups: Sequence[Group], geometry: Geometry) -> tuple[dict[Buffer, int], int]:
    """Where each spilled buffer lies behind the first one, and the words of all together.

    In the order in which they are first stored, each as low as it goes beside those that are needed in some group with it.
    """
    lives: dict[Buffer, range] = {}
    for number, group in enumerate(groups):
        for resident in group.places:
            buffer = resident.buffer.stored
            if buffer is not stages.output and (isinstance(resident, Stored) or buffer in lives):
                lives[buffer] = range(lives[buffer].start if buffer in lives else number, number + 1)
    places: dict[Buffer, range] = {}
    for buffer in lives:
        at, size = 0, aligned(_words(buffer, geometry), ROW)
        beside = (place for other, place in places.items() if overlap(lives[buffer], lives[other]))
        for taken in sorted(beside, key=lambda place: place.start):
            if at + size <= taken.start:
                break
            at = max(at, taken.stop)
        places[buffer] = range(at, at + size)
    return {buffer: place.start for buffer, place in places.items()}, max((place.stop for place in places.values()), default=0)


def constants(layout: Layout, stages: Stages, programs: Mapping[int, Sequence[int]]) -> np.ndarray:
    """Storage up to the end of the programs, which are given with their addresses, in order: uint16."""
    last, words = list(programs.items())[-1]
    storage = np.zeros(last + len(words), np.uint16)
    for stage in stages.stages:
        weights = layout.coded[stage] if stage in layout.coded else weight_words(stage.work.weights)
        for address, words in ((layout.weights[stage], weights),
                               (layout.parameters[stage], parameter_words(*stage.work.parameters))):
            storage[address:address + len(words)] = words
    for stage, address in layout.tables.items():
        words = table_words(stage.work.table.table)
        storage[address:address + len(words)] = words
    for stage, address in layout.functions.items():
        words = lrn_words(stage.work.lrn)
        storage[address:address + len(words)] = words
    for plane, places in enumerate(layout.filters):
        for stage, address in places.items():
            words = stage.work.filter_constants[plane]
            storage[address:address + len(words)] = words
    for address, words in programs.items():
        storage[address:address + len(words)] = words
    return storage
