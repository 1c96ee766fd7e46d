import random
import re

import pytest

from arch.command import (
    AverageConfig,
    Command,
    GatherConfig,
    LoadConfig,
    PoolConfig,
    RequantiseConfig,
    WindowConfig,
    WriterConfig,
)

RECORDS = [WindowConfig, LoadConfig, RequantiseConfig, PoolConfig, AverageConfig, WriterConfig, GatherConfig]


def draw(record, rng):
    return record(**{f.name: rng.choice([f.low, f.high, rng.randint(f.low, f.high)]) for f in record.fields()})


@pytest.mark.parametrize("record", RECORDS)
def test_pack_and_unpack(record):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(50):
        value = draw(record, rng)
        assert record.unpack(value.pack()) == value
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


def test_unpack_refuses_stray_bits():
    with pytest.raises(ValueError, match=r"^RequantiseConfig must be 24 bits, not 25$"):
        RequantiseConfig.unpack(1 << 24)


def test_command_holds_its_records_in_order():
    rng = random.Random(1)
    records = [draw(record, rng) for record in RECORDS[:-1]]
    command = Command(**dict(zip(["window", "load", "requantise", "pool", "average", "writer"], records, strict=True)))
    word = command.pack()
    for record in records:
        assert type(record).unpack(word & (1 << record.bits()) - 1) == record
        word >>= record.bits()
    assert word == 0 and sum(record.bits() for record in records) == Command.bits()
