"""Both products of a lane, for every pair of weights and every activation."""
from amaranth.hdl import Cat
import pytest

from formal import products
from formal.products import TRIPLES, differing
from hw.engine.mac_lane import LutLane, PackedLane


@pytest.mark.parametrize("lane", [PackedLane, LutLane])
def test_all_products(lane):
    assert differing(lane(0)) == (TRIPLES, 0)


def test_a_missing_borrow_is_found(monkeypatch):
    monkeypatch.setattr(products, "pack", lambda w0, w1: Cat(w0.as_unsigned(), w1[:8], w1[:6]))
    checked, wrong = differing(PackedLane(0))
    assert checked == TRIPLES and wrong > TRIPLES // 3      # wherever the even weight is negative
