"""Ways in which a TFLite file gets damaged, so that it is still one of tables and vectors: as `bench.damage.mutations`.

A flatbuffer's fields lie at fixed places, so each is changed where it is: numbers of shapes and options, offsets, lengths of
vectors, the tensors that operators read and write.
"""
from collections.abc import Callable, Iterator
from random import Random
import struct

from flatbuffers.table import Table
import tflite

from bench.damage.mutations import Mutation

__all__ = ["TFLITE_MUTATIONS"]

NUMBERS = (-1, 0, 1, 2, 3, 7, 127, 4096, 1 << 20, (1 << 31) - 1, -(1 << 31))
SPECIAL = (float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e-38, 3e38)


def _put(data: bytes, place: int, form: str, value: float) -> bytes:
    return data[:place] + struct.pack(form, value) + data[place + struct.calcsize(form):]


def _change(places: Callable[[tflite.Model], list[int]], form: str, values: Callable[[Random, int], float]) -> Mutation:
    """Another value at one of the places of a kind."""
    def mutate(data: bytes, rng: Random, other: bytes) -> bytes:
        found = places(tflite.Model.GetRootAs(data))
        return _put(data, rng.choice(found), form, values(rng, len(data))) if found else data
    mutate.__name__ = places.__name__.strip("_")
    return mutate


def _tables(model: tflite.Model) -> Iterator[Table]:
    """Tables of the model, its graph, tensors, their quantisation, operators, options, codes and buffers."""
    graph = model.Subgraphs(0)
    yield model._tab
    yield graph._tab
    for k in range(graph.TensorsLength()):
        tensor = graph.Tensors(k)
        yield tensor._tab
        if tensor.Quantization() is not None:
            yield tensor.Quantization()._tab
    for k in range(graph.OperatorsLength()):
        yield graph.Operators(k)._tab
        if graph.Operators(k).BuiltinOptions() is not None:
            yield graph.Operators(k).BuiltinOptions()
    yield from (model.OperatorCodes(k)._tab for k in range(model.OperatorCodesLength()))
    yield from (model.Buffers(k)._tab for k in range(model.BuffersLength()))


def _vectors(tables: list[Table], slot: int) -> list[int]:
    """Where the lengths of the vectors are that are the field `slot` of these tables."""
    return [table.Vector(table.Offset(4 + 2 * slot)) - 4 for table in tables if table.Offset(4 + 2 * slot)]


def _elements(tables: list[Table], slot: int, size: int = 4) -> list[int]:
    found = []
    for table in tables:
        if offset := table.Offset(4 + 2 * slot):
            found += range(table.Vector(offset), table.Vector(offset) + size * table.VectorLen(offset), size)
    return found


def _tensors(model: tflite.Model) -> list[Table]:
    graph = model.Subgraphs(0)
    return [graph.Tensors(k)._tab for k in range(graph.TensorsLength())]


def _operators(model: tflite.Model) -> list[Table]:
    graph = model.Subgraphs(0)
    return [graph.Operators(k)._tab for k in range(graph.OperatorsLength())]


def _fields(tables: list[Table], slots: tuple[int, ...]) -> list[int]:
    return [table.Pos + table.Offset(4 + 2 * slot) for table in tables for slot in slots if table.Offset(4 + 2 * slot)]


def shapes(model: tflite.Model) -> list[int]:
    return _elements(_tensors(model), 0)


def shape_lengths(model: tflite.Model) -> list[int]:
    return _vectors(_tensors(model), 0)


def element_types(model: tflite.Model) -> list[int]:
    return _fields(_tensors(model), (1,))


def buffers_of_tensors(model: tflite.Model) -> list[int]:
    return _fields(_tensors(model), (2,))


def buffer_lengths(model: tflite.Model) -> list[int]:
    return _vectors([model.Buffers(k)._tab for k in range(model.BuffersLength())], 0)


def operands(model: tflite.Model) -> list[int]:
    """Tensors that operators read and write: among others cycles, and tensors that nothing produces."""
    return _elements(_operators(model), 1) + _elements(_operators(model), 2)


def operand_lengths(model: tflite.Model) -> list[int]:
    return _vectors(_operators(model), 1) + _vectors(_operators(model), 2)


def opcodes(model: tflite.Model) -> list[int]:
    codes = [model.OperatorCodes(k)._tab for k in range(model.OperatorCodesLength())]
    return _fields(codes, (0,))


def options(model: tflite.Model) -> list[int]:
    tables = [model.Subgraphs(0).Operators(k).BuiltinOptions() for k in range(model.Subgraphs(0).OperatorsLength())]
    return _fields([table for table in tables if table is not None], (0, 1, 2, 3, 4, 5))


def offsets(model: tflite.Model) -> list[int]:
    """Of tables to their layouts, and the root."""
    return [0, *(table.Pos for table in _tables(model))]


def layouts(model: tflite.Model) -> list[int]:
    """Sizes, and places of fields, in the layouts of tables."""
    found = []
    for table in _tables(model):
        start = table.Pos - struct.unpack_from("<i", table.Bytes, table.Pos)[0]
        found += range(start, start + struct.unpack_from("<H", table.Bytes, start)[0], 2)
    return found


def scales(model: tflite.Model) -> list[int]:
    graph = model.Subgraphs(0)
    records = [graph.Tensors(k).Quantization() for k in range(graph.TensorsLength())]
    return _elements([record._tab for record in records if record is not None], 2)


def zero_points(model: tflite.Model) -> list[int]:
    graph = model.Subgraphs(0)
    records = [graph.Tensors(k).Quantization() for k in range(graph.TensorsLength())]
    return _elements([record._tab for record in records if record is not None], 3, 8)


def floats(model: tflite.Model) -> list[int]:
    """Weights and biases."""
    return [place for k in range(model.BuffersLength()) for place in _elements([model.Buffers(k)._tab], 0, 1)[::4]]


def _number(rng: Random, size: int) -> int:
    return rng.choice(NUMBERS)


TFLITE_MUTATIONS: tuple[Mutation, ...] = (
    *(_change(places, "<i", _number) for places in (shapes, shape_lengths, buffer_lengths, operand_lengths)),
    *(_change(places, "<i", lambda rng, size: rng.randrange(-1, 100)) for places in (operands, buffers_of_tensors)),
    *(_change(places, "<b", lambda rng, size: rng.randrange(-1, 128)) for places in (element_types, opcodes, options)),
    _change(offsets, "<i", lambda rng, size: rng.choice((*NUMBERS, rng.randrange(size), -rng.randrange(size)))),
    _change(layouts, "<H", lambda rng, size: rng.choice((0, 1, 4, 8, 65535, rng.randrange(64)))),
    _change(scales, "<f", lambda rng, size: rng.choice(SPECIAL)),
    _change(floats, "<f", lambda rng, size: rng.choice(SPECIAL)),
    _change(zero_points, "<q", lambda rng, size: rng.choice((*NUMBERS, -128, 128, 255, 1 << 40))),
)
