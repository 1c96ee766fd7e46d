import random
import re

import pytest

from arch.command import Command
from arch.geometry import PRESETS
from arch.instruction import BODIES, TRANSFERRED
from arch.record import ADDRESS, STORAGE, STORED, WEIGHT_ADDRESS, bits_of_storage
from arch.unit.average import AverageConfig
from arch.unit.gather import GatherConfig
from arch.unit.load import LoadConfig
from arch.unit.pool import PoolConfig
from arch.unit.requantise import RequantiseConfig
from arch.unit.window import CarryConfig, WindowConfig
from arch.unit.writer import WriterConfig
from hw.parts.layout import record_layout

RECORDS = [WindowConfig, LoadConfig, RequantiseConfig, PoolConfig, AverageConfig, WriterConfig, GatherConfig, CarryConfig]


def draw(record, rng):
    return record(**{f.name: rng.choice([f.low, f.high, rng.randint(f.low, f.high)]) for f in record.fields()})


@pytest.mark.parametrize("record", RECORDS)
def test_fields_are_packed_from_the_lowest_bit_on(record):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(50):
        value = draw(record, rng)
        assert value.pack() == record_layout(record).const({f.name: getattr(value, f.name) for f in record.fields()}).as_bits()
        assert value.pack() < 1 << record.bits()


@pytest.mark.parametrize("record", RECORDS)
def test_every_field_has_its_range_checked(record):
    good = {f.name: f.low for f in record.fields()}
    for f in record.fields():
        assert f.low >= -(1 << f.bits - 1) and f.high < 1 << (f.bits - f.signed), f
        for bad in (f.low - 1, f.high + 1):
            message = f"{record.__name__}.{f.name} must be {f.low}..{f.high} {f.unit}".rstrip() + f", not {bad}"
            with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
                record(**good | {f.name: bad})
        with pytest.raises(TypeError, match=f"^{record.__name__}.{f.name} must be an integer, not 1.5$"):
            record(**good | {f.name: 1.5})


def test_command_holds_its_records_in_order():
    rng = random.Random(1)
    records = [draw(record, rng) for record in RECORDS[:6]]
    command = Command(**dict(zip(["window", "load", "requantise", "pool", "average", "writer"], records, strict=True)))
    word = command.pack()
    for record in records:
        assert word & (1 << record.bits()) - 1 == record.pack()
        word >>= record.bits()
    assert word == 0 and sum(record.bits() for record in records) == Command.bits(PRESETS["85f"])


OTHERS = [body for body in dict.fromkeys(BODIES.values()) if body not in (Command, GatherConfig)]


@pytest.mark.parametrize("record", [*RECORDS, *OTHERS])
def test_addresses_say_which_memory_limits_them(record):
    """An address of the chip that nobody limits is one on purpose: what is made of it wraps, or is limited with it."""
    named = {CarryConfig: WindowConfig}.get(record, record).__name__       # whose fields it has, too
    free = {f"{named}.{f.name}" for f in record.fields()
            if f.unit == "words" and f.bits in (ADDRESS, ADDRESS + 1, WEIGHT_ADDRESS) and not f.memory}
    assert free <= {"WindowConfig.start", "WindowConfig.row_step", "WindowConfig.column_step", "WriterConfig.row_words",
                    "GatherConfig.row_words"}
    for f in record.fields():
        assert f.memory in ("", TRANSFERRED, STORED, "activation_words", "weight_words", "parameter_words")
        assert (f.memory == STORED) == (f.bits >= STORAGE and f.unit.startswith("words"))
        assert f.memory in ("", STORED) or (f.most(512), f.most(1 << 20)) == (511 + (f.low > 0), f.high)


@pytest.mark.parametrize("bits", [24, 25, STORAGE])
@pytest.mark.parametrize("record", [*RECORDS, *OTHERS])
def test_fields_are_as_wide_as_storage_takes(record, bits):
    rng = random.Random(bits)
    for f in record.fields():
        narrow = f.within(bits)
        if f.memory != STORED:
            assert narrow == f
            continue
        assert (narrow.bits, narrow.low, narrow.name) == (f.bits - STORAGE + bits, f.low, f.name)
        assert narrow.high == ((1 << bits) - 1 if f.high % 2 else 1 << bits)
    values = {f.name: rng.choice([f.low, f.high, rng.randint(f.low, f.high)]) for f in (f.within(bits) for f in record.fields())}
    assert record(**values).pack(bits) == record_layout(record, bits).const(values).as_bits()


def test_a_chip_handles_the_bits_of_its_storage_and_24_at_least():
    for words, bits in ((1, 24), (1 << 20, 24), (1 << 24, 24), ((1 << 24) + 1, 25), (1 << 25, 25), (1 << 28, 28)):
        assert bits_of_storage(words) == bits
